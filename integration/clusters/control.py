"""One test cluster: boot it, ask it, break it, end it.

On disk, below ``$AIFA_CLUSTER_DIR`` (``/var/tmp/aifa-clusters``)::

    config/sites.toml      [sites.lumi-test] ...: set AIFA_CONFIG_DIR to this folder
    cache/                 what outlives a cluster: Python packages for native ones
    lumi/
        connect.json       how to reach it, see Connection
        ssh_config         for `ssh -F`: strict, with the cluster's real host key
        id_ed25519         the user's key, 0600
        known_hosts
        cluster/           what the entrypoint reads
        root/              the root of a native cluster
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.sites.load import load_site
from integration.clusters import conf
from integration.clusters.engine import SOURCE
from integration.clusters.places import How, Place, confines_memory, place_of
from integration.clusters.processes import run
from integration.clusters.shape import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.sites.model import Site

DEFAULT_HOW: dict[str, How] = {"jupiter": "container", "lumi": "native"}
_FIRST_PORT, _LAST_PORT = 17000, 31000  # below the ports that kernels give to clients
_BOOT_SECONDS = 180.0  # about 6 s on an idle machine; a busy one is not a broken one
_SSH_CONFIG = """Host *
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {identity_file}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    LogLevel ERROR
"""


def clusters_dir() -> Path:
    """Where clusters live."""
    return Path(os.environ.get("AIFA_CLUSTER_DIR") or "/var/tmp/aifa-clusters").absolute()


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """What ``connect.json`` holds.

    Attributes:
        site: The profile the cluster is shaped after.
        how: ``container`` or ``native``.
        host: Address of sshd.
        port: Its port.
        user: Who may log in, and has an account.
        stranger: Who may log in with the same key, and has none.
        identity_file: Private key of both.
        known_hosts: File with the host key.
        ssh_config: Configuration for ``ssh -F``.
        account: The account that exists.
        workdir: Folder on the cluster, writable for the user.
        slurm: Version, as ``24.11.5``.
        nodes: Names of the nodes that really run.
        mark: Finds the cluster's processes again.
        digest: Of everything it was booted from.
        boot_seconds: How long that took.
    """

    site: str
    how: How
    host: str
    port: int
    user: str
    stranger: str
    identity_file: str
    known_hosts: str
    ssh_config: str
    account: str
    workdir: str
    slurm: str
    nodes: tuple[str, ...]
    mark: str
    digest: str
    boot_seconds: float


class Cluster:
    """The test cluster of a site; nothing happens before a method is called.

    Args:
        name: Name of a packaged profile.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = clusters_dir() / name
        self._cache = clusters_dir() / "cache"

    def connection(self) -> Connection | None:
        """How to reach it; ``None`` when it was never booted to the end."""
        try:
            return Connection(**json.loads((self.folder / "connect.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def place(self, connection: Connection) -> Place:
        """Where it runs."""
        return place_of(connection.how, self.folder, self._cache)

    # --- life ---

    def up(self, how: How | None = None) -> Connection:
        """Boots it where it does not run; one that runs half, or from other sources, is ended first.

        Args:
            how: Where it shall run; by default where it runs now, else the site's usual place.

        Raises:
            RuntimeError: It does not come up; the message has the daemons' last words.
        """
        # The shape comes from the packaged profile alone: what a user configured on this machine has no part in it.
        site = load_site(self.name, clusters_dir() / "no-config")
        with self._locked():
            current = self.connection()
            how = how or (current.how if current else DEFAULT_HOW.get(self.name, "container"))
            if current and current.how == how and current.digest == _digest(site, how) and self._healthy(current):
                return current
            self._down()
            return self._boot(site, how)

    def down(self) -> None:
        """Ends it and removes its folder."""
        with self._locked():
            self._down()

    def _down(self) -> None:
        mark = self.folder / "mark.json"
        if mark.is_file():
            how, text = json.loads(mark.read_text("utf-8"))
            place_of(how, self.folder, self._cache).end(text)
        if self.folder.exists():
            run("rm", "-rf", "--one-file-system", str(self.folder))
        write_config()

    def _boot(self, site: Site, how: How) -> Connection:
        self.folder.mkdir(parents=True)
        place = place_of(how, self.folder, self._cache)
        self._cache.mkdir(exist_ok=True)
        place.prepare()
        began = time.monotonic()
        port = _free_ports()
        self._write(conf.files(site, _layout(how, port, place.ssh_address)))
        self._keys(port)
        mark = place.boot(port)
        (self.folder / "mark.json").write_text(json.dumps([how, mark]), "utf-8")
        config = self.folder / "ssh_config"
        config.write_text(self._ssh_config(port), "utf-8")
        self._wait(place, mark, config)
        connection = Connection(
            site=self.name,
            how=how,
            host="127.0.0.1",
            port=port,
            user=conf.USER,
            stranger=conf.STRANGER,
            identity_file=str(self.folder / "id_ed25519"),
            known_hosts=str(self.folder / "known_hosts"),
            ssh_config=str(config),
            account=conf.account_of(site),
            workdir=conf.workdir_of(site),
            slurm=run(*place.inside(mark), "sinfo", "--version").split()[-1],
            nodes=shape_of(site).daemons,
            mark=mark,
            digest=_digest(site, how),
            boot_seconds=round(time.monotonic() - began, 1),
        )
        (self.folder / "connect.json").write_text(json.dumps(asdict(connection), indent=2) + "\n", "utf-8")
        write_config()
        return connection

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / "cluster" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def _keys(self, port: int) -> None:
        ssh = self.folder / "cluster" / "ssh"
        ssh.mkdir()
        for path in (ssh / "host_key", self.folder / "id_ed25519"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{self.name} test cluster", "-f", str(path))
        shutil.copy(self.folder / "id_ed25519.pub", ssh / "authorized_keys")
        kind, key = (ssh / "host_key.pub").read_text("utf-8").split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n", "utf-8")

    def _ssh_config(self, port: int) -> str:
        key, hosts = self.folder / "id_ed25519", self.folder / "known_hosts"
        return _SSH_CONFIG.format(port=port, user=conf.USER, identity_file=key, known_hosts=hosts)

    def _wait(self, place: Place, mark: str, config: Path) -> None:
        """A login with our key to our host key, of the last daemon to start, means that all is up."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while not _logs_in(config):
            if time.monotonic() > deadline or not place.alive(mark):
                said = place.last_words(mark)
                place.end(mark)
                raise RuntimeError(f"the {self.name} cluster does not come up:\n{said}")
            time.sleep(0.2)

    def _healthy(self, connection: Connection) -> bool:
        return all(self.status(connection).values()) and _logs_in(Path(connection.ssh_config))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One boot or end at a time, also between processes of this machine."""
        clusters_dir().mkdir(parents=True, exist_ok=True)
        with (clusters_dir() / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- control ---

    def _running(self) -> Connection:
        connection = self.connection()
        if connection is None or not self.place(connection).alive(connection.mark):
            raise RuntimeError(f"the {self.name} cluster does not run; `cluster.py up {self.name}` starts it")
        return connection

    def admin(self, *argv: str) -> str:
        """Runs a command inside as root and returns what it prints.

        Raises:
            RuntimeError: It failed, or the cluster does not run.
        """
        connection = self._running()
        return run(*self.place(connection).inside(connection.mark), *argv)

    def stop(self, daemon: str) -> None:
        """Stops slurmctld, slurmdbd, mariadbd, munged, sshd (its listener), or the slurmd of a node."""
        self.admin("entrypoint", "stop", daemon)

    def start(self, daemon: str) -> None:
        """Starts what :meth:`stop` stopped."""
        self.admin("entrypoint", "start", daemon)

    def status(self, connection: Connection | None = None) -> dict[str, bool]:
        """For each daemon whether it runs; ``{"cluster": False}`` when nothing does."""
        connection = connection or self.connection()
        if connection is None or not self.place(connection).alive(connection.mark):
            return {"cluster": False}
        place = self.place(connection)
        lines = run(*place.inside(connection.mark), "entrypoint", "status", check=False).splitlines()
        return {name: state == "up" for name, _, state in (line.partition(" ") for line in lines)} or {"cluster": False}

    def shell(self, *command: str) -> int:
        """A login as the user, as a person would; returns the shell's exit code."""
        connection = self._running()
        argv = ["ssh", "-F", connection.ssh_config, f"{self.name}-test", *command]
        return subprocess.run(argv, check=False).returncode


def write_config() -> None:
    """Writes ``config/sites.toml`` for the clusters that were booted: ``[sites.lumi-test]`` and so on."""
    tables = []
    for folder in sorted(clusters_dir().iterdir()):
        connection = Cluster(folder.name).connection()
        if connection is None:
            continue
        keys = ("host", "port", "user", "ssh_config", "identity_file", "account", "workdir")
        values = asdict(connection)
        # JSON's strings and numbers are TOML's too.
        lines = [f"{key} = {json.dumps(values[key])}" for key in keys]
        tables.append("\n".join([f"[sites.{folder.name}-test]", f'extends = "{folder.name}"', *lines]) + "\n")
    path = clusters_dir() / "config" / "sites.toml"
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(tables), "utf-8")
    fresh.replace(path)


def _layout(how: How, port: int, ssh_address: str = "127.0.0.1") -> conf.Layout:
    native = how == "native"
    return conf.Layout(port=port, ssh_address=ssh_address, native=native, confined=native and confines_memory())


def _digest(site: Site, how: How) -> str:
    """Changes with everything a cluster is booted from."""
    digest = hashlib.sha256()
    for name, text in conf.files(site, _layout(how, _FIRST_PORT)).items():
        digest.update(f"{name}\0{text}\0".encode())
    for name in ("Containerfile", "entrypoint", "private-root"):
        digest.update((SOURCE / name).read_bytes())
    return digest.hexdigest()[:16]


def _free_ports() -> int:
    """The first of ``conf.PORTS`` ports in a row that nobody listens on."""
    blocks = list(range(_FIRST_PORT, _LAST_PORT, conf.PORTS))
    # The search begins anywhere: clusters in two folders that boot at once do not see each other's ports yet.
    begin = random.randrange(len(blocks))
    for first in blocks[begin:] + blocks[:begin]:
        if all(_is_free(port) for port in range(first, first + conf.PORTS)):
            return first
    raise RuntimeError(f"no {conf.PORTS} free ports in a row from {_FIRST_PORT} to {_LAST_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's rest does not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _logs_in(config: Path) -> bool:
    argv = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "cluster", "true"]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
