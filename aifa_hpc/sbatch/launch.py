"""How a launch kind starts the program: the launcher's words, the program's words, and what each task is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.jobs.image import images_of
from aifa_hpc.sbatch.quoting import Raw
from aifa_hpc.sites.topology import mask_option

if TYPE_CHECKING:
    from aifa_hpc.jobs.fit import Fit
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A line that sets a variable.

    Attributes:
        name: Of the variable.
        value: Shell where it is :class:`Raw`, else literally.
        note: Why it is there, or that the user's value replaced a preset.
        folder: The value is a folder to make.
    """

    name: str
    value: Raw | str
    note: str = ""
    folder: bool = False


def srun_words(fit: Fit) -> tuple[str, ...]:
    """The launcher and its options."""
    tasks, cpus = fit.tasks, fit.cpus
    size: tuple[str, ...] = ()
    if fit.job.launch.kind == "interactive":  # one shell that has all of the first node
        tasks, cpus, size = 1, tasks * cpus, ("--nodes=1", "--ntasks=1")
    # srun takes --cpus-per-task from the batch job no more since Slurm 22.05, so it is said again.
    words = ["srun", *size, f"--ntasks-per-node={tasks}", f"--cpus-per-task={cpus}", *fit.shape.options]
    if fit.masks:
        words.append(f"--cpu-bind={mask_option(fit.node, fit.cpus, fit.tasks)}")
    return tuple(words)


def program_words(job: Job, site: Site) -> tuple[str, ...]:
    """What stands before the job's own command: container and launcher inside it."""
    torchrun = ("torchrun",) if job.launch.kind == "torchrun" else ()
    if job.container is None or site.container is None:
        return torchrun
    binds = tuple(f"--bind={bind}" for bind in (*site.container.bind, *job.container.bind))
    return (*site.container.run, *binds, job.container.image, *torchrun)


def launch_variables(fit: Fit) -> list[Export]:
    """What each task is told about itself; torchrun, MPI and engines of daemons tell their processes the rest."""
    kind, variable = fit.job.launch.kind, fit.shape.gpu_variable
    if kind not in {"srun", "mpi", "dask"}:
        return []
    gpu = Export(name=variable, value=Raw('"$SLURM_LOCALID"'), note="Local rank i sees GPU i only.")
    own_gpu = bool(variable) and fit.one_gpu_per_task
    if kind != "srun":
        return [gpu] if own_gpu else []
    lines = [
        Export(name="RANK", value=Raw('"$SLURM_PROCID"'), note="What torch.distributed reads (init_method env://)."),
        Export(name="WORLD_SIZE", value=Raw('"$SLURM_NTASKS"')),
        Export(name="LOCAL_WORLD_SIZE", value=str(fit.tasks)),
    ]
    number = Export(name="LOCAL_RANK", value=Raw('"$SLURM_LOCALID"'))
    if not own_gpu:
        return [*lines, number]
    lines.append(Export(name=variable, value=Raw('"$SLURM_LOCALID"'), note="Local rank i sees GPU i only,"))
    if variable not in fit.job.env:
        number = Export(name="LOCAL_RANK", value=Raw('"0"'), note="so it is number 0 to the program.")
    return [*lines, number]


def torchrun_options(fit: Fit) -> tuple[str, ...]:
    """Words that torchrun takes in this image: where it binds workers to cores itself, on whole nodes only."""
    whole = fit.partition.whole_node and fit.job.resources.gpus_per_node == fit.node.gpus
    if fit.job.launch.kind != "torchrun" or not whole:
        return ()
    return tuple(word for image in images_of(fit.job, fit.site).values() for word in image.torchrun)
