"""``aifa logs``: the output of jobs."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.cli.jobs import open_jobs, status_line


@click.command(cls=Command)
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--site", metavar="SITE", help="Where, if several sites have a job of that id.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the jobs are over.")
@click.option("--rank", type=click.IntRange(min=0), metavar="N", help="Only rank N, where each rank has its own log.")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Begin each log N lines before its end.")
def logs(job_ids: tuple[str, ...], site: str | None, follow: bool, rank: int | None, tail: int | None) -> None:
    """Print the output of jobs, by id or token; ID_4 is task 4 of an array.

    Where there are several logs, a heading tells whose lines come; with -f they are followed all at once.
    """
    from aifa_hpc.tracker.logs import read_logs  # noqa: PLC0415 - keeps `aifa --help` quick

    output = current_output()
    with ExitStack() as stack:
        handles = open_jobs(job_ids, site, stack)
        pieces = read_logs(handles, follow=follow, rank=rank, tail=tail or 0, trouble=output.note)
        first = next(pieces, None)
        output.stream("log", () if first is None else chain((first,), pieces))
        if first is None and rank is not None:
            output.note(f"no log of rank {rank}: ranks have their own where the job says `launch.log_per_rank = true`")
        for handle in handles:
            front = f"job {handle.id}: " if len(handles) > 1 else ""
            output.note(f"{front}{status_line(handle.status)}")
