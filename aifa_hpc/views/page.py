"""The report as one HTML page that needs nothing else: styles, script and charts are in it, and nothing is fetched.

The page forbids itself all requests (Content-Security-Policy), and everything that users or sites wrote is escaped.
Jobs are grouped by the day they were submitted, each group with an axis of its own, so that thousands of jobs stay
readable: a job of minutes would vanish on an axis of months.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from aifa_hpc.views.chart import Axis, Tick, activity, axis_of, steps
from aifa_hpc.views.words import Tone, amount, count, duration, plain, tone

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Sequence

    from aifa_hpc.views.history import History
    from aifa_hpc.views.summary import Report

_FEW = 40
"""So many jobs or fewer are one group, whatever their days."""

_COLUMNS = 160
"""Columns of the chart of activity: at 1000 pixels each has six."""

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A piece of a bar: where it is, in percent, and what it means."""

    left: float
    width: float
    kind: Tone

    @property
    def style(self) -> str:
        """As CSS."""
        return f"left:{self.left:.3f}%;width:{self.width:.3f}%"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A job of the timeline."""

    name: str
    where: str
    state: str
    tone: Tone
    took: str
    told: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Jobs of a day, and their axis."""

    title: str
    told: str
    ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]

    @property
    def grid(self) -> str:
        """Lines at the ticks, as a CSS background."""
        stops = [
            f"transparent calc({tick.at:.3f}% - 1px),var(--line) calc({tick.at:.3f}% - 1px),"
            f"var(--line) {tick.at:.3f}%,transparent {tick.at:.3f}%"
            for tick in self.ticks
        ]
        return f"linear-gradient(90deg,{','.join(stops)})" if stops else "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """How many jobs ran and waited over the period."""

    running: str
    waiting: str
    most: int
    told: str
    ticks: tuple[Tick, ...]


def render_page(report: Report, *, zone: datetime.tzinfo | None) -> str:
    """The page.

    Args:
        report: What it shows.
        zone: Whose times; ``None`` for this computer's.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"amount": amount, "duration": duration, "count": count, "tone": tone, "plain": plain}
    environment.globals["moment"] = lambda moment: _moment(moment, zone)
    script = (_HERE / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        report=report,
        title=_title(report, zone),
        zone=report.now.astimezone(zone).strftime("%Z"),
        activity=_activity(report, zone),
        groups=list(_groups(report, zone)),
        units=_units(report),
        alive=Counter(tone(one.row.status.state) for one in report.jobs if not one.row.status.over),
        style=(_HERE / "page.css").read_text("utf-8"),
        script=script,
        digest=digest,
    )


def _title(report: Report, zone: datetime.tzinfo | None) -> str:
    begin = report.since or min((one.begin for one in report.jobs), default=report.now)
    first, last = begin.astimezone(zone), report.now.astimezone(zone)
    if first.date() == last.date():
        return f"{last.day} {last:%B %Y}"
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%B}{year} to {last.day} {last:%B %Y}"


def _moment(moment: datetime.datetime, zone: datetime.tzinfo | None) -> str:
    local = moment.astimezone(zone)
    return f"{local.day} {local:%b %H:%M}"


def _units(report: Report) -> list[tuple[str, float]]:
    """Units used in the period, by kind."""
    kinds = sorted({one.unit for one in report.usage if one.unit})
    return [(kind, sum(one.used for one in report.usage if one.unit == kind)) for kind in kinds]


def _activity(report: Report, zone: datetime.tzinfo | None) -> Activity | None:
    if not report.jobs:
        return None
    axis = axis_of(report.jobs, since=report.since)
    columns = activity(report.jobs, axis, _COLUMNS)
    running, waiting = [ran for ran, _ in columns], [waited for _, waited in columns]
    top = max(ran + waited for ran, waited in columns) or 1.0
    ran, waited = round(max(running)), round(max(waiting))
    return Activity(
        running=steps(running, [0.0] * _COLUMNS, top),
        waiting=steps(waiting, running, top),
        most=max(1, round(top)),
        told=f"{count(ran, 'job')} ran at most, and {waited:,} waited at most",
        ticks=tuple(axis.ticks(zone, 8)),
    )


def _groups(report: Report, zone: datetime.tzinfo | None) -> Iterator[Group]:
    """Jobs by day, the latest first; in one group when they are few."""
    jobs = sorted(report.jobs, key=lambda one: one.begin, reverse=True)
    if len(jobs) <= _FEW:
        if jobs:
            yield _group("All jobs", jobs, zone)
        return
    for day, found in groupby(jobs, key=lambda one: one.begin.astimezone(zone).date()):
        yield _group(f"{day:%A}, {day.day} {day:%B}", list(found), zone)


def _group(title: str, jobs: Sequence[History], zone: datetime.tzinfo | None) -> Group:
    axis = axis_of(jobs)
    order = ("run", "wait", "ok", "bad", "late", "gone")
    states = Counter(one.row.status.state for one in jobs)
    told = [
        f"{number:,} {plain(state).lower().replace('_', ' ')}"
        for state, number in sorted(states.items(), key=lambda one: (order.index(tone(one[0])), one[0]))
    ]
    return Group(
        title=title,
        told=", ".join(told),
        ticks=tuple(axis.ticks(zone)),
        lines=tuple(_line(one, axis) for one in jobs),
    )


def _line(one: History, axis: Axis) -> Line:
    row = one.row
    marks = [Mark(left=place[0], width=place[1], kind="wait") for place in map(axis.place, one.waits)]
    for run in one.runs:
        left, width = axis.place(run.span)
        marks.append(Mark(left=left, width=width, kind=tone(run.state)))
    told = [f"waited {duration(one.waited())}", f"ran {duration(one.ran())}"]
    if len(one.runs) > 1:
        told += [f"{run.label or 'run'}: {run.state}, {duration(run.span.seconds)}" for run in one.runs]
    if one.billed():
        told.append(f"{amount(one.billed())} {row.unit}")
    if row.status.reason and not row.status.ok:
        told.append(row.status.reason)
    return Line(
        name=plain(row.name),
        where=plain(f"{row.job_id or row.token} on {row.site}"),
        state=plain(row.status.state),
        tone=tone(row.status.state),
        took=duration(one.ran()) if one.runs else "",
        told=plain("; ".join(told)),
        marks=tuple(marks),
    )
