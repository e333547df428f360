"""Functions as jobs of real Slurm over real SSH: results, tracebacks, ranks, and a laptop that dies in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from integration.clusters.control import clusters_dir
from integration.conftest import SHAPES, SITES, User, make_user

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

FUNCTIONS = """
import json, os, signal, sys, time
import aifa_hpc as aifa

def add(a, b):
    return a + b

def fail():
    raise ValueError("not like this")

def late(seconds):
    time.sleep(seconds)
    return os.environ["SLURM_JOB_ID"]

def rank():
    return [int(os.environ["RANK"]), os.environ["SLURMD_NODENAME"]]
"""


@pytest.fixture(params=SITES)
def someone(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> User:
    """A user of each cluster, logged in where a person has to, with a folder of jobs that nobody else uses."""
    told = json.loads((clusters_dir() / request.param / "connect.json").read_text())
    workdir = f"{told['workdir']}/{tmp_path.parent.name}-{tmp_path.name}"
    user = make_user(tmp_path, request.param, "openssh", workdir=workdir)
    assert 0 == (ran := user.aifa("login", user.site)).code, ran.err
    return user


def run(user: User, code: str, **resources: Any) -> subprocess.CompletedProcess[str]:
    """Runs a script of that user, in which ``executor`` is one of the site's."""
    asked = {"time": "00:05:00"} | SHAPES[user.machine] | resources
    lines = [
        FUNCTIONS,
        f"site = aifa.connect({user.site!r})",
        f"resources = aifa.Resources(**{asked!r})",
        "executor = site.executor(resources=resources)",
        textwrap.dedent(code),
        "site.close()",
    ]
    path = user.home / "script.py"
    path.write_text("\n".join(lines))
    return subprocess.run(
        [sys.executable, str(path)],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def same_python(user: User) -> bool:
    """Whether the site's own python3 is of this one's minor version."""
    said = user.ssh("python3 -c 'import sys; print(sys.version_info[0], sys.version_info[1])'")
    return said.split() == [str(number) for number in sys.version_info[:2]]


def test_functions_run_on_a_node_or_say_that_its_python_is_another(someone: User) -> None:
    """Two arrays come back, one with an exception and its traceback; a node with another Python names both versions."""
    ran = run(
        someone,
        """
        calls = executor.map_array(add, range(3), range(10, 13))
        with executor.batch():
            bad, good = executor.submit(fail), executor.submit(late, 0)
        errors = [call.exception(150) for call in (calls[0], bad)]
        print(json.dumps({
            "values": [call.result(150) for call in calls] if errors[0] is None else [],
            "errors": [repr(error) for error in errors],
            "cause": str(errors[1].__cause__),
            "ids": [call.id for call in calls],
            "ran": good.exception(150) is None,
            "jobs": len(site.jobs()),
        }))
        """,
    )
    assert 0 == ran.returncode, ran.stderr
    found = json.loads(ran.stdout)
    assert 2 == found["jobs"]
    if same_python(someone):
        assert ([10, 12, 14], "ValueError('not like this')", True) == (
            found["values"],
            found["errors"][1],
            found["ran"],
        )
        assert "in fail\nValueError: not like this" in found["cause"]
        assert "" == someone.ssh(f"ls {someone.folder}/calls")
    else:
        assert "was pickled by" in found["errors"][0]


def test_a_call_outlives_the_program_that_made_it(someone: User) -> None:
    """It is killed; another one finds the call by its token, and Slurm has run it once."""
    killed = run(
        someone,
        """
        call = executor.submit(late, 3)
        print(call.token, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert -signal.SIGKILL == killed.returncode, killed.stderr
    token = killed.stdout.strip()
    ran = run(
        someone,
        f"""
        call = executor.attach({token!r})
        print(json.dumps([call.id, call.exception(150) is None and call.result()]))
        """,
    )
    assert 0 == ran.returncode, ran.stderr
    job, said = json.loads(ran.stdout)
    assert job == (said if same_python(someone) else job)
    assert [job] == someone.ssh(f"sacct -X -n -P -S now-1hours --name=late.{token} -o JobID").split()


def test_calls_that_are_cancelled_end_in_slurm(someone: User) -> None:
    """One call, and one of an array whose other goes on; Slurm has it so, and the bundles are gone.

    Slurm keeps no record of an array's task that was cancelled while it waited, only of one that ran.
    """
    ran = run(
        someone,
        """
        alone, (first, second) = executor.submit(late, 600), executor.map_array(late, [600, 0])
        print(json.dumps({
            "cancelled": [alone.cancel(), first.cancel()],
            "ids": [alone.id, first.id, second.id],
            "left": second.wait(150),
            "said": str(second.exception()),
        }))
        """,
    )
    assert 0 == ran.returncode, ran.stderr
    found = json.loads(ran.stdout)
    assert ([True, True], True) == (found["cancelled"], found["left"])
    alone, first, second = found["ids"]
    states = accounted(someone, alone, second)
    good = "COMPLETED" if same_python(someone) else "FAILED"
    assert ("CANCELLED", good) == (states[alone], states[second])
    assert "CANCELLED" == states.get(first, "CANCELLED")
    assert "" == someone.ssh(f"squeue -h -j {alone},{first.partition('_')[0]} 2> /dev/null || true")
    assert "" == someone.ssh(f"ls {someone.folder}/calls")


def accounted(user: User, *ended: str) -> dict[str, str]:
    """What accounting says of jobs and of the arrays that they belong to, once it says that these have ended."""
    bases = ",".join(job.partition("_")[0] for job in ended)
    script = f"sacct -X -n -P -j {bases} -o JobID,State"
    for _ in range(60):
        states = {
            job: said.partition(" ")[0] for job, said in (line.split("|") for line in user.ssh(script).split("\n")[:-1])
        }
        if all(states.get(job, "PENDING") not in {"PENDING", "RUNNING", "COMPLETING"} for job in ended):
            break
        time.sleep(1)
    return states


@pytest.mark.skipif("lumi" not in SITES, reason="AIFA_CLUSTERS leaves LUMI out")
def test_each_rank_runs_the_function(clusters: None, tmp_path: Path) -> None:
    """Two tasks on each of two nodes, each with its own result, as srun starts them."""
    user = make_user(tmp_path, "lumi", "openssh", mfa=False)
    ran = run(
        user,
        """
        executor = site.executor(resources=resources, launch="srun")
        call = executor.submit(rank)
        call.wait(150)
        print(json.dumps([repr(call.exception()), call.results() if call.exception() is None else []]))
        """,
        nodes=2,
        tasks_per_node=2,
    )
    assert 0 == ran.returncode, ran.stderr
    error, found = json.loads(ran.stdout)
    if same_python(user):
        assert [0, 1, 2, 3] == [number for number, _ in found], error
        assert 2 == len({node for _, node in found})
    else:
        assert "was pickled by" in error


def test_a_process_that_dies_is_explained(someone: User) -> None:
    """Nothing comes back, so the job's own end is told, with what accounting and the log say."""
    ran = run(
        someone,
        """
        executor = site.executor(resources=resources, python="/usr/bin/false")
        print(executor.submit(add, 1, 2).exception(150))
        """,
    )
    assert 0 == ran.returncode, ran.stderr
    assert ("ended as FAILED, exit 1:0, and left no result", "aifa explain") == (
        ran.stdout[ran.stdout.index("ended") : ran.stdout.index("result") + 6],
        ran.stdout[ran.stdout.rindex("aifa explain") :][:12],
    )
