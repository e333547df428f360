"""Renders the sbatch script that this job wants on this site.

:func:`prepare` decides (pure values: directives, variables, words), the templates of ``templates/slurm`` lay out. In a
template every expression is quoted for the shell by default: a ``str`` becomes one word, a tuple of them becomes words;
only :class:`Raw` passes as it is. So a value cannot become program text because somebody forgot a filter. Unknown
variables are errors (``StrictUndefined``), and the finished text is read back and compared with what was asked.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import account_of, partition_of, require_open
from aifa_hpc.sbatch.reread import read_directives, write_directive
from aifa_hpc.sites.topology import mask_option
from aifa_hpc.units import Memory

if TYPE_CHECKING:
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import LaunchShape, Modules, NodeType, Partition, Site, Variable


class Raw(str):
    """Text that is shell already, or a comment: not quoted again."""

    __slots__ = ()


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
class Export:
    """A line that sets a variable; ``note`` says why it is there, or that the user's value replaced a preset."""

    name: str
    value: Raw | str
    note: str = ""


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


def render(job: Job, site: Site, loader: jinja2.BaseLoader, *, version: str, placement: Placement | None = None) -> str:
    """The script.

    Args:
        job: Checked by ``jobs.check`` before.
        site: Where it is to run.
        loader: Finds ``KIND.sbatch.j2``.
        version: Of this library, for the script's first comment.
        placement: Where the submission lives; without one the script is for a person to submit.

    Raises:
        InputError: The site is a draft, the template is broken, or it dropped or changed a directive.
    """
    prepared = prepare(job, site, placement)
    environment = jinja2.Environment(  # noqa: S701 - shell, not HTML: `finalize` quotes every expression
        loader=loader,
        undefined=jinja2.StrictUndefined,
        finalize=quote,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["comment"] = comment
    environment.filters["directive"] = lambda pair: Raw(write_directive(*pair))
    name = f"{job.launch.kind}.sbatch.j2"
    try:
        text = environment.get_template(name).render(
            job=job,
            site=site,
            placement=placement,
            version=version,
            **{key: getattr(prepared, key) for key in Prepared.__slots__},
        )
    except jinja2.TemplateError as error:
        where = f" line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise InputError(f"template {name}{where}: {error.message or type(error).__name__}") from error
    _require_same(prepared.directives, read_directives(text), name)
    return text


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
    fit = _Fit(job=job, site=site, partition=partition)
    exports, task_exports = _variables(job, site)
    variable = fit.shape.gpu_variable
    if variable and fit.one_gpu_per_task and variable not in job.env:
        line = Export(name=variable, value=Raw('"$SLURM_LOCALID"'), note="local rank i uses GPU i")
        task_exports = (line, *task_exports)
    runtime = site.container if job.container is not None else None
    modules = [recipe for recipe in (site.modules, runtime.modules if runtime else None) if recipe is not None]
    return Prepared(
        directives=tuple(_directives(fit, placement)),
        login_shell=bool(modules),
        module_lines=tuple(_module_lines(modules)),
        exports=exports,
        task_exports=task_exports,
        srun=_srun(fit),
        program=_program(job, site),
        workers=job.resources.gpus_per_node or 1,
        master_addr=fit.shape.master_addr,
    )


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A job on the nodes of its partition: what follows from both."""

    job: Job
    site: Site
    partition: Partition

    @property
    def node(self) -> NodeType:
        return self.site.nodes[self.partition.node]

    @property
    def shape(self) -> LaunchShape:
        return self.site.launch[self.job.launch.kind]

    @property
    def tasks(self) -> int:
        """Tasks on each node: as asked for, else one for each GPU where the site wants that, else one."""
        asked = self.job.resources
        return asked.tasks_per_node or max(1, asked.gpus_per_node * self.shape.tasks_per_gpu)

    @property
    def cpus(self) -> int:
        """Cores of a task: its part of the node, or, where nodes are shared, of the slices that come with its GPUs."""
        asked = self.job.resources
        if asked.cpus_per_task is not None:
            return asked.cpus_per_task
        if self.partition.whole_node:
            return max(1, self.node.usable_cpus // self.tasks)
        if self.node.gpus:
            return max(1, self.node.usable_cpus // self.node.gpus * asked.gpus_per_node // self.tasks)
        return 1

    @property
    def one_gpu_per_task(self) -> bool:
        return 0 < self.job.resources.gpus_per_node == self.tasks


def quote(value: Any) -> Any:
    """What a template expression becomes: one shell word, or words."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, str):
        return shlex.quote(value)
    if isinstance(value, tuple | list):
        return " ".join(str(quote(item)) for item in value)
    return value


def comment(text: object) -> Raw:
    """Text that is safe behind a ``#``: one line."""
    return Raw(" ".join(str(text).split()))


def _directives(fit: _Fit, placement: Placement | None) -> list[tuple[str, str]]:
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


def _memory(fit: _Fit) -> tuple[str, str]:
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


def _srun(fit: _Fit) -> tuple[str, ...]:
    # srun takes --cpus-per-task from the batch job no more since Slurm 22.05, so it is said again.
    words = ["srun", f"--ntasks-per-node={fit.tasks}", f"--cpus-per-task={fit.cpus}", *fit.shape.options]
    node = fit.node
    whole = fit.partition.whole_node and fit.one_gpu_per_task and fit.tasks == node.gpus
    # Masks name cores of a whole node, and reach only the cores beside the GPU.
    if fit.shape.bind == "masks" and whole and fit.cpus <= node.usable_cpus // node.gpus:
        words.append(f"--cpu-bind={mask_option(node, fit.cpus, fit.tasks)}")
    return tuple(words)


def _program(job: Job, site: Site) -> tuple[str, ...]:
    torchrun = ("torchrun",) if job.launch.kind == "torchrun" else ()
    if job.container is None or site.container is None:
        return torchrun
    binds = tuple(f"--bind={bind}" for bind in (*site.container.bind, *job.container.bind))
    return (*site.container.run, *binds, job.container.image, *torchrun)


def _module_lines(recipes: list[Modules]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    if any(recipe.purge for recipe in recipes):
        lines.append(("module", "purge"))
    lines += [("module", "use", folder) for recipe in recipes for folder in recipe.use]
    lines += [("module", "load", name) for recipe in recipes for name in recipe.load]
    return lines


def _variables(job: Job, site: Site) -> tuple[tuple[Export, ...], tuple[Export, ...]]:
    batch: list[Export] = []
    task: list[Export] = []
    for name, preset in site.variables.items():
        if not _applies(preset, job):
            continue
        if name in job.env:
            batch.append(Export(name=name, value=job.env[name], note=f"yours, in place of {preset.value}"))
            continue
        why = preset.note or preset.source
        line = Export(name=name, value=Raw(f'"{preset.value}"'), note=why)
        (task if preset.per_task and job.launch.kind != "command" else batch).append(line)
    preset_names = {line.name for line in batch if line.note.startswith("yours")}
    batch += [Export(name=name, value=value) for name, value in job.env.items() if name not in preset_names]
    return tuple(batch), tuple(task)


def _applies(preset: Variable, job: Job) -> bool:
    return job.launch.kind in preset.kinds and (job.resources.gpus_per_node > 0 or not preset.gpu_only)


def _require_same(asked: tuple[tuple[str, str], ...], found: tuple[tuple[str, str], ...], name: str) -> None:
    missing = [pair for pair in asked if pair not in found]
    extra = [pair for pair in found if pair[0] in dict(asked) and pair not in asked]
    if missing or extra:
        changed = ", ".join(f"--{option}={value}" for option, value in missing + extra)
        raise InputError(
            f"template {name} does not carry what the job asks for: {changed}.",
            hint="Its first lines must be {% for pair in directives %}#SBATCH {{ pair | directive }}{% endfor %}.",
        )
