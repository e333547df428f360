"""The one seam to a machine: ``run`` a command to its end, or ``open`` one and exchange bytes with it.

A transport knows nothing of Slurm and nothing of files. Its promise is the three outcomes: ``run`` returns a
:class:`Completed` (it ran to its end), raises :class:`NotSentError` (it did not run) or
:class:`OutcomeUnknownError` (it may have run).
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Self

from aifa_hpc.errors import NotSentError, OutcomeUnknownError, tail

if TYPE_CHECKING:
    from types import TracebackType

    from aifa_hpc.command import Command, Completed


class Channel(ABC):
    """A running command's streams. One writer and one reader thread may use it at the same time."""

    @abstractmethod
    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Writes all of it to the command's standard input.

        Raises:
            OutcomeUnknownError: The far end is gone.
        """

    @abstractmethod
    def receive_into(self, view: memoryview) -> int:
        """Reads at least one byte of standard output into ``view``; 0 is the end.

        Raises:
            OutcomeUnknownError: The far end is gone.
        """

    @abstractmethod
    def finish_input(self) -> None:
        """Closes the command's standard input."""

    @abstractmethod
    def stderr_tail(self) -> str:
        """The last lines of standard error so far."""

    @abstractmethod
    def close(self) -> int:
        """Ends the command if it still runs, and returns its exit code (-1 when nobody knows it)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Transport(ABC):
    """A way to a machine. Safe to use from several threads; closing it twice is harmless."""

    @abstractmethod
    def run(self, command: Command) -> Completed:
        """Runs a command to its end.

        Raises:
            NotSentError: It did not run.
            OutcomeUnknownError: It was sent and did not answer in ``command.timeout`` seconds, or the link broke.
        """

    @abstractmethod
    def open(self, command: Command) -> Channel:
        """Starts a command and hands over its streams; ``command.stdin`` is sent first.

        Raises:
            NotSentError: It did not start.
        """

    def close(self) -> None:
        """Lets go of connections."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class ProcessChannel(Channel):
    """The streams of a local process: the command itself, or the ssh program that carries it."""

    def __init__(self, argv: tuple[str, ...], *, env: dict[str, str] | None = None, first: bytes = b"") -> None:
        # stderr goes to a file: nobody has to read it for the process to go on.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the channel
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, env=env, bufsize=0
            )
        except OSError as error:
            self._stderr.close()
            raise NotSentError(f"cannot start {argv[0]!r}: {error.strerror}") from error
        self._lock = threading.Lock()
        self._code: int | None = None
        if first:
            self.send(first)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def send(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        try:
            while view:
                view = view[self._stdin.write(view) :]
        except (OSError, ValueError) as error:
            raise OutcomeUnknownError(self._gone()) from error

    def receive_into(self, view: memoryview) -> int:
        assert self._process.stdout is not None
        try:
            count: int = self._process.stdout.readinto(view)  # type: ignore[attr-defined] # unbuffered: a FileIO
        except (OSError, ValueError) as error:
            raise OutcomeUnknownError(self._gone()) from error
        return count

    def finish_input(self) -> None:
        try:
            self._stdin.close()
        except OSError:
            return  # the far end closed first

    def stderr_tail(self) -> str:
        with self._lock:
            if self._stderr.closed:
                return ""
            self._stderr.seek(0)
            return tail(self._stderr.read().decode("utf-8", "backslashreplace"))

    def close(self) -> int:
        with self._lock:
            if self._code is not None:
                return self._code
            self.finish_input()
            try:
                code = self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                code = -1
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._stderr.close()
            self._code = code if code >= 0 else -1
            return self._code

    def _gone(self) -> str:
        said = self.stderr_tail()
        return "the connection ended while data was in flight" + (f": {said}" if said else "")
