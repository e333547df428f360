"""Many jobs: arrays, dependencies, slots, holding, cancelling, requeuing, and all of it at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Scheduler


def test_an_array(slurm: Scheduler) -> None:
    """Each task has its index, its output file and its line."""
    body = (
        'echo "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MAX"\n'
        "exit $SLURM_ARRAY_TASK_ID"
    )
    job = slurm.submit(body, "--array=0-2,5")
    assert ["COMPLETED", "FAILED", "FAILED", "FAILED"] == slurm.until_over(job)
    rows = slurm.column(job, "JobID", "ExitCode")
    assert [[f"{job}_{task}", f"{task}:0"] for task in (0, 1, 2, 5)] == rows
    texts = [(slurm.work / f"slurm-{job}_{task}.out").read_text() for task in (0, 1, 2, 5)]
    assert [f"{job} {task} 4 5\n" for task in (0, 1, 2, 5)] == texts


def test_an_array_keeps_its_limit(slurm: Scheduler) -> None:
    """%2 runs two at once, although four slots are free; the waiting ones are one line."""
    body = (
        'touch "on-$SLURM_ARRAY_TASK_ID"; ls on-* | wc -l\n'
        'until [ -e go ]; do sleep 0.05; done; sleep 0.1; rm "on-$SLURM_ARRAY_TASK_ID"'
    )
    job = slurm.submit(body, "--array=0-5%2")
    slurm.until(lambda: slurm.out("squeue", "-h", "-t", "R", "-o", "%i").splitlines() == [f"{job}_0", f"{job}_1"])
    waiting = slurm.out("squeue", "-h", "-t", "PD", "-o", "%i %A %F %K %r")
    assert f"{job}_[2-5%2] {job} {job} 2-5%2 JobArrayTaskLimit" == waiting
    assert [f"{job}_{task}" for task in range(2, 6)] == slurm.out("squeue", "-hr", "-tPD", "-o%i").splitlines()
    assert [f"{job}_[2-5%2]", "PENDING"] in slurm.column(job, "JobID", "State")
    (slurm.work / "go").touch()
    assert ["COMPLETED"] * 6 == slurm.until_over(job)
    seen = {int((slurm.work / f"slurm-{job}_{task}.out").read_text()) for task in range(6)}
    assert {1, 2} >= seen


def test_raw_ids_of_an_array(slurm: Scheduler) -> None:
    """Each task has an id of its own; the last keeps the array's; the next job comes after all of them."""
    job = slurm.submit("true", "--array=1-3")
    slurm.until_over(job)
    assert [str(int(job) + 1), str(int(job) + 2), job] == [raw for (raw,) in slurm.column(job, "JobIDRaw")]
    assert str(int(job) + 3) == slurm.submit("true")


def test_more_jobs_than_slots(make: Callable[..., Scheduler]) -> None:
    """Jobs wait for a slot with Resources, those behind with Priority, and start in order."""
    slurm = make(slots=1)
    jobs = [slurm.submit("until [ -e go ]; do sleep 0.05; done; date +%s%N; sleep 0.1") for _ in range(4)]
    slurm.until_running(jobs[0])
    assert ["(Resources)", "(Priority)", "(Priority)"] == slurm.out("squeue", "-h", "-tPD", "-o%R").splitlines()
    (slurm.work / "go").touch()
    for job in jobs:
        assert ["COMPLETED"] == slurm.until_over(job)
    moments = [int(slurm.output(job)) for job in jobs]
    assert min(after - before for before, after in pairwise(moments)) > 0.1e9


@pytest.mark.parametrize(
    ("kind", "first", "expected"),
    [
        ("afterok", "exit 0", "COMPLETED"),
        ("afternotok", "exit 1", "COMPLETED"),
        ("afterany", "exit 1", "COMPLETED"),
        ("after", "sleep 60", "COMPLETED"),
        ("afterok", "exit 1", "DependencyNeverSatisfied"),
        ("afternotok", "exit 0", "DependencyNeverSatisfied"),
    ],
)
def test_dependencies(slurm: Scheduler, kind: str, first: str, expected: str) -> None:
    """A job starts when what it waits for has happened, or says that it never will."""
    one = slurm.submit(f"until [ -e go ]; do sleep 0.05; done; {first}", "--hold")
    two = slurm.submit("true", f"--dependency={kind}:{one}")
    waiting = slurm.out("squeue", "-h", "-t", "PD", "-o", "%i %R %E").splitlines()
    assert f"{two} (Dependency) {kind}:{one}(unfulfilled)" in waiting
    slurm.out("scontrol", "release", one)
    (slurm.work / "go").touch()
    slurm.until(lambda: expected in slurm.column(two, "State", "Reason")[0])


def test_a_chain(slurm: Scheduler) -> None:
    """Of the branches by afterok and by afternotok exactly one runs."""
    array = slurm.submit("sleep 0.1; exit $SLURM_ARRAY_TASK_ID", "--array=0-1")
    good = slurm.submit("true", f"--dependency=afterok:{array}")
    bad = slurm.submit("true", f"--dependency=afternotok:{array}")
    one = slurm.submit("true", f"--dependency=afterok:{array}_0")
    corresponding = slurm.submit("true", "--array=0-1", f"--dependency=aftercorr:{array}")
    either = slurm.submit("true", f"--dependency=afterok:{array}?afternotok:{array}")
    assert ["COMPLETED"] == slurm.until_over(bad)
    assert ["COMPLETED"] == slurm.until_over(one)
    assert ["COMPLETED"] == slurm.until_over(either)
    slurm.until(lambda: slurm.column(good, "State", "Reason") == [["PENDING", "DependencyNeverSatisfied"]])
    slurm.until(lambda: ["COMPLETED", "PENDING"] == slurm.states(corresponding))
    assert f"afterok:{array}(failed)" == slurm.out("squeue", "-h", "-j", good, "-o", "%E")


def test_cancel_an_array_that_waits(slurm: Scheduler) -> None:
    """Its tasks stay one line, cancelled, that never started."""
    job = slurm.submit("true", "--array=0-4%2", "--hold")
    slurm.out("scancel", job)
    uid = slurm.out("id", "-u")
    assert [[f"{job}_[0-4%2]", job, f"CANCELLED by {uid}", "None"]] == slurm.column(
        job, "JobID", "JobIDRaw", "State", "Start"
    )


def test_a_dependency_on_a_job_nobody_knows(slurm: Scheduler) -> None:
    """Slurm lets it run."""
    assert ["COMPLETED"] == slurm.until_over(slurm.submit("true", "--dependency=afternotok:4711"))


def test_singleton(slurm: Scheduler) -> None:
    """Jobs of one name run one after the other."""
    jobs = [slurm.submit("sleep 0.2; date +%s%N", "-J", "same", "--dependency=singleton") for _ in range(3)]
    for job in jobs:
        slurm.until_over(job)
    ends = [int(slurm.output(job)) for job in jobs]
    assert min(after - before for before, after in pairwise(ends)) > 0.2e9


def test_begin(slurm: Scheduler) -> None:
    """--begin keeps a job back."""
    job = slurm.submit("true", "--begin=now+1hour")
    assert f"{job} BeginTime" == slurm.out("squeue", "-h", "-o", "%i %r")


def test_hold_and_release(slurm: Scheduler) -> None:
    """A held job waits until it is released."""
    job = slurm.submit("true", "--hold")
    assert f"{job} JobHeldUser" == slurm.out("squeue", "-h", "-o", "%i %r")
    slurm.out("scontrol", "release", job)
    assert ["COMPLETED"] == slurm.until_over(job)


def test_cancel_a_waiting_job(slurm: Scheduler) -> None:
    """It never starts, and sacct says who ended it."""
    job = slurm.submit("touch started", "--hold")
    slurm.out("scancel", job)
    uid = slurm.out("id", "-u")
    (fields,) = slurm.column(job, "State", "Elapsed", "NodeList", "Start", "End")
    assert [f"CANCELLED by {uid}", "00:00:00", "None assigned"] == fields[:3]
    assert fields[3] == fields[4]
    assert not (slurm.work / "started").exists()


def test_cancel_a_running_job(slurm: Scheduler) -> None:
    """The script and everything below it get SIGTERM; what does not listen is killed after KillWait."""
    job = slurm.submit("trap 'echo bye; exit 0' TERM\nsh -c \"trap '' TERM; sleep 60; sleep 61\" &\nsleep 60 & wait")
    slurm.until_running(job)
    slurm.until(lambda: len(slurm.processes()) >= 4)
    slurm.out("scancel", job)
    assert ["CANCELLED by " + slurm.out("id", "-u")] == slurm.until_over(job)
    assert "bye\n" in slurm.output(job)
    assert f"*** JOB {job} ON 127.0.0.1 CANCELLED AT" in slurm.output(job)
    slurm.until(lambda: not slurm.processes())


def test_cancel_some_tasks(slurm: Scheduler) -> None:
    """With ``12_[1-2]`` these tasks end only."""
    job = slurm.submit("until [ -e go ]; do sleep 0.05; done", "--array=0-3")
    slurm.until(lambda: ["RUNNING"] * 4 == slurm.states(job))
    slurm.out("scancel", f"{job}_[1-2]")
    (slurm.work / "go").touch()
    assert ["COMPLETED", "CANCELLED", "CANCELLED", "COMPLETED"] == [state.split()[0] for state in slurm.until_over(job)]


def test_cancel_by_filters(slurm: Scheduler) -> None:
    """The filters --name and --state choose."""
    kept = slurm.submit("true", "--hold", "-J", "kept")
    gone = slurm.submit("true", "--hold", "-J", "gone")
    slurm.out("scancel", "--name=gone", "--state=PENDING", "--me")
    assert ["PENDING"] == slurm.states(kept)
    assert ["CANCELLED"] == [state.split()[0] for state in slurm.states(gone)]


def test_cancel_what_is_over_or_was_never_there(slurm: Scheduler) -> None:
    """Ending either is no error; a signal to either is (Slurm 22.05)."""
    job = slurm.submit("true")
    slurm.until_over(job)
    assert "" == slurm.out("scancel", job, "4711")
    assert ["COMPLETED"] == slurm.states(job)
    for number in (job, "4711"):
        completed = slurm.run("scancel", "--signal=USR1", number)
        expected = f"scancel: error: Kill job error on job id {number}: Invalid job id specified\n"
        assert (1, expected) == (completed.exit_code, completed.err)
    assert "scancel: error: No job identification provided\n" == slurm.run("scancel").err


def test_signal_a_batch_script(slurm: Scheduler) -> None:
    """With --batch the signal reaches the shell, and the job goes on."""
    job = slurm.submit("trap 'echo got it' USR1\ntouch ready\nwhile sleep 0.05; do [ -s go ] && exit 0; done")
    slurm.until((slurm.work / "ready").exists)
    slurm.out("scancel", "--batch", "-s", "USR1", job)
    slurm.until(lambda: slurm.output(job) == "got it\n")
    assert ["RUNNING"] == slurm.states(job)
    (slurm.work / "go").write_text("go")
    assert ["COMPLETED"] == slurm.until_over(job)


def test_requeue(slurm: Scheduler) -> None:
    """A running job is ended and starts again: same id, one restart more, output appended."""
    job = slurm.submit('echo "run ${SLURM_RESTART_COUNT:-0}"\n[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 60')
    slurm.until(lambda: (slurm.work / f"slurm-{job}.out").exists() and "run 0" in slurm.output(job))
    slurm.out("scontrol", "requeue", job)
    slurm.until(lambda: slurm.states(job) == ["COMPLETED"])
    assert [["1"]] == slurm.column(job, "Restarts")
    assert ["run 0", "run 1"] == [line for line in slurm.output(job).splitlines() if line.startswith("run")]


def test_thirty_submissions_at_once(slurm: Scheduler) -> None:
    """Parallel sbatch calls and ending jobs lose no update: thirty ids, thirty results."""
    with ThreadPoolExecutor(10) as pool:
        jobs = list(pool.map(lambda number: slurm.submit(f"echo {number}"), range(30)))
    assert sorted(range(1, 31)) == sorted(map(int, jobs))
    assert ["COMPLETED"] * 30 == slurm.until_over(",".join(jobs))
    assert [f"{number}\n" for number in range(30)] == [slurm.output(job) for job in jobs]


def test_ended_jobs_leave_squeue(make: Callable[..., Scheduler]) -> None:
    """An ended job is in squeue --states=all until MinJobAge has passed, and in sacct for ever."""
    slurm = make(remember=0.5)
    job = slurm.submit("true")
    slurm.until_over(job)
    assert "" == slurm.out("squeue", "-h")
    time.sleep(0.5)
    completed = slurm.run("squeue", "--jobs", job)
    assert (1, "slurm_load_jobs error: Invalid job id specified\n") == (completed.exit_code, completed.err)
    other = slurm.submit("true", "--hold")
    assert other == slurm.out("squeue", "-h", "-j", f"{job},{other}", "-o", "%i")
    assert ["COMPLETED"] == slurm.states(job)
