"""What the jobs of a period come to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aifa_hpc.views.history import History, history
from aifa_hpc.views.summary import Report, report_fields, summarise
from tests.views.conftest import at, attempts, row

if TYPE_CHECKING:
    from aifa_hpc.tracker.records import Row


def past(one: Row) -> History:
    """Its history as of one hour past noon."""
    return history([(one, attempts(one))], at(60))


def summed(*rows: Row, since: float | None = None, budgets: Any = None) -> Report:
    """The report of an hour past noon."""
    begin = None if since is None else at(since)
    return summarise(map(past, rows), budgets=budgets or {}, since=begin, now=at(60))


def test_units_are_summed_by_site_account_and_unit() -> None:
    """Jobs of one account share a line, another unit has its own."""
    found = summed(
        row(start=0, end=30),
        row(start=0, end=60, token="t2"),
        row(start=0, end=30, unit="core-h", rate=128.0),
        row(start=0, end=30, site="jupiter", account="e"),
    )
    assert [
        ("jupiter", "e", "GPU-h", 1, 2.0),
        ("lumi", "p1", "GPU-h", 2, 6.0),
        ("lumi", "p1", "core-h", 1, 64.0),
    ] == [(one.site, one.account, one.unit, one.jobs, one.used) for one in found.usage]


def test_a_budget_is_used_by_all_jobs_also_those_before_the_period() -> None:
    """The period has half of the use, the budget is less by all of it."""
    found = summed(row(start=0, end=60), since=30, budgets={"lumi": {"p1": {"GPU-h": 10.0}}})
    (usage,) = found.usage
    assert (2.0, 4.0, 10.0, 6.0) == (usage.used, usage.used_ever, usage.budget, usage.left)


def test_a_budget_nobody_used_and_one_that_is_overdrawn() -> None:
    """Both have their line; what is left may be less than nothing."""
    found = summed(row(start=0, end=60), budgets={"lumi": {"p1": {"GPU-h": 3.0}, "p2": {"GPU-h": 5.0}}})
    assert [("p1", -1.0), ("p2", 5.0)] == [(one.account, one.left) for one in found.usage]


def test_a_job_that_ended_before_the_period_is_not_in_it() -> None:
    """One that reaches into it is."""
    found = summed(row(start=0, end=10), row(start=0, end=40, token="t2"), since=30)
    assert ["t2"] == [one.row.token for one in found.jobs]


def test_waits_are_measured_to_the_first_start() -> None:
    """Of 10 and 30 minutes the median is 20; a job that has not begun counts for the sum only."""
    found = summed(row(start=10, end=20), row(start=30, end=40, token="t2"), row("PENDING", token="t3", submitted=50))
    (queue,) = found.queues
    assert (3, 1200.0, 1800.0, 3000.0, 1200.0) == (
        queue.jobs, queue.median_wait, queue.longest_wait, queue.waited, queue.ran,
    )  # fmt: skip


def test_failures_are_ends_that_are_neither_good_nor_wanted() -> None:
    """The latest first, and nothing that still goes on."""
    rows = [
        row(state, start=0, end=number, token=state)
        for number, state in enumerate(("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "LOST"), 1)
    ]
    found = summed(*rows, row("RUNNING", start=0, token="r"), row("A_NEW_STATE", start=0, token="n"))
    assert ["LOST", "TIMEOUT", "FAILED"] == [one.row.token for one in found.failures]
    assert 7 == sum(number for _, number in found.states)


def test_machines_get_all_of_it() -> None:
    """The fields are JSON and have the sums."""
    found = summed(row("FAILED", start=0, end=60, reason="it broke"), budgets={"lumi": {"p1": {"GPU-h": 10.0}}})
    fields = json.loads(json.dumps(report_fields(found)))
    assert (1, {"FAILED": 1}, 6.0, "it broke", 1.0) == (
        fields["jobs"],
        fields["states"],
        fields["usage"][0]["left"],
        fields["failures"][0]["reason"],
        fields["queues"][0]["ran_hours"],
    )


def test_nothing_at_all_is_a_report_too() -> None:
    """No jobs, no sums."""
    found = summed()
    assert ((), (), (), ()) == (found.jobs, found.usage, found.queues, found.failures)


def test_what_never_became_a_job_is_not_counted_as_one() -> None:
    """Neither by number, state, account nor queue; that the site refused it is told among the failures."""
    never = [row(state, site="jupiter", token=f"n{state}", job_id=None) for state in ("NOT_SENT", "REFUSED")]
    found = summed(row(start=0, end=30), *never)
    assert (["lumi"], ["lumi"]) == ([one.site for one in found.usage], [one.site for one in found.queues])
    assert (1, 1, ["nREFUSED"]) == (
        len(found.jobs),
        sum(number for _, number in found.states),
        [one.row.token for one in found.failures],
    )
