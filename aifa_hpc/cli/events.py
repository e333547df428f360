"""``aifa events``: what became of jobs, as it happened; and its delivery to where the user wants it."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Group, current_output
from aifa_hpc.errors import EXIT_DONE, EXIT_SITE

if TYPE_CHECKING:
    from aifa_hpc.cli.output import Output
    from aifa_hpc.tracker.records import Event
    from aifa_hpc.tracker.store import Store

_COLUMNS = ("event", "at", "site", "id", "name", "previous", "state", "reason")


@click.group(cls=Group, invoke_without_command=True)
@click.option("--site", metavar="SITE", default="", help="Only of this site's jobs.")
@click.option("--after", type=click.IntRange(min=0), metavar="N", help="Only those behind event N; all of them for 0.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, asking all sites that have jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines: one event a line.")
@click.pass_context
def events(context: click.Context, site: str, after: int | None, follow: bool, as_json: bool) -> None:
    """Show what became of your jobs, the last twenty changes at first.

    events.toml in the configuration folder says where else events go. Whatever asks a site delivers them, each at least
    once and with a key of its own.
    """
    if context.invoked_subcommand is not None:
        return
    from aifa_hpc.cli.output import JsonOutput  # noqa: PLC0415
    from aifa_hpc.sites.load import state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.store import Store  # noqa: PLC0415
    from aifa_hpc.tracker.stream import read_events  # noqa: PLC0415

    output = JsonOutput() if as_json else current_output()
    with closing(Store(state_dir() / "jobs.sqlite3")) as store:
        newest = store.last_event()
        shown = list(deque(read_events(store, after=after or 0, site=site), maxlen=20 if after is None else None))
        if follow or as_json:
            for event in shown:
                _say(output, event)
        else:
            output.table(_COLUMNS, list(map(_fields, shown)), empty="no events")
        if follow:
            _follow(store, output, site, max([newest, *(event.id for event in shown)]))


@events.command()
def deliver() -> int:
    """Deliver the events that are due to the sinks of events.toml, trying again what may pass."""
    from aifa_hpc.sites.load import config_dir, state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.outbox import deliver as deliver_all  # noqa: PLC0415
    from aifa_hpc.tracker.sinks.config import load_sinks  # noqa: PLC0415
    from aifa_hpc.tracker.store import Store  # noqa: PLC0415

    output, code = current_output(), EXIT_DONE
    sinks = load_sinks()
    with closing(Store(state_dir() / "jobs.sqlite3")) as store:
        done = deliver_all(sinks, store)
    rows = [{"sink": one.sink, "delivered": one.count, "failed": one.error is not None} for one in done]
    output.table(("sink", "delivered", "failed"), rows, empty=f"no sinks; describe some in {config_dir()}/events.toml")
    for one in done:
        if one.error is not None:
            output.error(one.error)
            code = EXIT_SITE
    return code


def _follow(store: Store, output: Output, site: str, after: int) -> None:
    import time  # noqa: PLC0415

    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415
    from aifa_hpc.tracker.stream import Everywhere, follow_events  # noqa: PLC0415

    with closing(Everywhere(connect, trouble=output.note)) as everywhere:
        everywhere.look(store)
        for event in follow_events(store, after=after, pause=time.sleep):
            if event is None:
                everywhere.look(store)
            elif site in {"", event.site}:
                _say(output, event)


def _say(output: Output, event: Event) -> None:
    from aifa_hpc.tracker.sinks.base import event_line  # noqa: PLC0415

    output.record(_fields(event), f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event_line(event)}")


def _fields(event: Event) -> dict[str, Any]:
    from aifa_hpc.tracker.sinks.base import event_fields  # noqa: PLC0415

    return event_fields(event)
