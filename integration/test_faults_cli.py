"""What goes wrong on the cluster or on the way while somebody waits: the program outlasts it and tells the truth."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from integration.clusters.control import Cluster
from integration.conftest import SITES, User, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster

COUNT = ("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 2; done")
COUNTED = "1\n2\n3\n4\n5\n6\n7\n8\n"
LOGOUT = """
import sys
from aifa_hpc.cluster import open_transport
from aifa_hpc.sites.load import load_site
sys.exit(not open_transport(load_site(sys.argv[1])).logout())
"""


@pytest.fixture(params=SITES)
def someone(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> User:
    """A user whom the ssh program logs in again without a person."""
    return make_user(tmp_path, request.param, "openssh", mfa=False)


@contextmanager
def without(user: User, daemon: str) -> Iterator[None]:
    """The cluster without one of its daemons, which is back afterwards whatever happens."""
    cluster = Cluster(user.machine)
    cluster.stop(daemon)
    try:
        yield
    finally:
        cluster.start(daemon)


def begin(user: User, *words: str) -> subprocess.Popen[str]:
    """Starts the program and does not wait for it; ^C reaches it as in a terminal."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{code}from aifa_hpc.cli import main; main()", *words],
        env=user.env,
        cwd=user.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def states(user: User) -> list[str]:
    """What `aifa jobs` shows of each job."""
    return [job["state"] for job in user.aifa("jobs", "--json").json]


def until(user: User, *wanted: str, seconds: float = 60) -> str:
    """The state of the only job, once it is one of these."""
    deadline = time.monotonic() + seconds
    while (found := states(user)[0]) not in wanted:
        assert time.monotonic() < deadline, f"{found}, not {wanted}"
        time.sleep(1)
    return found


def test_waiting_and_following_outlast_a_site_that_is_away(someone: User) -> None:
    """The server and the open connection end for a while: both tell it once, go on, and lose no byte and no end."""
    job = someone.aifa("submit", someone.job(*COUNT), "--site", someone.site, "--json").json["id"]
    following = begin(someone, "logs", job, "-f")
    waiting = begin(someone, "submit", someone.job(*COUNT, name="other"), "--site", someone.site, "--wait", "--json")
    until(someone, "RUNNING")
    with without(someone, "sshd"):
        subprocess.run([sys.executable, "-c", LOGOUT, someone.site], env=someone.env, check=True)
        time.sleep(20)
    out, err = following.communicate(timeout=120)
    waited, _ = waiting.communicate(timeout=120)
    assert (0, COUNTED, 1, 1) == (
        following.returncode,
        out,
        err.count("cannot be asked now"),
        err.count("answers again"),
    ), err
    assert (0, True) == (waiting.returncode, '"state": "COMPLETED"' in waited)


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmdbd"])
def test_a_job_that_ends_while_a_daemon_is_away_is_seen_to_have_ended_well(someone: User, daemon: str) -> None:
    """Its end comes from whoever speaks, and never from silence."""
    waiting = begin(someone, "submit", someone.job("sleep", "5"), "--site", someone.site, "--wait", "--json")
    time.sleep(3)
    until(someone, "RUNNING")
    with without(someone, daemon):
        time.sleep(12)
    out, err = waiting.communicate(timeout=180)
    assert (0, True) == (waiting.returncode, '"state": "COMPLETED"' in out), err


def test_an_interrupted_submission_is_settled_by_jobs(someone: User) -> None:
    """^C while sbatch speaks to a controller that is away: in the end the site has as many jobs as we say it has."""
    with without(someone, "slurmctld"):
        submitting = begin(someone, "submit", someone.job("true"), "--site", someone.site)
        time.sleep(4)
        submitting.send_signal(signal.SIGINT)
        _, err = submitting.communicate(timeout=60)
    assert (130, False, True) == (submitting.returncode, "Traceback" in err, "do not submit it again" in err)
    state = until(someone, "REFUSED", "NOT_SENT", "COMPLETED")
    (job,) = someone.aifa("jobs", "--json", "--offline").json
    there = someone.ssh(f"sacct -X -n -P -S now-1hours --name=job.{job['token']} -o JobID").split()
    assert ([job["id"]] if state == "COMPLETED" else []) == there


def test_a_requeued_job_is_not_over(someone: User) -> None:
    """`scontrol requeue` puts it back: it is PENDING, with the reason that it waits, and can be cancelled."""
    job = someone.aifa("submit", someone.job("sleep", "60"), "--site", someone.site, "--json").json["id"]
    until(someone, "RUNNING")
    Cluster(someone.machine).admin("scontrol", "requeue", job)
    until(someone, "PENDING")
    (shown,) = someone.aifa("jobs", "--json", "--offline").json
    assert ("PENDING", True) == (shown["state"], "put back" in shown["reason"]), shown
    assert 0 == someone.aifa("cancel", job).code
    until(someone, "CANCELLED")


def test_a_pending_job_that_an_administrator_cancels_is_over(someone: User) -> None:
    """It never ran and has no log: `logs` says so with its state, `cancel` that there is nothing to do."""
    text = someone.job("true")
    job = someone.aifa("submit", text, "--site", someone.site, "--json").json["id"]
    Cluster(someone.machine).admin("scancel", job)
    state = until(someone, "CANCELLED", "COMPLETED")  # it may have been quicker
    again = someone.aifa("cancel", job)
    assert (0, True, True) == (again.code, "over already" in again.out, state in someone.aifa("logs", job).err)
