"""Runs, waits and bills of a job's past."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.store import Store
from aifa_hpc.views.history import Span, history, instant, read_histories
from tests.views.conftest import NOON, at, attempts, printed, row


def minutes(span: Span) -> tuple[float, float]:
    """Both ends, in minutes after noon."""
    return tuple((moment - NOON).total_seconds() / 60 for moment in (span.start, span.end))  # type: ignore[return-value]


def test_a_job_waits_and_then_runs() -> None:
    """From its submission to its start it waits; half an hour at four units is two."""
    one = row(start=10, end=40)
    past = history([(one, attempts(one))], at(100))
    assert ([(0, 10)], [(10, 40)]) == ([*map(minutes, past.waits)], [minutes(run.span) for run in past.runs])
    assert (600, 1800, 2.0) == (past.waited(), past.ran(), past.billed())


def test_what_goes_on_reaches_to_now() -> None:
    """A running job runs up to now, a waiting one waits up to now."""
    running, waiting = row("RUNNING", start=10), row("PENDING")
    ran = history([(running, attempts(running))], at(30))
    waited = history([(waiting, attempts(waiting))], at(30))
    assert (1200, 600) == (ran.ran(), ran.waited())
    assert (0, 1800, 0) == (waited.ran(), waited.waited(), waited.billed())


def test_attempts_are_runs_with_waiting_between() -> None:
    """A requeued job ran twice, waited in between, and is billed for both."""
    one = row(start=50, end=80)
    past = history([(one, attempts(one, ("NODE_FAIL", 10, 40)))], at(100))
    assert [(0, 10), (40, 50)] == [*map(minutes, past.waits)]
    assert [("NODE_FAIL", "attempt 1"), ("COMPLETED", "attempt 2")] == [(run.state, run.label) for run in past.runs]
    assert 4.0 == past.billed()


def test_a_requeued_job_that_waits_again_has_only_its_first_run() -> None:
    """What waits has no run; its earlier one counts."""
    one = row("PENDING")
    past = history([(one, attempts(one, ("PREEMPTED", 10, 40)))], at(60))
    assert ([(0, 10), (40, 60)], 1) == ([*map(minutes, past.waits)], len(past.runs))


def test_links_of_a_chain_are_runs_of_one_job() -> None:
    """Two links, the second of which waited for the first."""
    first, second = row(start=10, end=40, part_of="t1"), row(start=45, end=60, part_of="t1", token="t2", job_id="102")
    past = history([(first, attempts(first)), (second, attempts(second))], at(100))
    assert ["link 1", "link 2"] == [run.label for run in past.runs]
    assert ([(0, 10), (40, 45)], 3.0) == ([*map(minutes, past.waits)], past.billed())


def test_chunks_of_an_array_may_overlap() -> None:
    """Time in which two chunks run is run once and billed twice."""
    first = row(start=10, end=40, part_of="t1", tasks="0-4")
    second = row(start=20, end=50, part_of="t1", tasks="5-9", token="t2", job_id="102")
    past = history([(first, attempts(first)), (second, attempts(second))], at(100))
    assert (2400, 600, 4.0) == (past.ran(), past.waited(), past.billed())


def test_a_task_that_was_requeued_is_billed_its_share() -> None:
    """The rate is that of all tasks."""
    one = row(start=10, end=40, tasks="0-3")
    past = history([(one, attempts(one, ("NODE_FAIL", 10, 25), job_id="101_2"))], at(100))
    assert ("attempt 1 of 101_2", 2.25) == (past.runs[0].label, past.billed())


def test_a_job_that_never_began_has_no_run() -> None:
    """Cancelled while it waited, it waited until then."""
    one = row("CANCELLED", changed_at=at(15))
    past = history([(one, attempts(one))], at(100))
    assert ((), [(0, 15)], 0) == (past.runs, [*map(minutes, past.waits)], past.billed())


def test_nobody_knows_the_rate_of_an_adopted_job() -> None:
    """It ran, and counts no units; it began before it was adopted."""
    one = row(start=-60, end=30, rate=None, unit="")
    past = history([(one, attempts(one))], at(100))
    assert ((), 5400, 0) == (past.waits, past.ran(), past.billed())


def test_clocks_that_disagree_make_no_negative_time() -> None:
    """A site whose clock is ahead has jobs that began after now."""
    one = row("RUNNING", start=10)
    past = history([(one, attempts(one))], at(5))
    assert (600, 0) == (past.waited(), past.ran())


def test_a_period_cuts_what_lies_before_it() -> None:
    """Of half an hour, ten minutes are in it, and a third of the bill."""
    one = row(start=10, end=40)
    past = history([(one, attempts(one))], at(100))
    assert (600, 0, pytest.approx(2 / 3)) == (past.ran(at(30)), past.waited(at(30)), past.billed(at(30)))


@pytest.mark.parametrize("text", ["", "Unknown", "N/A", "2026-13-01T00:00:00"])
def test_what_is_no_time_is_none(text: str) -> None:
    """Slurm has many words for never."""
    assert instant(text) is None


def test_a_span_cannot_end_before_it_begins() -> None:
    """The value does not exist."""
    with pytest.raises(ValueError, match="before it begins"):
        Span(start=at(1), end=at(0))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 200)), max_size=6), st.integers(0, 800))
def test_all_time_is_either_run_or_waited(runs: list[tuple[int, int]], now: int) -> None:
    """Whatever the runs, the two parts make the whole and neither is negative."""
    runs.sort()
    one = row("PENDING")
    earlier = [("NODE_FAIL", float(start), float(start + length)) for start, length in runs]
    past = history([(one, attempts(one, *earlier))], at(now))
    total = (past.end - past.begin).total_seconds()
    assert total == past.ran() + past.waited()
    assert past.ran() >= 0
    assert all(span.seconds > 0 for span in past.waits)


def test_the_store_gives_jobs_with_their_past(tmp_path) -> None:
    """Rows of one chain are one job; the other site's are left out."""
    store = Store(tmp_path / "jobs.sqlite3")
    for token, site, part_of in (("a", "lumi", "a"), ("b", "lumi", "a"), ("c", "jupiter", "")):
        store.intend(token=token, site=site, name="x", folder=f"/{token}", now=NOON, part_of=part_of, rate=4.0)
        status = Status(state="COMPLETED", start=printed(0), end=printed(15), elapsed_seconds=900)
        store.update(token, Status(state="PENDING"), now=NOON, job_id=token)
        store.update(token, status, now=at(16))
    found = read_histories(store, "lumi", at(20))
    store.close()
    assert [(2, 2.0, datetime.timedelta(minutes=15))] == [
        (len(one.runs), one.billed(), one.end - one.begin) for one in found
    ]
