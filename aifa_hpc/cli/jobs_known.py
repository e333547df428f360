"""``aifa jobs``: what is known of all jobs, what is not, and jobs that were submitted by other means."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import CommandGroup, current_output, site_option
from aifa_hpc.cli.jobs import job_fields
from aifa_hpc.errors import EXIT_DONE, EXIT_SITE, EXIT_UNKNOWN, AifaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.tracker.records import Row


@click.group(cls=CommandGroup)
@click.option("--site", metavar="SITE", help="Only the jobs of this site.")
@click.option("--all", "everything", is_flag=True, help="Also jobs that ended more than a day ago.")
@click.option("--offline", is_flag=True, help="Show what is remembered; ask no site.")
@click.pass_context
def jobs(context: click.Context, site: str | None, everything: bool, offline: bool) -> int:
    """List your jobs on all sites, asking each site once."""
    if context.invoked_subcommand is not None:
        return EXIT_DONE
    from aifa_hpc.sites.load import load_site, state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415
    from aifa_hpc.tracker.groups import collapse  # noqa: PLC0415
    from aifa_hpc.tracker.poller import utc_now  # noqa: PLC0415
    from aifa_hpc.tracker.store import Store  # noqa: PLC0415

    output, code = current_output(), EXIT_DONE
    store = Store(state_dir() / "jobs.sqlite3")
    if site is not None and not store.rows(site):
        load_site(site)  # a site whose jobs are remembered may be gone from sites.toml
    if not offline:
        for name in sorted({row.site for row in store.rows(site, active=True)}):
            try:
                with connect(name) as connection:
                    connection.poll()
            except AifaError as error:
                output.error(error)
                output.note(f"For {name} follows what was known before.")
                code = EXIT_SITE
    since = utc_now() - datetime.timedelta(days=1)
    known = collapse(store.rows(site))
    rows = [row for row in known if everything or not row.status.over or row.changed_at >= since]
    columns = ("id", "site", "name", "state", "elapsed", "exit", "reason")
    output.table(
        columns,
        [job_fields(row) for row in rows],
        empty="no jobs" if everything else "no jobs; `aifa jobs --all` shows older ones",
    )
    return code


@jobs.command()
@click.argument("words", nargs=-1, metavar="[ID]...")
@click.option("--site", metavar="SITE", help="Only there.")
@click.option("--receipts", is_flag=True, help="Also tell of receipts there that nobody here remembers.")
def settle(words: Sequence[str], site: str | None, receipts: bool) -> int:
    """Find out what became of jobs in doubt, and say how that is known.

    Without an ID: of all jobs whose answer was lost or that were given up. What never began is fenced off, so that it
    never will. Exit code 4 if something stays unknown.
    """
    from aifa_hpc.sites.load import load_site, state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415
    from aifa_hpc.tracker.poller import utc_now  # noqa: PLC0415
    from aifa_hpc.tracker.settling import doubtful  # noqa: PLC0415
    from aifa_hpc.tracker.store import Store  # noqa: PLC0415

    output = current_output()
    store = Store(state_dir() / "jobs.sqlite3")
    if site is not None and not store.rows(site):
        load_site(site)  # as for `aifa jobs`
    named = [part for word in words for part in store.parts(store.find(word, site).token)]
    rows = doubtful(named) if words else doubtful(store.rows(site), now=utc_now())
    sites = {row.site for row in rows}
    if receipts:
        sites |= {site} if site else {row.site for row in store.rows()}
    settled: list[dict[str, Any]] = []
    for name in sorted(sites):
        with connect(name) as connection:
            found = connection.settle([row for row in rows if row.site == name])
            settled += [_evidence(row) for row in found]
            for ghost in connection.ghosts() if receipts else ():
                reason = f"a receipt nobody here remembers; `aifa jobs adopt {ghost.job_id} --site {name}` follows it"
                settled.append({"token": ghost.token, "site": name, "id": ghost.job_id, "reason": reason})
    output.table(("token", "site", "name", "id", "state", "reason"), settled, empty="nothing is in doubt")
    return EXIT_UNKNOWN if any(one.get("state") in {"UNKNOWN", "LOST"} for one in settled) else EXIT_DONE


@jobs.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@site_option
def adopt(ids: Sequence[str], site: str) -> int:
    """Follow jobs that were submitted to SITE by hand or by other tools."""
    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415 - keeps `aifa --help` quick

    with connect(site) as connection:
        handles = connection.adopt(ids)
        connection.poll()
        for handle in handles:
            status = handle.refresh()
            text = f"job {handle.id} ({handle.name}) of {site} is followed: {status.state}"
            current_output().record(job_fields(handle.row), text)
    return EXIT_DONE


def _evidence(row: Row) -> dict[str, Any]:
    status = row.status
    reason = status.reason or (f"{status.proof} shows it" if status.proof else "its receipt was found")
    return job_fields(row) | {"reason": reason}
