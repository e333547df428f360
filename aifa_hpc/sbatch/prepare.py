"""Decides what a script says: directives, modules, variables and words, as values for the templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import account_of, partition_of, require_open
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.sbatch.launch import Export, launch_variables, program_words, srun_words
from aifa_hpc.sbatch.quoting import Raw
from aifa_hpc.units import Memory

if TYPE_CHECKING:
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Modules, Site, Variable


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a submission lives on the site.

    Attributes:
        folder: The job's own folder; logs and the exit sentinel go there.
        token: The submission's token, put into the comment.
        name: The job's name in the queue, which contains the token.
    """

    folder: str
    token: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What a template is given.

    Attributes:
        directives: ``(option, value)`` of the ``#SBATCH`` lines, in order.
        login_shell: The batch shell must read the profile, or ``module`` is not there.
        module_lines: ``module`` commands, as words.
        exports: Variables of the batch script.
        task_exports: Variables set inside each task, on its own node.
        srun: Words of the launcher before the program.
        program: Words of the program, container included.
        workers: Worker processes on each node, for torchrun.
        master_addr: Shell script that prints the rendezvous address of host ``$1``; empty for the name itself.
    """

    directives: tuple[tuple[str, str], ...]
    login_shell: bool
    module_lines: tuple[tuple[str, ...], ...]
    exports: tuple[Export, ...]
    task_exports: tuple[Export, ...]
    srun: tuple[str, ...]
    program: tuple[str, ...]
    workers: int
    master_addr: str


def prepare(job: Job, site: Site, placement: Placement | None = None) -> Prepared:
    """Decides everything the templates lay out.

    Raises:
        InputError: The site is a draft, or the job names no partition of it.
    """
    require_open(site)
    partition = partition_of(job, site)
    if partition is None:
        raise InputError(
            f"partition {job.resources.partition!r} is not known of {site.name}.",
            hint="Run `aifa check` for all problems.",
        )
    if job.launch.kind not in site.launch:
        raise InputError(f"{site.name} has no launch kind {job.launch.kind!r}; it has {', '.join(site.launch)}.")
    if job.container is not None and site.container is None:
        raise InputError(f"{site.name} runs no containers, and the job names the image {job.container.image}.")
    fit = Fit(job=job, site=site, partition=partition)
    exports, task_exports = _variables(fit)
    runtime = site.container if job.container is not None else None
    modules = [recipe for recipe in (site.modules, runtime.modules if runtime else None) if recipe is not None]
    return Prepared(
        directives=tuple(_directives(fit, placement)),
        login_shell=bool(modules),
        module_lines=tuple(_module_lines(modules)),
        exports=exports,
        task_exports=task_exports,
        srun=srun_words(fit),
        program=program_words(job, site),
        workers=job.resources.gpus_per_node or 1,
        master_addr=fit.shape.master_addr,
    )


def _directives(fit: Fit, placement: Placement | None) -> list[tuple[str, str]]:
    asked = fit.job.resources
    pairs = [
        ("job-name", placement.name if placement else fit.job.name),
        ("comment", f"aifa:{placement.token}" if placement else ""),
        ("account", account_of(fit.job, fit.site)),
        ("partition", asked.partition or fit.site.scheduler.default_partition or ""),
        ("qos", asked.qos),
        ("reservation", asked.reservation),
        ("nodes", str(asked.nodes)),
        ("ntasks-per-node", str(fit.tasks)),
        ("cpus-per-task", str(fit.cpus)),
        ("gpus-per-node", str(asked.gpus_per_node) if asked.gpus_per_node else ""),
        _memory(fit),
        ("time", str(asked.time)),
        ("output", f"{placement.folder.replace('%', '%%')}/%j.out" if placement else "%x-%j.out"),
        # A requeued job would cut its own log off without it.
        ("open-mode", "append"),
        ("chdir", fit.job.workdir or (placement.folder if placement else "")),
    ]
    return [(option, value) for option, value in pairs if value]


def _memory(fit: Fit) -> tuple[str, str]:
    node = fit.node
    if fit.job.resources.memory is not None:
        return "mem", str(fit.job.resources.memory)
    if fit.site.memory_request == "never":
        return "mem", ""
    if fit.partition.whole_node:
        return "mem", str(node.memory)
    if node.gpus:
        return "mem-per-gpu", str(Memory(node.memory.mib // node.gpus * 2**20))
    return "mem-per-cpu", str(Memory(node.memory.mib // node.usable_cpus * 2**20))


def _module_lines(recipes: list[Modules]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    if any(recipe.purge for recipe in recipes):
        lines.append(("module", "purge"))
    lines += [("module", "use", folder) for recipe in recipes for folder in recipe.use]
    lines += [("module", "load", name) for recipe in recipes for name in recipe.load]
    return lines


def _variables(fit: Fit) -> tuple[tuple[Export, ...], tuple[Export, ...]]:
    job = fit.job
    batch: list[Export] = []
    task: list[Export] = []
    for name, preset in fit.site.variables.items():
        if not _applies(preset, job):
            continue
        if name in job.env:
            batch.append(Export(name=name, value=job.env[name], note=f"yours, in place of {preset.value}"))
            continue
        why = preset.note or preset.source
        line = Export(name=name, value=Raw(f'"{preset.value}"'), note=why, folder=preset.folder)
        (task if preset.per_task and job.launch.kind != "command" else batch).append(line)
    said = {line.name for line in batch if line.name in job.env}
    launch = [line for line in launch_variables(fit) if line.name not in {preset.name for preset in batch}]
    for line in launch:
        if line.name in job.env and line.name not in said:
            note = f"yours, in place of {line.value.strip(chr(34))}"
            batch.append(Export(name=line.name, value=job.env[line.name], note=note))
            said.add(line.name)
    batch += [Export(name=name, value=value) for name, value in job.env.items() if name not in said]
    return tuple(batch), (*(line for line in launch if line.name not in job.env), *task)


def _applies(preset: Variable, job: Job) -> bool:
    return job.launch.kind in preset.kinds and (job.resources.gpus_per_node > 0 or not preset.gpu_only)
