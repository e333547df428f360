"""``aifa render``: the script that a site wants, or several, and what differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifa_hpc.cli.base import Command, current_output, read_job_file
from aifa_hpc.cli.image import image_here, image_option
from aifa_hpc.errors import EXIT_DONE, EXIT_INPUT, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SITES = "Site to use, more than once for several; $AIFA_SITE by default."


def template_option(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """``--template``, a user's own."""
    return click.option(
        "--template",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Template to use in the place of the launch kind's own.",
    )(function)


@click.command(cls=Command)
@click.argument("job_file", type=click.Path(path_type=Path))
@click.option("--site", "sites", required=True, multiple=True, envvar="AIFA_SITE", metavar="SITE", help=_SITES)
@click.option("--diff", is_flag=True, help="Tell in words what differs between the sites.")
@template_option
@image_option
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="File to write to.")
def render(  # noqa: PLR0917 - click calls it by name
    job_file: Path, sites: tuple[str, ...], diff: bool, template: Path | None, image: Path | None, target: Path | None
) -> int:
    """Print the sbatch script that SITE wants for the job.

    With several sites, each script under a heading; with --diff a table of what differs in place of the scripts.
    """
    if diff:
        return _diff(job_file, sites)
    if target is not None and len(sites) > 1:
        raise InputError("-o takes one script, and several sites were named.", hint="Run it for each site.")
    if image is not None and len(sites) > 1:
        raise InputError("--image is one site's, and several sites were named.", hint="Run it for each site.")
    from aifa_hpc import __version__  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.check import require  # noqa: PLC0415
    from aifa_hpc.sbatch.loader import template_loader  # noqa: PLC0415
    from aifa_hpc.sbatch.render import render as render_job  # noqa: PLC0415
    from aifa_hpc.sites.load import config_dir, load_site  # noqa: PLC0415

    output, loader, scripts = current_output(), template_loader(config_dir(), template), {}
    for name in sites:
        machine = load_site(name)
        job = read_job_file(job_file, machine)
        for warning in require(job, machine):
            output.note(f"warning: {warning}")
        if problems := image_here(job, machine, image):
            raise InputError(f"{name} cannot run job {job.name!r}:", problems=problems)
        scripts[name] = render_job(job, machine, loader, version=__version__)
    if target is not None:
        _write(target, scripts[sites[0]])
    elif len(scripts) == 1:
        output.text("script", scripts[sites[0]])
    else:
        for name, script in scripts.items():
            output.record({"site": name, "script": script}, f"### {name} ###\n{script}")
    return EXIT_DONE


def _write(target: Path, script: str) -> None:
    try:
        target.write_text(script, "utf-8")
    except OSError as error:
        raise InputError(f"the script cannot be written to {str(target)!r}: {error.strerror}.") from error
    current_output().record({"path": str(target)}, f"wrote {target}")


def _diff(job_file: Path, sites: Sequence[str]) -> int:
    """A table of what differs; exits with 2 when one of the sites would not take the job."""
    if len(set(sites)) < 2:  # noqa: PLR2004 - a difference is between two
        raise InputError("--diff compares sites, so it needs two at least.", hint="Give --site once for each.")
    from aifa_hpc.jobs.check import check  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.sbatch.compare import compare, describe  # noqa: PLC0415
    from aifa_hpc.sites.load import load_site  # noqa: PLC0415

    output = current_output()
    machines = {name: load_site(name) for name in sites}
    found = {name: (read_job_file(job_file, machine), machine) for name, machine in machines.items()}
    differs, same = compare({name: describe(job, machine) for name, (job, machine) in found.items()})
    output.table(("what", *machines), differs, empty="nothing differs")
    if same:
        output.note(f"the same: {', '.join(same)}")
    refused = any(problem.severity == "error" for one in found.values() for problem in check(*one))
    return EXIT_INPUT if refused else EXIT_DONE
