"""What a copy over SSH costs in processors, by kind of process: ours beside other tools, however busy the machine.

    python -m integration.bench.cpu [--what file,small,noop] [--tools ours,rsync] [--size MIB] [--count N] [--delay S]

Seconds of a clock say little on a busy machine; these are seconds of processors, of all processes that a copy needs:
``me`` (this one), ``children`` (clients: ssh, rsync), ``mux`` (ssh's shared connection), ``sshd``, ``far`` (what the
server ran: the agent, rsync) and ``link`` (the long way, where there is one). Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.testing.sshd import Sshd
from integration.bench.peers import far
from integration.bench.staging import MIB, Machine, make_file, make_files

if TYPE_CHECKING:
    from collections.abc import Callable

_SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER`` of prctl(2): what goes into the background stays below us and is counted."""

_TICKS = os.sysconf("SC_CLK_TCK")
_NOISE = 0.02


def spent() -> Counter[str]:
    """Seconds of processors so far, of this process and of all below it, by kind."""
    seen: dict[int, tuple[int, str, str, float, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            head, _, tail = (folder / "stat").read_text("utf-8", "replace").rpartition(")")
            words = tail.split()
            own, ended = (sum(map(int, words[at : at + 2])) / _TICKS for at in (11, 13))
            argv = (folder / "cmdline").read_text("utf-8", "replace")
            seen[int(folder.name)] = (int(words[1]), head.partition("(")[2], argv, own, ended)
    mine, grown = {os.getpid()}, True
    while grown:
        below = {pid for pid, (parent, *_) in seen.items() if parent in mine} - mine
        mine |= below
        grown = bool(below)
    found: Counter[str] = Counter()
    for pid in mine:
        _, name, argv, own, ended = seen[pid]
        if pid == os.getpid():
            kinds = ("me", "children")
        elif name.startswith("sshd"):
            kinds = ("sshd", "far")
        else:
            kinds = ("link" if "testing.link" in argv else "mux" if "[mux]" in argv else name,) * 2
        found[kinds[0]] += own  # type: ignore[assignment] # a Counter of seconds
        found[kinds[1]] += ended  # type: ignore[assignment]
    return found


def measure(name: str, tool: Callable[[], None]) -> str:
    """Runs it, and what that cost."""
    before, begun = spent(), time.perf_counter()
    tool()
    took = time.perf_counter() - begun
    time.sleep(0.1)  # until what has ended was waited for
    after = spent()
    cost = {kind: after[kind] - before[kind] for kind in sorted(after)}
    parts = "  ".join(f"{kind} {seconds:.2f}" for kind, seconds in cost.items() if seconds >= _NOISE)
    return f"{name:<8} {sum(cost.values()):6.2f} s of processors in {took:6.2f} s   {parts}"


def main() -> None:
    """Prints a line for each copy; the first of each tool warms up and is not shown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--what", default="file,small", help="a large file, many small ones, and as many of them again")
    parser.add_argument("--tools", default="ours,rsync")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--count", type=int, default=5000, help="of the small ones, of 64 KiB each")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds one way")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the files are; /dev/shm leaves the disk out")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="aifa-bench-", dir=options.folder) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        sshd = stack.enter_context(Sshd.started(folder / "sshd", "Subsystem sftp internal-sftp"))
        port = stack.enter_context(far(sshd.port, options.delay)) if options.delay else sshd.port
        machine = Machine(folder, sshd, port, "there")
        stack.callback(machine.close)
        for what in options.what.split(","):
            data = (
                make_file(folder / what, options.size * MIB)
                if what == "file"
                else make_files(folder / what, options.count, 64 * 1024)
            )
            for up in (True, False):
                tools = machine.row(what, data, up=up, goals={}).tools
                if what == "noop":
                    machine.clean()
                    tools["ours"]()
                for number in range(options.rounds + 1):
                    for tool in options.tools.split(","):
                        if what != "noop":
                            machine.clean()
                        line = measure(tool, tools[tool])
                        if number:
                            print(f"{what}, {'up' if up else 'down'}: {line}", flush=True)


if __name__ == "__main__":
    main()
