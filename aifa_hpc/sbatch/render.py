"""Renders the sbatch script that this job wants on this site.

``prepare`` decides, the templates of ``templates/slurm`` lay out. In a template every expression is quoted for the
shell by default: a value becomes one word, a tuple of them becomes words; only :class:`Raw` passes as it is, and text
that the template itself laid out (a block, a macro). So a value cannot become program text because somebody forgot a
filter. No value begins a line either: sbatch obeys ``#PBS`` and ``#BSUB`` lines anywhere in a script, also inside
quotes. Unknown variables are errors (``StrictUndefined``), and the finished text is read back and compared with what
was asked.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jinja2

from aifa_hpc.errors import InputError
from aifa_hpc.sbatch.prepare import Prepared, prepare
from aifa_hpc.sbatch.quoting import Raw, comment, quote, word
from aifa_hpc.sbatch.reread import components_of, read_directives, read_salloc, write_directive

if TYPE_CHECKING:
    from aifa_hpc.jobs.plan import Part
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sbatch.placement import Placement
    from aifa_hpc.sites.model import Site


def render(
    job: Job,
    site: Site,
    loader: jinja2.BaseLoader,
    *,
    version: str,
    placement: Placement | None = None,
    part: Part | None = None,
) -> str:
    """The script.

    Args:
        job: Checked by ``jobs.check`` before.
        site: Where it is to run.
        loader: Finds ``KIND.sbatch.j2``.
        version: Of this library, for the script's first comment.
        placement: Where the submission lives; without one the script is for a person to submit.
        part: Which of the job's submissions it is, see ``jobs.plan``; the first one by default.

    Raises:
        InputError: The site is a draft, the template is broken, or it dropped or changed a directive.
    """
    prepared = prepare(job, site, placement, part)
    environment = _environment(loader)
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
    found = read_salloc(text) if job.launch.kind == "interactive" else read_directives(text)
    _require_same(prepared.directives, found, name)
    return text


@functools.lru_cache(maxsize=8)
def _environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    """One for each loader: compiling the templates costs a hundred times what rendering a script does.

    A template that changed on disk is compiled again (Jinja's ``auto_reload``).
    """
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
    environment.filters["option"] = lambda pair: f"--{pair[0]}={pair[1]}" if pair[1] else f"--{pair[0]}"
    return environment


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
    groups, others = components_of(asked), components_of(found)
    missing = [f"hetjob is there {len(others) - 1} times"] if len(groups) != len(others) else []
    changed: list[str] = []
    for group, other in zip(groups, others, strict=False):
        wanted = dict(group)
        missing += [f"{_shown(*pair)} is missing" for pair in group if pair not in other]
        changed += [f"{_shown(*pair)} is there" for pair in other if wanted.get(*pair) != pair[1]]
    if missing or changed:
        raise InputError(
            f"template {name} does not carry what the job asks for: {'; '.join(missing + changed)}.",
            hint="Its first lines must be {% for pair in directives %}#SBATCH {{ pair | directive }}{% endfor %}.",
        )


def _shown(option: str, value: str) -> str:
    return f"--{option}={value}" if value else f"--{option}"
