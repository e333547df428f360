"""What both SSH transports share: envelopes, the three outcomes, waiting for a channel, ending the remote side."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from aifa_hpc.command import Command, Completed
from aifa_hpc.errors import InputError, NotSentError, OutcomeUnknownError, TransportError, tail
from aifa_hpc.transport.base import Channel, Transport
from aifa_hpc.transport.envelope import LONGEST_LINE, Envelope
from aifa_hpc.transport.gate import Gate
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.transport.local import Exchange

T = TypeVar("T")

# sshd's MaxSessions is 10 by default (sshd_config(5)); two are left for channels opened beside.
_PARALLEL_RUNS = 8
_KILL_SECONDS = 5.0
_OPEN_PATIENCE_SECONDS = 2.0
# A mark is some 60 bytes; what a login shell prints before it is a page of greetings at most.
_NOISE_BYTES = 1024 * 1024


class SSHTransport(Transport):
    """Commands in envelopes; a subclass only carries lines and bytes."""

    def __init__(self) -> None:
        self._gate = Gate(_PARALLEL_RUNS)

    @abstractmethod
    def alive(self) -> bool:
        """Whether a connection is open, as far as is known here; asks nobody over there."""

    @abstractmethod
    def _exchange(self, line: str, stdin: bytes, timeout: float, *, login: bool = True) -> Exchange:
        """Gives a line to the login shell and collects what comes back in ``timeout`` seconds.

        Without ``login`` a connection that is not there is an error, not a reason to make one.

        Raises:
            ChannelRefusedError: The server gave no channel.
            NotSentError: The line did not leave.
        """

    @abstractmethod
    def _start(self, line: str) -> Channel:
        """Gives a line to the login shell and returns its streams.

        Raises:
            ChannelRefusedError: The server gave no channel, and that is known at once.
            NotSentError: The line did not leave, and that is known at once.
        """

    @abstractmethod
    def explain_no_start(self, said: str) -> None:
        """Raises what a channel's last words prove when it ended before its command began; nothing proven, it returns.

        Raises:
            ChannelRefusedError: The server gave no channel.
            NotSentError: The line did not leave.
        """

    def run(self, command: Command) -> Completed:
        """Runs it over there."""
        self.await_command()
        deadline = time.monotonic() + command.timeout
        envelope = _new_envelope()
        line = _require_line(envelope, command)
        done = _patiently(lambda: self._in_turn(command, line, deadline), deadline)
        return self._judge(command, envelope, done)

    def _in_turn(self, command: Command, line: str, deadline: float) -> Exchange:
        """Waits outside while the server gives no channel, so that the others know how few get along."""
        if not self._gate.enter(deadline - time.monotonic()):
            raise NotSentError(f"`{command.argv[0]}` waited {command.timeout:g} s for its turn and was not sent.")
        refused = False
        try:
            return self._exchange(line, command.stdin, max(0.1, deadline - time.monotonic()))
        except ChannelRefusedError:
            refused = True
            raise
        finally:
            self._gate.leave(refused=refused)

    def open(self, command: Command) -> Channel:
        """Starts it over there."""
        self.await_command()
        # A channel may be held for hours, so waiting long for one helps nobody; a moment lets a past one go.
        deadline = time.monotonic() + min(_OPEN_PATIENCE_SECONDS, command.timeout)
        return _patiently(lambda: self._open(command), deadline)

    def _open(self, command: Command) -> Channel:
        envelope = _new_envelope()
        line = _require_line(envelope, command, streaming=True)
        channel = EnvelopedChannel(self, envelope, self._start(line))
        try:
            channel.wait_for_begin(command.timeout)
            if command.stdin:
                channel.send(command.stdin)
        except BaseException:
            channel.close()
            raise
        return channel

    def _judge(self, command: Command, envelope: Envelope, done: Exchange) -> Completed:
        out, err = envelope.read(done.stdout), envelope.read(done.stderr)
        # Both streams must reach their end: the code alone could overtake output that is then lost with the link.
        if out.exit_code is not None and err.exit_code is not None:
            return Completed(command=command, exit_code=err.exit_code, stdout=out.content, stderr=err.content)
        name = f"`{command.argv[0]}`"
        if done.exit_code is None:
            self.end_remote(envelope, err.pid or out.pid)
            raise OutcomeUnknownError(f"{name} did not answer within {command.timeout:g} s; it may have run.")
        # Before its begin there are only words of the login shell: a notice, or why it runs nothing.
        shell = b"" if out.pid or err.pid else out.content + b"\n"
        said = tail((shell + err.content).decode("utf-8", "backslashreplace"))
        raise OutcomeUnknownError(f"The connection ended before {name} did; it may have run{_after(said)}")

    def end_remote(self, envelope: Envelope, pid: int | None) -> None:
        """Ends a command that outlived its channel, as far as the link allows: sshd itself does not."""
        if pid is None:
            return
        line = _new_envelope().line(envelope.kill(pid))
        with contextlib.suppress(TransportError):
            self._exchange(line, b"", _KILL_SECONDS, login=False)


class EnvelopedChannel(Channel):
    """A channel whose command is in an envelope: standard output begins behind the first mark."""

    def __init__(self, transport: SSHTransport, envelope: Envelope, inner: Channel) -> None:
        self._transport = transport
        self._envelope = envelope
        self._inner = inner
        self._pid: int | None = None
        self._ahead = b""
        self._lock = threading.Lock()
        self._code: int | None = None

    def wait_for_begin(self, timeout: float) -> None:
        """Reads up to the first mark.

        Raises:
            NotSentError: The transport proves that the line did not leave.
            OutcomeUnknownError: No mark came and nothing is proven.
        """
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._inner.close()

        timer = threading.Timer(timeout, give_up)
        timer.daemon = True
        timer.start()
        seen = bytearray()
        buffer = memoryview(bytearray(4096))
        begin = None
        try:
            while begin is None and len(seen) < _NOISE_BYTES:
                count = self._inner.receive_into(buffer)
                if not count:
                    break
                seen += buffer[:count]
                begin = self._envelope.begin(bytes(seen))
        except OutcomeUnknownError:
            begin = None
        finally:
            timer.cancel()
        if begin is not None:
            self._pid, end = begin
            self._ahead = bytes(seen[end:])
            return
        self._inner.close()
        if late.is_set():
            raise OutcomeUnknownError(f"No sign of the command's start within {timeout:g} s; it may have run.")
        said = self._inner.stderr_tail()
        self._transport.explain_no_start(said)
        said = tail(f"{seen.decode('utf-8', 'backslashreplace')}\n{said}")
        raise OutcomeUnknownError(f"The connection ended before the command's start was seen{_after(said)}")

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Writes to standard input."""
        self._inner.send(data)

    def receive_into(self, view: memoryview) -> int:
        """Reads standard output."""
        if self._ahead:
            view = view.cast("B")
            count = min(len(view), len(self._ahead))
            view[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
            return count
        return self._inner.receive_into(view)

    def finish_input(self) -> None:
        """Closes standard input."""
        self._inner.finish_input()

    def stderr_tail(self) -> str:
        """The last lines of standard error."""
        said = self._inner.stderr_tail().encode("utf-8", "backslashreplace")
        return tail(self._envelope.read(said).content.decode("utf-8", "backslashreplace"))

    def close(self) -> int:
        """Ends the command."""
        with self._lock:
            if self._code is None:
                self._inner.close()
                said = self._inner.stderr_tail().encode("utf-8", "backslashreplace")
                code = self._envelope.read(said).exit_code
                if code is None:
                    self._transport.end_remote(self._envelope, self._pid)
                self._code = -1 if code is None else code
            return self._code


def _patiently(attempt: Callable[[], T], deadline: float) -> T:
    """Repeats what the server refuses for want of a channel: nothing ran, and it costs no login."""
    pause = 0.05
    while True:
        try:
            return attempt()
        except ChannelRefusedError:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(1.0, 2 * pause)


def require_names(host: str, user: str, host_key_alias: str) -> None:
    """Refuses names that a program would take for an option, or that no host or user can have.

    Raises:
        InputError: One of them is so.
    """
    for key, name in (("host", host), ("user", user), ("host_key_alias", host_key_alias)):
        if name.startswith("-") or any(letter.isspace() or not letter.isprintable() for letter in name):
            raise InputError(f"{key} = {name!r} cannot be a name: it begins with a dash or holds a blank.")
    if not host:
        raise InputError("host is empty: name a login host in sites.toml.")


def _new_envelope() -> Envelope:
    return Envelope(nonce=secrets.token_hex(12))


def _require_line(envelope: Envelope, command: Command, *, streaming: bool = False) -> str:
    line = envelope.line(command.argv, streaming=streaming)
    if len(line) > LONGEST_LINE:
        raise PersonNeededError(
            f"`{command.argv[0]}` makes a command line of {len(line)} bytes; a login shell takes {LONGEST_LINE}.",
            hint="Give it less words, or its data on standard input.",
        )
    return line


def _after(said: str) -> str:
    said = said.strip()
    return f": {said}" if said else "."
