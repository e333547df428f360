"""Jobs in doubt are settled with what the site can still tell."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.errors import SubmissionUnknownError
from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord
from aifa_hpc.tracker.events import LOST, Status
from aifa_hpc.tracker.poller import Poller
from aifa_hpc.tracker.settling import Ghost, doubtful, ghosts, settle
from aifa_hpc.tracker.store import Store
from tests.tracker.written import FOUND, JOB, NEVER, NOW, SILENT, Clock, WrittenCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


def test_lost_answers_are_settled_at_once(store: Store) -> None:
    """Whoever asks for it need not wait until the submission is old."""
    cluster = WrittenCluster(submitted=SubmissionUnknownError("silence", token="a"), looked_up=[FOUND, NEVER])
    poller = Poller(cluster, store, clock=Clock(), token=iter("ab").__next__)  # type: ignore[arg-type] # same methods
    for _ in range(2):
        with pytest.raises(SubmissionUnknownError):
            poller.submitter.submit(JOB)
    rows = settle(doubtful(store.rows()), poller, cluster, store, NOW)  # type: ignore[arg-type] # same methods
    assert [("77", "PENDING"), (None, "NOT_SENT")] == [(row.job_id, row.status.state) for row in rows]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(queue={}, accounting={"7": JobRecord(id="7", state="FAILED")}, sentinels={}, errors={}), "FAILED"),
        (SILENT, "LOST"),
    ],
)
def test_a_job_that_was_given_up_may_be_found(store: Store, answer: Answer, state: str) -> None:
    """Accounting was away for longer than we waited, and has its end now; without news it stays lost."""
    store.intend(token="a", site="lumi", name="n", folder="/jobs/a", now=NOW)
    store.update("a", Status(state=LOST), now=NOW, job_id="7")
    cluster = WrittenCluster(answers=[answer])
    poller = Poller(cluster, store, clock=Clock())  # type: ignore[arg-type] # same methods
    later = NOW + datetime.timedelta(hours=5)
    (row,) = settle(doubtful(store.rows()), poller, cluster, store, later)  # type: ignore[arg-type] # same methods
    assert state == row.status.state == store.get("a").status.state


def test_other_ends_are_not_in_doubt(store: Store) -> None:
    """What has ended stays as it is."""
    store.intend(token="a", site="lumi", name="n", folder="/jobs/a", now=NOW)
    store.update("a", Status(state="FAILED", exit=ExitStatus(1)), now=NOW, job_id="7")
    assert [] == doubtful(store.rows())


def test_receipts_that_nobody_remembers_are_told(store: Store) -> None:
    """What was submitted from elsewhere lies beside what is remembered here."""

    class Holding(WrittenCluster):
        def drive(self, flow: Any) -> dict[str, str]:
            flow.close()
            return {"a": "7", "b": "8"}

    store.intend(token="a", site="lumi", name="n", folder="/jobs/a", now=NOW)
    assert [Ghost(token="b", job_id="8", folder="/jobs/b")] == ghosts(Holding(), store, ["/jobs"])  # type: ignore[arg-type] # same methods
