"""What happens when somebody is killed: the submitter, the supervisor, the script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from aifa_hpc.embedded.processes import Process, is_alive, process_table, started
from aifa_hpc.embedded.store import Store

if TYPE_CHECKING:
    from .conftest import Scheduler

SUBMITTER = """
import os, pathlib, signal, sys
from aifa_hpc.command import Command
from aifa_hpc.embedded import EmbeddedTransport
transport = EmbeddedTransport(pathlib.Path(sys.argv[1]))
command = ("sbatch", "--parsable", "--chdir", sys.argv[2], "--wrap", "sleep 0.5; echo done")
print(transport.run(Command(argv=command)).out, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_outlives_its_submitter(slurm: Scheduler) -> None:
    """The process that submitted is killed; the job goes on and a new transport finds it."""
    submitter = subprocess.run(
        [sys.executable, "-c", SUBMITTER, str(slurm.root), str(slurm.work)], capture_output=True, check=False
    )
    assert -signal.SIGKILL == submitter.returncode
    job = submitter.stdout.decode().strip()
    assert ["COMPLETED"] == slurm.until_over(job)
    assert "done\n" == slurm.output(job)


def supervisor(slurm: Scheduler, job: str) -> int:
    """The process that runs a job."""
    store = Store(slurm.transport.settings.database)
    row = store.job(int(job))
    store.close()
    assert row is not None
    return int(row.pid)


def test_a_dead_supervisor_is_noticed(slurm: Scheduler) -> None:
    """The job becomes NODE_FAIL at the next question, and nothing of it is left running."""
    job = slurm.submit("srun -n2 sleep 60 & sleep 61", "-n2")
    slurm.until(lambda: "1.0" in slurm.out("sacct", "-n", "-P", "-o", "JobID"))
    slurm.until(lambda: len(slurm.processes()) >= 5)
    os.kill(supervisor(slurm, job), signal.SIGKILL)
    slurm.until(lambda: slurm.states(job) == ["NODE_FAIL"])
    slurm.until(lambda: not slurm.processes())
    assert "CANCELLED" == slurm.out("sacct", "-Pn", "-j", f"{job}.batch", "-o", "State")


def test_a_job_that_may_be_requeued_runs_again(slurm: Scheduler) -> None:
    """With --requeue the node's failure is a restart."""
    job = slurm.submit('[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 60', "--requeue")
    slurm.until_running(job)
    os.kill(supervisor(slurm, job), signal.SIGKILL)
    slurm.until(lambda: slurm.states(job) == ["COMPLETED"])
    assert [["1"]] == slurm.column(job, "Restarts")


def test_a_killed_script_is_a_failure(slurm: Scheduler) -> None:
    """The supervisor lives, so it knows how the script ended."""
    job = slurm.submit("touch ready; sleep 60")
    slurm.until((slurm.work / "ready").exists)
    slurm.out("scancel", "--batch", "--signal=KILL", job)
    assert ["FAILED"] == slurm.until_over(job)
    assert [["0:9"]] == slurm.column(job, "ExitCode")


def test_a_start_that_was_lost_is_repeated(slurm: Scheduler) -> None:
    """A supervisor that was started and never took its job: the next question starts another, after a while."""
    job = slurm.submit("true", "--hold")
    store = Store(slurm.transport.settings.database)
    with store.transaction():
        store.update(int(job), held=0, launched=1.0)  # long ago
    store.close()
    assert ["COMPLETED"] == slurm.until_over(job)


def test_a_process_is_known_by_number_and_beginning() -> None:
    """A number that was given to another process is not the same process."""
    me = os.getpid()
    assert is_alive(me, started(me))
    assert not is_alive(me, "some other time")
    assert not is_alive(None, "0")
    child = subprocess.Popen(["true"])
    began = started(child.pid) or "gone"
    child.wait()
    assert not is_alive(child.pid, began)
    assert Process(me, os.getppid(), os.getsid(0), started(me)) in process_table()
