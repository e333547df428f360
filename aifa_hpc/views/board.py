"""The live view as values: a line for each job, site and transfer, laid out for the width there is.

At 60 columns a line is state, id, name and progress; with more room come site, runs, nodes, account and units. The
progress of a job that runs is a bar of its walltime; one that waits says why, and one that is over how it ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from aifa_hpc.units import show_size
from aifa_hpc.views.history import instant
from aifa_hpc.views.words import Tone, amount, clock, count, duration, plain, tone

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence

    from aifa_hpc.staging.ledger import Remembered
    from aifa_hpc.tracker.records import Row

Shown: TypeAlias = Literal["active", "all"]

_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LATE = 0.9
"""Share of the walltime after which a bar warns."""

_MOST_TRANSFERS = 4
_STALE_SECONDS = 86400.0
"""After this a copy that stopped is shown no more: `aifa stage status` has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A text and what it means."""

    text: str
    tone: Tone | Literal[""] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column and its width in letters."""

    title: str
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A job as the store has it.

    Attributes:
        row: The job as a whole.
        runs: How often it was begun, or is about to be.
    """

    row: Row
    runs: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteState:
    """What asking a site has come to.

    Attributes:
        name: Site name.
        answered: When it last did; ``None`` for not yet.
        trouble: Why it could not be asked; empty when it could.
        again: When it is asked again, where there is trouble.
        jobs: Its jobs that are not over.
    """

    name: str
    answered: datetime.datetime | None = None
    trouble: str = ""
    again: datetime.datetime | None = None
    jobs: int = 0


def visible(jobs: Iterable[Watched], shown: Shown, since: datetime.datetime) -> list[Watched]:
    """The jobs to show: running ones first, then those that wait, then the latest ends.

    Args:
        jobs: All jobs.
        shown: ``active`` leaves out what ended before ``since``.
        since: When the watching began: an end is not missed because it came.
    """
    found = [one for one in jobs if shown == "all" or not one.row.status.over or one.row.changed_at >= since]

    def order(one: Watched) -> tuple[int, float]:
        waits = tone(one.row.status.state) == "wait"
        rank = 2 if one.row.status.over else 1 if waits else 0
        return rank, -one.row.changed_at.timestamp()

    return sorted(found, key=order)


def columns(width: int, jobs: Sequence[Watched]) -> list[Column]:
    """The columns that fit, the most telling ones first; they fill the width, a blank between each two."""
    longest = max((len(one.row.name) for one in jobs), default=4)
    ids = max([3, *(len(one.row.job_id or "-") for one in jobs)])
    sites = max([4, *(len(one.row.site) for one in jobs)])
    fixed = [Column(title="STATE", width=11), Column(title="JOB", width=min(ids, 12))]
    name = min(max(longest, 8), 14 if width < 80 else 18 if width < 110 else 36)  # noqa: PLR2004 - widths of terminals
    late: list[Column] = []
    if width >= 72:  # noqa: PLR2004 - as above
        fixed.append(Column(title="SITE", width=min(sites, 12)))
    again = any(one.runs > 1 for one in jobs)
    for title, size, least in (("RUN", 3, 96), ("NODES", 18, 116), ("UNITS", 16, 136), ("ACCOUNT", 20, 156)):
        if width >= least and (title != "RUN" or again):
            late.append(Column(title=title, width=size))
    taken = sum(column.width + 1 for column in (*fixed, *late)) + name + 1
    progress = Column(title="PROGRESS", width=max(20, width - taken - 1))
    return [*fixed[:2], Column(title="NAME", width=name), *fixed[2:], progress, *late]


def cells(one: Watched, layout: Sequence[Column], now: datetime.datetime) -> list[Cell]:
    """A job's line in these columns."""
    row = one.row
    meaning = tone(row.status.state)
    progress = next(column.width for column in layout if column.title == "PROGRESS")
    known = {
        "STATE": Cell(text=row.status.state, tone=meaning),
        "JOB": Cell(text=row.job_id or "-"),
        "NAME": Cell(text=row.name),
        "SITE": Cell(text=row.site),
        "PROGRESS": Cell(text=_progress(row, progress, now), tone=_urgency(row, now)),
        "RUN": Cell(text=str(one.runs) if one.runs > 1 else "", tone="late"),
        "NODES": Cell(text=row.status.nodes or (f"{row.nodes_wanted} wanted" if row.nodes_wanted else "")),
        "UNITS": Cell(text=_units(row, now)),
        "ACCOUNT": Cell(text=row.account),
    }
    return [Cell(text=fit(known[each.title].text, each.width), tone=known[each.title].tone) for each in layout]


def elapsed(row: Row, now: datetime.datetime) -> float | None:
    """Seconds that a job has run; for one that goes on up to now."""
    start = instant(row.status.start)
    if start is not None and not row.status.over and tone(row.status.state) != "wait":
        return max(0.0, (now - start).total_seconds())
    return row.status.elapsed_seconds


def bar(share: float, width: int = _BAR) -> str:
    """A bar of so many letters, in eighths of a letter; a share above one is a full bar."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return text + "░" * (width - len(text))


def fit(text: str, width: int) -> str:
    """One line of a text, cut with an ellipsis where it is too long."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else f"{line[: max(0, width - 1)]}…"


def head(jobs: Sequence[Watched]) -> str:
    """How many jobs run, wait and are over."""
    running = sum(not one.row.status.over and tone(one.row.status.state) != "wait" for one in jobs)
    waiting = sum(tone(one.row.status.state) == "wait" for one in jobs)
    return f"{running:,} running, {waiting:,} waiting, {len(jobs) - running - waiting:,} over"


def site_line(site: SiteState, now: datetime.datetime) -> Cell:
    """One line about a site."""
    if site.trouble:
        again = "" if site.again is None else f"; asked again in {duration(max(0, (site.again - now).total_seconds()))}"
        return Cell(text=f"{site.name} is away: {_sentence(site.trouble)}{again}", tone="bad")
    on = count(site.jobs, "active job") if site.jobs else "no active jobs"
    if site.answered is None:
        return Cell(text=f"{site.name}: {on}", tone="wait")
    ago = duration(max(0.0, (now - site.answered).total_seconds()))
    return Cell(text=f"{site.name}: {on}, answered {ago} ago", tone="ok")


def transfer_lines(transfers: Iterable[Remembered], now: float) -> list[Cell]:
    """Copies that run, and those of the last day that stopped before they were complete; the newest first.

    Args:
        transfers: The last copy to each place, the newest first.
        now: Seconds since 1970.
    """
    found = [one for one in transfers if one.pid or (_stopped(one) and now - (one.ended or one.begun) < _STALE_SECONDS)]
    lines = [_transfer(one, now) for one in found[:_MOST_TRANSFERS]]
    if len(found) > _MOST_TRANSFERS:
        lines.append(Cell(text=f"and {count(len(found) - _MOST_TRANSFERS, 'more copy').replace('copys', 'copies')}"))
    return lines


def detail(one: Watched, now: datetime.datetime) -> str:
    """A line about the selected job: whatever its columns have no room for."""
    row, status = one.row, one.row.status
    ran = elapsed(row, now)
    parts = [
        f"{row.name} {row.job_id or row.token} on {row.site}: {status.state}",
        f"run {one.runs}" if one.runs > 1 else "",
        f"exit {status.exit}" if status.exit is not None else "",
        f"ran {duration(ran)}" if ran else "",
        status.nodes,
        status.reason if not status.ok else "",
    ]
    return ", ".join(filter(None, (plain(part) for part in parts)))


def _progress(row: Row, width: int, now: datetime.datetime) -> str:
    status, ran = row.status, elapsed(row, now)
    meaning = tone(status.state)
    if status.over:
        said = "" if status.ok else status.reason or (f"exit {status.exit}" if status.exit else "")
        took = f"took {duration(ran)}" if ran is not None else ""
        return ", ".join(filter(None, (took, said)))
    if meaning == "wait":
        return status.reason or f"waits for {duration((now - row.changed_at).total_seconds())}"
    if ran is None or meaning != "run":
        return status.reason
    if not row.limit_seconds:
        return clock(ran)
    times = f"{clock(ran)}/{clock(row.limit_seconds)}"
    return f"{bar(ran / row.limit_seconds, min(30, width - len(times) - 1))} {times}"


def _urgency(row: Row, now: datetime.datetime) -> Tone | Literal[""]:
    meaning, ran = tone(row.status.state), elapsed(row, now)
    if meaning == "run" and row.limit_seconds and ran is not None:
        return "late" if ran > _LATE * row.limit_seconds else "run"
    return "" if meaning in {"ok", "run"} else meaning


def _units(row: Row, now: datetime.datetime) -> str:
    ran = elapsed(row, now)
    return f"{amount(row.rate * ran / 3600)} {row.unit}" if row.rate is not None and ran else ""


def _transfer(one: Remembered, now: float) -> Cell:
    size = f"{count(one.files, 'file')}, {show_size(one.bytes)}" if one.files else "looking"
    what = f"{one.source} → {one.destination}, {size}"
    share = f"{100 * min(max(0, one.done), one.bytes) // one.bytes} %" if one.bytes else ""
    if one.pid:
        return Cell(text=f"copying for {duration(now - one.begun)}{share and f', {share}'}: {what}", tone="run")
    why = _sentence(one.problem) if one.problem else "its process is gone"
    return Cell(text=f"stopped{share and f' at {share}'}: {what}; {why}", tone="late")


def _stopped(one: Remembered) -> bool:
    return one.ended is None or bool(one.problem)


def _sentence(text: str) -> str:
    """The first line of a message, without its final stop; where it announces a list, the list's first line too."""
    lines = [line.strip(" -") for line in text.strip().splitlines()] or [""]
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return first.rstrip(" .")
