# ruff: noqa: PTH112, PTH123, PTH208 - every call starts a Python, and pathlib would slow that
# ruff: noqa: PLC0415 - imported where it is used, so that programs without it start faster
"""Processes of this machine: who is alive, who descends from whom, and how to end them all.

Linux is read through ``/proc``; elsewhere (macOS) ``ps`` answers the same questions.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROC = os.path.isdir("/proc/self")
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Process(NamedTuple):
    """A line of the process table; ``started`` tells a process from a later one of the same number."""

    pid: int
    parent: int
    session: int
    started: str


def process_table() -> list[Process]:
    """All processes that are not zombies."""
    if not _PROC:
        return _ps()
    found = (_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None]


def started(pid: int) -> str:
    """When a process began, in no particular unit; empty when there is none or only a zombie."""
    process = _stat(pid) if _PROC else next((process for process in _ps() if process.pid == pid), None)
    return process.started if process else ""


def is_alive(pid: int | None, began: str | None) -> bool:
    """Whether the process that had this number and this beginning still runs."""
    return pid is not None and bool(began) and started(pid) == began


def descendants(pid: int) -> list[int]:
    """Children of a process and theirs, nearest first."""
    children: dict[int, list[int]] = {}
    for process in process_table():
        children.setdefault(process.parent, []).append(process.pid)
    found = list(children.get(pid, ()))
    for child in found:  # grows while it is walked
        found += children.get(child, ())
    return found


def signal_all(pids: Iterable[int], number: int) -> None:
    """Sends a signal to each; those that are gone are left out."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def kill_descendants(pid: int) -> None:
    """Ends everything below a process with SIGKILL, also what is forked meanwhile; collects what became its child."""
    while pids := descendants(pid):
        signal_all(pids, signal.SIGKILL)
        reap()
        time.sleep(0.005)
    reap()


def reap() -> None:
    """Collects children that ended and that nobody waits for by number."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def kill_session(session: int, marker: str) -> None:
    """Ends what is left of a session whose keeper is dead.

    Args:
        session: Number of the process that led it.
        marker: ``NAME=value`` that must stand in a process's environment where that can be read: numbers are reused.
    """
    pids = [process.pid for process in process_table() if process.session == session]
    signal_all((pid for pid in pids if _has_variable(pid, marker)), signal.SIGKILL)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent ends (Linux), so that none is lost sight of."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn_detached(argv: list[str]) -> None:
    """Starts a program that outlives its parent: a session of its own, no open files, nobody's child."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.closerange(3, min(max(os.sysconf("SC_OPEN_MAX"), 256), 1 << 20))
            os.chdir("/")
            os.execv(argv[0], argv)  # noqa: S606 - no shell is what is wanted
    finally:
        os._exit(0)  # whatever happened, the copy must not go on with the caller's work


def _stat(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):  # ended; proc(5) has the fields, counted here from the third
        return None
    return Process(pid, int(fields[1]), int(fields[3]), fields[19].decode())


def _ps() -> list[Process]:
    import subprocess

    text = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="], capture_output=True, text=True, check=False
    ).stdout
    rows = (line.split(None, 3) for line in text.splitlines())
    return [
        Process(int(pid), int(parent), _session(int(pid)), began)
        for pid, parent, state, began in rows
        if not state.startswith("Z")
    ]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _has_variable(pid: int, marker: str) -> bool:
    if not _PROC:
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker.encode("utf-8", "surrogateescape") in file.read().split(b"\0")
    except OSError:
        return False
