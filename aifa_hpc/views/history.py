"""A job's past: when each of its runs went on, when it waited instead, and what the runs are billed.

A job is one submission or several (links of a chain, chunks of an array), each of which may have run more than once.
What is not running is waiting, from the submission to the last end; so the two never overlap, whatever the number of
runs. Slurm is asked for times in UTC (``slurm.flows``).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.tracker.groups import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aifa_hpc.tracker.records import Attempt, Row
    from aifa_hpc.tracker.store import Store

_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A stretch of time, both ends aware."""

    start: datetime.datetime
    end: datetime.datetime

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a span ends at {self.end}, before it begins at {self.start}")

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    def within(self, since: datetime.datetime | None) -> float:
        """Its seconds from a moment on; all of them without one."""
        if since is None or since <= self.start:
            return self.seconds
        return max(0.0, (self.end - since).total_seconds())


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of a job, or of one task of it.

    Attributes:
        span: When; up to now for one that goes on.
        state: How it ended, or how it goes.
        label: Which run it is, where there are several: ``link 2``, ``attempt 1 of 123_4``.
        nodes: Host list.
        billed: Units for all of it; ``None`` where nobody knows the rate.
    """

    span: Span
    state: str
    label: str = ""
    nodes: str = ""
    billed: float | None = None

    def billed_within(self, since: datetime.datetime | None) -> float:
        """Units for what it ran from a moment on."""
        if not self.billed or not self.span.seconds:
            return 0.0
        return self.billed * self.span.within(since) / self.span.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """A job and its past.

    Attributes:
        row: The job as a whole.
        runs: Its runs, by their beginning.
        waits: When none of them went on.
        end: When it ended; now for one that goes on.
    """

    row: Row
    runs: tuple[Run, ...]
    waits: tuple[Span, ...]
    end: datetime.datetime

    @property
    def begin(self) -> datetime.datetime:
        """When it was submitted, or began, whatever is known to be earlier."""
        return min([self.row.created_at, *(run.span.start for run in self.runs)])

    def waited(self, since: datetime.datetime | None = None) -> float:
        """Seconds."""
        return sum(span.within(since) for span in self.waits)

    def ran(self, since: datetime.datetime | None = None) -> float:
        """Seconds with at least one run going on."""
        return Span(start=self.begin, end=self.end).within(since) - self.waited(since)

    def billed(self, since: datetime.datetime | None = None) -> float:
        """Units; what nobody knows the rate of counts nothing."""
        return sum(run.billed_within(since) for run in self.runs)


def read_histories(store: Store, site: str | None, now: datetime.datetime) -> list[History]:
    """The past of all remembered jobs, the oldest first."""
    groups: dict[str, list[Row]] = {}
    for row in store.rows(site):
        groups.setdefault(row.part_of or row.token, []).append(row)
    return [history([(row, store.attempts(row.token)) for row in parts], now) for parts in groups.values()]


def history(parts: Sequence[tuple[Row, Sequence[Attempt]]], now: datetime.datetime) -> History:
    """The past of one job.

    Args:
        parts: Its submissions with their runs, in order.
        now: The end of what goes on.
    """
    rows = [row for row, _ in parts]
    row = whole(rows)
    word = "part" if row.tasks else "link"
    runs: list[Run] = []
    for number, (part, attempts) in enumerate(parts, 1):
        prefix = f"{word} {number}" if len(parts) > 1 else ""
        runs += _runs(part, attempts, prefix, now)
    runs.sort(key=lambda run: run.span.start)
    last = max((run.span.end for run in runs), default=row.changed_at)
    begin = min([row.created_at, *(run.span.start for run in runs)])
    end = max(begin, last if row.status.over else max(now, last))
    return History(row=row, runs=tuple(runs), waits=tuple(_gaps((run.span for run in runs), begin, end)), end=end)


def instant(text: str) -> datetime.datetime | None:
    """A time as Slurm prints it, in UTC; ``None`` for what is none."""
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
    except ValueError:
        return None


def _runs(row: Row, attempts: Sequence[Attempt], prefix: str, now: datetime.datetime) -> list[Run]:
    found: list[Run] = []
    tasks = len(read_indices(row.tasks)) if row.tasks else 1
    for attempt in attempts:
        start = instant(attempt.start)
        last = attempt is attempts[-1]
        if start is None:
            continue  # it waits, or was cancelled before it began
        known = row.status.elapsed_seconds if last else None
        end = instant(attempt.end)
        if end is None:
            end = start + datetime.timedelta(seconds=known or 0) if not last or row.status.over else now
        span = Span(start=start, end=max(start, end))
        # An array's tasks need not run at once: its bill is that of the longest one, times all.
        seconds = float(known) if known is not None and row.status.over else span.seconds
        share = 1 / tasks if "_" in attempt.job_id else 1.0
        billed = None if row.rate is None else row.rate * share * seconds / _HOUR
        label = prefix
        if len(attempts) > 1:
            of = f" of {attempt.job_id}" if "_" in attempt.job_id else ""
            label = ", ".join(filter(None, (prefix, f"attempt {attempt.number}{of}")))
        found.append(Run(span=span, state=attempt.state, label=label, nodes=attempt.nodes, billed=billed))
    return found


def _gaps(spans: Iterable[Span], begin: datetime.datetime, end: datetime.datetime) -> list[Span]:
    """What of a stretch is covered by none of the spans, which come by their beginning."""
    found, reached = [], begin
    for span in spans:
        if span.start > reached:
            found.append(Span(start=reached, end=span.start))
        reached = max(reached, span.end)
    if end > reached:
        found.append(Span(start=reached, end=end))
    return found
