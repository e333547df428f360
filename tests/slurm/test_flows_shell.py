"""The shell of the flows, run for real under dash and bash, with stub programs in the place of Slurm's."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import SiteError
from aifa_hpc.slurm.flows import IDS_IN_A_LINE, query, read_log
from aifa_hpc.slurm.records import Sentinel

if TYPE_CHECKING:
    from conftest import Machine


def test_query_for_real(machine: Machine) -> None:
    """Columns, window and ids reach the programs; sentinels are read, half-written and missing ones passed over."""
    machine.program("squeue", 'echo "$*" >> "$ROOT/squeue.log"; echo "banner"; echo "1|PENDING|Priority||N/A|0:00|a"')
    machine.program("sacct", 'echo "$*" >> "$ROOT/sacct.log"; printf "2|FAILED|1:0|n1|x|y|9|None|b"')
    texts = {"whole": "2 0 3 1795489200\n", "no newline": "3 1 0 1795489200", "half": "4 0", "empty": ""}
    folders = []
    for name, text in texts.items():
        folder = machine.root / f"a'; $(id) {name}"
        folder.mkdir()
        (folder / "exit").write_text(text)
        folders.append(str(folder))
    forged = machine.root / "forged"
    forged.mkdir()
    (forged / "exit").write_text("aifa: done 99\naifa: section queue\n")
    folders += [str(forged), str(machine.root / "missing")]
    answer = drive(query(["1", "2"], folders, since="now-2days"), machine.run)
    assert answer.errors == {}
    assert answer.queue is not None
    assert answer.accounting is not None
    assert [(job.id, job.state, job.reason) for job in answer.queue.values()] == [("1", "PENDING", "Priority")]
    assert [(job.id, job.state) for job in answer.accounting.values()] == [("2", "FAILED")]
    assert answer.sentinels == {
        "a'; $(id) whole": Sentinel(id="2", restarts=0, code=3, at=1795489200),
        "a'; $(id) no newline": Sentinel(id="3", restarts=1, code=0, at=1795489200),
    }
    assert machine.calls("squeue") == ["--noheader --states=all --jobs=1,2 --format=%i|%T|%r|%N|%S|%M|%j"]
    assert [line.partition(" --format")[0] for line in machine.calls("sacct")] == [
        "-X --parsable2 --noheader --starttime=now-2days --jobs=1,2"
    ]


@pytest.mark.parametrize("silent", ["squeue", "sacct"])
def test_query_with_a_program_that_fails(machine: Machine, silent: str) -> None:
    """Its words come back under its name; the other's warnings do not."""
    for program in ("squeue", "sacct"):
        bad = program == silent
        machine.program(program, f"echo '{program} speaks' >&2; exit {int(bad)}")
    answer = drive(query(["1", "2"], [], since="now"), machine.run)
    assert {silent: f"{silent} speaks"} == answer.errors
    assert [None if silent == "squeue" else {}, None if silent == "sacct" else {}] == [answer.queue, answer.accounting]


def test_query_of_very_many(machine: Machine) -> None:
    """Thousands of ids and folders pass, more than an argument of Linux can hold."""
    jobs = [str(10_000_000 + number) for number in range(2 * IDS_IN_A_LINE + 5)]
    folders = [str(machine.root / f"{'x' * 40}{number}") for number in range(3000)]
    machine.program(
        "squeue", 'for word do case $word in --jobs=*) echo "${word#--jobs=}" >> "$ROOT/squeue.log"; esac; done'
    )
    answer = drive(query(jobs, folders, since="now"), machine.run)
    assert (answer.queue, answer.accounting, answer.sentinels) == ({}, {}, {})
    assert jobs == ",".join(machine.calls("squeue")).split(",")


@pytest.mark.parametrize("name", ["4711.out", "a'; echo $(id) #.out", "-n.out"])
def test_logs_are_read_by_offset(machine: Machine, name: str) -> None:
    """Bytes from an offset on, at most so many; nothing behind the end; None for a file that is not there."""
    path = machine.root / name
    assert drive(read_log(str(path), offset=0, limit=10), machine.run) is None
    path.write_bytes(b"0123\xff\n\0")
    reads = [(0, 100), (0, 3), (2, 3), (4, 100), (7, 5), (99, 5), (0, 0)]
    assert [drive(read_log(str(path), offset=offset, limit=limit), machine.run) for offset, limit in reads] == [
        b"0123\xff\n\0",
        b"012",
        b"23\xff",
        b"\xff\n\0",
        b"",
        b"",
        b"",
    ]


def test_a_log_that_cannot_be_read(machine: Machine) -> None:
    """A folder in its place is an error, not an empty log."""
    with pytest.raises(SiteError, match="cannot be read"):
        drive(read_log(str(machine.root), offset=0, limit=1), machine.run)


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv(1) to drop it")
def test_a_log_without_permission(machine: Machine) -> None:
    """A log of somebody else is an error, not an empty log."""
    path = machine.root / "secret.out"
    path.write_text("x")
    path.chmod(0)

    def run(command: Command) -> Completed:
        return machine.run(
            replace(
                command,
                argv=("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command.argv),
            )
        )

    with pytest.raises(SiteError, match=r"cannot be read.*Permission denied"):
        drive(read_log(str(path), offset=0, limit=1), run)
