"""One question for all jobs of a site, what follows from the answer, and what became of the unknown.

Nobody owns the poll: whoever wants to know asks, if nobody else did within the site's polite interval, and writes the
answer down for all.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.slurm.submission import HAD_SAID, Ticket
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.events import NOT_SENT, REFUSED, SUBMITTING, UNKNOWN, Status
from aifa_hpc.tracker.groups import is_left_behind
from aifa_hpc.tracker.learning import learn
from aifa_hpc.tracker.queue import Queue
from aifa_hpc.tracker.schedule import interval, window
from aifa_hpc.tracker.submitter import Submitter, new_token
from aifa_hpc.tracker.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.slurm.submission import Outcome
    from aifa_hpc.tracker.asking import Pulse
    from aifa_hpc.tracker.store import Row, Store

logger = logging.getLogger(__name__)


def utc_now() -> datetime.datetime:
    """The time, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


class Poller:
    """Follows the jobs of one site.

    Args:
        cluster: The site.
        store: Where jobs are remembered.
        clock: Gives the time, aware.
        token: Makes a token.

    Attributes:
        submitter: Submits single jobs.
        queue: Submits many, and keeps those for which there is no room yet.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        *,
        clock: Callable[[], datetime.datetime] = utc_now,
        token: Callable[[], str] = new_token,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._site = cluster.site.name
        self._asking = Asking(store, self._site)
        self.submitter = Submitter(cluster, store, clock=clock, token=token)
        self.queue = Queue(cluster, store, self.submitter, clock=clock, token=token)

    def poll(self) -> bool:
        """Asks about every job that is not over, unless somebody asked just now; returns whether it asked.

        What was submitted with an unknown outcome is looked for, and jobs that wait here are submitted as room comes.

        Raises:
            TransportError: The site cannot be reached, or fell silent while jobs that wait here were sent, which the
                next call mends; what was learned before that is kept.
            SiteError: Its answer cannot be read; likewise.
        """
        began, pulse = self._clock(), self._asking.pulse()
        pace = self._cluster.site.scheduler.poll_seconds
        if pulse is None or not self._asking.claim(now=began, floor=self.seconds(pulse), pace=pace):
            return False
        self.settle([row for row in self._store.unsettled(self._site) if self._is_left(row)])
        if subjects := self._asking.subjects():
            asked = self._clock()
            answer = self._cluster.ask(subjects, since=window(pulse.oldest, began))
            now = self._clock()
            with self._store.together():
                if self._asking.overtaken(asked=asked, now=now):
                    return True  # an answer that took long: a job that began meanwhile would seem to have been put back
                self._asking.answered(now=now, seconds=max(0.0, (now - asked).total_seconds()))
                answer = gather(answer, [subject for subject in subjects if subject.tasks])
                news = (subject.id for subject in subjects if subject.id not in answer.same)
                learn(self._store, self._site, news, answer, now)
        self.queue.feed()
        return True

    def seconds(self, pulse: Pulse) -> float:
        """The interval that the jobs of a site deserve now."""
        age = max(0.0, (self._clock() - pulse.youngest).total_seconds())
        return max(pulse.floor, interval(age, self._cluster.site.scheduler.poll_seconds))

    def _is_left(self, row: Row) -> bool:
        """Whether nobody is at a submission that never got an id."""
        if row.status.state != SUBMITTING:
            return row.status.state == UNKNOWN
        return is_left_behind(self._store.parts(row.part_of or row.token), self._clock())

    def settle(self, rows: list[Row]) -> list[Row]:
        """Finds out what became of submissions that never got an id, in one command for each folder of job folders.

        What never began is fenced off: it is not submitted and never will be. But for jobs of the queue, which are sent
        again.
        """
        settled = []
        kept = {row.token for row, _ in self._store.waiting(self._site)}
        places: dict[tuple[str, bool], list[Row]] = {}
        for row in rows:
            places.setdefault((row.folder.rpartition("/")[0], row.token not in kept), []).append(row)
        for (jobs, fence), found in places.items():
            tickets = [Ticket(token=row.token, name=f"{row.name}.{row.token}", jobs=jobs) for row in found]
            outcomes = self._cluster.look_up_many(tickets, fence=fence)
            settle = self._settle if fence else self.queue.finish
            settled += [settle(row, outcome) for row, outcome in zip(found, outcomes, strict=True)]
        return settled

    def _settle(self, row: Row, outcome: Outcome) -> Row:
        if outcome.kind == "submitted":
            logger.info("job %s of %s was submitted after all: %s", row.name, self._site, outcome.job_id)
        status = {
            "submitted": Status(state="PENDING"),
            "refused": Status(state=REFUSED, reason=f"sbatch refused the job: {outcome.words}"),
            "unsent": Status(
                state=NOT_SENT, reason=outcome.words or "it never reached the site, and is fenced off there"
            ),
        }.get(outcome.kind, Status(state=UNKNOWN, reason=f"its answer was lost, and {outcome.words}"))
        _, had_said, words = row.status.reason.partition(HAD_SAID)
        if status.state == UNKNOWN and had_said and HAD_SAID not in status.reason:  # the site could not be asked
            status = replace(status, reason=status.reason + had_said + words)
        with self._store.together():
            found = self._store.get(row.token)
            if found.job_id is not None and not outcome.job_id:
                return found  # whoever submitted it was told its id meanwhile
            return self._store.change(found, status, now=self._clock(), job_id=outcome.job_id or None)
