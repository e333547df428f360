"""The question about all jobs: what it asks, and what it makes of every answer."""

from __future__ import annotations

import pytest

from aifa_hpc.command import drive
from aifa_hpc.errors import ParseError, SiteError
from aifa_hpc.slurm.query import Subject, query
from aifa_hpc.slurm.records import Answer, JobRecord, Sentinel
from tests.slurm.answering import answers


def section(name: str, body: str, said: str = "", code: int = 0) -> str:
    """One program's part of an answer."""
    return f"aifa: section {name}\n{body}\naifa: said {said}\naifa: end {code}\n"


def done(queue: int = 1, accounting: int = 1) -> str:
    """The last line."""
    return f"aifa: done {queue} {accounting}\n"


ELEVEN = [Subject(id="11", folder="/j/t")]


def test_query_reads_all_three() -> None:
    """Queue, accounting and exit records of one answer; records are known by the name of their folder."""
    out = (
        section("queue", "11|RUNNING|None|n1|2026-11-24T03:00:00|1:01|digits\n")
        + section("accounting", "11|RUNNING|0:0|n1|2026-11-24T03:00:00|Unknown|61|None|digits\n")
        + "aifa: record 12 - 12 0 3 1795489200\naifa: record 13 7 99 1 4 1795489200\naifa: record 14 - 1 1 1 1\n"
        + done()
    )
    run, seen = answers((0, out))
    subjects = [Subject(id="11", folder="/j/t1"), Subject(id="12", folder="/j/t2"), Subject("13", "/k/t3", "0-9")]
    answer = drive(query([*subjects, Subject(id="15", more=True)], since="now-1days"), run)
    running = JobRecord(
        id="11",
        state="RUNNING",
        nodes="n1",
        start="2026-11-24T03:00:00",
        elapsed_seconds=61,
        name="digits",
        gist="RUNNING|None|n1|2026-11-24T03:00:00",
    )
    assert answer.queue == {"11": running}
    assert answer.accounting is not None
    assert [(r.id, r.state, r.elapsed_seconds) for r in answer.accounting.values()] == [("11", "RUNNING", 61)]
    assert answer.sentinels == {
        "t2": Sentinel(id="12", restarts=0, code=3, at=1795489200),
        "t3_7": Sentinel(id="99", restarts=1, code=4, at=1795489200),
    }
    assert answer.errors == {}
    assert seen[0].stdin == b"in /j\njob 11 less t1 \njob 12 less t2 \nin /k\njob 13 less t3 0-9\nin \njob 15 more - \n"


def test_what_is_as_it_was_is_no_news() -> None:
    """A job whose line says what it said last time is only named; how long it has run is no news."""
    lines = "11|RUNNING|None|n1|t|1:01|a\n12|RUNNING|None|n2|t|0:09|b\n"
    run, _ = answers((0, section("queue", lines) + done(1, 0)))
    known = "RUNNING|None|n1|t"
    answer = drive(query([Subject(id="11", seen=known), Subject(id="12", seen=known)], since="now"), run)
    assert {"11"} == answer.same
    assert answer.queue is not None
    assert ["12"] == list(answer.queue)


def test_query_of_nothing_asks_no_program() -> None:
    """Without ids no program runs: `squeue --jobs=` would list every job of the machine."""
    run, seen = answers((0, done(0, 0)))
    assert drive(query([], since="now"), run) == Answer(queue={}, accounting={}, sentinels={}, errors={})
    assert seen[0].stdin == b""


def test_one_silent_program_does_not_hide_the_other() -> None:
    """A program that failed answers nothing at all, in its own words; the other's answer stands."""
    down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    out = section("queue", "", down, 1) + section("accounting", "11|FAILED|1:0|n1|x|y|9|None|a\n") + done()
    run, _ = answers((0, out))
    answer = drive(query(ELEVEN, since="now"), run)
    assert answer.queue is None
    assert answer.errors == {"squeue": down}
    assert answer.accounting is not None
    assert [record.state for record in answer.accounting.values()] == ["FAILED"]


def test_part_of_a_failed_answer_is_no_answer() -> None:
    """When one of several portions failed, what it did not say must not look like absence."""
    good = section("queue", "1|RUNNING|None|n1|x|0:01|a\n") + section("accounting", "")
    run, _ = answers((0, good + section("queue", "", "boom", 1) + section("accounting", "") + done(2, 2)))
    answer = drive(query(ELEVEN, since="now"), run)
    assert (answer.queue, answer.accounting) == (None, {})


def test_a_single_unknown_id_is_an_answer() -> None:
    """Squeue fails for one id that has left the queue, and that means: it has left the queue."""
    out = section("queue", "", "slurm_load_jobs error: Invalid job id specified", 1)
    run, _ = answers((0, out + section("accounting", "") + done()))
    answer = drive(query(ELEVEN, since="now"), run)
    assert (answer.queue, answer.errors) == ({}, {})


@pytest.mark.parametrize(
    "out",
    [
        "",
        "aifa: section queue\n",
        section("queue", "") + section("accounting", ""),
        section("queue", "") + done(),
        section("accounting", "") + done(),
        section("queue", "") + section("accounting", "") + "aifa: done 1\n",
    ],
)
def test_a_cut_answer_is_refused(out: str) -> None:
    """An answer without all its parts is the site's fault, not a job that is gone."""
    run, _ = answers((0, out))
    with pytest.raises(SiteError, match="not whole"):
        drive(query(ELEVEN, since="now"), run)


@pytest.mark.parametrize("subject", [Subject(id="1\n2"), Subject(id="1", folder="/a\nb/t")])
def test_line_breaks_in_a_question_are_refused(subject: Subject) -> None:
    """A line break would shift every job behind it."""
    run, seen = answers()
    with pytest.raises(ParseError, match="line breaks"):
        drive(query([subject], since="now"), run)
    assert seen == []
