"""What goes wrong around a job: a daemon that is away, a requeue, a clock that jumps, a process that is killed.

A cluster is whatever can stop and start its daemons and run a command as Slurm's administrator, see :class:`Cluster`.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Cluster(Protocol):
    """A Slurm of the test's own."""

    def stop(self, daemon: str, /) -> None:
        """Stops ``slurmctld``, ``slurmdbd``, ``sshd`` or the slurmd of a node."""

    def start(self, daemon: str, /) -> None:
        """Starts it again and waits until it works."""

    def admin(self, *argv: str) -> str:
        """Runs a command as the administrator and returns what it prints."""


@contextlib.contextmanager
def without(cluster: Cluster, daemon: str) -> Iterator[None]:
    """The cluster without one of its daemons, which is back afterwards whatever happens."""
    cluster.stop(daemon)
    try:
        yield
    finally:
        cluster.start(daemon)


def requeue(cluster: Cluster, job: str) -> None:
    """Puts a running job back into the queue, as a failed node or a preemption does."""
    cluster.admin("scontrol", "requeue", job)


class Clock:
    """The time, aware and in UTC, which a test can move; give it where a clock is taken."""

    def __init__(self) -> None:
        self._moved = datetime.timedelta()

    def __call__(self) -> datetime.datetime:
        """The time it shows."""
        return datetime.datetime.now(datetime.UTC) + self._moved

    def jump(self, by: datetime.timedelta) -> None:
        """Moves it: forward, as for a laptop that slept, or back, as when a wrong clock is set right."""
        self._moved += by


def descendants(pid: int) -> list[int]:
    """Process ids of what a process started, and of what those did, children last (Linux)."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text("ascii").split())
    return found[1:]


def kill_after(
    argv: Sequence[str],
    seconds: float,
    *,
    env: Mapping[str, str] | None = None,
    ready: bytes = b"",
    children: bool = False,
) -> int | None:
    """Starts a program and ends it with SIGKILL, so that nothing of its own runs any more.

    Args:
        argv: The program.
        seconds: Its life, from the moment it is ready.
        env: Its environment.
        ready: A line it prints when it begins its work; empty counts from its start.
        children: What it started ends with it, as when a machine loses its power.

    Returns:
        Its exit code where it was quicker, else ``None``.

    Raises:
        RuntimeError: It ended before it was ready; with its words.
    """
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = b""
        while ready and ready not in said:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{argv[0]} ended before it was ready: {said.decode(errors='replace')}")
            said += line
        end = time.monotonic() + seconds
        try:
            # What it says meanwhile may not stop it.
            process.communicate(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            victims = descendants(process.pid) if children else []
            for pid in (process.pid, *victims):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.communicate()
            return None
        return process.returncode
