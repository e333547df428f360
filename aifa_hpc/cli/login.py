"""``aifa login``: a person opens the shared connection that everything else then uses."""

from __future__ import annotations

import subprocess

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.errors import InputError, NotSentError


@click.command(cls=Command)
@click.argument("site")
def login(site: str) -> None:
    """Open the shared connection to SITE by hand, with the second factor if it asks for one.

    It stays open for hours; other commands use it and never ask.
    """
    from aifa_hpc.cluster import open_transport  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.check import require_open  # noqa: PLC0415
    from aifa_hpc.sites.load import load_site  # noqa: PLC0415
    from aifa_hpc.transport.openssh import OpenSSHTransport  # noqa: PLC0415

    machine = load_site(site)
    require_open(machine)
    with open_transport(machine) as transport:
        if not isinstance(transport, OpenSSHTransport):
            raise InputError(
                f"site {site!r} is reached by {machine.access.transport!r}, which has no shared connection to open.",
                hint='Only transport = "openssh" has one.',
            )
        if not transport.alive():
            code = subprocess.call(transport.login_command())
            if code != 0 or not transport.alive():
                raise NotSentError(f"no connection to {site} was opened (ssh exited with {code}); its words are above.")
        current_output().record({"site": site, "host": machine.host}, f"connected to {site} ({machine.host})")
