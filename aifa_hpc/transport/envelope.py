r"""The envelope of a remote command: one line that every login shell takes, with proof of its start and its end.

sshd hands a line to the user's login shell, which may be bash, dash, zsh, tcsh or fish. What is sent is ::

    exec sh -c 'eval "$(printf %b "$1")"' aifa '...'

where the last word is a POSIX shell program whose delicate bytes (quotes, ``!``, backslashes, newlines, everything that
is not ASCII) are ``\0ooo`` escapes, so no shell on the way has anything to expand. The program writes a mark on both
streams, runs the command, and writes a second mark with the exit code. A stream that ends with its second mark is
complete: exit code 255 of a program, and of an ssh program whose link broke, cannot be mistaken for each other. The
marks carry a nonce that stands in two halves in the program, so a command that prints its own command line makes none.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

# Printable ASCII without ! ' \ : safe between single quotes in every shell named above.
_SAFE = frozenset(range(0x20, 0x7F)) - frozenset(b"!'\\")

# MAX_ARG_STRLEN of Linux (execve(2)): one word of a command line, which is what the login shell gets.
LONGEST_LINE = 128 * 1024 - 1

# sh is the leader of its session (sshd calls setsid), so its process id names the group of all the command started. The
# nonce in its own command line proves that the id was not given to another process, or another login node asked.
_KILL = (
    'case "$(tr "\\000" " " 2>/dev/null </proc/$1/cmdline)" in *"$2 $3"*) '
    'kill -s TERM -- "-$1"; sleep 0.2; kill -s KILL -- "-$1" ;; esac'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a stream says once it is out of its envelope.

    Attributes:
        content: The command's own bytes; all of the stream when there is no mark in it.
        pid: Process id of the remote shell; ``None`` when the command did not begin as far as this stream knows.
        exit_code: Exit code of the command; ``None`` when the stream does not reach its end.
    """

    content: bytes
    pid: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """The marks of one command.

    Attributes:
        nonce: At least 16 hexadecimal digits nobody can guess.
    """

    nonce: str

    @property
    def _halves(self) -> tuple[str, str]:
        middle = len(self.nonce) // 2
        return self.nonce[:middle], self.nonce[middle:]

    def line(self, argv: tuple[str, ...], *, streaming: bool = False) -> str:
        """The line for the login shell.

        Args:
            argv: Program and arguments. The program is looked up on PATH; shell builtins are not programs.
            streaming: Leaves the last mark away from standard output, for readers who cannot hold bytes back.
        """
        left, right = self._halves
        begin = f"printf 'aifa:%s%s:begin:%d;' {left} {right} $$"
        end = f"printf 'aifa:%s%s:end:%d;' {left} {right} $1"
        steps = (
            begin,
            f"{begin} >&2",
            f"(exec {shlex.join(argv)})",
            "set -- $?",
            *(() if streaming else (end,)),
            f"{end} >&2",
            "exit $1",
        )
        program = "; ".join(steps)
        return f"exec sh -c 'eval \"$(printf %b \"$1\")\"' aifa '{_escape(program)}'"

    def kill(self, pid: int) -> tuple[str, ...]:
        """Words of a command that ends the enveloped one and all it started, where Linux's ``/proc`` shows it."""
        return ("sh", "-c", _KILL, "aifa", str(pid), *self._halves)

    def begin(self, data: bytes) -> tuple[int, int] | None:
        """Process id in the first mark and the offset behind it; ``None`` when the mark is not there (yet)."""
        found = re.search(rb"aifa:%s:begin:(\d+);" % self.nonce.encode(), data)
        return (int(found[1]), found.end()) if found else None

    def read(self, data: bytes) -> Reading:
        """Takes the marks off, with what a login shell printed before the first and orphans after the last."""
        pid, start = self.begin(data) or (None, 0)
        ends = list(re.finditer(rb"aifa:%s:end:(\d+);" % self.nonce.encode(), data))
        if not ends:
            return Reading(content=data[start:], pid=pid)
        return Reading(content=data[start : ends[-1].start()], pid=pid, exit_code=int(ends[-1][1]))


def _escape(program: str) -> str:
    r"""Argument of ``printf %b`` (POSIX: ``\0`` and up to three octal digits) that prints the program."""
    data = program.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _SAFE else f"\\0{byte:03o}" for byte in data)
