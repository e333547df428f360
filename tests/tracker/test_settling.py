"""Jobs in doubt are settled with what the site can still tell."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aifa_hpc.errors import OutcomeUnknownError, SubmissionUnknownError
from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord
from aifa_hpc.slurm.submission import HAD_SAID, Outcome
from aifa_hpc.tracker.events import LOST, Status
from aifa_hpc.tracker.groups import ORPHANED
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


def test_the_queue_is_not_fenced_off(store: Store) -> None:
    """What waits here is in no doubt; what was under way is looked for, and sent again as long as nobody has it."""
    unknown = Outcome(kind="unknown", words="no trace")
    cluster = WrittenCluster(failures=[OutcomeUnknownError("silence")], room=3, looked_up=[FOUND, unknown])
    poller = Poller(cluster, store, clock=Clock(), token=iter("abc").__next__)  # type: ignore[arg-type] # same methods
    small = replace(JOB, resources=replace(JOB.resources, partition="dev-g"))  # takes two
    poller.queue.put([small] * 3)
    rows = settle(doubtful(store.rows()), poller, cluster, store, NOW)  # type: ignore[arg-type] # same methods
    assert ([("77", "PENDING"), (None, "UNKNOWN")], [False]) == (
        [(row.job_id, row.status.state) for row in rows],
        cluster.fenced,
    )
    assert [("b", "UNKNOWN"), ("c", "QUEUED")] == [(row.token, row.status.state) for row, _ in store.waiting("lumi")]


def test_words_of_sbatch_outlive_a_site_that_cannot_be_asked(store: Store) -> None:
    """They are evidence, and the site may be away for days."""
    error = SubmissionUnknownError(f"not known: no trace{HAD_SAID}strange.", token="a")
    silent = Outcome(kind="unknown", words="the site could not be asked (no route)")
    cluster = WrittenCluster(submitted=error, looked_up=[silent] * 2)
    poller = Poller(cluster, store, clock=Clock(), token=iter("a").__next__)  # type: ignore[arg-type] # same methods
    with pytest.raises(SubmissionUnknownError):
        poller.submitter.submit(JOB)
    for _ in range(2):
        (row,) = settle(doubtful(store.rows()), poller, cluster, store, NOW)  # type: ignore[arg-type] # same methods
        assert f"its answer was lost, and {silent.words}{HAD_SAID}strange." == row.status.reason


def test_what_somebody_is_at_is_left_to_them(store: Store) -> None:
    """A submission under way is in doubt when it is named, or when nothing of its job has changed for long."""
    for token, at in (("a", NOW), ("b", NOW + ORPHANED)):
        store.intend(token=token, site="lumi", name="n", folder=f"/jobs/{token}", now=at, part_of="a")
    times = NOW + ORPHANED, NOW + 2 * ORPHANED, NOW - ORPHANED, None
    assert [0, 2, 2, 2] == [len(doubtful(store.rows(), now=at)) for at in times]


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
