"""What is not known of jobs is found out, as far as the site can tell, with the evidence for each.

Three kinds of doubt: submissions whose answer was lost; jobs given up as ``LOST`` that accounting has found since; and
receipts on the site that nobody here remembers, because they were submitted from elsewhere or the store is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.slurm.query import Subject
from aifa_hpc.slurm.submission import list_receipts
from aifa_hpc.tracker.events import LOST, SUBMITTING, UNKNOWN, Status, merge
from aifa_hpc.tracker.groups import is_left_behind
from aifa_hpc.tracker.schedule import window
from aifa_hpc.tracker.tasks import gather

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.tracker.poller import Poller
    from aifa_hpc.tracker.store import Row, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Ghost:
    """A receipt without a row here.

    Attributes:
        token: The submission's.
        job_id: What the receipt says.
        folder: Where it lies.
    """

    token: str
    job_id: str
    folder: str


def doubtful(rows: Sequence[Row], *, now: datetime.datetime | None = None) -> list[Row]:
    """Those of which it is not known whether they exist, or how they ended. What waits here is in no doubt.

    Args:
        rows: Of these.
        now: The time, to leave out what somebody may be at.
    """
    jobs: dict[str, list[Row]] = {}
    for row in rows:
        jobs.setdefault(row.part_of or row.token, []).append(row)
    return [
        row
        for row in rows
        if row.status.state in {LOST, UNKNOWN}
        or (row.status.state == SUBMITTING and (now is None or is_left_behind(jobs[row.part_of or row.token], now)))
    ]


def settle(rows: Sequence[Row], poller: Poller, cluster: Cluster, store: Store, now: datetime.datetime) -> list[Row]:
    """The rows as they stand when the site has been asked.

    Raises:
        TransportError: It cannot be.
    """
    found = {row.token: row for row in poller.settle([row for row in rows if row.job_id is None])}
    lost = [row for row in rows if row.job_id is not None and row.status.state == LOST]
    if lost:
        subjects = [Subject(str(row.job_id), row.folder, row.tasks, more=True) for row in lost]
        answer = cluster.ask(subjects, since=window(min(row.created_at for row in lost), now))
        answer = gather(answer, [subject for subject in subjects if subject.tasks])
        for row in lost:
            status = merge(Status(state="RUNNING"), answer, str(row.job_id), row.token, now)
            if status.over:
                found[row.token] = store.update(row.token, status, now=now, revive=True)
    return [found.get(row.token, row) for row in rows]


def ghosts(cluster: Cluster, store: Store, folders: Sequence[str]) -> list[Ghost]:
    """Receipts in folders of job folders of which nobody here knows.

    Args:
        cluster: The site.
        store: Where jobs are remembered.
        folders: Where job folders are.
    """
    known = {row.token for row in store.rows(cluster.site.name)}
    return [
        Ghost(token=token, job_id=job_id, folder=f"{folder}/{token}")
        for folder in folders
        for token, job_id in cluster.drive(list_receipts(folder)).items()
        if token not in known
    ]
