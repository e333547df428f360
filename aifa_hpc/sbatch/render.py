"""Renders the sbatch script that this job wants on this site.

:func:`prepare` decides (pure values: directives, variables, words), the templates of ``templates/slurm`` lay out. In a
template every expression is quoted for the shell by default: a value becomes one word, a tuple of them becomes words;
only :class:`Raw` passes as it is, and text that the template itself laid out (a block, a macro). So a value cannot
become program text because somebody forgot a filter. No value begins a line either: sbatch obeys ``#PBS`` and ``#BSUB``
lines anywhere in a script, also inside quotes. Unknown variables are errors (``StrictUndefined``), and the finished
text is read back and compared with what was asked.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import account_of, partition_of, require_open
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.sbatch.reread import read_directives, write_directive
from aifa_hpc.sites.topology import mask_option
from aifa_hpc.units import Memory

if TYPE_CHECKING:
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Modules, Site, Variable


class Raw(Markup):
    """Text that is shell already, or a comment: not quoted again.

    Jinja marks what templates lay out as ``Markup``, so blocks, macros and ``super()`` pass as they are, too.
    """

    __slots__ = ()


_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


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
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,  # only for its marks: `finalize` quotes every expression for the shell, and marks it
        undefined=jinja2.StrictUndefined,
        finalize=quote,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["comment"] = comment
    environment.filters["word"] = word
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
    except jinja2.TemplateNotFound as error:
        raise InputError(f"template {error.name} is not found.") from error
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, UnicodeError) as error:
        where = f", {_template_line(error)}" if _template_line(error) else ""
        raise InputError(f"template {name}{where}: {error}") from error
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
        srun=_srun(fit),
        program=_program(job, site),
        workers=job.resources.gpus_per_node or 1,
        master_addr=fit.shape.master_addr,
    )


def quote(value: Any) -> Any:
    """What a template expression becomes: one shell word, or words."""
    if isinstance(value, (Markup, jinja2.Undefined)):
        return value
    if isinstance(value, tuple | list):
        return Raw(" ".join(quote(item) for item in value))
    if value is None:
        raise TypeError("a value is None here; ask `{% if ... %}` first")
    text = str(value)
    return Raw(_ansi_c(text) if _CONTROL.search(text) else shlex.quote(text))


def _ansi_c(text: str) -> str:
    """bash(1) QUOTING, ``$'...'``: one line, whatever the text."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _CONTROL.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), escaped) + "'"


def word(text: object) -> Raw:
    """Shell that a template laid out, as one word for another shell; it keeps its lines."""
    return Raw(shlex.quote(str(text)))


def comment(text: object) -> Raw:
    """Text that is safe behind a ``#``: one line."""
    return Raw(" ".join(str(text).split()))


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


def _srun(fit: Fit) -> tuple[str, ...]:
    # srun takes --cpus-per-task from the batch job no more since Slurm 22.05, so it is said again.
    words = ["srun", f"--ntasks-per-node={fit.tasks}", f"--cpus-per-task={fit.cpus}", *fit.shape.options]
    if fit.masks:
        words.append(f"--cpu-bind={mask_option(fit.node, fit.cpus, fit.tasks)}")
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
    launch = [line for line in _launch_variables(fit) if line.name not in {preset.name for preset in batch}]
    for line in launch:
        if line.name in job.env and line.name not in said:
            note = f"yours, in place of {line.value.strip(chr(34))}"
            batch.append(Export(name=line.name, value=job.env[line.name], note=note))
            said.add(line.name)
    batch += [Export(name=name, value=value) for name, value in job.env.items() if name not in said]
    return tuple(batch), (*(line for line in launch if line.name not in job.env), *task)


def _launch_variables(fit: Fit) -> list[Export]:
    """What each task is told about itself; torchrun tells its workers itself."""
    if fit.job.launch.kind != "srun":
        return []
    lines = [
        Export(name="RANK", value=Raw('"$SLURM_PROCID"'), note="What torch.distributed reads (init_method env://)."),
        Export(name="WORLD_SIZE", value=Raw('"$SLURM_NTASKS"')),
    ]
    variable = fit.shape.gpu_variable
    number = Export(name="LOCAL_RANK", value=Raw('"$SLURM_LOCALID"'))
    if not variable or not fit.one_gpu_per_task:
        return [*lines, number]
    lines.append(Export(name=variable, value=Raw('"$SLURM_LOCALID"'), note="Local rank i sees GPU i only,"))
    if variable not in fit.job.env:
        number = Export(name="LOCAL_RANK", value=Raw('"0"'), note="so it is number 0 to the program.")
    return [*lines, number]


def _applies(preset: Variable, job: Job) -> bool:
    return job.launch.kind in preset.kinds and (job.resources.gpus_per_node > 0 or not preset.gpu_only)


def _template_line(error: BaseException) -> str:
    """Where in a template an error was raised: Jinja gives its frames the template's own file and line."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno}"
    found = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(".j2"):
            found = f"line {trace.tb_lineno} of {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}"
        trace = trace.tb_next
    return found


def _require_same(asked: tuple[tuple[str, str], ...], found: tuple[tuple[str, str], ...], name: str) -> None:
    missing = [f"--{option}={value} is missing" for option, value in asked if (option, value) not in found]
    wanted = dict(asked)
    changed = [f"--{option}={value} is there" for option, value in found if wanted.get(option, value) != value]
    if missing or changed:
        raise InputError(
            f"template {name} does not carry what the job asks for: {'; '.join(missing + changed)}.",
            hint="Its first lines must be {% for pair in directives %}#SBATCH {{ pair | directive }}{% endfor %}.",
        )
