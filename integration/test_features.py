"""Arrays, dependencies, components, signals, requeues and chains on real Slurm, on both clusters at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.clusters.control import Cluster
from integration.conftest import SHAPES, User, begin_again, until
from integration.everywhere import on_all_sites

pytestmark = pytest.mark.cluster


def write(user: User, path: str, more: str, *, top: str = "") -> str:
    """Adds tables, and keys of the job itself, to a job file."""
    file = Path(path)
    file.write_text(f"{top}\n{file.read_text()}\n{more}\n")
    return path


def shell(user: User, script: str, more: str = "", *, top: str = "", name: str = "job", **resources: Any) -> str:
    """A job file whose program is a line of shell."""
    return write(user, user.job("sh", "-c", script, name=name, **resources), more, top=top)


def submit(user: User, path: str, *, wait: bool = False) -> dict[str, Any]:
    """Submits and returns what is told of the job."""
    ran = user.aifa("submit", path, "--site", user.site, "--json", *(["--wait"] if wait else []))
    assert ran.out, ran.err
    return json.loads(ran.out)


def end_of(user: User, job: str, seconds: float = 120) -> dict[str, Any]:
    """What is told of a job once it is over."""
    ran = user.aifa("logs", job, "-f")
    assert 0 == ran.code, ran.err
    return found(user, job)


def found(user: User, job: str) -> dict[str, Any]:
    """What the list says of a job."""
    return next(one for one in user.aifa("jobs", "--json").json if one["id"] == job)


def accounted(user: User, job: str, columns: str = "State") -> list[str]:
    """What sacct says of each task, part or component of a job."""
    return user.ssh(f"sacct -X -n -P -j {job} -o {columns}").split()


@on_all_sites
def test_an_array_with_a_limit_in_chunks(user: User) -> None:
    """Indices beyond MaxArraySize run in chunks; each task knows its number, and the limit holds for all."""
    limit = int(user.ssh("scontrol show config | sed -n 's/^MaxArraySize *= *//p'"))
    script = "echo $AIFA_ARRAY_TASK_ID/$AIFA_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_ID; sleep 1"
    path = shell(user, script, f'[array]\ntasks = "0,{limit - 1}-{limit + 1}"\nlimit = 1')
    job = submit(user, path, wait=True)
    assert "COMPLETED" == job["state"], job
    lines = [line for line in user.aifa("logs", job["id"]).out.splitlines() if "/" in line]
    expected = ["0/4 0", f"{limit - 1}/4 {limit - 1}", f"{limit}/4 0", f"{limit + 1}/4 1"]
    assert expected == lines
    assert ["COMPLETED"] * 2 == accounted(user, job["id"])
    (shown,) = user.aifa("jobs", "--json").json
    assert job["id"] == shown["id"]


@on_all_sites
def test_an_array_fails_when_a_task_does(user: User) -> None:
    """Its state is the worst, with counts; each task has a log of its own."""
    path = shell(user, "echo task $AIFA_ARRAY_TASK_ID; exit $((AIFA_ARRAY_TASK_ID == 2))", "[array]\ncount = 3")
    job = submit(user, path, wait=True)
    assert ("FAILED", "1:0") == (job["state"], job["exit"]), job
    assert {"1 FAILED", "2 COMPLETED"} == set(job["reason"].split(", "))
    assert "task 2\n" == user.aifa("logs", f"{job['id']}_2").out


@on_all_sites
def test_dependencies_by_id_and_by_token(user: User) -> None:
    """One that waits for success runs after it; one that waits for failure is cancelled and says so."""
    first = submit(user, shell(user, "sleep 3", name="first"))
    ok = submit(user, shell(user, "echo after", f'[after]\nok = ["{first["token"]}"]', name="ok"))
    not_ok = submit(user, shell(user, "echo never", f'[after]\nnot_ok = ["{first["id"]}"]', name="notok"))
    assert f"afterok:{first['id']}" in user.ssh(f"scontrol show job {ok['id']}")
    ended = end_of(user, ok["id"])
    assert ("COMPLETED", "after\n") == (ended["state"], user.aifa("logs", ok["id"]).out)
    until(lambda: found(user, not_ok["id"])["state"] == "CANCELLED")


@on_all_sites
def test_tasks_of_two_arrays_are_paired(user: User) -> None:
    """Task i of the second waits for task i of the first; the one whose partner failed never runs."""
    first = submit(user, shell(user, "exit $AIFA_ARRAY_TASK_ID", "[array]\ncount = 2", name="one"))
    path = shell(user, "true", f'[array]\ncount = 2\n[after]\ncorr = ["{first["token"]}"]', name="two")
    second = submit(user, path, wait=True)
    assert ("CANCELLED", {"1 COMPLETED", "1 CANCELLED"}) == (second["state"], set(second["reason"].split(", "))), second


@on_all_sites
def test_a_handle_may_be_waited_for(user: User) -> None:
    """In Python a dependency names a handle; `started` is met as soon as that job runs."""
    code = f"""
import aifa_hpc as aifa
from aifa_hpc import After, Job, Launch, Resources
with aifa.connect({user.site!r}) as site:
    resources = Resources(time="00:05:00", **{SHAPES[user.machine]!r})
    first = site.submit(Job(name="first", resources=resources, launch=Launch(command=["sleep", "100"])))
    after = After(started=[first])
    second = site.submit(Job(name="second", resources=resources, launch=Launch(command=["true"]), after=after))
    status = second.wait(timeout=120)
    print(status.state, first.refresh().state)
    first.cancel()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], env=user.env, capture_output=True, text=True, timeout=180, check=False
    )
    assert (0, "COMPLETED RUNNING\n") == (ran.returncode, ran.stdout), ran.stderr


@on_all_sites
def test_a_singleton_waits_for_its_name(user: User) -> None:
    """The second of the same name begins when the first has ended."""
    jobs = [submit(user, shell(user, "sleep 2", "[after]\nsingleton = true", name="single")) for _ in range(2)]
    end_of(user, jobs[1]["id"])
    (first_end, second_start) = (
        user.ssh(f"sacct -X -n -P -j {jobs[0]['id']} -o End").strip(),
        user.ssh(f"sacct -X -n -P -j {jobs[1]['id']} -o Start").strip(),
    )
    assert first_end <= second_start


@on_all_sites
def test_a_heterogeneous_job(user: User) -> None:
    """Two components of different size are one step; ranks count through both, each rank has a log."""
    shape = SHAPES[user.machine]
    resources = json.dumps(shape["partition"])
    more = (
        "log_per_rank = true\n[[components]]\n"
        f'resources = {{ partition = {resources}, gpus_per_node = {shape["gpus_per_node"]}, time = "00:05:00",'
        " tasks_per_node = 2 }\n"
        'launch = { kind = "srun", command = ["sh", "-c", "echo second $RANK of $WORLD_SIZE on $SLURMD_NODENAME"],'
        " log_per_rank = true }\n"
    )
    command = ("sh", "-c", "echo first $RANK of $WORLD_SIZE on $SLURMD_NODENAME")
    path = write(user, user.job(*command, kind="srun", name="het", tasks_per_node=1), more)
    job = submit(user, path, wait=True)
    assert "COMPLETED" == job["state"], job
    logs = user.ssh(f"cat {job['folder']}/*.rank-*.out").splitlines()
    words = sorted(line.split(" on ")[0] for line in logs)
    assert ["first 0 of 3", "second 1 of 3", "second 2 of 3"] == words
    assert 2 == len({line.split(" on ")[1] for line in logs})
    until(lambda: ["COMPLETED"] * 2 == accounted(user, job["id"]))  # the database hears of the second one later


@on_all_sites
def test_a_signal_before_the_end(user: User) -> None:
    """Slurm sends it before the limit; the program hears it and ends by itself."""
    code = (
        "import signal,sys,time\n"
        "def save(*_): print('saved', flush=True); sys.exit(3)\n"
        "signal.signal(signal.SIGUSR1, save)\ntime.sleep(150)\n"
    )
    asked = {"gpus_per_node": SHAPES[user.machine]["gpus_per_node"], "tasks_per_node": 1, "time": "00:02:00"}
    jobs = {}
    for kind in ("command", "srun"):
        path = user.job("python3", "-c", code, kind=kind, name=f"signal-{kind}", **asked)
        # Slurm looks every half minute, and may send it up to a minute early (sbatch(1) --signal).
        write(user, path, "", top=f'signal = "{"B:" if kind == "command" else ""}USR1@90"')
        jobs[kind] = submit(user, path)["id"]
    for kind, job in jobs.items():
        ended = end_of(user, job)
        log = user.aifa("logs", job).out
        assert ("FAILED", "3:0", True) == (ended["state"], ended["exit"], log.startswith("saved\n")), (kind, ended, log)


@on_all_sites
def test_a_requeued_job_keeps_its_log(user: User) -> None:
    """What the first attempt wrote stays in front of what the second writes."""
    script = 'echo attempt ${SLURM_RESTART_COUNT:-0}; [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || sleep 120'
    job = submit(user, shell(user, script, top="requeue = true"))
    until(lambda: "attempt 0" in user.aifa("logs", job["id"]).out)
    user.ssh(f"scontrol requeue {job['id']}")
    begin_again(Cluster(user.machine), job["id"])
    ended = end_of(user, job["id"])
    assert ("COMPLETED", "attempt 0\nattempt 1\n") == (ended["state"], _clean(user.aifa("logs", job["id"]).out))


def _clean(log: str) -> str:
    return "".join(f"{line}\n" for line in log.splitlines() if line.startswith("attempt"))


@on_all_sites
def test_a_job_that_must_not_be_requeued(user: User) -> None:
    """Slurm itself says so."""
    job = submit(user, shell(user, "sleep 60", top="requeue = false"))
    assert "Requeue=0" in user.ssh(f"scontrol show job {job['id']}")
    user.aifa("cancel", job["id"])


@on_all_sites
def test_a_chain_ends_when_training_says_so(user: User) -> None:
    """Of three links the second is the last; the third is cancelled, and the chain has ended well."""
    script = 'echo link $AIFA_CHAIN_LINK of $AIFA_CHAIN_LINKS; [ $AIFA_CHAIN_LINK -lt 1 ] || : > "$AIFA_CHAIN_DONE"'
    path = shell(user, script, '[chain]\ntotal = "00:06:00"', time="00:02:00")
    job = submit(user, path, wait=True)
    assert ("COMPLETED", "link 2 of 3") == (job["state"], job["reason"]), job
    log = user.aifa("logs", job["id"]).out
    assert ["link 0 of 3", "link 1 of 3"] == [line for line in log.splitlines() if line.startswith("link")]
    ids = [int(job["id"]) + number for number in range(3)]
    states = [accounted(user, str(one))[0] for one in ids]
    assert ["COMPLETED", "COMPLETED"] == states[:2]
    assert states[2].startswith("CANCELLED")


@on_all_sites
def test_a_chain_goes_on_after_a_link_that_failed_and_is_cancelled_whole(user: User) -> None:
    """afterany: a link that dies is continued by the next; cancelling the chain ends all of its links."""
    path = shell(
        user, "echo link $AIFA_CHAIN_LINK; [ $AIFA_CHAIN_LINK = 0 ] && exit 4; sleep 100", CHAIN, time="00:02:00"
    )
    job = submit(user, path)
    until(lambda: "link 1" in user.aifa("logs", job["id"]).out)
    until(lambda: found(user, job["id"])["state"] == "RUNNING")
    user.aifa("cancel", job["id"])
    until(lambda: found(user, job["id"])["state"] == "CANCELLED")
    assert "" == user.ssh(f"squeue -h -t PD,R -n {job['name']}.{job['token']}").strip()


CHAIN = '[chain]\ntotal = "00:06:00"'


@on_all_sites
def test_nodes_are_chosen_and_left_out(user: User) -> None:
    """--nodelist and --exclude reach Slurm; a feature that no node has is refused in Slurm's words."""
    nodes = sorted(user.connect["nodes"])
    partition = SHAPES[user.machine]["partition"]
    there = user.ssh(f"sinfo -h -N -p {partition} -o %N").split()
    other = sorted(set(there) & set(nodes))[1]
    job = submit(user, shell(user, "echo $SLURMD_NODENAME", name="list", nodelist=other), wait=True)
    assert f"{other}\n" == user.aifa("logs", job["id"]).out
    job = submit(user, shell(user, "echo $SLURMD_NODENAME", name="exclude", exclude=other), wait=True)
    assert f"{other}\n" != user.aifa("logs", job["id"]).out
    ran = user.aifa("submit", shell(user, "true", name="feature", constraint="nosuch"), "--site", user.site)
    assert (3, True) == (ran.code, "feature" in ran.err.lower()), ran.err
