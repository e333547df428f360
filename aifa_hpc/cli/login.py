"""``aifa login`` and ``aifa logout``: a person opens the shared connection that everything else then uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from aifa_hpc.sites.model import Site
    from aifa_hpc.transport.openssh import OpenSSHTransport


@click.command(cls=Command)
@click.argument("site")
def login(site: str) -> None:
    """Open the shared connection to SITE by hand, with the second factor if it asks for one.

    It stays open for hours; other commands use it and never ask.
    """
    from aifa_hpc.jobs.check import require_open  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.sites.load import load_site, state_dir  # noqa: PLC0415
    from aifa_hpc.tracker.budget import pace  # noqa: PLC0415
    from aifa_hpc.transport.by_hand import log_in  # noqa: PLC0415
    from aifa_hpc.transport.connect import node_memory  # noqa: PLC0415
    from aifa_hpc.transport.openssh import utc_now  # noqa: PLC0415

    machine = load_site(site)
    require_open(machine)
    nodes = _nodes(machine)
    for node in nodes.values():
        pace(node, machine)
    session = log_in(nodes, node_memory(state_dir()))
    for certificate in nodes[session.host].certificates:
        if warning := certificate.warning(utc_now()):
            current_output().note(warning)
    current_output().record({"site": site, "host": session.host}, f"connected to {site} ({session.host})")


@click.command(cls=Command)
@click.argument("site")
def logout(site: str) -> None:
    """Close the shared connection to SITE, also for commands that are using it now."""
    from aifa_hpc.sites.load import load_site  # noqa: PLC0415 - keeps `aifa --help` quick

    closed = [host for host, node in _nodes(load_site(site)).items() if node.alive() and node.logout()]
    text = f"closed the connection to {site} ({', '.join(closed)})" if closed else f"no connection to {site} was open"
    current_output().record({"site": site, "hosts": closed}, text)


def _nodes(machine: Site) -> dict[str, OpenSSHTransport]:
    from aifa_hpc.sites.load import state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transport.connect import openssh_nodes  # noqa: PLC0415

    if machine.access.transport != "openssh":
        raise InputError(
            f"site {machine.name!r} is reached by {machine.access.transport!r}, which has no shared connection.",
            hint='Only transport = "openssh" has one.',
        )
    return openssh_nodes(machine, state_dir())
