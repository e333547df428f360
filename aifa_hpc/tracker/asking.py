"""What the store knows of questions to a site: when it was asked, about what, and how much it bears.

All processes of a user share it, so that ten scripts ask as often as one.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.slurm.query import Subject
from aifa_hpc.tracker.records import ALIVE

if TYPE_CHECKING:
    from aifa_hpc.tracker.store import Store

_QUESTIONS = 30
"""Asked at once after a rest: as many as one young job needs until it is asked about at the site's own pace."""

_PATIENCE = 5
"""The share of time in which a site answers is a fifth at most: a slow answer means that it has enough to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """What is going on at a site.

    Attributes:
        oldest: When the oldest job that is not over was meant to be submitted.
        youngest: When one of them last changed its state.
        took: Seconds that the last question took.
    """

    oldest: datetime.datetime
    youngest: datetime.datetime
    took: float

    @property
    def floor(self) -> float:
        """Seconds between two questions that nobody may go below."""
        return _PATIENCE * self.took


class Asking:
    """Questions to one site, in the store.

    Args:
        store: The store.
        site: Site name.
    """

    def __init__(self, store: Store, site: str) -> None:
        self._db = store.database
        self._site = site

    def pulse(self) -> Pulse | None:
        """What is going on; ``None`` when no job is."""
        (found,) = self._db.select(
            f"SELECT min(created_at) AS oldest, max(changed_at) AS youngest FROM jobs WHERE site = ? AND {ALIVE}",  # noqa: S608 - our own states
            self._site,
        )
        if found["oldest"] is None:
            return None
        took = self._db.select("SELECT took FROM asked WHERE site = ?", self._site)
        return Pulse(
            oldest=datetime.datetime.fromisoformat(found["oldest"]),
            youngest=datetime.datetime.fromisoformat(found["youngest"]),
            took=took[0]["took"] if took else 0.0,
        )

    def subjects(self) -> list[Subject]:
        """The jobs with an id that are not over.

        Accounting is asked about arrays, whose tasks the queue forgets one by one, and about attempts whose end nobody
        has told yet; of these, what is as it was is looked at too.
        """
        found = self._db.select("SELECT token FROM attempts WHERE end = ''")
        open_ends = {row["token"] for row in found}
        jobs = self._db.select(
            f"SELECT job_id, folder, tasks, seen, token FROM jobs WHERE site = ? AND job_id IS NOT NULL AND {ALIVE}",  # noqa: S608 - our own states
            self._site,
        )
        return [
            Subject(job, folder, tasks, True, "")
            if tasks or token in open_ends
            else Subject(job, folder, "", False, seen)
            for job, folder, tasks, seen, token in jobs
        ]

    def claim(self, *, now: datetime.datetime, floor: float, pace: float) -> bool:
        """Whether this caller may ask the site now; the claim and its time are one transaction.

        Args:
            now: The caller's time.
            floor: Seconds that must have passed since anybody asked.
            pace: Seconds between two questions in the long run, however much is going on.
        """
        with self._db.writing():
            found = self._db.select("SELECT at FROM asked WHERE site = ?", self._site)
            if found:
                passed = (now - datetime.datetime.fromisoformat(found[0]["at"])).total_seconds()
                if 0 <= passed < floor:  # a clock set back must not silence us for good
                    return False
            level = self._level("questions", now=now, most=_QUESTIONS, per_second=1 / pace)
            if level < 1:
                return False
            self._keep("questions", level - 1, now)
            self._db.execute(
                "INSERT INTO asked (site, at) VALUES (?, ?) ON CONFLICT (site) DO UPDATE SET at = excluded.at",
                (self._site, now.isoformat()),
            )
        return True

    def answered(self, *, now: datetime.datetime, seconds: float) -> None:
        """Remembers that the site has answered what it was asked about jobs, and how long that took."""
        with self._db.writing():
            self._db.execute(
                "UPDATE asked SET answered = ?, took = ? WHERE site = ?", (now.isoformat(), seconds, self._site)
            )

    def overtaken(self, *, asked: datetime.datetime, now: datetime.datetime) -> bool:
        """Whether somebody was answered since a question was asked: they may know what is newer."""
        (found,) = self._db.select("SELECT answered FROM asked WHERE site = ?", self._site)
        return found["answered"] != "" and asked < datetime.datetime.fromisoformat(found["answered"]) <= now

    def draw(self, kind: str, *, now: datetime.datetime, most: float, per_second: float) -> float:
        """Takes one token of a budget; more than there are may be taken, and are then waited for in order.

        Args:
            kind: Of what.
            now: The caller's time.
            most: Tokens that a rested site bears at once.
            per_second: Tokens that come back.

        Returns:
            Seconds to wait before what the token was taken for.
        """
        with self._db.writing():
            level = self._level(kind, now=now, most=most, per_second=per_second) - 1
            self._keep(kind, level, now)
        return max(0.0, -level / per_second)

    def _level(self, kind: str, *, now: datetime.datetime, most: float, per_second: float) -> float:
        found = self._db.select("SELECT level, at FROM budgets WHERE site = ? AND kind = ?", self._site, kind)
        if not found:
            return most
        level, passed = found[0]["level"], (now - datetime.datetime.fromisoformat(found[0]["at"])).total_seconds()
        if passed < 0:  # a clock set back must not give or take anything, nor stop what comes back until that day
            self._keep(kind, level, now)
        return min(most, float(level) + max(0.0, passed) * per_second)

    def _keep(self, kind: str, level: float, now: datetime.datetime) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO budgets (site, kind, level, at) VALUES (?, ?, ?, ?)",
            (self._site, kind, level, now.isoformat()),
        )
