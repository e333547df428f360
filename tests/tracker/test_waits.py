"""Why jobs wait, by answers of real clusters."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from aifa_hpc.slurm.inquiry import Told, read_told
from aifa_hpc.tracker.events import REFUSED, Status
from aifa_hpc.tracker.explain import explain
from aifa_hpc.tracker.explanation import Explanation, Position
from aifa_hpc.tracker.records import Row

TOLD = Path(__file__).parent / "told"
NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
POLICY = (
    "sbatch refused the job (exit code 1): sbatch: error: Batch job submission failed: Job violates accounting/QOS"
    " policy (job submit limit, user's size and/or time limits)"
)


def told(name: str, **changes: str) -> Told:
    """A capture, with words of it changed."""
    text = (TOLD / f"{name}.txt").read_text("utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return read_told(text)


def row(state: str = "PENDING", reason: str = "", **fields: object) -> Row:
    """A remembered job."""
    known = {"token": "t", "site": "lumi", "name": "n", "job_id": "9", "folder": "/f", "created_at": NOW}
    return Row(**(known | {"changed_at": NOW, "status": Status(state=state, reason=reason)} | fields))  # type: ignore[arg-type] # a test's own


def why(answer: Told) -> Explanation:
    """The explanation of a job that waits."""
    return explain(row(), answer, "lumi", ())


@pytest.mark.parametrize(
    ("name", "first", "hope"),
    [
        ("held", "reason-JobHeldUser", "person"),
        ("dependency", "reason-Dependency", "waits"),
        ("dependency-never", "reason-DependencyNeverSatisfied", "never"),
        ("maintenance", "reason-ReqNodeNotAvail", "person"),
        ("priority", "reason-Resources", "waits"),
        ("resources-24.11", "reason-Resources", "waits"),
    ],
)
def test_the_reason_and_whether_waiting_helps(name: str, first: str, hope: str) -> None:
    """Each capture's job, as Slurm 22.05 and 24.11 tell it."""
    found = why(told(name))
    assert (first, hope, hope == "never") == (found.findings[0].name, found.hope, found.hopeless)


def test_what_a_job_depends_on_is_named_with_its_state() -> None:
    """While it can come true, and when it no longer can."""
    waits = why(told("dependency")).findings[1]
    never = why(told("dependency-never")).findings[1]
    assert ("waits", "it waits for job 11 (afterok), which is RUNNING") == (waits.hope, waits.text)
    assert ("never", True, True) == (never.hope, "no longer" in never.text, "CANCELLED" in never.evidence)


def test_the_place_in_the_queue_is_told_with_slurms_estimate() -> None:
    """And the estimate is called one."""
    found = why(told("priority"))
    assert (Position(ahead=1, of=2, own_ahead=1, partition="standard-g"), True) == (
        found.position,
        found.expected_start.startswith("2026-11-24T"),
    )


def test_a_held_job_has_no_place() -> None:
    """Its priority is 0."""
    assert None is why(told("held")).position


def test_no_place_is_told_where_the_queue_is_private() -> None:
    """A user who sees only own jobs does not learn how many are ahead."""
    assert None is why(told("priority", **{"PrivateData=cloud": "PrivateData=jobs,usage"})).position


def test_maintenance_is_named_with_its_window() -> None:
    """The reservation that keeps the nodes."""
    found = {one.name: one for one in why(told("maintenance")).findings}
    assert "maintenance declared from 2026-11-24T" in found["maintenance"].text


def test_a_partition_that_is_down_needs_somebody() -> None:
    """The word of scontrol is the evidence."""
    found = why(told("priority", **{" State=UP": " State=DOWN"}))
    (down,) = [one for one in found.findings if one.name == "partition-down"]
    assert ("person", "PartitionName=standard-g State=DOWN") == (found.hope, down.evidence)


def test_a_reservation_that_is_gone_is_hopeless() -> None:
    """It is not among those that the site has."""
    found = why(told("priority", **{"|(null)|2026": "|workshop|2026"}))
    assert (True, "reservation-gone") == (found.hopeless, found.findings[1].name)


def test_a_reservation_ahead_is_waited_for() -> None:
    """With its begin."""
    changes = {"|(null)|2026": "|declared|2026", "State=ACTIVE": "State=INACTIVE"}
    names = [one.name for one in why(told("priority", **changes)).findings]
    assert "reservation-ahead" in names


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"MaxTime=2-00:00:00": "MaxTime=00:01:00"}, "limit-time", "it asks for 00:05:00, and partition standard-g"),
        ({"MaxNodes=1024": "MaxNodes=2"}, "limit-nodes", "it asks for 3 nodes, and partition standard-g gives 2"),
        ({"normal|||||||": "normal|00:02:00||||||"}, "limit-time", "and QOS normal allows 00:02:00"),
        ({"part_standard-g|||200": "part_standard-g||node=1|200"}, "limit-size", "3 nodes, and QOS part_standard-g"),
        ({"||normal|normal||||||": "||normal|normal|||||node=2|"}, "limit-size", "your association"),
        ({"||normal|normal||||||": "||normal|normal||||||cpu=0"}, "limit-budget", "no budget"),
        ({"AllowAccounts=ALL": "AllowAccounts=staff"}, "limit-partition-closed", "not open to project_465000001"),
    ],
)
def test_a_limit_that_the_job_can_never_meet_is_hopeless(changes: dict[str, str], name: str, text: str) -> None:
    """The job's own size against what the site tells, whatever reason Slurm shows just now."""
    found = why(told("priority", **changes))
    (limit,) = [one for one in found.findings if one.name == name]
    assert (True, True) == (found.hopeless, text in limit.text)


def test_being_at_a_limit_is_told_only_where_slurm_says_that_it_keeps_the_job_back() -> None:
    """201 running jobs are no reason for a job that waits for nodes."""
    counts = {"1 RUNNING|standard-g": "200 RUNNING|standard-g"}
    quiet = [one.name for one in why(told("priority", **counts)).findings]
    blocked = why(told("priority", **counts, **{"|Resources": "|QOSMaxJobsPerUserLimit"}))
    (limit,) = [one for one in blocked.findings if one.name == "limit-running"]
    assert (False, "waits") == ("limit-running" in quiet, blocked.hope)
    assert "limit 200, running 200" == limit.evidence


def test_a_loop_of_failing_prologs_is_seen() -> None:
    """Three attempts of seconds with 0:54, as on JUPITER."""
    base = told("resources-24.11")
    lines = "".join(
        f"2|{state}|0:54|0:0|00:00:04|00:05:00|jpbo-101-0{number}|2|0|||2026-11-24T08:2{number}:00|"
        f"2026-11-24T08:2{number}:30|2026-11-24T08:2{number}:34|None|x.sh\n"
        for number, state in enumerate(("REQUEUED", "REQUEUED", "PENDING"))
    )
    found = why(Told(sections=base.sections | {"attempts": lines}))
    (loop,) = [one for one in found.findings if one.name == "prolog-loop"]
    assert (True, "unclear") == ("jpbo-101-00, jpbo-101-01" in loop.action, found.hope)


def refusal(answer: Told, words: str, **fields: object) -> list[str]:
    """What a refused submission is explained with."""
    asked = {"job_id": None, "account": "project_465000001", "partition": "debug"} | fields
    found = explain(row(REFUSED, words, **asked), answer, "lumi", ())
    return [one.name for one in found.findings]


def test_a_refusal_by_policy_is_taken_apart() -> None:
    """Two jobs are in the queue of a partition that takes two: that, and nothing vaguer, is said."""
    assert ["limit-submitted"] == refusal(told("refused"), POLICY)


def test_the_code_that_sbatch_prints_is_read() -> None:
    """As Slurm prints it, one line before its own words."""
    names = refusal(Told(), f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}")
    assert ["reason-QOSMaxSubmitJobPerUserLimit"] == names


def test_a_refusal_that_nothing_explains_stays_open() -> None:
    """What might be meant is a sign, not a cause."""
    counts = {"2 PENDING|debug": "0 PENDING|debug"}
    assert ["refused-policy"] == refusal(told("refused", **counts), POLICY)


def test_an_account_that_is_not_ours_is_found() -> None:
    """The association tells which are."""
    names = refusal(told("refused"), "Invalid account or account/partition combination specified", account="nobody")
    assert ["limit-account", "limit-submitted", "refused-account"] == sorted(names)


def test_a_spent_budget_is_told_as_the_sites_program_prints_it() -> None:
    """The table of lumi-allocations; 100 % is spent."""
    text = (
        "Project | CPU (used/allocated) | GPU\nproject_465000001 | 10/100 (10.0%) core-hours | 5/5 (100.0%) gpu-hours"
    )
    base = told("refused", **{"2 PENDING|debug": "0 PENDING|debug"})
    assert "budget-spent" in refusal(Told(sections=base.sections | {"budget": text}), POLICY)


def test_a_site_that_tells_nothing_leaves_the_job_as_it_is() -> None:
    """Silence is no finding."""
    found = explain(row(), Told(silent={"job": "slurm_load_jobs error"}), "lumi", ())
    assert (["nothing"], True, None) == (
        [one.name for one in found.findings],
        "slurm_load_jobs" in found.findings[0].text,
        found.hope,
    )
