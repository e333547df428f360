"""``aifa quote``: what a job will be billed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Command, current_output, read_job_file, site_option
from aifa_hpc.errors import InputError, ParseError

if TYPE_CHECKING:
    from aifa_hpc.jobs.quote import Quote
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site
    from aifa_hpc.units import Walltime


def _walltime(context: click.Context, option: click.Parameter, value: str | None) -> Walltime | None:
    from aifa_hpc.units import parse_walltime  # noqa: PLC0415 - keeps `aifa --help` quick

    try:
        return None if value is None else parse_walltime(value)
    except ParseError as error:
        raise click.BadParameter(error.message, context, option) from error


_ELAPSED = "Also for runs that take this long: sites bill the time that passed."


@click.command(cls=Command)
@click.argument("job_file", type=click.Path(path_type=Path))
@site_option
@click.option("--elapsed", metavar="TIME", callback=_walltime, help=_ELAPSED)
def quote(job_file: Path, site: str, elapsed: Walltime | None) -> None:
    """Say what SITE will bill for the job, with the working."""
    from aifa_hpc.jobs.check import require_open  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.quote import quote as quote_job  # noqa: PLC0415
    from aifa_hpc.sites.load import load_site  # noqa: PLC0415

    machine = load_site(site)
    require_open(machine)
    job = read_job_file(job_file, machine)
    found = quote_job(job, machine, elapsed=elapsed)
    lines = [f"{site} bills job {job.name!r}", f"  {found}"]
    lines += [f"  {found.note}"] if found.note else []
    lines += [f"  [{found.source}]"]
    current_output().record(quote_fields(found), "\n".join(lines))


def quote_fields(found: Quote) -> dict[str, Any]:
    """A quote as machines get it."""
    return {
        "unit": found.unit,
        "amount": found.amount,
        "working": found.working,
        "time": str(found.time),
        "runs": found.runs,
        "elapsed": None if found.elapsed is None else str(found.elapsed),
        "elapsed_amount": found.elapsed_amount,
        "elapsed_working": found.elapsed_working,
        "note": found.note,
        "source": found.source,
        "more": [quote_fields(other) for other in found.more],
    }


def note_cost(job: Job, site: Site) -> None:
    """Tells in one line what a job costs; says nothing where that cannot be said, or where nobody sends a bill."""
    from aifa_hpc.jobs.quote import quote as quote_job  # noqa: PLC0415 - keeps `aifa --help` quick

    try:
        found = quote_job(job, site)
    except InputError:
        return  # its partition or launch kind is a problem that `check` tells
    if found.amount or any(other.amount for other in found.more):
        current_output().note(f"cost: at most {found}")
