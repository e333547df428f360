"""``aifa sites doctor``: what a site says of itself beside what its profile says."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.cli.dryrun import ask
from aifa_hpc.cli.output import JsonOutput
from aifa_hpc.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from aifa_hpc.sites.told import Row

_WORST_FIRST = ("drift", "new", "notice", "not told", "unverifiable", "confirmed")


@click.command(cls=Command)
@click.argument("site")
@click.option("--write", is_flag=True, help="Write what SITE says into your sites.toml, over the profile.")
@click.option("--all", "everything", is_flag=True, help="Also show what is confirmed.")
def doctor(site: str, write: bool, everything: bool) -> int:
    """Compare what is known of SITE with what SITE says of itself, in one question.

    Exits with 0 when nothing contradicts the profile, with 1 when there is drift; what SITE does not tell is no drift.
    """
    from aifa_hpc.cluster import Cluster  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.check import require_open  # noqa: PLC0415
    from aifa_hpc.sites import drift  # noqa: PLC0415
    from aifa_hpc.sites.load import (  # noqa: PLC0415
        Profiles,
        config_dir,
        facts,
        load_site,
        own_facts,
        read_user_sites,
    )
    from aifa_hpc.sites.settle import write_block  # noqa: PLC0415
    from aifa_hpc.slurm.survey import survey  # noqa: PLC0415
    from aifa_hpc.tracker.budget import open_site  # noqa: PLC0415

    output, machine = current_output(), load_site(site)
    require_open(machine)
    cluster = Cluster(machine, open_site(machine))
    try:
        asked = [path for _, path in drift.places(machine)]
        told = ask(cluster, survey(asked, drift.tools(machine)))
    finally:
        cluster.close()
    doubts = [(key, fact) for key, fact in facts(machine) if fact.status != "verified"]
    rows = drift.by_hand(drift.compare(machine, told.tables, told.silent, doubts), own_facts(site))
    _show(rows, everything=everything)
    drifted = [row for row in rows if row.status == "drift"]
    if write:
        tables = drift.overrides(rows, doubts, machine.host, dt.datetime.now(dt.UTC).date())
        if tables:
            path = config_dir() / "sites.toml"
            write_block(path, site, tables, lambda text: read_user_sites(text, str(path), Profiles()))
            output.note(f"wrote what {site} says into {path}")
        else:
            output.note("there is nothing to write")
        drifted = [row for row in drifted if row.value is None]
    for row in drifted:
        note = f" ({row.note})" if row.note else ""
        output.note(f"drift: {row.key} is {row.profile} in the profile and {row.site} at {site}{note}")
    return EXIT_FAILED if drifted else EXIT_DONE


def _show(rows: tuple[Row, ...], *, everything: bool) -> None:
    output = current_output()
    fields: list[dict[str, Any]] = [
        {"key": row.key, "profile": row.profile, "site": row.site, "status": row.status, "note": row.note}
        for row in sorted(rows, key=lambda row: _WORST_FIRST.index(row.status))
        if everything or row.status != "confirmed" or row.note or isinstance(output, JsonOutput)
    ]
    output.table(("key", "profile", "site", "status", "note"), fields, empty="nothing but confirmations")
    counts = {status: sum(row.status == status for row in rows) for status in _WORST_FIRST}
    output.note(", ".join(f"{count} {status}" for status, count in counts.items() if count))
