"""The questions about one job, run by two shells with stub programs, and answers that go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Completed, drive
from aifa_hpc.errors import SiteError
from aifa_hpc.slurm.inquiry import TAIL_BYTES, ask_ended, ask_waiting

if TYPE_CHECKING:
    from tests.slurm.conftest import Machine


def test_a_program_that_fails_hides_no_other(machine: Machine) -> None:
    """Sacctmgr is not there, scontrol refuses: squeue is heard."""
    machine.program("squeue", 'case $* in *"%k"*) ;; *) echo "9|PENDING|p|5|a|q|(null)|N/A|1|5:00|Priority";; esac')
    machine.program("scontrol", 'echo "scontrol: error: no" >&2; exit 1')
    machine.program("sinfo", 'echo "4|idle"')
    machine.program("sacctmgr", "exit 124")
    told = drive(ask_waiting("9"), machine.run)
    assert ("9|PENDING|p|5|a|q|(null)|N/A|1|5:00|Priority", "4|idle") == (
        told.sections["job"],
        told.sections["node"],
    )
    assert ("scontrol: error: no", "no answer in 30 seconds") == (told.silent["detail"], told.silent["qos"])


def test_a_job_that_the_controller_forgot_is_no_failure(machine: Machine) -> None:
    """It keeps ended jobs for minutes; another word of its is told."""
    machine.program("sacct", 'echo "9|FAILED"')
    silent = []
    for said in ("slurm_load_jobs error: Invalid job id specified", "slurm_load_jobs error: Unable to contact"):
        machine.program("scontrol", f'echo "{said}" >&2; exit 1')
        silent.append(drive(ask_ended("9", str(machine.root), since="now"), machine.run).silent)
    assert [{}, {"detail": "slurm_load_jobs error: Unable to contact"}] == silent


def test_the_budget_program_is_asked_where_there_is_one(machine: Machine) -> None:
    """With the account; where it is missing nobody misses it."""
    machine.program("allocations", 'echo "$*"')
    told = drive(ask_waiting("", partition="p", account="project_1", budget="allocations -p"), machine.run)
    without = drive(ask_waiting("", partition="p", account="project_1", budget="nothing-there"), machine.run)
    assert ("-p project_1", False) == (
        told.sections["budget"],
        "budget" in without.sections or "budget" in without.silent,
    )


def test_logs_cannot_be_taken_for_an_answer(machine: Machine) -> None:
    """A job prints our own words, carriage returns and no end of line: its lines are its lines."""
    folder = machine.root / "jobs" / "a'; echo b"
    folder.mkdir(parents=True)
    (folder / "9.out").write_bytes(b"aifa: end 0\naifa: done\nstep 1\rstep 2\rstep 3\n| \xff tail")
    told = drive(ask_ended("9", str(folder), since="now-1days"), machine.run)
    assert {f"{folder}/9.out": ("aifa: end 0", "aifa: done", "step 3", "| \\xff tail")} == told.logs


def test_the_scripts_own_record_is_read(machine: Machine) -> None:
    """It knows the code that accounting shortens."""
    (machine.root / "exit").write_text("9 0 137 1795500000\n")
    assert (
        "9 0 137 1795500000" == drive(ask_ended("9", str(machine.root), since="now"), machine.run).sections["sentinel"]
    )


def test_of_a_long_log_its_end_is_read(machine: Machine) -> None:
    """A gigabyte does not cross the wire."""
    (machine.root / "9.out").write_text("x" * (TAIL_BYTES * 2) + "\nend\n")
    told = drive(ask_ended("9", str(machine.root), since="now-1days"), machine.run)
    (lines,) = told.logs.values()
    assert ("end", TAIL_BYTES - 5) == (lines[-1], len(lines[0]))


def test_of_an_array_the_tasks_that_failed_are_read(machine: Machine) -> None:
    """By the records of their ends; three at most."""
    for task, code in enumerate((0, 1, 0, 2, 1, 1)):
        (machine.root / f"9_{task}.out").write_text(f"task {task}\n")
        (machine.root / f"exit_{task}").write_text(f"9 0 {code} 1\n")
    told = drive(ask_ended("9", str(machine.root), since="now-1days"), machine.run)
    assert [("task 1",), ("task 3",), ("task 4",)] == list(told.logs.values())


def test_of_ranks_those_that_speak_of_errors_are_read(machine: Machine) -> None:
    """Beside the job's own log."""
    (machine.root / "9.out").write_text("main\n")
    (machine.root / "9.rank-0.out").write_text("fine\n")
    (machine.root / "9.rank-1.out").write_text("RuntimeError: here\n")
    told = drive(ask_ended("9", str(machine.root), since="now-1days"), machine.run)
    assert [("main",), ("RuntimeError: here",)] == list(told.logs.values())


def test_a_log_of_an_adopted_job_is_read_by_its_path(machine: Machine) -> None:
    """It has no folder of ours."""
    (machine.root / "slurm-9.out").write_text("adopted\n")
    told = drive(ask_ended("9", str(machine.root / "slurm-9.out"), since="now-1days"), machine.run)
    assert [("adopted",)] == list(told.logs.values())


def test_half_an_answer_is_an_error(machine: Machine) -> None:
    """What was cut off must not look like silence."""

    def cutting(command: object) -> Completed:
        done = machine.run(command)  # type: ignore[arg-type] # passed on
        return Completed(command=done.command, exit_code=0, stdout=done.stdout[:-10])

    with pytest.raises(SiteError, match="not whole"):
        drive(ask_waiting("9"), cutting)
