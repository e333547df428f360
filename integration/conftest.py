"""The test clusters, booted once for a run of tests, and users' folders that point at them.

What was up before stays up. ``AIFA_KEEP_CLUSTERS=1`` leaves all up for the next run, ``AIFA_CLUSTERS=lumi`` boots only
some.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from integration.clusters.control import Cluster, clusters_dir
from tests.program import Ran, run_aifa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
SITES = tuple(os.environ.get("AIFA_CLUSTERS", "jupiter,lumi").split(","))
SHAPES = {
    "jupiter": {"partition": "booster", "gpus_per_node": 4},
    "lumi": {"partition": "standard-g", "gpus_per_node": 8},
}
ON = {"lumi": "openssh", "jupiter": "fabric"}
"""How a user of both reaches each."""


@dataclass(frozen=True)
class User:
    """Somebody with a laptop: a state and a configuration folder, and a site to work on.

    Attributes:
        home: Where the folders are.
        site: The site's name in the user's ``sites.toml``.
        machine: ``lumi`` or ``jupiter``.
        connect: What the cluster told of itself.
    """

    home: Path
    site: str
    machine: str
    connect: dict[str, Any]

    @property
    def env(self) -> dict[str, str]:
        """The environment of this user's programs."""
        return os.environ | {"AIFA_STATE_DIR": str(self.home / "state"), "AIFA_CONFIG_DIR": str(self.home / "config")}

    @property
    def folder(self) -> str:
        """A folder of this user on the site."""
        return f"{self.connect['workdir']}/{self.home.parent.name}-{self.home.name}"

    def aifa(self, *words: str) -> Ran:
        """Runs the program."""
        return run_aifa(*words, env=self.env, cwd=self.home, timeout=180)

    def ssh(self, script: str, stdin: str = "") -> str:
        """Runs a script on the cluster, past everything that is tested."""
        words = ["ssh", "-F", self.connect["ssh_config"], "-i", self.connect["identity_file"], "-o", "BatchMode=yes"]
        words += ["-p", str(self.connect["port"]), f"{self.connect['user']}@{self.connect['host']}", script]
        return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=True).stdout

    def job(self, *command: str, name: str = "job", kind: str = "command", **resources: Any) -> str:
        """Writes a job file with the machine's own shape and returns its path."""
        fields = {"nodes": 1, "time": "00:05:00"} | SHAPES[self.machine] | resources
        lines = [f"name = {json.dumps(name)}", "[resources]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        lines += ["[launch]", f'kind = "{kind}"', f"command = {json.dumps(command)}"]
        path = self.home / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return str(path)


def make_user(home: Path, machine: str, transport: str, **settings: Any) -> User:
    """A user whose site ``MACHINE-TRANSPORT`` is the test cluster, reached by that transport."""
    base = clusters_dir()
    entry = tomllib.loads((base / "config" / "sites.toml").read_text())["sites"][f"{machine}-test"]
    name = f"{machine}-{transport}"
    entry = entry | {"transport": transport} | settings
    (home / "config").mkdir(parents=True)
    lines = [f"[sites.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (home / "config" / "sites.toml").write_text("\n".join(lines) + "\n")
    return User(home, name, machine, json.loads((base / machine / "connect.json").read_text()))


def reroute(user: User, port: int) -> None:
    """Has a user reach the cluster by another port of this machine, such as that of a slow link to it."""
    # Keys are known under the cluster's own port.
    own = Path(user.connect["ssh_config"]).read_text("utf-8").replace(f"Port {user.connect['port']}", "")
    alias = f"[{user.connect['host']}]:{user.connect['port']}"
    config = user.home / "ssh_config"
    config.write_text(f"Host *\n    Port {port}\n    HostKeyAlias {alias}\n{own}", "utf-8")
    sites = user.home / "config" / "sites.toml"
    lines = [line for line in sites.read_text("utf-8").splitlines() if not line.startswith(("port ", "ssh_config "))]
    lines[1:1] = [f"port = {port}", f"ssh_config = {json.dumps(str(config))}"]
    sites.write_text("\n".join(lines) + "\n", "utf-8")


def until(look: Callable[[], T], seconds: float = 90) -> T:
    """What is found, once something is: looks twice a second, but not for ever."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)
    return found


def begin_again(cluster: Cluster, job: str) -> None:
    """Lets a job start that was put back, which Slurm makes wait for two minutes (the lifetime of its credential)."""
    # Not before it is back: Slurm sets the time when it puts the job into the queue.
    until(lambda: ["PENDING", "BeginTime"] == cluster.admin("squeue", "-h", "-j", job, "-o", "%T %r").split())
    # In a later second than the one it was put back in: a node refuses credentials of that second as revoked.
    cluster.admin("scontrol", "update", f"jobid={job}", "starttime=now+2")


def submit(user: User, site: str, *command: str, more: str = "", **resources: Any) -> dict[str, Any]:
    """Submits a job to one of the user's sites; ``more`` goes below the job file."""
    there = dataclasses.replace(user, machine=site.partition("-")[0])
    path = there.job(*command, **resources)
    with Path(path).open("a") as file:
        file.write(more)
    ran = user.aifa("submit", path, "--site", site, "--json")
    assert 0 == ran.code, ran.err
    found: dict[str, Any] = ran.json
    return found


@pytest.fixture(scope="session")
def clusters() -> Iterator[None]:
    """The test clusters, up."""
    program = [sys.executable, "-m", "integration.cluster"]
    # Clusters that somebody booted before are somebody's: only our own are ended.
    ours = [site for site in SITES if not all(Cluster(site).status().values())]
    subprocess.run([*program, "up", *SITES], cwd=ROOT, check=True)
    yield
    if ours and not os.environ.get("AIFA_KEEP_CLUSTERS"):
        subprocess.run([*program, "down", *ours], cwd=ROOT, check=True)


@pytest.fixture(params=[f"{site}-{transport}" for site in SITES for transport in ("openssh", "fabric")])
def user(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> User:
    """A user of each cluster over each SSH transport, logged in where a person has to."""
    machine, transport = request.param.split("-")
    # The test clusters ask for no second factor. One transport pretends they do and has a person log in first.
    settings = {"mfa": False} if transport == "fabric" else {}
    user = make_user(tmp_path, machine, transport, **settings)
    if transport == "openssh":
        assert 0 == (ran := user.aifa("login", user.site)).code, ran.err
    return user


@pytest.fixture
def both(clusters: None, tmp_path: Path) -> User:
    """A user with a site on each cluster, one over each SSH transport."""
    users = [make_user(tmp_path / name, name, kind, mfa=False) for name, kind in ON.items()]
    text = "".join((user.home / "config" / "sites.toml").read_text() for user in users)
    for user in users:
        (user.home / "config" / "sites.toml").write_text(text)
    return users[0]
