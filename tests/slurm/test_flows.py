"""Flows driven by functions: what they ask, and what they make of every answer."""

from __future__ import annotations

import pytest

from aifa_hpc.command import drive
from aifa_hpc.errors import ParseError, SiteError
from aifa_hpc.slurm.flows import IDS_IN_A_LINE, cancel, query, read_log
from aifa_hpc.slurm.records import Answer, JobRecord, Sentinel
from tests.slurm.answering import answers


def section(name: str, body: str, said: str = "", code: int = 0) -> str:
    """One program's part of an answer."""
    return f"aifa: section {name}\n{body}\naifa: said {said}\naifa: end {code}\n"


def test_query_reads_all_three() -> None:
    """Queue, accounting and sentinels of one answer; sentinels are known by the name of their folder."""
    out = (
        section("queue", "11|RUNNING|None|n1|2026-11-24T03:00:00|1:01|digits\n")
        + section("accounting", "11|RUNNING|0:0|n1|2026-11-24T03:00:00|Unknown|61|None|digits\n")
        + "aifa: sentinel 2 12 0 3 1795489200\naifa: done 2\n"
    )
    run, seen = answers((0, out))
    answer = drive(query(["11", "12"], ["/j/a b", "/j/t2/"], since="now-1days"), run)
    running = JobRecord(
        id="11", state="RUNNING", nodes="n1", start="2026-11-24T03:00:00", elapsed_seconds=61, name="digits"
    )
    assert answer.queue == {"11": running}
    assert answer.accounting is not None
    assert [(r.id, r.state, r.elapsed_seconds) for r in answer.accounting.values()] == [("11", "RUNNING", 61)]
    assert answer.sentinels == {"t2": Sentinel(id="12", restarts=0, code=3, at=1795489200)}
    assert answer.errors == {}
    assert seen[0].stdin == b"11,12\n\n/j/a b\n/j/t2/\n"


def test_query_of_nothing_asks_no_program() -> None:
    """Without ids no program runs: `squeue --jobs=` would list every job of the machine."""
    run, seen = answers((0, "aifa: done 0\n"))
    assert drive(query([], [], since="now"), run) == Answer(queue={}, accounting={}, sentinels={}, errors={})
    assert seen[0].stdin == b"\n"


def test_one_silent_program_does_not_hide_the_other() -> None:
    """A program that failed answers nothing at all, in its own words; the other's answer stands."""
    down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    out = section("queue", "", down, 1) + section("accounting", "11|FAILED|1:0|n1|x|y|9|None|a\n") + "aifa: done 0\n"
    run, _ = answers((0, out))
    answer = drive(query(["11"], [], since="now"), run)
    assert answer.queue is None
    assert answer.errors == {"squeue": down}
    assert answer.accounting is not None
    assert [record.state for record in answer.accounting.values()] == ["FAILED"]


def test_part_of_a_failed_answer_is_no_answer() -> None:
    """When one of several portions failed, what it did not say must not look like absence."""
    good = section("queue", "1|RUNNING|None|n1|x|0:01|a\n") + section("accounting", "")
    bad = section("queue", "", "boom", 1) + section("accounting", "")
    run, seen = answers((0, good + bad + "aifa: done 0\n"))
    jobs = [str(number) for number in range(1, IDS_IN_A_LINE + 2)]
    answer = drive(query(jobs, [], since="now"), run)
    assert (answer.queue, answer.accounting) == (None, {})
    assert len(seen[0].stdin.split(b"\n\n")[0].split(b"\n")) == 2


def test_a_single_unknown_id_is_an_answer() -> None:
    """Squeue fails for one id that has left the queue, and that means: it has left the queue."""
    out = section("queue", "", "slurm_load_jobs error: Invalid job id specified", 1)
    run, _ = answers((0, out + section("accounting", "") + "aifa: done 0\n"))
    answer = drive(query(["11"], [], since="now"), run)
    assert (answer.queue, answer.errors) == ({}, {})


@pytest.mark.parametrize(
    "out",
    [
        "",
        "aifa: section queue\n",
        section("queue", "") + "aifa: done 1\n",
        section("queue", "") + section("accounting", ""),
        section("queue", "") + section("accounting", "") + "aifa: done 0\n",
    ],
)
def test_a_cut_answer_is_refused(out: str) -> None:
    """An answer without all its parts is the site's fault, not a job that is gone."""
    run, _ = answers((0, out))
    with pytest.raises(SiteError, match="not whole"):
        drive(query(["11"], ["/j/t"], since="now"), run)


@pytest.mark.parametrize(("jobs", "folders"), [(["1\n2"], []), ([], ["/a\nb"])])
def test_line_breaks_in_a_question_are_refused(jobs: list[str], folders: list[str]) -> None:
    """A line break would shift every folder behind it."""
    run, seen = answers()
    with pytest.raises(ParseError, match="line breaks"):
        drive(query(jobs, folders, since="now"), run)
    assert seen == []


def test_cancel() -> None:
    """A refusal to cancel carries Slurm's words."""
    run, seen = answers((0, ""), (1, "", "scancel: error: Kill job error on job id 5: Access/permission denied"))
    drive(cancel("5"), run)
    with pytest.raises(SiteError, match="Access/permission denied"):
        drive(cancel("5"), run)
    assert [command.argv for command in seen] == [("scancel", "5")] * 2


@pytest.mark.parametrize(("offset", "limit"), [(-1, 5), (0, -1)])
def test_log_positions_cannot_be_negative(offset: int, limit: int) -> None:
    """Nothing is asked for a place that no file has."""
    run, seen = answers()
    with pytest.raises(ParseError, match="negative"):
        drive(read_log("/x", offset=offset, limit=limit), run)
    assert seen == []
