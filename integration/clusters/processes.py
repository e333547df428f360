"""Processes that outlive the program that started them, and how to be sure that a pid is still the same one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

_STARTTIME = 19  # fields of /proc/PID/stat after the program's name, see proc(5): 22nd in all
_PPID = 1


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` after the program's name, which may hold blanks; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def identity(pid: int) -> str:
    """``PID:STARTTIME``, which no second process on this boot shares; empty when there is none."""
    fields = _stat(pid)
    return f"{pid}:{fields[_STARTTIME]}" if fields and fields[0] != "Z" else ""


def alive(mark: str) -> int:
    """The pid of the process that had this identity, 0 when it has ended."""
    pid = int(mark.partition(":")[0] or 0)
    return pid if pid and identity(pid) == mark else 0


def first_child(pid: int) -> int:
    """A child of a process, 0 when it has none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[_PPID]) == pid:
                return int(entry.name)
    return 0


def end(mark: str, seconds: float = 10.0) -> None:
    """Kills the process of this identity and waits until it is gone.

    Raises:
        TimeoutError: It is still there.
    """
    pid = alive(mark)
    if not pid:
        return
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while alive(mark):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not end")
        time.sleep(0.02)


def run(*argv: str, stdin: str | None = None, check: bool = True, seconds: float = 600) -> str:
    """Runs a program and returns its standard output.

    Raises:
        RuntimeError: It is not installed, or it failed; the message has its last words.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise RuntimeError(f"{argv[0]} is not installed; see `cluster.py needs`") from error
    if check and done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-40:])
        raise RuntimeError(f"`{shlex.join(argv)[:300]}` exited with {done.returncode}:\n{said}")
    return done.stdout
