"""The rules that turn evidence into a status."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord, Sentinel
from aifa_hpc.slurm.states import TERMINAL
from aifa_hpc.tracker.events import LAGGING, LOST, LOST_AFTER, SETTLE, Status, merge

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)
JOB, TOKEN = "123", "k3v9qd2m7tfa"


def answer(
    queue: str | None = "absent",
    accounting: str | None = "absent",
    code: int | None = None,
    exit_: str = "0:0",
    sentinel_id: str = JOB,
) -> Answer:
    """What a site says about job 123: a state, ``absent``, or ``None`` for a program that did not answer."""
    exit_code, signal = map(int, exit_.split(":"))
    return Answer(
        queue=None if queue is None else {} if queue == "absent" else {JOB: JobRecord(id=JOB, state=queue)},
        accounting=None
        if accounting is None
        else {}
        if accounting == "absent"
        else {JOB: JobRecord(id=JOB, state=accounting, exit=ExitStatus(exit_code, signal))},
        sentinels={} if code is None else {TOKEN: Sentinel(id=sentinel_id, restarts=0, code=code, at=0)},
        errors={} if queue is not None else {"squeue": "Unable to contact slurm controller"},
    )


def after(said: Answer, *, previous: Status | None = None, absent: datetime.timedelta | None = None) -> Status:
    """The status that follows, for a job that ran before and has been absent so long."""
    before = previous or Status(state="RUNNING", absent_since=None if absent is None else NOW - absent)
    return merge(before, said, JOB, TOKEN, NOW)


def test_what_the_queue_shows_alive_is_alive() -> None:
    """A running job is running, whatever accounting and an old sentinel say."""
    status = after(answer("RUNNING", "NODE_FAIL", code=1))
    assert ("RUNNING", "squeue", None) == (status.state, status.proof, status.absent_since)


def test_accounting_ends_a_job() -> None:
    """An end in accounting is the end, with its exit status."""
    status = after(answer("absent", "FAILED", exit_="3:0"))
    assert ("FAILED", ExitStatus(3), "sacct", True) == (status.state, status.exit, status.proof, status.over)


def test_completed_against_the_scripts_own_word_is_failed() -> None:
    """A script that lost srun's exit code does not pass for a success."""
    status = after(answer("absent", "COMPLETED", code=7))
    assert ("FAILED", ExitStatus(7), "sentinel") == (status.state, status.exit, status.proof)


def test_a_sentinel_of_another_job_is_no_evidence() -> None:
    """A sentinel counts only for the id it was written by."""
    assert after(answer("absent", "COMPLETED", code=7, sentinel_id="99")).ok


def test_gone_from_the_queue_is_not_success() -> None:
    """Absent from both, without a sentinel, is lagging and never an end at first."""
    status = after(answer())
    assert (LAGGING, NOW, False) == (status.state, status.absent_since, status.over)


def test_a_stale_accounting_row_is_lagging() -> None:
    """Accounting that still shows RUNNING after the queue forgot the job proves nothing."""
    assert LAGGING == after(answer("absent", "RUNNING")).state


def test_the_sentinel_settles_what_accounting_never_shows() -> None:
    """After the settling time the script's own exit record decides."""
    assert LAGGING == after(answer(code=0), absent=SETTLE / 2).state
    good = after(answer(code=0), absent=SETTLE)
    bad = after(answer(code=9), absent=SETTLE)
    assert [("COMPLETED", ExitStatus(0)), ("FAILED", ExitStatus(9))] == [(s.state, s.exit) for s in (good, bad)]


def test_a_job_nobody_knows_is_lost_and_says_so() -> None:
    """After a long continuous absence the job is given up, as an end of its own name."""
    status = after(answer(), absent=LOST_AFTER)
    assert (LOST, True, False) == (status.state, status.over, status.ok)
    assert "neither" in status.reason


def test_an_absence_that_began_in_the_future_begins_now() -> None:
    """The clock was set right in between: the job is neither lost at once, nor followed until that day."""
    status = after(answer(), absent=datetime.timedelta(days=-400))
    assert (LAGGING, NOW) == (status.state, status.absent_since)


def test_reappearing_clears_the_absence() -> None:
    """Only continuous absence counts."""
    assert after(answer("PENDING"), absent=LOST_AFTER).absent_since is None


def test_states_that_sites_requeue_from_are_believed_only_after_a_while() -> None:
    """A node failure is not an end while the site may still requeue the job."""
    assert LAGGING == after(answer("absent", "NODE_FAIL")).state
    assert "NODE_FAIL" == after(answer("absent", "NODE_FAIL"), absent=SETTLE).state


def test_nothing_follows_from_a_queue_that_does_not_answer() -> None:
    """An unreachable controller leaves the last state, with the reason."""
    status = after(answer(None, None))
    assert "RUNNING" == status.state
    assert "Unable to contact" in status.reason


def test_without_accounting_the_queues_end_is_believed() -> None:
    """On a site whose sacct fails, squeue's end counts, with the sentinel's code."""
    status = after(answer("COMPLETED", None, code=0))
    assert ("COMPLETED", ExitStatus(0), "squeue") == (status.state, status.exit, status.proof)


states = st.sampled_from([None, "absent", "RUNNING", "PENDING", "COMPLETING", "SOMETHING_NEW", *sorted(TERMINAL)])


@given(states, states, st.one_of(st.none(), st.integers(0, 255)), st.integers(0, 4000))
def test_success_always_has_a_witness(queue: str | None, accounting: str | None, code: int | None, absent: int) -> None:
    """COMPLETED is never concluded unless some source said so and the script did not deny it."""
    said = answer(queue, accounting, code)
    status = after(said, absent=datetime.timedelta(seconds=absent))
    if status.ok:
        assert "COMPLETED" in {queue, accounting} or code == 0
        assert code in {None, 0}
    if queue not in {None, "absent"} and queue not in TERMINAL:
        assert not status.over
