"""Where a cluster runs: in a container, or in a private root of this machine. Both run the same entrypoint."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

from integration.clusters.engine import SOURCE, Engine, download, find_engine, image, limits
from integration.clusters.processes import alive, end, first_child, identity, run

How = Literal["container", "native"]
_MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


def confines_memory() -> bool:
    """Whether native clusters can kill jobs that take too much memory, which Slurm 22.05 does by cgroups' version 1."""
    return (_MEMORY_GROUPS / "memory.oom_control").exists()


class Place(ABC):
    """A way to run one cluster whose files are in ``folder``."""

    how: How
    ssh_address = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def prepare(self) -> None:
        """Builds what can be kept for the next boot: images, packages."""

    @abstractmethod
    def boot(self, port: int) -> str:
        """Starts the entrypoint and returns the cluster's mark, which finds it again."""

    @abstractmethod
    def alive(self, mark: str) -> bool:
        """Whether the cluster of this mark still runs."""

    @abstractmethod
    def inside(self, mark: str, *, interactive: bool = False) -> tuple[str, ...]:
        """The words before a command that make it run inside, as root."""

    @abstractmethod
    def end(self, mark: str) -> None:
        """Ends all processes of the cluster."""

    @abstractmethod
    def last_words(self, mark: str) -> str:
        """What the entrypoint said."""


class Native(Place):
    """This machine's own Slurm packages, in namespaces of their own.

    Args:
        folder: The cluster's folder.
        cache: Folder for what outlives a cluster.
    """

    how: How = "native"

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder)
        version = run("/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        self._python = version
        self._packages = cache / f"python{version}"

    def prepare(self) -> None:
        if self._packages.is_dir():
            return
        wheels = self._packages.with_suffix(".wheels")
        staged = self._packages.with_suffix(f".new{os.getpid()}")
        download(wheels, self._python)
        # Wheels for another Python than this one: pip takes them as they are, for --target.
        names = [str(path) for path in sorted(wheels.glob("*.whl"))]
        install = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(staged))
        target = (f"--python-version={self._python}", "--only-binary=:all:")
        run(sys.executable, "-m", "pip", *install, *target, *names)
        shutil.rmtree(wheels)
        staged.rename(self._packages)

    def boot(self, port: int) -> str:
        del port
        namespaces = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        with (self.folder / "boot.log").open("wb") as log:
            process = subprocess.Popen(
                [*namespaces, str(SOURCE / "private-root"), str(self.folder), str(self._packages)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        return identity(process.pid)

    def _init(self, mark: str) -> int:
        """The first process inside: all others end with it."""
        pid = alive(mark)
        return first_child(pid) if pid else 0

    def alive(self, mark: str) -> bool:
        return bool(alive(mark))

    def inside(self, mark: str, *, interactive: bool = False) -> tuple[str, ...]:
        del interactive
        names = ("--mount", "--uts", "--ipc", "--pid", "--root", "--wd")
        clean = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
        return ("nsenter", "--target", str(self._init(mark)), *names, *clean, "HOME=/root", "TERM=xterm")

    def end(self, mark: str) -> None:
        init = self._init(mark)
        if init:
            end(identity(init))
        end(mark)
        # The kernel keeps Slurm's empty groups; those that another cluster's jobs are in stay.
        for log in self.folder.glob("root/var/log/cluster/slurmd-*.log"):
            for group, _, _ in os.walk(_MEMORY_GROUPS / log.stem.replace("slurmd-", "slurm_", 1), topdown=False):
                with contextlib.suppress(OSError):
                    Path(group).rmdir()

    def last_words(self, mark: str) -> str:
        del mark
        return (self.folder / "boot.log").read_text("utf-8", "replace")


class Container(Place):
    """The image of ``containers/slurm``, on docker or podman."""

    how: How = "container"

    def __init__(self, folder: Path, engine: Engine) -> None:
        super().__init__(folder)
        self._engine = engine
        # Where containers live in a virtual machine, its loopback is not ours and ports must be published.
        self._host_network = sys.platform == "linux"
        self.ssh_address = "127.0.0.1" if self._host_network else "0.0.0.0"

    def prepare(self) -> None:
        image(self._engine)

    def boot(self, port: int) -> str:
        name = f"aifa-{self.folder.name}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}"
        self._engine("rm", "--force", "--volumes", name, check=False)  # left by a boot that was interrupted
        words = ["run", "--detach", "--name", name, "--label", f"aifa-cluster={self.folder}"]
        words += [
            "--hostname",
            f"{self.folder.name}-login",
            "--pids-limit",
            "-1",
            "--cap-add",
            "MKNOD",
            "--cap-add",
            "SYS_ADMIN",
            *limits(),
        ]
        words += ["--volume", f"{self.folder / 'cluster'}:/cluster:ro"]
        words += ["--network", "host"] if self._host_network else ["--publish", f"127.0.0.1:{port}:{port}"]
        return self._engine(*words, image(self._engine), "boot").strip().splitlines()[-1]

    def alive(self, mark: str) -> bool:
        asked = self._engine("container", "inspect", "--format", "{{.State.Running}}", mark, check=False)
        return asked.strip() == "true"

    def inside(self, mark: str, *, interactive: bool = False) -> tuple[str, ...]:
        return (*self._engine.argv, "exec", *(("-it",) if interactive else ("-i",)), mark)

    def end(self, mark: str) -> None:
        self._engine("rm", "--force", "--volumes", mark, check=False)
        if self._engine("container", "ls", "--all", "--quiet", "--filter", f"id={mark}").strip():
            raise RuntimeError(f"container {mark[:12]} cannot be removed")

    def last_words(self, mark: str) -> str:
        argv = [*self._engine.argv, "logs", mark]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.stdout


def place_of(how: How, folder: Path, cache: Path) -> Place:
    """The place for a way to run.

    Raises:
        RuntimeError: This machine cannot run a cluster that way.
    """
    if how == "native":
        return Native(folder, cache)
    engine = find_engine()
    if engine is None:
        raise RuntimeError("no container engine answers here; see `cluster.py needs`")
    return Container(folder, engine)
