"""``aifa sessions``: the shared connections that are open, since when, and until when their certificates hold."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Command, current_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.sites.model import Site
    from aifa_hpc.transport.openssh import OpenSSHTransport


@click.command(cls=Command)
def sessions() -> None:
    """List the connections that are open, which other commands use without asking.

    Asks only this computer, no site.
    """
    from aifa_hpc.sites.load import load_sites, state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transport.connect import openssh_nodes  # noqa: PLC0415

    output = current_output()
    rows: list[dict[str, Any]] = []
    now = datetime.datetime.now(datetime.UTC)
    for site in load_sites().values():
        if site.access.transport == "openssh" and not site.draft:
            nodes = openssh_nodes(site, state_dir())
            rows += _open_ones(site, nodes)
            for warning in dict.fromkeys(
                one.warning(now) for node in nodes.values() if node.session() for one in node.certificates
            ):
                if warning:
                    output.note(warning)
    output.table(
        ("site", "host", "since", "certificate", "pid"),
        rows,
        empty="no connection is open; `aifa login SITE` opens one",
    )


def _open_ones(site: Site, nodes: dict[str, OpenSSHTransport]) -> Iterator[dict[str, Any]]:
    for node in nodes.values():
        if session := node.session():
            ends = [one.until for one in node.certificates if one.until]
            yield {
                "site": site.name,
                "host": session.host,
                "since": _shown(session.since),
                "certificate": f"until {_shown(min(ends))}" if ends else "",
                "pid": session.pid,
            }


def _shown(time: datetime.datetime) -> str:
    return time.astimezone(datetime.UTC).isoformat(timespec="seconds")
