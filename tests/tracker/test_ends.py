"""Why jobs ended, by what accounting and logs say, and by nothing more."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.slurm.inquiry import Told
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.ends import size_of
from aifa_hpc.tracker.events import LOST, NOT_SENT, UNKNOWN, Status
from aifa_hpc.tracker.explain import TAIL_LINES, explain
from aifa_hpc.tracker.explaining import part_of
from aifa_hpc.tracker.failures import load_patterns
from aifa_hpc.tracker.records import Row

if TYPE_CHECKING:
    from aifa_hpc.tracker.explanation import Explanation

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


def row(status: Status, **fields: object) -> Row:
    """A remembered job."""
    known = {"token": "t", "site": "lumi", "name": "n", "job_id": "9", "folder": "/f", "created_at": NOW}
    return Row(**(known | {"changed_at": NOW, "status": status} | fields))  # type: ignore[arg-type] # a test's own


def record(step: str = "", state: str = "FAILED", code: str = "1:0", **fields: str) -> str:
    """A line of sacct; Slurm 22.05 and 24.11 print it alike."""
    known = {
        "JobID": f"9{step}",
        "State": state,
        "ExitCode": code,
        "DerivedExitCode": "0:0",
        "Elapsed": "00:05:01",
        "Timelimit": "00:05:00",
        "NodeList": "nid005001",
        "NNodes": "1",
        "ReqMem": "480G",
        "MaxRSS": "",
        "MaxRSSNode": "",
        "Submit": "2026-11-24T08:00:00",
        "Start": "2026-11-24T08:01:00",
        "End": "2026-11-24T08:06:01",
        "Reason": "None",
        "JobName": "n",
    } | fields
    return "|".join(known.values()) + "\n"


def why(state: str, *records: str, log: str = "", code: ExitStatus | None = None, cluster: str = "lumi") -> Explanation:
    """The explanation of a job that ended."""
    logs = {"/f/9.out": tuple(log.splitlines())} if log else {}
    told = Told(sections={"steps": "".join(records)}, logs=logs)
    return explain(row(Status(state=state, exit=code, proof="sacct")), told, cluster, load_patterns())


def names(found: Explanation, weight: str = "cause") -> list[str]:
    """Of the findings of that weight."""
    return [one.name for one in found.findings if one.weight == weight]


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("TIMEOUT", "time-limit"),
        ("OUT_OF_MEMORY", "host-memory"),
        ("NODE_FAIL", "node-failure"),
        ("BOOT_FAIL", "node-failure"),
        ("PREEMPTED", "preempted"),
        ("DEADLINE", "deadline"),
        ("CANCELLED", "cancelled"),
    ],
)
def test_a_state_that_says_why_is_a_cause(state: str, name: str) -> None:
    """With accounting's own line as its evidence."""
    found = why(state, record(state=state), log="x")
    assert ([name], True) == (names(found), found.findings[0].evidence.startswith(f"9 {state} 1:0 after 00:05:01"))


def test_who_cancelled_is_told() -> None:
    """By the number that accounting gives."""
    found = why("CANCELLED", record(state="CANCELLED by 5001"), log="x")
    assert "it was cancelled by the user with number 5001" == found.findings[0].text


def test_a_failure_is_explained_by_its_log() -> None:
    """FAILED alone is no cause; the pattern in the log is, and the line is shown."""
    found = why("FAILED", record(), log="a\nCUDA out of memory. Tried", code=ExitStatus(1))
    assert (["gpu-memory"], ["exit-code"]) == (names(found), names(found, "note"))
    assert ("CUDA out of memory. Tried", "/f/9.out") == (found.findings[0].evidence, found.findings[0].origin)


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        (ExitStatus(127), "program-missing", "a program was not found"),
        (ExitStatus(126), "not-executable", "could not be run"),
        (ExitStatus(137), "signal", "SIGKILL"),
        (ExitStatus(139), "signal", "SIGSEGV"),
        (ExitStatus(0, 15), "signal", "SIGTERM"),
        (ExitStatus(0, 53), "no-start", "could not start its script"),
    ],
)
def test_what_an_exit_status_suggests_is_a_sign(code: ExitStatus, name: str, text: str) -> None:
    """It may have another cause, so it is not called one."""
    (sign,) = [one for one in why("FAILED", record(), log="x", code=code).findings if one.weight == "sign"]
    assert (name, True) == (sign.name, text in sign.text)


@pytest.mark.parametrize(
    ("state", "reason", "name"),
    [
        ("CANCELLED", "Dependency", "dependency"),
        ("CANCELLED by 5001", "Dependency", "cancelled"),
        ("CANCELLED", "None", "cancelled"),
    ],
)
def test_who_cancelled_a_job_that_waited_for_another(state: str, reason: str, name: str) -> None:
    """As sacct 22.05.8 tells it: Slurm itself, because the other failed, or a user."""
    told = record(state=state, code="0:0", Start="None", Reason=reason)
    assert [name] == names(why("CANCELLED", told))


def test_a_signal_that_accounting_hides_is_seen() -> None:
    """The same job: sacct of Slurm 22.05 says 9:0, and the script's own record 137."""
    told = Told(sections={"steps": record(code="9:0"), "sentinel": "9 0 137 1795500000"})
    found = explain(row(Status(state="FAILED", exit=ExitStatus(9), proof="sacct")), told, "lumi", ())
    (sign,) = [one for one in found.findings if one.name == "signal"]
    assert ("a process of it was ended by SIGKILL", "exit 137") == (sign.text, sign.evidence)


def test_a_code_that_the_program_chose_is_only_told() -> None:
    """Where nothing is known it says so, and shows the log's end."""
    log = "\n".join(f"line {number}" for number in range(99))
    found = why("FAILED", record(), log=log, code=ExitStatus(3))
    assert (["exit-code", "nothing"], TAIL_LINES, "line 98") == (
        names(found, "note"),
        len(found.tail),
        found.tail[-1],
    )


def test_a_step_that_ran_out_of_memory_is_found() -> None:
    """The job's own state may be FAILED."""
    lines = record(), record(".batch"), record(".0", "OUT_OF_MEMORY", "0:125", MaxRSS="470G", MaxRSSNode="nid005001")
    found = why("FAILED", *lines, log="x")
    assert (["host-memory"], ["memory"]) == (names(found), names(found, "sign"))
    assert "more memory on each node" in found.findings[0].action
    (memory,) = [one for one in found.findings if one.name == "memory"]
    assert ("480G was asked for", "9.0 MaxRSS=470G on nid005001") == (memory.text.rpartition("; ")[2], memory.evidence)


def test_memory_that_was_not_full_is_a_note() -> None:
    """A tenth of what was asked for explains nothing."""
    found = why("FAILED", record(), record(".0", MaxRSS="1024000K", MaxRSSNode="nid005001"), log="x")
    assert "memory" in names(found, "note")


def test_attempts_are_told() -> None:
    """A job that was requeued once, and one in JUPITER's loop of failing prologs."""
    first = record(state="NODE_FAIL", Submit="2026-11-24T07:00:00")
    assert "attempts" in names(why("FAILED", first, record(), log="x"), "note")
    loop = [record(state="REQUEUED", code="0:54", Submit=f"2026-11-24T07:0{number}:00") for number in range(3)]
    found = why("FAILED", *loop, record(), log="x", cluster="jupiter")
    assert ("prolog-loop", True) == (found.findings[0].name, "3 attempts" in found.findings[0].text)


def test_a_job_that_left_no_log_may_never_have_begun() -> None:
    """Accounting says that it ran and there is no file."""
    found = why("FAILED", record(), code=ExitStatus(0, 53))
    assert ["no-start", "no-log"] == names(found, "sign")


def test_a_job_that_ended_well_has_nothing_to_explain() -> None:
    """Words in its log do not make it a failure."""
    found = why("COMPLETED", record(state="COMPLETED", code="0:0"), log="CUDA out of memory, retrying")
    assert ["it ended well"] == [one.text for one in found.findings]


@pytest.mark.parametrize("state", [LOST, NOT_SENT, UNKNOWN])
def test_states_of_our_own_say_what_to_do(state: str) -> None:
    """None of them is Slurm's."""
    found = explain(row(Status(state=state, reason="because"), job_id=None), Told(), "lumi", ())
    assert (state.lower(), "because", True) == (
        found.findings[0].name,
        found.findings[0].evidence,
        bool(found.findings[0].action),
    )


def test_a_running_job_has_nothing_wrong() -> None:
    """As far as the site tells."""
    found = explain(row(Status(state="RUNNING")), Told(), "lumi", ())
    assert "nothing is wrong with it" in found.findings[0].text


def test_the_part_of_a_chain_that_matters() -> None:
    """The link that goes on; else the last that ran and failed; else the last."""
    done = row(Status(state="COMPLETED", elapsed_seconds=9), token="a")
    failed = row(Status(state="TIMEOUT", elapsed_seconds=9), token="b")
    never = row(Status(state="CANCELLED"), token="c")
    alive = row(Status(state="PENDING"), token="d")
    assert ["d", "b", "a"] == [
        part_of(parts).token for parts in ([done, failed, never, alive], [done, failed, never], [done])
    ]


@pytest.mark.parametrize(
    ("text", "size"), [("12345K", 12345 << 10), ("1.50G", 3 << 29), ("0", 0), ("", 0), ("16?", 0), ("480Gn", 0)]
)
def test_sizes_of_sacct(text: str, size: int) -> None:
    """What is no size is none."""
    assert size == size_of(text)
