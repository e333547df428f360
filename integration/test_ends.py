"""Ends that Slurm and the kernel make, and how they are explained, on both clusters: time, memory, nodes, ranks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration.clusters.control import Cluster
from integration.clusters.places import confines_memory
from integration.conftest import SITES, User, make_user
from tests.tracker.test_failures import NCCL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

GREEDY = "ulimit -v 400000; exec python3 -c 'bytearray(1 << 30)'"
LOSES_A_RANK = f"""
if [ "$SLURM_PROCID" = 1 ]; then
  echo "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB" >&2
  sleep 3  # its end may end the others, who shall have spoken
  exit 1
fi
cat << 'END'
{NCCL_TIMEOUT.strip()}
END
sleep 6
exit 6
"""


@pytest.fixture(params=SITES)
def someone(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> Iterator[User]:
    """A user of each cluster, whose jobs are cancelled afterwards."""
    user = make_user(tmp_path, request.param, "openssh", mfa=False)
    yield user
    for job in user.aifa("jobs", "--json", "--all", "--offline").json:
        if job["id"]:
            user.ssh(f"scancel {job['id']}")


def submit(user: User, *command: str, top: str = "", **asked: Any) -> str:
    """Submits a job and returns its id; ``top`` goes above its tables."""
    path = Path(user.job(*command, **asked))
    path.write_text(f"{top}\n{path.read_text()}")
    ran = user.aifa("submit", str(path), "--site", user.site, "--json")
    assert 0 == ran.code, ran.err
    return str(ran.json["id"])


def ends(user: User, *jobs: str) -> list[str]:
    """How the jobs ended, once they all have."""
    deadline = time.monotonic() + 120
    # The program asks at the site's pace, so it is not asked before there is an end to be told.
    while user.ssh(f"squeue -h -t PD,CF,R,CG -j {','.join(jobs)} -o %i 2> /dev/null || true"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    while True:
        known = {one["id"]: one["state"] for one in user.aifa("jobs", "--json").json}
        found = [known[job] for job in jobs]
        if not {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "LAGGING"} & {*found}:
            return found
        assert time.monotonic() < deadline, known
        time.sleep(0.5)


def running(user: User, job: str) -> str:
    """The node of a job, once it runs."""
    deadline = time.monotonic() + 60
    while not (node := user.ssh(f"squeue -h -t R -j {job} -o %N").strip()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return node


def findings(user: User, job: str) -> dict[str, dict[str, Any]]:
    """What explains a job, by name, in its order."""
    ran = user.aifa("explain", job, "--json")
    assert (0, {}) == (ran.code, ran.json["silent"]), ran.err
    return {one["name"]: one for one in reversed(ran.json["findings"])}


def test_the_time_limit_memory_and_a_lost_rank(someone: User) -> None:
    """Each has its cause first, with the words of Slurm, of the program or of the rank that died."""
    long = submit(someone, "sleep", "300", name="long", gpus_per_node=1)
    greedy = submit(someone, "sh", "-c", GREEDY, name="greedy", gpus_per_node=1)
    ranks = submit(someone, "sh", "-c", LOSES_A_RANK, name="ranks", kind="srun", nodes=2)
    running(someone, long)
    someone.ssh(f"scontrol update jobid={long} EndTime=now+2")  # Slurm then ends it as one whose time is over
    assert ["TIMEOUT", "FAILED", "FAILED"] == ends(someone, long, greedy, ranks)

    limit = findings(someone, long)["time-limit"]
    assert ("cause", True) == (limit["weight"], "submit a chain" in limit["action"])
    assert "TIMEOUT" in limit["evidence"]
    memory = findings(someone, greedy)["host-memory"]
    assert ("cause", "MemoryError") == (memory["weight"], memory["evidence"].partition(" ")[0])
    told = findings(someone, ranks)
    assert ("cause", "sign") == (told["gpu-memory"]["weight"], told["collective-timeout"]["weight"])
    assert list(told).index("gpu-memory") > list(told).index("collective-timeout")  # they are in reverse here
    assert "Watchdog caught collective operation timeout" in told["collective-timeout"]["evidence"]


@pytest.mark.skipif("lumi" not in SITES, reason="AIFA_CLUSTERS leaves LUMI out")
@pytest.mark.skipif(not confines_memory(), reason="this machine has no memory groups (cgroups, version 1) for Slurm")
@pytest.mark.parametrize("someone", ["lumi"], indirect=True)
def test_more_memory_than_asked_for(someone: User) -> None:
    """Slurm's own word for it is the cause, of a batch script as of a step whose ranks it killed in a failed job."""
    takes = ("python3", "-c", "bytearray(1 << 30)")
    alone = submit(someone, *takes, name="alone", gpus_per_node=1, memory="500M")
    ranks = submit(someone, *takes, name="ranks", kind="srun", gpus_per_node=2, memory="500M")
    assert ["OUT_OF_MEMORY", "FAILED"] == ends(someone, alone, ranks)
    for job in (alone, ranks):
        told = findings(someone, job)["host-memory"]
        assert ("cause", True) == (told["weight"], "more memory" in told["action"])
        assert "OUT_OF_MEMORY" in told["evidence"] or "oom" in told["evidence"].lower(), told


@pytest.mark.skipif("lumi" not in SITES, reason="AIFA_CLUSTERS leaves LUMI out")
@pytest.mark.parametrize("someone", ["lumi"], indirect=True)
def test_a_node_that_fails(someone: User) -> None:
    """A job that may not begin again ends as NODE_FAIL, and is told what to do when it was the same node again."""
    cluster = Cluster("lumi")
    once = submit(someone, "sleep", "300", name="once", top="requeue = false")
    node = running(someone, once)
    # It comes back by itself, as soon as its slurmd is heard of.
    cluster.admin("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    assert ["NODE_FAIL"] == ends(someone, once)
    failed = findings(someone, once)["node-failure"]
    assert ("cause", True, True) == (
        failed["weight"],
        "exclude" in failed["action"],
        "NODE_FAIL" in failed["evidence"] or "NODE FAILURE" in failed["evidence"],
    )
