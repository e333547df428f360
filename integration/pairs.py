"""Every kind of place that files are copied between, on real servers of this machine, behind links that can be cut."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.plain import PlainEndpoint
from aifa_hpc.staging.endpoints.s3 import S3Endpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.endpoints.tools_sftp import SftpTools
from aifa_hpc.staging.endpoints.tools_shell import ShellTools
from aifa_hpc.staging.endpoints.url import URLEndpoint
from aifa_hpc.testing.copies import Pair
from aifa_hpc.testing.endpoints import HOSTILE_NAMES, FolderPlace, Place
from aifa_hpc.testing.proxy import Proxy
from aifa_hpc.testing.scramble import Scrambled
from aifa_hpc.testing.sshd import Sshd, free_port
from aifa_hpc.testing.stores import Bucket, CephStore, ObjectStore, RcloneStore
from aifa_hpc.transport.openssh import OpenSSHTransport
from integration import disks

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from aifa_hpc.staging.endpoints.base import Endpoint
    from integration.disks import Quota

LANES = 2
ALIAS = "far"
COREUTILS = ("sh", "dd", "stat", "find", "head", "tail", "tr", "sha256sum", "md5sum", "mkdir", "touch", "chmod", "sync",
             "mv", "rm", "grep", "cat", "sleep")  # fmt: skip
NO_NEWLINE = tuple(name for name in HOSTILE_NAMES if "\n" not in name)
"""What rclone serves under its own name."""

STORES: dict[str, type[ObjectStore]] = {"rclone": RcloneStore, "ceph": CephStore}


def by_agent(config: Path, control: Path, root: str) -> SSHEndpoint:
    """A folder behind a server, by the agent."""
    return SSHEndpoint(_transport(config, control), root, channels=LANES, label=control.name)


def scrambled(config: Path, control: Path, root: str, chance: random.Random) -> tuple[SSHEndpoint, Scrambled]:
    """The same, and a way whose answers come twice and out of order."""
    way = Scrambled(_transport(config, control), chance)
    return SSHEndpoint(way, root, channels=LANES, label=control.name), way


def by_shell(config: Path, control: Path, root: str) -> PlainEndpoint:
    """The same by coreutils."""
    make = functools.partial(ShellTools, _transport(config, control))
    return PlainEndpoint(make, root, channels=LANES, label=control.name)


def by_sftp(config: Path, control: Path, root: str) -> PlainEndpoint:
    """The same by SFTP."""
    make = functools.partial(SftpTools, _transport(config, control))
    return PlainEndpoint(make, root, channels=LANES, label=control.name)


def by_s3(url: str, bucket: str) -> S3Endpoint:
    """A bucket."""
    return S3Endpoint(bucket, endpoint_url=url, lanes=LANES)


def _transport(config: Path, control: Path) -> OpenSSHTransport:
    return OpenSSHTransport(host=ALIAS, ssh_config=str(config), control_dir=control)


@dataclass
class Servers:
    """Servers that are started when a pair needs them, and end together.

    Attributes:
        folder: For everything of them.
    """

    folder: Path
    _made: dict[str, Any] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sshd(self, kind: str) -> tuple[Sshd, Proxy, Path]:
        """A server that has Python, only coreutils, or only SFTP; its link; and where connections to it are kept."""
        return self._once(f"sshd-{kind}", lambda: self._start_sshd(kind))

    def store(self, kind: str) -> tuple[ObjectStore, Proxy]:
        """An object store and its link."""
        return self._once(f"store-{kind}", lambda: self._start_store(kind))

    def web(self) -> tuple[Web, Proxy]:
        """A web server and its link."""
        return self._once("web", self._start_web)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _start_sshd(self, kind: str) -> tuple[Sshd, Proxy, Path]:
        lines: dict[str, tuple[str, ...]] = {
            "agent": (),
            "sftp": ("Subsystem sftp internal-sftp", "ForceCommand internal-sftp"),
            # Of several SetEnv lines the first counts: this one stands for the server's own as well.
            "shell": (f"SetEnv PATH={self._coreutils()} SHLVL=1",),
        }
        sshd = self._stack.enter_context(Sshd.started(self.folder / f"sshd-{kind}", *lines[kind], alias=ALIAS))
        link = self._stack.enter_context(Proxy(sshd.port))
        sshd.write_config(f"Port {link.port}", f"HostKeyAlias [127.0.0.1]:{sshd.port}")
        control = self.folder / kind
        self._stack.callback(_transport(sshd.ssh_config, control).logout)
        return sshd, link, control

    def _start_store(self, kind: str) -> tuple[ObjectStore, Proxy]:
        store = self._stack.enter_context(STORES[kind].started(self.folder / f"store-{kind}"))
        return store, self._stack.enter_context(Proxy(store.port, ssh=False))

    def _start_web(self) -> tuple[Web, Proxy]:
        web = Web(self.folder / "web")
        self._stack.callback(web.stop)
        return web, self._stack.enter_context(Proxy(web.port, ssh=False))

    def _coreutils(self) -> Path:
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name in COREUTILS:
            program = shutil.which(name)
            assert program is not None
            if not (folder / name).exists():
                (folder / name).symlink_to(program)
        return folder


class Web:
    """``rclone serve http``: a web server with ranges, over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        program = str(Path(sys.executable).with_name("rclone"))
        argv = (program, "--config", os.devnull, "serve", "http", "--addr", f"127.0.0.1:{self.port}",
                "--dir-cache-time", "20ms", "--copy-links", str(self.folder))  # fmt: skip
        self._process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        RcloneStore.await_port(self, self._process)

    def stop(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait()


@dataclass(kw_only=True)
class End:
    """One side of a pair.

    Attributes:
        place: Seen past its endpoint.
        open: Opens its endpoint.
        wipe: Empties it.
        link: The way to it.
        restart: Kills its server and starts it again.
        mount: Where its file system is mounted.
        quota: Uses up its quota for a while.
        open_scrambled: Opens its endpoint over a way that scrambles answers.
        names: What it can hold.
    """

    place: Place
    open: Callable[[], Endpoint]
    wipe: Callable[[], None]
    link: Proxy | None = None
    restart: Callable[[], None] | None = None
    mount: Path | None = None
    quota: Quota | None = None
    open_scrambled: Callable[[random.Random], tuple[Endpoint, Scrambled]] | None = None
    names: tuple[str, ...] = HOSTILE_NAMES


@contextlib.contextmanager
def end(kind: str, servers: Servers, folder: Path, *, quota: bool = False) -> Iterator[End]:
    """One side: ``local``, ``agent``, ``shell``, ``sftp``, ``rclone`` or ``ceph`` (object stores), ``url``.

    A folder lies on a disk that can be made smaller, or on one with a quota; an object store has one if it can.
    """
    if kind in STORES:
        with _bucket(kind, servers) as found:
            yield found
        return
    with contextlib.ExitStack() as stack:
        mount, limited = None, None
        if quota:
            limited = stack.enter_context(disks.with_quota(folder))
        else:
            mount = stack.enter_context(disks.small(folder))
        root = folder / "data"
        root.mkdir()
        place = FolderPlace(root)
        made = End(place=place, open=functools.partial(LocalEndpoint, str(root)), wipe=lambda: _empty(root))
        made.mount, made.quota = mount, limited
        if kind == "url":
            web, made.link = servers.web()
            (web.folder / folder.parent.name).symlink_to(root)
            made.open = functools.partial(URLEndpoint, f"http://127.0.0.1:{made.link.port}/{folder.parent.name}/")
            made.restart = lambda: _again(web)
            made.names = NO_NEWLINE
        elif kind != "local":
            sshd, made.link, control = servers.sshd(kind)
            make = {"agent": by_agent, "shell": by_shell, "sftp": by_sftp}[kind]
            made.open = functools.partial(make, sshd.ssh_config, control, str(root))
            if kind == "agent":
                made.open_scrambled = functools.partial(scrambled, sshd.ssh_config, control, str(root))
            made.restart = lambda: _again(sshd)
        yield made


@contextlib.contextmanager
def pair(kinds: tuple[str, str], rounds: int, servers: Servers, folder: Path, *, quota: bool = False) -> Iterator[Pair]:
    """A source and a destination of these kinds; the latter with a quota in place of a disk that can be full."""
    with contextlib.ExitStack() as stack:
        ends = []
        for kind, name in zip(kinds, ("source", "target"), strict=True):
            (folder / name).mkdir()
            wanted = quota and name == "target"
            ends.append(stack.enter_context(end(kind, servers, folder / name, quota=wanted)))
        source, target = ends
        (folder / "state").mkdir()
        # The destination's server is the one that holds what is not finished.
        yield Pair(
            source=source.place, target=target.place, open_source=source.open, open_target=target.open,
            folder=folder / "state", wipe=target.wipe, rounds=rounds, lanes=LANES,
            names=tuple(name for name in HOSTILE_NAMES if name in source.names and name in target.names),
            links=tuple(one.link for one in ends if one.link is not None),
            restart=target.restart or source.restart, mount=target.mount, quota=target.quota,
            open_scrambled=target.open_scrambled,
        )  # fmt: skip


@contextlib.contextmanager
def _bucket(kind: str, servers: Servers) -> Iterator[End]:
    store, link = servers.store(kind)
    os.environ.update(store.env)
    bucket = Bucket(store.url, f"aifa-{os.urandom(8).hex()}")
    names = NO_NEWLINE if kind == "rclone" else HOSTILE_NAMES
    yield End(
        place=bucket, open=functools.partial(by_s3, f"http://127.0.0.1:{link.port}", bucket.name), wipe=bucket.empty,
        link=link, restart=lambda: _again(store), names=names,
        quota=functools.partial(store.limited, bucket.name) if isinstance(store, CephStore) else None,
    )  # fmt: skip
    bucket.empty()


def _empty(root: Path) -> None:
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _again(server: Any) -> None:
    server.stop()
    server.start()
