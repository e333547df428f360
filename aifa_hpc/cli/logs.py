"""``aifa logs``: the output of jobs."""

from __future__ import annotations

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.cli.jobs import open_job, status_line


@click.command(cls=Command)
@click.argument("job_id", metavar="ID")
@click.option("--site", metavar="SITE", help="Where, if several sites have a job of that id.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
def logs(job_id: str, site: str | None, follow: bool) -> None:
    """Print a job's output, by its id or token."""
    output = current_output()
    with open_job(job_id, site) as handle:
        if follow:
            output.stream("log", handle.follow(trouble=output.note))
        else:
            output.stream("log", handle.read())
        output.note(status_line(handle.status))
