"""``aifa stage pull``: has a site fetch data itself, so that this machine is not in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.cli.output import count_files
from aifa_hpc.cli.stage import class_option
from aifa_hpc.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from aifa_hpc.pulls import Pulled


@click.command(cls=Command)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="SITE:PATH")
@class_option
@click.option(
    "--on",
    type=click.Choice(["job", "login"]),
    default="job",
    show_default=True,
    help="A job, or a process on the login node: JUPITER's compute nodes reach nothing outside.",
)
@click.option("--tasks", type=click.IntRange(min=1), default=1, show_default=True, help="Tasks that share the files.")
@click.option("--partition", metavar="NAME", default="", help="For the job; the site's default by default.")
@click.option("--account", metavar="NAME", default="", help="For the job; the one in sites.toml by default.")
@click.option("--gpus", type=click.IntRange(min=0), default=0, help="For the job, where no node is given without.")
@click.option("--time", "limit", metavar="TIME", help="Limit of the job; by default what the bytes need at 50 MiB/s.")
@click.option("--wait", is_flag=True, help="Wait for its end; the exit code then tells whether all is there.")
def pull(  # noqa: PLR0917 - click calls it by name
    source: str,
    destination: str,
    data_class: str | None,
    on: Any,
    tasks: int,
    partition: str,
    account: str,
    gpus: int,
    limit: str | None,
    wait: bool,
) -> int:
    """Have a site copy SRC (s3:// or https://) to itself; this machine only plans.

    Object stores are read by URLs that are signed here and hold for a week at most: no key leaves this machine. The
    site verifies what it reads, and publishes the same manifest as a copy does. Run again, it goes on where it stopped.
    """
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.pulls import pull as run  # noqa: PLC0415
    from aifa_hpc.units import parse_walltime  # noqa: PLC0415

    output = current_output()
    with show_progress(output) as progress:
        found = run(
            source, destination, data_class=data_class, on=on, tasks=tasks, partition=partition, account=account,
            gpus=gpus, limit=parse_walltime(limit) if limit else None, wait=wait, progress=progress,
            begun=lambda begun: output.note(_line(begun)) if wait else None,
        )  # fmt: skip
    output.record({key: getattr(found, key) for key in found.__slots__}, _line(found))
    return EXIT_FAILED if found.state == "failed" else EXIT_DONE


def _line(found: Pulled) -> str:
    """How it stands, in a sentence."""
    from aifa_hpc.units import show_size  # noqa: PLC0415 - keeps `aifa --help` quick

    what = f"{count_files(found.fetch_files)}, {show_size(found.fetch_bytes)}"
    if found.state == "there":
        return f"all of {count_files(found.files)}, {show_size(found.bytes)}, is at {found.destination}, and verified"
    if found.state == "done":
        return f"fetched and verified at {found.destination}"
    if found.state == "failed":
        return f"not all was fetched: {found.problem}; the same command goes on"
    who = f"job {found.job}" if found.job else "the login node"
    if not found.new:
        return f"{who} is fetching {found.destination} already"
    follow = f"; follow it: aifa logs {found.job} -f" if found.job else "; the same command tells how far it is"
    return f"{who} fetches {what} to {found.destination}{follow}"
