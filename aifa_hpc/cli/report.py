"""``aifa report``: what jobs used, how long they waited, how they ended; as tables, as JSON, or as a page."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.views.summary import Report

_BACK = re.compile(r"(\d{1,5})([hdw])", re.ASCII)
_HOURS = {"h": 1, "d": 24, "w": 168}


@click.command(cls=Command)
@click.option("--site", metavar="SITE", help="Only the jobs of this site.")
@click.option("--since", default="30d", show_default=True, metavar="TIME", help="12h, 30d, 4w, a date, or all.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write one page that needs no network.")
def report(site: str | None, since: str, html: Path | None) -> None:
    """Sum up your jobs: units against the budget, waiting against running, ends, failures.

    It asks no site: what is remembered is counted. `aifa jobs` asks. Budgets stand in sites.toml.
    """
    from aifa_hpc.sites.load import load_site, load_sites, state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.poller import utc_now  # noqa: PLC0415
    from aifa_hpc.tracker.store import Store  # noqa: PLC0415
    from aifa_hpc.views.history import read_histories  # noqa: PLC0415
    from aifa_hpc.views.summary import report_fields, summarise  # noqa: PLC0415

    now = utc_now()
    begin = read_since(since, now)
    store = Store(state_dir() / "jobs.sqlite3")
    histories = read_histories(store, site, now)
    if site is not None and not histories:
        load_site(site)  # a site whose jobs are remembered may be gone from sites.toml
    sites = load_sites()
    budgets = {name: one.access.budget for name, one in sites.items() if site in {None, name}}
    found = summarise(histories, budgets=budgets, since=begin, now=now)
    output, fields = current_output(), report_fields(found)
    if html is None:
        output.record(fields, report_text(found))
        return
    from aifa_hpc.views.page import render_page  # noqa: PLC0415
    from aifa_hpc.views.written import write_whole  # noqa: PLC0415

    write_whole(html, render_page(found, zone=None))
    output.record(fields | {"html": str(html)}, f"wrote {html}: {len(found.jobs):,} jobs")


def read_since(text: str, now: datetime.datetime) -> datetime.datetime | None:
    """The beginning of a period: so long ago, a date of this computer's zone, or ``None`` for ``all``.

    Raises:
        InputError: It is none of these, or lies ahead.
    """
    if text == "all":
        return None
    if match := _BACK.fullmatch(text):
        return now - datetime.timedelta(hours=int(match[1]) * _HOURS[match[2]])
    try:
        moment = datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"--since {text!r} is no time.", hint="Write 12h, 30d or 4w, a date such as 2026-11-01, or all."
        ) from error
    if moment > now:
        raise InputError(f"--since {text!r} lies ahead.", hint="Nothing has been used after now.")
    return moment


def report_text(report: Report) -> str:
    """The report as a person reads it on a terminal or in a mail."""
    from aifa_hpc.views.words import amount, count, duration  # noqa: PLC0415 - keeps `aifa --help` quick

    usage = [("SITE", "ACCOUNT", "JOBS", "USED", "BUDGET", "LEFT")]
    for one in report.usage:
        budget, left = ("-", "-") if one.budget is None or one.left is None else (amount(one.budget), amount(one.left))
        used = f"{amount(one.used)} {one.unit}" if one.unit else "not known"
        usage.append((one.site, one.account or "-", f"{one.jobs:,}", used, budget, left))
    queues = [("SITE", "MEDIAN WAIT", "LONGEST WAIT", "WAITED", "RAN")]
    for queue in report.queues:
        median, longest = duration(queue.median_wait), duration(queue.longest_wait)
        queues.append((queue.site, median, longest, duration(queue.waited), duration(queue.ran)))
    states = ", ".join(f"{number:,} {state}" for state, number in report.states)
    lines = [f"{count(len(report.jobs), 'job')}{': ' if states else ''}{states}"]
    if report.usage:
        lines += ["", *_columns(usage)]
    if report.queues:
        lines += ["", *_columns(queues)]
    if report.failures:
        lines += ["", *_failures(report)]
    return "\n".join(lines)


def _failures(report: Report) -> list[str]:
    from aifa_hpc.views.words import plain  # noqa: PLC0415 - keeps `aifa --help` quick

    shown = report.failures[:10]
    rows = [("FAILED", "SITE", "NAME", "STATE", "REASON")]
    for one in shown:
        row, status = one.row, one.row.status
        reason = plain(status.reason) or (f"exit {status.exit}" if status.exit else "")
        rows.append((row.job_id or row.token, row.site, plain(row.name), status.state, reason))
    lines = _columns(rows)
    if len(report.failures) > len(shown):
        lines.append(f"and {len(report.failures) - len(shown):,} more: aifa report --json, or --html FILE")
    return lines


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
