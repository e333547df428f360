"""What one answer of a site says of each job, written down: statuses, attempts, and events of what changed.

Ten thousand jobs may have news at once: one statement reads their rows, and one writes all that changed alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.tracker.attempts import goes_on_after, lost_attempt, past_attempts, with_attempts
from aifa_hpc.tracker.changes import change, numbered
from aifa_hpc.tracker.events import merge

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from aifa_hpc.slurm.records import Answer, JobRecord
    from aifa_hpc.tracker.changes import Brief
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.records import Attempt
    from aifa_hpc.tracker.store import Store


def learn(store: Store, site: str, ids: Iterable[str], answer: Answer, now: datetime.datetime) -> None:
    """Writes down what follows from an answer.

    Args:
        store: Where jobs are remembered; the caller has begun a transaction.
        site: The site that answered.
        ids: Jobs that it was asked about and that may have news.
        answer: What it said, with one record for each job.
        now: When.
    """
    retried = store.retried(site)
    queue, accounting = answer.queue or {}, answer.accounting or {}
    changes: list[tuple[Brief, Status, str]] = []
    for row in numbered(store.database, site, ids):
        queued, accounted = queue.get(row.job_id), accounting.get(row.job_id)
        past = store.past_attempts(row.token) if row.token in retried else []
        status = merge(row.status, answer, row.job_id, row.token, now)
        found = _attempts(row, status, queued, accounted, len(past))
        if found and found != tuple(past):
            told = {one.job_id for one in found} if accounted is not None else ()
            past = [*(one for one in past if one.job_id not in told), *found]
            store.keep_attempts(row.token, past)
        status = with_attempts(status, past)
        plain = queued is not None and accounted is None and not row.tasks and status.proof == "squeue"
        gist = queued.gist if queued is not None and plain else ""
        if gist != row.seen or status != row.status:
            changes.append((row, status, gist))
    change(store.database, changes, now=now)


def _attempts(
    row: Brief, status: Status, queued: JobRecord | None, accounted: JobRecord | None, past: int
) -> tuple[Attempt, ...]:
    """The runs of one job that an answer shows to have ended before the present one.

    Args:
        row: The job, as it was known.
        status: What is known now.
        queued: The queue's record of it.
        accounted: Accounting's.
        past: How many such runs are known already.
    """
    if accounted is not None:
        # An array is no single run: what came before is told of each of its tasks.
        return past_attempts(accounted, alive=not row.tasks and goes_on_after(queued, accounted))
    if status.proof != "squeue" or not row.status.start:
        return ()
    lost = lost_attempt(row.status, status, row.job_id, past + 1)
    return (lost,) if lost else ()
