"""``aifa watch``: jobs and transfers as they change, on a terminal."""

from __future__ import annotations

import os
import sys

import click

from aifa_hpc.cli.base import Command
from aifa_hpc.errors import InputError


@click.command(cls=Command)
@click.option("--site", metavar="SITE", help="Only the jobs of this site.")
def watch(site: str | None) -> None:
    """Watch your jobs and transfers on all sites.

    Each site is asked at its own pace. Keys: arrows select, l opens the log, c cancels, a shows all, q leaves.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)  # textual reads the first and draws on the last
    if not all(stream.isatty() for stream in streams) or os.environ.get("TERM", "dumb") == "dumb":
        raise InputError(
            "aifa watch draws on a terminal, and this is none.",
            hint="`aifa jobs --json` tells how jobs are, `aifa logs ID -f` follows one.",
        )
    from aifa_hpc.sites.load import load_site  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.views.app import Watch  # noqa: PLC0415 - textual is heavy
    from aifa_hpc.views.feed import Feed  # noqa: PLC0415

    if site is not None:
        load_site(site)
    Watch(lambda tell: Feed(tell, site=site)).run()
