"""Decides what a script says: directives, modules, variables and words, as values for the templates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import partition_of, require_open
from aifa_hpc.jobs.features import RANKED_KINDS
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.jobs.plan import WHOLE, Part, plan
from aifa_hpc.jobs.spec import component_jobs
from aifa_hpc.sbatch.directives import HETJOB, directives_of, job_directives
from aifa_hpc.sbatch.environment import modules_of, variables_of
from aifa_hpc.sbatch.launch import Export, program_words, srun_words, torchrun_options
from aifa_hpc.sbatch.quoting import Raw

if TYPE_CHECKING:
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sbatch.environment import Variables
    from aifa_hpc.sbatch.placement import Placement
    from aifa_hpc.sites.model import Site

END_TIME = "SLURM_JOB_END_TIME"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How one component of a heterogeneous job is started.

    Attributes:
        srun: Words of the launcher before the program.
        program: Words of the program, container and its arguments included.
        exports: Variables set inside each of its tasks.
    """

    srun: tuple[str, ...]
    program: tuple[str, ...]
    exports: tuple[Export, ...]


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
        node_exports: Those of them that hold for all that runs on a node, and not for one task.
        workers: Worker processes on each node, for torchrun.
        torchrun_options: Further words for torchrun.
        tasks: Tasks on each node.
        cpus: Cores of each task.
        join_seconds: Longest time that an engine's daemons may take to find each other.
        master_addr: Shell script that prints the rendezvous address of host ``$1``; empty for the name itself.
        part: Which submission of the job this is.
        batch_signal: Signal that the script itself gets and hands on to the program; empty for none.
        components: Further components of a heterogeneous job, each with its own words and variables.
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
    node_exports: tuple[Export, ...] = ()
    torchrun_options: tuple[str, ...] = ()
    tasks: int = 1
    cpus: int = 1
    join_seconds: int = 0
    part: Part = WHOLE
    batch_signal: str = ""
    components: tuple[Step, ...] = ()


def prepare(job: Job, site: Site, placement: Placement | None = None, part: Part | None = None) -> Prepared:
    """Decides everything the templates lay out.

    Args:
        job: Its dependencies name ids only.
        site: Where it is to run.
        placement: Where the submission lives; without one the script is for a person to submit.
        part: Which of the job's submissions it is, see ``jobs.plan``; the first one by default.

    Raises:
        InputError: The site is a draft, or the job names no partition of it.
    """
    require_open(site)
    part = part or plan(job, site).parts[0]
    if part.chain and placement is not None and job.container is not None:
        # The program makes a file there, so its container must see the folder.
        binds = (*job.container.bind, placement.links[0])
        job = msgspec.structs.replace(job, container=msgspec.structs.replace(job.container, bind=binds))
    fits = [_fit(job, site), *(_fit(one, site) for one in component_jobs(job))]
    fit = fits[0]
    variables, *others = (variables_of(one) for one in fits)
    modules, log = modules_of(job, site), _log(part, placement)
    groups = range(len(fits)) if job.components else (None,)
    first, *more = (_step(*of, log) for of in zip(fits, (variables, *others), groups, strict=True))
    directives = [*directives_of(fit, placement), *job_directives(job, site, placement, part, f"{log}.out")]
    for one in fits[1:]:
        directives += [HETJOB, *directives_of(one, placement)]
    said = {line.name for line in variables.batch}
    return Prepared(
        directives=tuple(directives),
        login_shell=bool(modules),
        module_lines=modules,
        exports=(*variables.batch, *_end_time(job), *_numbers(part)),
        task_exports=(*variables.task, *variables.node),
        node_exports=variables.node,
        srun=first.srun,
        program=first.program,
        workers=job.resources.gpus_per_node or 1,
        torchrun_options=torchrun_options(fit),
        tasks=fit.tasks,
        cpus=fit.cpus,
        join_seconds=fit.shape.join_seconds,
        master_addr=fit.shape.master_addr,
        part=part,
        batch_signal=job.signal.removeprefix("B:").partition("@")[0] if job.signal.startswith("B:") else "",
        components=tuple(
            replace(step, exports=tuple(line for line in step.exports if line.name not in said)) for step in more
        ),
    )


def _fit(job: Job, site: Site) -> Fit:
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
    return Fit(job=job, site=site, partition=partition)


def _step(fit: Fit, variables: Variables, group: int | None, log: str) -> Step:
    words = srun_words(fit)
    if group is not None:
        # Told by itself: srun 24.11 gives a component as many tasks as the first one otherwise.
        nodes = fit.job.resources.nodes
        words = (words[0], f"--het-group={group}", f"--nodes={nodes}", f"--ntasks={nodes * fit.tasks}", *words[1:])
    if fit.job.launch.log_per_rank and fit.job.launch.kind in RANKED_KINDS:
        # A requeued job would cut the logs of its first attempt off.
        words = (*words, f"--output={log}.rank-%t.out", "--open-mode=append")
    program = (
        (*program_words(fit.job, fit.site), *fit.job.launch.command) if group else program_words(fit.job, fit.site)
    )
    return Step(srun=words, program=program, exports=(*variables.batch, *variables.task, *variables.node))


def _log(part: Part, placement: Placement | None) -> str:
    """Where output goes, without the ending; a % in a folder's name is doubled for Slurm."""
    name = "%A_%a" if part.tasks else "%j"
    return f"{placement.folder.replace('%', '%%')}/{name}" if placement else f"%x-{name}"


def _end_time(job: Job) -> tuple[Export, ...]:
    """When Slurm ends the job; version 22.05 tells nobody (``runtime.walltime`` asks for it)."""
    if END_TIME in job.env:
        return ()
    value = Raw(f'"${{{END_TIME}:-$(($(date +%s) + {job.resources.time.seconds}))}}"')
    return (Export(name=END_TIME, value=value, note="Slurm tells this from 23.02 on."),)


def _numbers(part: Part) -> tuple[Export, ...]:
    if not part.tasks:
        return ()
    number = f'"$(({part.offset} + SLURM_ARRAY_TASK_ID))"' if part.offset else '"$SLURM_ARRAY_TASK_ID"'
    note = "This task of the whole array, of which this job may be a part."
    return (
        Export(name="AIFA_ARRAY_TASK_ID", value=Raw(number), note=note),
        Export(name="AIFA_ARRAY_TASK_COUNT", value=str(part.task_count)),
    )
