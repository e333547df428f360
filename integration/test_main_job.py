"""The main job on real Slurm over real SSH: both clusters, both transports, and what goes wrong on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.demo.main_job import ACCURACY, ROWS
from aifa_hpc.testing.sshd import fingerprint
from integration.clusters.control import clusters_dir
from integration.conftest import SHAPES, SITES, User, make_user

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

_MIB = 1 << 20


def python(user: User, code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as that user."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_main_job(user: User) -> None:
    """Shards are staged and proven, two nodes train, sacct shows COMPLETED, the result comes back and is right."""
    shape: dict[str, Any] = SHAPES[user.machine]
    ran = python(
        user,
        f"""
        import json, pathlib
        import aifa_hpc
        from aifa_hpc.demo.main_job import Narrator, run

        with aifa_hpc.connect({user.site!r}) as site:
            resources = aifa_hpc.Resources(time="00:05:00", nodes=2, **{shape!r})
            outcome = run(site, resources, python="python3", workspace=pathlib.Path("work"), narrator=Narrator(),
                          wait_seconds=200)
            said = {{"id": outcome.handle.id, "state": outcome.status.state, "proof": outcome.status.proof}}
            print(json.dumps(said | {{"log": outcome.handle.logs()}} | outcome.result))
        """,
    )
    assert 0 == ran.returncode, ran.stderr
    found = json.loads(ran.stdout)
    ranks = 2 * shape["gpus_per_node"]
    assert ("COMPLETED", "sacct", ranks, ROWS) == tuple(found[key] for key in ("state", "proof", "ranks", "rows"))
    assert found["accuracy"] >= ACCURACY
    nodes = {line.split(" on ")[1].split(":")[0] for line in found["log"].splitlines() if line.startswith("rank ")}
    assert set(user.connect["nodes"]) >= nodes
    assert (2, "COMPLETED|0:0|2") == (
        len(nodes),
        user.ssh(f"sacct -X -n -P -j {found['id']} -o State,ExitCode,NNodes").strip(),
    )


def test_a_failing_job_is_seen_as_failed_with_its_exit_code(user: User) -> None:
    """Exit code 1 of the program, 7:0 of the job, and its last words in the log."""
    path = user.job("sh", "-c", "echo last words >&2; exit 7")
    ran = user.aifa("submit", path, "--site", user.site, "--wait", "--json")
    assert (1, "FAILED", "7:0") == (ran.code, ran.json["state"], ran.json["exit"]), ran.err
    assert "last words\n" == user.aifa("logs", ran.json["id"]).out


def test_a_job_is_cancelled(user: User) -> None:
    """A running job is cancelled, and shown as CANCELLED by sacct and by us."""
    job = user.aifa("submit", user.job("sleep", "300"), "--site", user.site, "--json").json
    assert 0 == user.aifa("cancel", job["id"]).code
    assert 0 == (ran := user.aifa("logs", job["id"], "-f")).code, ran.err
    (shown,) = user.aifa("jobs", "--json").json
    assert ("CANCELLED", True) == (shown["state"], "CANCELLED" in user.ssh(f"sacct -X -n -P -j {job['id']} -o State"))


def test_a_killed_copy_resumes(user: User) -> None:
    """Shards whose copy is killed in the middle are complete after the same command again, and sent once each."""
    python(
        user,
        "import pathlib; from aifa_hpc.demo.shards import write_shards; write_shards(pathlib.Path('shards'), 1500)",
    )
    killed = python(user, _killing(user, "shards", "self.files >= 100", f"{user.site}:{user.folder}/shards/"))
    arrived = int(user.ssh(f"find '{user.folder}/shards' -name '*.parquet' | wc -l"))
    ran = user.aifa("stage", "copy", "shards", f"{user.site}:{user.folder}/shards/", "--class", "open", "--json")
    proven = user.aifa("stage", "verify", f"{user.site}:{user.folder}/shards", "--json")
    assert (-signal.SIGKILL, 0, True) == (killed.returncode, ran.code, proven.json["ok"]), ran.err
    assert 100 <= arrived < 1500
    # Whoever counts may be a few files behind the far side, at most what is under way on all channels.
    assert (1500, 1500 - ran.json["files_sent"]) == (ran.json["files"], pytest.approx(arrived, abs=256))


def test_a_killed_copy_of_one_large_file_sends_little_again(user: User) -> None:
    """Half of a file's parts had arrived when the copy was killed: they are continued from."""
    size = 256 * _MIB
    subprocess.run(["dd", "if=/dev/urandom", f"of={user.home}/big", "bs=1M", "count=256", "status=none"], check=True)
    target = f"{user.site}:{user.folder}/big"
    killed = python(user, _killing(user, "big", f"self.bytes >= {size // 2}", target))
    ran = user.aifa("stage", "copy", "big", target, "--class", "open", "--json")
    assert (-signal.SIGKILL, 0) == (killed.returncode, ran.code), ran.err
    assert (size, True) == (ran.json["bytes_sent"] + ran.json["bytes_reused"], ran.json["bytes_reused"] >= 64 * _MIB)
    ours = subprocess.run(["sha256sum", user.home / "big"], capture_output=True, text=True, check=True).stdout.split()[
        0
    ]
    assert ours == user.ssh(f"sha256sum '{user.folder}/big'").split()[0]


def _killing(user: User, source: str, when: str, target: str) -> str:
    """A copy that kills its own process without notice in the middle."""
    return f"""
        import os, signal
        import aifa_hpc
        from aifa_hpc.staging.progress import Progress

        class Killing(Progress):
            files = bytes = 0
            def advance(self, size):
                self.bytes += size
                self.look()
            def finished(self, path):
                self.files += 1
                self.look()
            def look(self):
                if {when}:
                    os.kill(os.getpid(), signal.SIGKILL)

        aifa_hpc.stage({source!r}, {target!r}, data_class="open", progress=Killing())
    """


@pytest.mark.parametrize("machine", SITES)
@pytest.mark.parametrize("transport", ["openssh", "fabric"])
def test_a_stranger_is_refused_in_slurms_words(clusters: None, tmp_path: Path, machine: str, transport: str) -> None:
    """A user without an association learns from sbatch itself; exit code 3, remembered as refused."""
    home = {"lumi": "/users/bob", "jupiter": "/e/home/jusers/bob/jupiter"}[machine]
    user = make_user(tmp_path, machine, transport, user="bob", workdir=f"{home}/{tmp_path.name}", mfa=False)
    ran = user.aifa("submit", user.job("true"), "--site", user.site)
    assert (3, True) == (ran.code, "Invalid account" in ran.err), ran.err
    assert ["REFUSED"] == [job["state"] for job in user.aifa("jobs", "--json", "--offline").json]


@pytest.mark.parametrize("machine", SITES)
@pytest.mark.parametrize("transport", ["openssh", "fabric"])
def test_an_unknown_host_key_stops_everything(clusters: None, tmp_path: Path, machine: str, transport: str) -> None:
    """A server nobody vouches for gets nothing; the error shows its fingerprint. Exit code 3."""
    config = tmp_path / "no_known_hosts"
    config.write_text("UserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\n")
    user = make_user(tmp_path / "home", machine, transport, ssh_config=str(config), mfa=False)
    known = clusters_dir() / machine / "cluster" / "ssh" / "host_key.pub"
    ran = user.aifa("submit", user.job("true"), "--site", user.site)
    assert (3, True) == (ran.code, fingerprint(known) in ran.err), ran.err
    assert ["NOT_SENT"] == [job["state"] for job in user.aifa("jobs", "--json", "--offline").json]
