"""What the jobs of a period come to: units against the budget, waiting against running, ends, failures."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from aifa_hpc.tracker.events import NOT_SENT, REFUSED

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from aifa_hpc.views.history import History

_HOUR = 3600.0
_NO_FAILURE = frozenset({"CANCELLED", "COMPLETED", NOT_SENT})
_NEVER_THERE = frozenset({NOT_SENT, REFUSED})

_Biller: TypeAlias = tuple[str, str, str]
"""Site, account, unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What an account spent on a site.

    Attributes:
        site: Site name.
        account: Project that is billed; empty where none is named.
        unit: What is counted.
        jobs: Jobs of the period.
        used: Units in the period.
        used_ever: Units of all jobs that are remembered.
        budget: Units that were granted; ``None`` where ``sites.toml`` does not say.
    """

    site: str
    account: str
    unit: str
    jobs: int
    used: float
    used_ever: float
    budget: float | None = None

    @property
    def left(self) -> float | None:
        """Units of the budget that are not used yet; below zero when it is overdrawn."""
        return None if self.budget is None else self.budget - self.used_ever


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """How long jobs of a site waited, against what they ran.

    Attributes:
        site: Site name.
        jobs: Jobs of the period.
        median_wait: Seconds until a job began for the first time; ``None`` when none did.
        longest_wait: The same, of the one that waited longest.
        waited: Seconds of all jobs together, in the period.
        ran: Seconds of all jobs together, in the period.
    """

    site: str
    jobs: int
    median_wait: float | None
    longest_wait: float | None
    waited: float
    ran: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A period and its jobs.

    Attributes:
        since: Its beginning; ``None`` for all that is remembered.
        now: Its end.
        jobs: Jobs that waited or ran in it, the oldest first; what was refused or not sent never became one.
        usage: By site, account and unit.
        queues: By site.
        states: How many jobs are in each state, the most frequent first.
        failures: Jobs that ended, and neither well nor by being cancelled, or were refused, the latest first.
    """

    since: datetime.datetime | None
    now: datetime.datetime
    jobs: tuple[History, ...]
    usage: tuple[Usage, ...]
    queues: tuple[Queue, ...]
    states: tuple[tuple[str, int], ...]
    failures: tuple[History, ...]


def summarise(
    histories: Iterable[History],
    *,
    budgets: Mapping[str, Mapping[str, Mapping[str, float]]],
    since: datetime.datetime | None,
    now: datetime.datetime,
) -> Report:
    """What the jobs of a period come to.

    Args:
        histories: All jobs that are remembered, the oldest first.
        budgets: Units granted, by site, account and unit.
        since: Beginning of the period; ``None`` for all.
        now: Its end.
    """
    every = list(histories)
    recent = [one for one in every if since is None or one.end >= since]
    failures = [one for one in recent if one.row.status.over and one.row.status.state not in _NO_FAILURE]
    jobs = [one for one in recent if one.row.status.state not in _NEVER_THERE]
    return Report(
        since=since,
        now=now,
        jobs=tuple(jobs),
        usage=tuple(_usage(every, jobs, budgets, since)),
        queues=tuple(_queue(site, [one for one in jobs if one.row.site == site], since) for site in _sites(jobs)),
        states=tuple(Counter(one.row.status.state for one in jobs).most_common()),
        failures=tuple(sorted(failures, key=lambda one: one.end, reverse=True)),
    )


def report_fields(report: Report) -> dict[str, Any]:
    """The report as machines get it."""
    return {
        "since": report.since.isoformat() if report.since else None,
        "until": report.now.isoformat(),
        "jobs": len(report.jobs),
        "states": dict(report.states),
        "usage": [{key: getattr(one, key) for key in (*one.__slots__, "left")} for one in report.usage],
        "queues": [
            {
                "site": one.site,
                "jobs": one.jobs,
                "median_wait_seconds": one.median_wait,
                "longest_wait_seconds": one.longest_wait,
                "waited_hours": one.waited / _HOUR,
                "ran_hours": one.ran / _HOUR,
            }
            for one in report.queues
        ],
        "failures": [
            {
                "id": one.row.job_id,
                "token": one.row.token,
                "site": one.row.site,
                "name": one.row.name,
                "state": one.row.status.state,
                "exit": None if one.row.status.exit is None else str(one.row.status.exit),
                "reason": one.row.status.reason,
                "ended": one.end.isoformat(),
            }
            for one in report.failures
        ],
    }


def _usage(
    every: Sequence[History],
    jobs: Sequence[History],
    budgets: Mapping[str, Mapping[str, Mapping[str, float]]],
    since: datetime.datetime | None,
) -> Iterable[Usage]:
    counts = Counter(_biller(one) for one in jobs)
    ever: defaultdict[_Biller, float] = defaultdict(float)
    used: defaultdict[_Biller, float] = defaultdict(float)
    for one in every:
        ever[_biller(one)] += one.billed()
        used[_biller(one)] += one.billed(since)
    granted = {
        (site, account, unit): amount
        for site, accounts in budgets.items()
        for account, units in accounts.items()
        for unit, amount in units.items()
    }
    for key in sorted(counts.keys() | granted.keys()):
        site, account, unit = key
        yield Usage(
            site=site,
            account=account,
            unit=unit,
            jobs=counts[key],
            used=used[key],
            used_ever=ever[key],
            budget=granted.get(key),
        )


def _biller(one: History) -> _Biller:
    return one.row.site, one.row.account, one.row.unit


def _queue(site: str, jobs: Sequence[History], since: datetime.datetime | None) -> Queue:
    waits = [(one.runs[0].span.start - one.begin).total_seconds() for one in jobs if one.runs]
    return Queue(
        site=site,
        jobs=len(jobs),
        median_wait=statistics.median(waits) if waits else None,
        longest_wait=max(waits, default=None),
        waited=sum(one.waited(since) for one in jobs),
        ran=sum(one.ran(since) for one in jobs),
    )


def _sites(jobs: Iterable[History]) -> list[str]:
    return sorted({one.row.site for one in jobs})
