"""The one seam to a machine: ``run`` a command to its end, or ``open`` one and exchange bytes with it.

A transport knows nothing of Slurm and nothing of files. Its promise is the three outcomes: ``run`` returns a
:class:`Completed` (it ran to its end), raises :class:`NotSentError` (it did not run) or
:class:`OutcomeUnknownError` (it may have run).
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Self

from aifa_hpc.errors import NotSentError, OutcomeUnknownError, tail

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aifa_hpc.command import Command, Completed


# Seconds a command has to end by itself once its input is closed.
_GRACE = 2.0
_TAIL_BYTES = 64 * 1024
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, fcntl(2)
_PIPE_BYTES = 1024 * 1024


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
        """The last lines of standard error so far; still there after :meth:`close`."""

    @abstractmethod
    def close(self) -> int:
        """Ends the command if it still runs, and returns its exit code (-1 when nobody knows it).

        A command that does not end by itself within two seconds of the end of its input is killed.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Transport(ABC):
    """A way to a machine. Safe to use from several threads; closing it twice is harmless."""

    _before_command: Callable[[], None] | None = None
    _before_login: Callable[[], None] | None = None

    def pace(self, *, commands: Callable[[], None], logins: Callable[[], None]) -> None:
        """Has functions called that may wait: sites block who asks or connects too often.

        Args:
            commands: Before each command, whether it is run or opened.
            logins: Before each new connection, also one that then fails.
        """
        self._before_command = commands
        self._before_login = logins

    def await_command(self) -> None:
        """To be called before each command."""
        if self._before_command is not None:
            self._before_command()

    def await_login(self) -> None:
        """To be called before each new connection."""
        if self._before_login is not None:
            self._before_login()

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

    def subsystem(self, name: str) -> Channel:
        """Starts a subsystem of the machine (``sftp``), where nobody may run commands.

        Raises:
            NotSentError: There is no such thing here.
        """
        raise NotSentError(f"this way to the machine has no subsystems, and no {name!r}.")

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
            # A session of its own: no terminal to prompt on, and ^C reaches only the program that owns this channel.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=env,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise NotSentError(f"cannot start {argv[0]!r}: {error.strerror}") from error
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            _widen(end.fileno())
        self._lock = threading.Lock()
        self._code: int | None = None
        self._said = ""
        if first:
            try:
                self.send(first)
            except BaseException:
                self.close()
                raise

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Writes to standard input."""
        view = memoryview(data).cast("B")
        try:
            while view:
                view = view[self._stdin.write(view) :]
        except (OSError, ValueError) as error:
            raise OutcomeUnknownError(self._gone()) from error

    def receive_into(self, view: memoryview) -> int:
        """Reads standard output."""
        assert self._process.stdout is not None
        try:
            count: int = self._process.stdout.readinto(view)  # type: ignore[attr-defined] # unbuffered: a FileIO
        except (OSError, ValueError) as error:
            raise OutcomeUnknownError(self._gone()) from error
        return count

    def finish_input(self) -> None:
        """Closes standard input."""
        try:
            self._stdin.close()
        except OSError:
            return  # the far end closed first

    def stderr_tail(self) -> str:
        """The last lines of standard error."""
        with self._lock:
            return self._read_stderr()

    def close(self) -> int:
        """Ends the command."""
        with self._lock:
            if self._code is not None:
                return self._code
            self.finish_input()
            try:
                code = self._process.wait(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                # The group is the process's own session, so what it started ends with it.
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._code = -1
            else:
                self._code = code if code >= 0 else 128 - code
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._said = self._read_stderr()
            self._stderr.close()
            return self._code

    def _read_stderr(self) -> str:
        if self._stderr.closed:
            return self._said
        # The process writes at the file's offset, which seek() would move: read by position instead.
        size = os.fstat(self._stderr.fileno()).st_size
        data = os.pread(self._stderr.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return tail(data.decode("utf-8", "backslashreplace"))

    def _gone(self) -> str:
        said = self.stderr_tail()
        return "the connection ended while data was in flight" + (f": {said}" if said else "")


def _widen(fd: int) -> None:
    """A pipe of 1 MiB instead of 64 KiB costs fewer turns between two processes; elsewhere than on Linux it is left."""
    try:
        import fcntl  # noqa: PLC0415 - not every system has it

        fcntl.fcntl(fd, _SET_PIPE_SIZE, _PIPE_BYTES)
    except (ImportError, OSError):
        return
