"""``aifa logs`` of several jobs, tasks and ranks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Aifa


def test_several_jobs_are_followed_at_once(aifa: Aifa) -> None:
    """Each line comes once, under a heading that says whose it is, and their ends are told."""
    jobs = []
    for number in (1, 2):
        words = f'["sh", "-c", "for i in 1 2 3; do echo {number}$i; sleep 0.3; done"]'
        jobs.append(aifa("submit", aifa.job(f"job{number}", command=words), "--site", "local", "--json").json["id"])
    ran = aifa("logs", "-f", *jobs)
    lines = [line for line in ran.out.splitlines() if line and not line.startswith("==>")]
    assert (0, ["11", "12", "13", "21", "22", "23"]) == (ran.code, sorted(lines)), ran.err
    assert all(f"==> {job} <==" in ran.out and f"job {job}: COMPLETED" in ran.err for job in jobs)


def test_machines_get_a_line_for_each_piece(aifa: Aifa) -> None:
    """It names the job and the file."""
    text = aifa.job(command='["sh", "-c", "echo task $AIFA_ARRAY_TASK_ID"]', rest="[array]\ncount = 2\n")
    job = aifa("submit", text, "--site", "local", "--wait", "--json").json["id"]
    ran = aifa("logs", job, "--json")
    assert {(job, f"{job}_0", "task 0\n"), (job, f"{job}_1", "task 1\n")} == {
        (line["id"], line["file"], line["log"]) for line in map(json.loads, ran.out.splitlines())
    }


def test_one_task_one_rank_and_the_last_lines(aifa: Aifa) -> None:
    """Each narrows what is printed."""
    words = '["sh", "-c", "echo first; echo rank $SLURM_PROCID"]'
    text = aifa.job(kind='"srun"\nlog_per_rank = true', resources="tasks_per_node = 2", command=words)
    job = aifa("submit", text, "--site", "local", "--wait", "--json").json["id"]
    assert "first\nrank 1\n" == aifa("logs", job, "--rank", "1").out
    assert "rank 0\n" == aifa("logs", job, "--rank", "0", "--tail", "1").out
    array = aifa.job("array", command='["sh", "-c", "echo $AIFA_ARRAY_TASK_ID"]', rest='[array]\ntasks = "3,30"\n')
    job = aifa("submit", array, "--site", "local", "--wait", "--json").json["id"]
    assert "3\n" == aifa("logs", f"{job}_3").out
    none = aifa("logs", job, "--rank", "7")
    assert (0, "", True) == (none.code, none.out, "no log of rank 7" in none.err), none.err
    missing = aifa("logs", f"{job}_5")
    assert (2, True) == (missing.code, f"job {job} has no task '5': its tasks are 3,30. {job} alone" in missing.err)


def test_a_job_that_nobody_knows_is_an_input_error(aifa: Aifa) -> None:
    """Before any log is read."""
    ran = aifa("logs", "7", "8")
    assert (2, True) == (ran.code, "no job '7'" in ran.err)
