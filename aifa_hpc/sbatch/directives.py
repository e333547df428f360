"""The ``#SBATCH`` lines of a job, as options and values: what one component asks for, and what the whole job does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import account_of
from aifa_hpc.jobs.features import KINDS
from aifa_hpc.units import Memory

if TYPE_CHECKING:
    from aifa_hpc.jobs.fit import Fit
    from aifa_hpc.jobs.plan import Part
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sbatch.placement import Placement
    from aifa_hpc.sites.model import Site

HETJOB = ("hetjob", "")
"""The line between two components (Slurm, Heterogeneous Job Support)."""

_SLURM_KINDS = {"ok": "afterok", "any": "afterany", "not_ok": "afternotok", "started": "after", "corr": "aftercorr"}


def directives_of(fit: Fit, placement: Placement | None) -> list[tuple[str, str]]:
    """What one component asks for."""
    asked = fit.job.resources
    name = placement.name if placement else fit.job.name
    pairs = [
        ("job-name", name),
        ("comment", f"aifa:{placement.token}" if placement else ""),
        ("account", account_of(fit.job, fit.site)),
        ("partition", asked.partition or fit.site.scheduler.default_partition or ""),
        ("qos", asked.qos),
        ("reservation", asked.reservation),
        ("constraint", asked.constraint),
        ("nodelist", asked.nodelist),
        ("exclude", asked.exclude),
        ("nodes", str(asked.nodes)),
        ("ntasks-per-node", str(fit.tasks)),
        ("cpus-per-task", str(fit.cpus)),
        ("gpus-per-node", str(asked.gpus_per_node) if asked.gpus_per_node else ""),
        _memory(fit),
        ("time", str(asked.time)),
    ]
    return [(option, value) for option, value in pairs if value]


def job_directives(job: Job, site: Site, placement: Placement | None, part: Part, output: str) -> list[tuple[str, str]]:
    """What holds for the whole job; an option without a value has an empty one.

    Raises:
        InputError: A dependency is a token, which only a connection turns into an id.
    """
    if job.launch.kind == "interactive":  # a terminal: no log, no folder of its own
        return [("chdir", job.workdir)] if job.workdir else []
    dependency = dependencies(job, placement.after if placement else ())
    limit = f"%{part.limit}" if part.limit else ""
    mail = job.mail if job.mail is not None and site.scheduler.mail else None
    pairs = [
        ("output", output),
        # A requeued job would cut its own log off without it.
        ("open-mode", "append"),
        ("chdir", job.workdir or (placement.folder if placement else "")),
        ("array", f"{part.tasks}{limit}" if part.tasks else ""),
        ("dependency", dependency),
        ("kill-on-invalid-dep", "yes" if dependency else ""),
        ("signal", job.signal),
        ("mail-type", ",".join(mail.events) if mail else ""),
        ("mail-user", mail.user if mail else ""),
    ]
    flags = {None: [], True: [("requeue", "")], False: [("no-requeue", "")]}[job.requeue]
    return [(option, value) for option, value in pairs if value] + flags


def dependencies(job: Job, parts: tuple[str, ...]) -> str:
    """The value of ``--dependency``: all of them must be met.

    Args:
        job: Its own.
        parts: Ids of parts of the same job that must have ended. Links and chunks keep the job's own as well: were the
            first one cancelled because its dependency failed, the next would find that it has ended, and run.

    Raises:
        InputError: A name is no job id.
    """
    words = []
    for kind in KINDS:
        names = (*(getattr(job.after, kind) if job.after is not None else ()), *(parts if kind == "any" else ()))
        for name in names:
            if not name.partition("+")[0].replace("_", "").isdigit():
                raise InputError(
                    f"after.{kind} names the job {name!r} by its token, and a script needs its id.",
                    hint="Submit the job with `aifa submit`, which finds it; or write the id.",
                )
        if names:
            words.append(":".join((_SLURM_KINDS[kind], *names)))
    if job.after is not None and job.after.singleton:
        words.append("singleton")
    return ",".join(words)


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
