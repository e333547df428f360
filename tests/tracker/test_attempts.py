"""Attempts: what requeueing, preemption and prologs leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.slurm.parse import parse_accounting
from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord
from aifa_hpc.tracker.attempts import goes_on_after, lost_attempt, past_attempts, with_attempts
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.poller import Poller
from aifa_hpc.tracker.records import Attempt
from aifa_hpc.tracker.store import Store
from tests.tracker.written import JOB, Clock, WrittenCluster

if TYPE_CHECKING:
    from pathlib import Path


def line(state: str, start: str, end: str, code: str = "0:0", nodes: str = "n1") -> str:
    """A line of sacct about job 7, with times of one hour."""
    times = [f"2026-11-24T12:{time}" if time else "Unknown" for time in (start, end)]
    return f"7|{state}|{code}|{nodes}|{times[0]}|{times[1]}|5|None|a\n"


def test_accounting_has_a_record_for_each_attempt() -> None:
    """The last one is the present one; it is past as well when it has ended and the queue shows the job alive."""
    text = line("NODE_FAIL", "00:00", "01:00") + line("PREEMPTED", "03:00", "04:00", nodes="n2")
    record = parse_accounting(text)["7"]
    found = [
        [(one.number, one.state, one.nodes) for one in past_attempts(record, alive=alive)] for alive in (False, True)
    ]
    first = (1, "NODE_FAIL", "n1")
    assert [[first], [first, (2, "PREEMPTED", "n2")]] == found
    waits = parse_accounting(text + line("PENDING", "", ""))["7"]
    assert past_attempts(record, alive=True) == past_attempts(waits, alive=True) == past_attempts(waits, alive=False)


@pytest.mark.parametrize(
    ("state", "start", "lost"),
    [
        ("PENDING", "", True),
        ("REQUEUED", "", True),
        ("RUNNING", "2026-11-24T13:00:00", True),
        ("RUNNING", "2026-11-24T12:00:00", False),
        ("COMPLETING", "2026-11-24T12:00:00", False),
        ("SUSPENDED", "2026-11-24T12:00:00", False),
        ("NEWWORD", "", False),
    ],
)
def test_the_queue_shows_that_an_attempt_has_ended(state: str, start: str, lost: bool) -> None:
    """A job that ran waits again, or runs since a later time; anything else is the same attempt."""
    before = Status(state="RUNNING", start="2026-11-24T12:00:00", nodes="n1")
    expected = Attempt(
        number=3, job_id="7", state="REQUEUED", reason="put back into the queue", nodes="n1", start=before.start
    )
    assert (expected if lost else None) == lost_attempt(before, Status(state=state, start=start), "7", 3)


def test_the_reason_tells_of_the_attempt_before() -> None:
    """Which attempt it is, and how the last one ended."""
    past = past_attempts(parse_accounting(line("NODE_FAIL", "00:00", "10:00"))["7"], alive=True)
    status = with_attempts(Status(state="PENDING", reason="Resources"), past)
    assert "attempt 2, the one before ended as NODE_FAIL on n1; Resources" == status.reason
    assert Status(state="PENDING") == with_attempts(Status(state="PENDING"), ())


def test_a_prolog_that_refuses_a_node_is_recognised() -> None:
    """Runs of seconds, again and again, are no runs: the nodes and the exit code are named; one alone is no proof."""
    records = [line("REQUEUED", f"{minute}:00", f"{minute}:06", "0:54", f"n{minute}") for minute in (10, 12, 14)]
    found = [
        with_attempts(Status(state="RUNNING"), past_attempts(parse_accounting("".join(lines))["7"], alive=True)).reason
        for lines in (records[:1], records, [*records, line("PREEMPTED", "20:00", "50:00")])
    ]
    assert "attempt 2, the one before ended as REQUEUED on n10" == found[0]
    assert (
        "started and put back 3 times within seconds: a node refuses it before it begins (exit 0:54);"
        " exclude the bad one of n10, n12, n14 or tell the site" == found[1]
    )
    assert found[2].startswith("attempt 5, ")


def test_attempts_are_kept_from_both_sources(tmp_path: Path) -> None:
    """The queue tells first that an attempt has ended, accounting later how; the job goes on all the while."""
    store, clock, cluster = Store(tmp_path / "jobs.sqlite3"), Clock(), WrittenCluster(submitted="7")
    subject = Poller(cluster, store, clock=clock)  # type: ignore[arg-type] # same methods
    row = subject.submitter.submit(JOB)
    ran = JobRecord(id="7", state="RUNNING", nodes="n1", start="2026-11-24T12:00:00")
    waits = JobRecord(id="7", state="PENDING", reason="Resources")
    told = parse_accounting(line("NODE_FAIL", "00:00", "30:00", "0:9") + line("PENDING", "", ""))
    end = parse_accounting(line("NODE_FAIL", "00:00", "30:00", "0:9") + line("COMPLETED", "40:00", "50:00", nodes="n2"))
    cluster.answers = [
        Answer(queue={"7": ran}, accounting={}, sentinels={}, errors={}),
        Answer(queue={"7": waits}, accounting={}, sentinels={}, errors={}),
        Answer(queue={"7": waits}, accounting=told, sentinels={}, errors={}),
        Answer(queue={}, accounting=end, sentinels={}, errors={}),
    ]
    seen = []
    for _ in range(4):
        clock.forward(120)
        subject.poll()
        seen.append([(one.state, one.end[-8:]) for one in store.attempts(row.token)])
    store.close()
    assert [
        [("RUNNING", "")],
        [("REQUEUED", ""), ("PENDING", "")],
        [("NODE_FAIL", "12:30:00"), ("PENDING", "")],
        [("NODE_FAIL", "12:30:00"), ("COMPLETED", "12:50:00")],
    ] == seen


def test_exit_statuses_of_attempts_are_kept() -> None:
    """A signal is part of how it ended."""
    (one,) = past_attempts(parse_accounting(line("NODE_FAIL", "00:00", "30:00", "0:9"))["7"], alive=True)
    assert ExitStatus(0, 9) == one.exit


@pytest.mark.parametrize(
    ("queued", "accounted", "goes_on"),
    [
        (JobRecord(id="7", state="RUNNING", start="T1"), JobRecord(id="7", state="COMPLETED", start="T1"), False),
        (JobRecord(id="7", state="RUNNING", start="T2"), JobRecord(id="7", state="NODE_FAIL", start="T1"), True),
        (JobRecord(id="7", state="PENDING"), JobRecord(id="7", state="REQUEUED", start="T1"), True),
        (JobRecord(id="7", state="PENDING"), JobRecord(id="7", state="CANCELLED"), False),
        (JobRecord(id="7", state="COMPLETED", start="T2"), JobRecord(id="7", state="FAILED", start="T1"), False),
        (None, JobRecord(id="7", state="FAILED", start="T1"), False),
    ],
)
def test_an_end_between_two_answers_is_no_attempt(
    queued: JobRecord | None, accounted: JobRecord, goes_on: bool
) -> None:
    """Accounting answers a moment after the queue, and may know the end of the run that the queue still shows."""
    assert goes_on == goes_on_after(queued, accounted)
