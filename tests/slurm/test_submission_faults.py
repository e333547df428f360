"""Submissions where disks, programs and processes fail: nothing is lost, doubled, or given another's id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.slurm.submission import Outcome, Ticket, list_receipts, look_up_many, submit_many

if TYPE_CHECKING:
    from conftest import Machine


def many(machine: Machine, count: int) -> tuple[list[Ticket], list[str]]:
    """Jobs with ids from 100 on, which stand in their scripts' first lines."""
    jobs = str(machine.root / "jobs")
    tickets = [Ticket(token=f"t{number}", name=f"n-t{number}", jobs=jobs) for number in range(count)]
    return tickets, [f"#!{100 + number}\n" for number in range(count)]


READ = 'IFS= read -r first; id=${first#"#!"}\n'


def test_what_an_ended_sbatch_says_late_is_no_other_jobs_id(machine: Machine) -> None:
    """A site's wrapper is killed and the sbatch in it goes on: its id is not taken for that of the next job."""
    late = "(sleep 0.3; echo 999) & kill -9 $$"
    machine.program("sbatch", f'{READ}case $id in 100) {late};; 102) echo 102; sleep 0.8; exit;; esac; echo "$id"')
    tickets, scripts = many(machine, 3)
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert ["unknown", "submitted", "submitted"] == [one.kind for one in found]
    assert ["101", "102"] == [one.job_id for one in found[1:]]


@pytest.mark.parametrize("queue", [True, False], ids=["a queue", "at once"])
def test_an_sbatch_whose_words_are_lost_has_not_refused(machine: Machine, queue: bool) -> None:
    """A full disk swallows what it says of its lost controller: a job may exist."""
    machine.program("sbatch", f"{READ}exit 1")
    tickets, scripts = many(machine, 2)
    found = drive(submit_many(tickets, scripts, queue=queue), machine.run)
    assert ["unknown"] * 2 == [one.kind for one in found]


def test_a_receipt_that_is_written_half_is_not_listed(machine: Machine) -> None:
    """The disk was full behind its first digits."""
    machine.program("sbatch", f'{READ}echo "$id"')
    tickets, scripts = many(machine, 2)
    drive(submit_many(tickets, scripts, queue=True), machine.run)
    (Path(tickets[0].folder) / "receipt").write_text("10")
    assert {"t1": "101"} == drive(list_receipts(tickets[0].jobs), machine.run)


def test_words_without_an_end_of_line_do_not_hide_the_next_answer(machine: Machine) -> None:
    """Each answer stands in a line of its own, when it is given and when it is looked up."""
    machine.program("sbatch", f'{READ}case $id in 100 | 101) printf "bad account" >&2; exit 1;; esac; echo "$id"')
    tickets, scripts = many(machine, 4)
    refused = Outcome(kind="refused", code=1, words="bad account")
    good = [Outcome(kind="submitted", job_id=str(100 + number)) for number in (2, 3)]
    answers: list[str] = []

    def run(command: Command) -> Completed:
        done = machine.run(command)
        answers.append(done.out)
        return done

    assert [refused, refused, *good] == drive(submit_many(tickets, scripts, queue=True), run)
    assert 1 == len(answers)
    assert [refused, refused, *good] == drive(look_up_many(tickets, fence=True), machine.run)


def test_a_program_that_is_ended_leaves_the_other_lane_its_files(machine: Machine) -> None:
    """One of two lanes gets SIGTERM: the jobs of the other one are submitted, none is refused for a missing file."""
    machine.program("sbatch", f'{READ}[ "$id" != 101 ] || kill -15 "$PPID"; sleep 0.3; echo "$id"')
    tickets, scripts = many(machine, 6)
    drive(submit_many(tickets, scripts, queue=True), machine.run)
    machine.program("sbatch", f'{READ}echo "$id"')
    drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert [] == [str(path) for path in (machine.root / "jobs").rglob("refusal")]
    told = drive(list_receipts(tickets[0].jobs), machine.run)
    assert {f"t{number}": str(100 + number) for number in range(6)} == told | {"t1": "101"}


def test_what_killed_programs_left_is_removed_after_a_day(machine: Machine) -> None:
    """Their folders are, and those of programs that work now are not."""
    machine.program("sbatch", f'{READ}echo "$id"')
    jobs = machine.root / "jobs"
    for name, age in ((".batch.old", 2 * 86400), (".batch.new", 60)):
        (jobs / name / "new" / "t").mkdir(parents=True)
        at = (jobs / name).stat().st_mtime - age
        os.utime(jobs / name, (at, at))
    tickets, scripts = many(machine, 1)
    drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert [".batch.new", "t0"] == sorted(path.name for path in jobs.iterdir())


@pytest.mark.parametrize("name", ["2.out", "2.said"])
def test_where_an_answer_has_no_place_nothing_is_begun(machine: Machine, name: str) -> None:
    """A quota of files is used up just then: the job is not claimed, and is submitted when it is sent again."""
    machine.program("sbatch", f'{READ}echo "$id"')
    machine.program("mv", f'/bin/mv "$@"; mkdir ../{name}')
    tickets, scripts = many(machine, 3)
    kinds = [one.kind for one in drive(submit_many(tickets, scripts, queue=True), machine.run)]
    assert ["submitted", "unknown", "submitted"] == kinds
    (machine.root / "bin" / "mv").unlink()
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert ["100", "101", "102"] == [one.job_id for one in found]
