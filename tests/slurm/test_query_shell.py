"""The shell of the question about all jobs, run for real under dash and bash, with stub programs for Slurm's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import drive
from aifa_hpc.slurm.query import IDS_IN_A_LINE, Subject, query
from aifa_hpc.slurm.records import Sentinel

if TYPE_CHECKING:
    from conftest import Machine


def folder(machine: Machine, token: str, **texts: str) -> str:
    """A job's folder with exit records in it, below a folder with an odd name."""
    path = machine.root / "a'; $(id) \\n b" / token
    path.mkdir(parents=True)
    for name, text in texts.items():
        (path / name).write_text(text)
    return str(path)


def log_calls(machine: Machine, queue: str = "", accounting: str = "") -> None:
    """Programs that print this and write down how they were called."""
    machine.program("squeue", f'echo "$*" >> "$ROOT/squeue.log"; printf \'{queue}\'')
    machine.program("sacct", f'echo "$*" >> "$ROOT/sacct.log"; printf \'{accounting}\'')


def test_query_for_real(machine: Machine) -> None:
    """Columns, window and ids reach the programs; records are read, half-written and missing ones passed over."""
    log_calls(machine, "banner\\n1|PENDING|Priority||N/A|0:00|a\\n", "2|FAILED|1:0|n1|x|y|9|None|b")
    subjects = [
        Subject(id="1", folder=folder(machine, "alive", exit="1 0 0 1795489200\n")),
        Subject(id="2", folder=folder(machine, "whole", exit="2 0 3 1795489200\n")),
        Subject(id="3", folder=folder(machine, "cut", exit="3 1 0 1795489200")),
        Subject(id="4", folder=folder(machine, "half", exit="4 0")),
        Subject(id="5", folder=folder(machine, "empty", exit="")),
        Subject(id="6", folder=folder(machine, "forged", exit="aifa: done 99 99\naifa: section queue\n")),
        Subject(id="7", folder=f"{machine.root}/missing"),
        Subject(id="8"),
    ]
    answer = drive(query(subjects, since="now-2days"), machine.run)
    assert answer.errors == {}
    assert answer.queue is not None
    assert answer.accounting is not None
    assert [(job.id, job.state, job.reason) for job in answer.queue.values()] == [("1", "PENDING", "Priority")]
    assert [(job.id, job.state) for job in answer.accounting.values()] == [("2", "FAILED")]
    assert answer.sentinels == {
        "whole": Sentinel(id="2", restarts=0, code=3, at=1795489200),
        "cut": Sentinel(id="3", restarts=1, code=0, at=1795489200),
    }
    assert machine.calls("squeue") == [
        "--me --noheader --states=all --jobs=1,2,3,4,5,6,7,8 --format=%i|%T|%r|%N|%S|%M|%j"
    ]
    assert [line.partition(" --format")[0] for line in machine.calls("sacct")] == [
        "-X --duplicates --parsable2 --noheader --starttime=now-2days --jobs=2,3,4,5,6,7,8"
    ]


@pytest.mark.parametrize(
    ("queue", "asked"),
    [
        ("1|RUNNING|None|n|t|0:01|a\\n2|PENDING|Priority||N/A|0:00|a\\n3|NEWSTATE|None||N/A|0:00|a\\n", ""),
        ("1|RUNNING|None|n|t|0:01|a\\n2|FAILED|None||N/A|0:00|a\\n", "2,3"),
        ("1|PENDING|BeginTime||N/A|0:00|a\\n2_1|RUNNING|None|n|t|0:01|a\\n2_2|COMPLETED|None|n|t|0:01|a\\n", "1,2,3"),
        ("1+0|RUNNING|None|n|t|0:01|a\\n1+1|RUNNING|None|n|t|0:01|a\\n2|COMPLETING|None|n|t|0:01|a\\n", "3"),
    ],
    ids=["all alive", "an end and a gap", "requeued, and a task that ended", "components"],
)
def test_accounting_is_asked_about_what_the_queue_does_not_settle(machine: Machine, queue: str, asked: str) -> None:
    """Jobs that simply wait or run are not asked about; without any, sacct does not run at all."""
    log_calls(machine, queue)
    answer = drive(query([Subject(id="1"), Subject(id="2"), Subject(id="3")], since="now"), machine.run)
    assert ({}, {}) == (answer.accounting, answer.errors)
    assert ([asked] if asked else []) == [line.split("--jobs=")[1].split()[0] for line in machine.calls("sacct")]


def test_accounting_is_asked_about_what_the_caller_wants_to_know(machine: Machine) -> None:
    """Also while the queue shows it alive."""
    log_calls(machine, "1|RUNNING|None|n|t|0:01|a\\n2|RUNNING|None|n|t|0:01|a\\n")
    drive(query([Subject(id="1"), Subject(id="2", more=True)], since="now"), machine.run)
    assert ["2"] == [line.split("--jobs=")[1].split()[0] for line in machine.calls("sacct")]


def test_it_is_asked_whether_tasks_of_arrays_that_are_gone_wait(machine: Machine) -> None:
    """One has its own number in the place of a task that was the last to wait; others do not, and one is alive."""
    log_calls(machine, "4_1|RUNNING|None|n|t|0:01|a\\n")
    lines = "11|7_0\\n7|7_4\\n12|8_0\\n8|8_[1-4%%1]\\n13|9_0\\n9|9\\n2|2\\n"
    machine.program(
        "sacct", f'echo "$*" >> "$ROOT/sacct.log"; case $* in *--format=JobIDRaw,JobID) printf \'{lines}\' ;; esac'
    )
    subjects = [Subject(id=job, tasks="0-4", more=True) for job in ("4", "7", "8", "9")]
    answer = drive(query([Subject(id="2"), *subjects], since="now"), machine.run)
    assert ({"7"}, {}) == (answer.closed, answer.errors)
    assert ["2,4,7,8,9", "7,8,9"] == [line.split("--jobs=")[1].split()[0] for line in machine.calls("sacct")]
    machine.program("sacct", "case $* in *--format=JobIDRaw,JobID) exit 1 ;; esac")
    answer = drive(query(subjects, since="now"), machine.run)
    assert (set(), {}, {}) == (answer.closed, answer.errors, answer.accounting)


@pytest.mark.parametrize("silent", ["squeue", "sacct"])
def test_query_with_a_program_that_fails(machine: Machine, silent: str) -> None:
    """Its words come back under its name; the other's warnings do not."""
    for program in ("squeue", "sacct"):
        bad = program == silent
        machine.program(program, f"echo '{program} speaks' >&2; exit {int(bad)}")
    answer = drive(query([Subject(id="1"), Subject(id="2")], since="now"), machine.run)
    assert {silent: f"{silent} speaks"} == answer.errors
    assert [None if silent == "squeue" else {}, None if silent == "sacct" else {}] == [answer.queue, answer.accounting]


@pytest.mark.parametrize(
    ("queue", "code", "read"),
    [("", 0, True), ("7_1|RUNNING|None|n|t|0:01|a\\n", 0, False), ("7_1|RUNNING|None|n|t|0:01|a\\n", 1, True)],
)
def test_records_of_tasks_are_read_when_nothing_else_tells(machine: Machine, queue: str, code: int, read: bool) -> None:
    """An array that the queue has forgotten, or that accounting is silent about: each of its indices has a record."""
    log_calls(machine, queue)
    machine.program("sacct", f"exit {code}")
    texts = {f"exit_{task}": f"9{task} 0 {task} 5\n" for task in (0, 1, 2, 10, 20, 33, 34)}
    where = folder(machine, "array", **texts)
    answer = drive(query([Subject(id="7", folder=where, tasks="0-2,10-20:10,33", more=True)], since="now"), machine.run)
    expected = {f"array_{task}": Sentinel(id=f"9{task}", restarts=0, code=task, at=5) for task in (0, 1, 2, 10, 20, 33)}
    assert (expected if read else {}) == answer.sentinels


def test_query_of_very_many(machine: Machine) -> None:
    """Thousands of ids and folders pass, more than an argument of Linux can hold."""
    jobs = [str(10_000_000 + number) for number in range(2 * IDS_IN_A_LINE + 5)]
    subjects = [Subject(id=job, folder=f"{machine.root}/{'x' * 40}/t{job}") for job in jobs]
    for program in ("squeue", "sacct"):
        machine.program(
            program,
            f'for word do case $word in --jobs=*) echo "${{word#--jobs=}}" >> "$ROOT/{program}.log"; esac; done',
        )
    answer = drive(query(subjects, since="now"), machine.run)
    assert (answer.queue, answer.accounting, answer.sentinels, answer.errors) == ({}, {}, {}, {})
    assert jobs == ",".join(machine.calls("squeue")).split(",")
    assert jobs == ",".join(machine.calls("sacct")).split(",")
    assert 3 == len(machine.calls("squeue")) == len(machine.calls("sacct"))


def test_times_are_asked_for_in_utc(machine: Machine) -> None:
    """Whatever the zone of the login shell."""
    machine.env["TZ"] = "Europe/Helsinki"
    machine.program("squeue", "printf '1|RUNNING|None|n|%s|0:01|a\\n' \"$(date -d @1795489200 +%Y-%m-%dT%H:%M:%S)\"")
    answer = drive(query([Subject(id="1")], since="now-2days"), machine.run)
    assert answer.queue is not None
    assert answer.queue["1"].start == "2026-11-24T03:00:00"
