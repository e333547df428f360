"""What crosses the wire: a command out, its completion back, and flows made of both.

A :class:`Flow` is a generator that yields a :class:`Command`, receives the :class:`Completed` and returns a value. It
does no I/O, so a test drives it with a function and a transport drives it for real. When the transport fails, the
failure is raised at the ``yield``: a flow that knows how to find out what happened catches it and asks.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from aifa_hpc.errors import SiteError, TransportError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One program to run on a machine.

    Attributes:
        argv: Program and arguments; quoted word by word wherever a shell is in between.
        stdin: Bytes fed to it.
        timeout: Seconds until it is given up; the outcome is then unknown.
        idempotent: May be run twice without harm, so a lost answer may be asked for again.
    """

    argv: tuple[str, ...]
    stdin: bytes = field(default=b"", repr=False)
    timeout: float = 60.0
    idempotent: bool = False

    def __post_init__(self) -> None:
        if not self.argv:
            raise ValueError("a command needs a program")
        if any("\0" in word for word in self.argv):
            raise ValueError("a command's words cannot hold a NUL byte")

    @property
    def line(self) -> str:
        """The command as one line of POSIX shell."""
        return shlex.join(self.argv)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A command that ran to its end.

    Attributes:
        command: What was run.
        exit_code: 0..255; killed by signal N is 128 + N.
        stdout: Raw bytes.
        stderr: Raw bytes.
    """

    command: Command
    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def out(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are escaped, never dropped."""
        return self.stdout.decode("utf-8", "backslashreplace")

    @property
    def err(self) -> str:
        """Standard error as text."""
        return self.stderr.decode("utf-8", "backslashreplace")

    def refusal(self, message: str, *, hint: str = "") -> SiteError:
        """An error that carries this completion as its evidence."""
        return SiteError(
            message,
            command=self.command.line,
            exit_code_remote=self.exit_code,
            stdout=self.out,
            stderr=self.err,
            hint=hint,
        )


Flow: TypeAlias = Generator[Command, Completed, T]


def shell(script: str, *words: str, stdin: bytes = b"", timeout: float = 60.0, idempotent: bool = False) -> Command:
    """A POSIX shell script with its words as ``$1``, ``$2``, ...: values never become part of the program text."""
    argv = ("sh", "-c", script, "aifa", *words)
    return Command(argv=argv, stdin=stdin, timeout=timeout, idempotent=idempotent)


def drive(flow: Flow[T], run: Callable[[Command], Completed]) -> T:
    """Runs a flow to its value.

    Raises:
        TransportError: What ``run`` raised, where the flow did not deal with it.
    """
    try:
        command = next(flow)
        while True:
            try:
                completed = run(command)
            except TransportError as error:
                command = flow.throw(error)
            else:
                command = flow.send(completed)
    except StopIteration as stop:
        value: T = stop.value
        return value
