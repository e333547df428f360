"""What every transport must do, as a pytest class to inherit from; and a transport whose answers are written down.

::

    @pytest.fixture(scope="module")
    def transport() -> Iterator[Transport]:
        with MyTransport() as transport:
            yield transport

    class TestMine(TransportContract):
        ...  # nothing else

The machine behind it needs a POSIX shell and its tools, with ``mktemp``, ``seq`` and ``head -c``.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pytest

from aifa_hpc.command import Command, Completed, shell
from aifa_hpc.errors import NotSentError, OutcomeUnknownError
from aifa_hpc.transport.base import Channel, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MIB = 1024 * 1024
_NOT_FOUND = 127
_PATIENCE_SECONDS = 20.0
# Seconds in which a command that was given up must be gone from the machine.
_END_SECONDS = 8.0

HOSTILE_WORDS = (
    "",
    " ",
    "  two  blanks  ",
    "'",
    '"',
    "it's",
    "`id`",
    "$(id)",
    "$HOME",
    "${HOME}",
    "!",
    "!!",
    "a!b",
    "\\",
    "back\\slash\\",
    "\\n\\0101\\x41",
    "%s%d%%",
    "new\nline",
    "\n",
    "ends in newline\n\n",
    "tab\tand\rreturn",
    "*",
    "~",
    "# no comment",
    "a;b&c|d>e<f",
    "{a,b}",
    "-n",
    "--",
    "é漢字🚀",
    "\udcff\udcfe",  # bytes that are not UTF-8, as os.fsdecode gives them
    "\x01\x1b[31m\x7f",
    "'\"'\"'",
    "x" * 5000,
)


class TransportContract:
    """Inherit it where a fixture ``transport`` is; every test is a promise of ``Transport`` or ``Channel``."""

    def test_every_exit_code_arrives(self, transport: Transport) -> None:
        """0 to 255 come back as they are, 255 too."""
        with ThreadPoolExecutor(4) as pool:
            codes = list(pool.map(lambda code: transport.run(shell("exit $1", str(code))).exit_code, range(256)))
        assert list(range(256)) == codes

    @pytest.mark.parametrize("signal", [1, 2, 9, 15])
    def test_death_by_signal_is_128_and_its_number(self, transport: Transport, signal: int) -> None:
        """A command killed by signal N ended with 128 + N."""
        assert 128 + signal == transport.run(shell("kill -$1 $$; sleep 5", str(signal))).exit_code

    def test_bytes_pass_unchanged_both_ways(self, transport: Transport) -> None:
        """Three MiB of all byte values come back from cat."""
        data = random.Random(1).randbytes(3 * _MIB)  # noqa: S311 - test data
        done = transport.run(Command(argv=("cat",), stdin=data))
        assert (0, hashlib.sha256(data).digest(), b"") == (
            done.exit_code,
            hashlib.sha256(done.stdout).digest(),
            done.stderr,
        )

    def test_both_streams_are_kept_apart_and_whole(self, transport: Transport) -> None:
        """Large output on both streams neither stops nor mixes, and needs no final newline."""
        script = 'head -c "$1" /dev/zero; head -c "$2" /dev/zero >&2; printf out; printf err >&2'
        done = transport.run(shell(script, str(_MIB), str(2 * _MIB)))
        assert (len(done.stdout), done.stdout[-3:]) == (_MIB + 3, b"out")
        assert (len(done.stderr), done.stderr[-3:]) == (2 * _MIB + 3, b"err")

    def test_words_arrive_as_they_are(self, transport: Transport) -> None:
        """Quotes, newlines, substitutions, exclamation marks, unicode, empty words: nobody expands anything."""
        done = transport.run(Command(argv=("sh", "-c", 'printf "%s\\000" "$@"', "sh", *HOSTILE_WORDS)))
        got = tuple(word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1])
        assert got == HOSTILE_WORDS

    def test_a_program_with_blanks_in_its_name_is_one_word(self, transport: Transport) -> None:
        """The first word is a program, never a piece of shell."""
        folder = transport.run(Command(argv=("mktemp", "-d"))).out.strip()
        path = f"{folder}/it's a program"
        made = transport.run(shell('printf "#!/bin/sh\\necho here \\$#\\n" >"$1" && chmod 700 "$1"', path))
        assert (made.exit_code, made.err) == (0, "")
        assert transport.run(Command(argv=(path, "a b"))).out == "here 1\n"
        transport.run(shell('rm -r "$1"', folder))

    def test_input_that_nobody_reads_does_no_harm(self, transport: Transport) -> None:
        """A command may end before its input does."""
        assert transport.run(Command(argv=("true",), stdin=b"x" * _MIB)).exit_code == 0

    def test_no_input_is_an_end_of_file(self, transport: Transport) -> None:
        """Without input, cat ends at once."""
        assert transport.run(Command(argv=("cat",), timeout=_PATIENCE_SECONDS)).stdout == b""

    def test_many_threads_may_run_at_once(self, transport: Transport) -> None:
        """Sixteen threads get each its own answer."""
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda number: transport.run(shell("cat; echo $1", str(number))).out, range(16)))
        assert answers == [f"{number}\n" for number in range(16)]

    def test_a_missing_program_is_told(self, transport: Transport) -> None:
        """Not sent where it is known at once, else the shell's own exit code."""
        try:
            code = transport.run(Command(argv=("no-such-program-here",))).exit_code
        except NotSentError:
            code = _NOT_FOUND
        assert code == _NOT_FOUND

    def test_silence_is_an_unknown_outcome(self, transport: Transport) -> None:
        """A command that takes too long is given up, is not called a failure, and does not live on."""
        folder = transport.run(Command(argv=("mktemp", "-d"))).out.strip()
        started = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match=r"1\.5 s"):
            transport.run(shell('echo $$ >"$1/pid"; sleep 60; :', folder, timeout=1.5))
        assert time.monotonic() - started < _PATIENCE_SECONDS
        assert _is_gone(transport, f"{folder}/pid")
        transport.run(shell('rm -r "$1"', folder))

    def test_a_channel_carries_a_conversation(self, transport: Transport) -> None:
        """What is sent comes back while the command runs; the end of input ends it."""
        with transport.open(Command(argv=("cat",))) as channel:
            for word in (b"one\n", b"\0\xff\r\n", b"three"):
                channel.send(word)
                assert word == receive(channel, len(word))
            channel.finish_input()
            assert receive(channel, 1) == b""
            assert channel.close() == 0

    def test_a_channel_begins_with_the_input_of_its_command(self, transport: Transport) -> None:
        """``stdin`` of the command comes before anything that is sent."""
        with transport.open(Command(argv=("cat",), stdin=b"first ")) as channel:
            channel.send(b"then")
            assert receive(channel, 10) == b"first then"

    def test_a_channel_knows_its_exit_code_and_last_words(self, transport: Transport) -> None:
        """The exit code is the command's, and its last words outlive it."""
        channel = transport.open(shell("cat >/dev/null; echo these words >&2; exit 7"))
        channel.finish_input()
        assert receive(channel, 1) == b""
        assert (channel.close(), channel.close(), channel.stderr_tail()) == (7, 7, "these words")

    def test_a_channel_carries_much_in_both_directions_at_once(self, transport: Transport) -> None:
        """Sixteen MiB through cat: one thread writes, one reads, nothing stops."""
        block = random.Random(2).randbytes(_MIB)  # noqa: S311 - test data
        with transport.open(Command(argv=("cat",))) as channel:
            writer = threading.Thread(target=lambda: [channel.send(block) for _ in range(16)], daemon=True)
            writer.start()
            digest = hashlib.sha256()
            for _ in range(16):
                digest.update(receive(channel, _MIB))
            writer.join(_PATIENCE_SECONDS)
        assert hashlib.sha256(block * 16).digest() == digest.digest()

    def test_four_channels_at_once(self, transport: Transport) -> None:
        """Channels do not disturb each other."""

        def echo(number: int) -> bytes:
            data = bytes([number]) * _MIB
            with transport.open(Command(argv=("cat",))) as channel:
                writer = threading.Thread(target=channel.send, args=(data,), daemon=True)
                writer.start()
                got = receive(channel, len(data))
                writer.join(_PATIENCE_SECONDS)
                return got

        with ThreadPoolExecutor(4) as pool:
            assert [bytes([number]) * _MIB for number in range(4)] == list(pool.map(echo, range(4)))

    def test_standard_error_nobody_reads_stops_nothing(self, transport: Transport) -> None:
        """Four MiB of complaints come before the answer."""
        with transport.open(shell('head -c "$1" /dev/zero >&2; printf done', str(4 * _MIB))) as channel:
            assert receive(channel, 4) == b"done"

    def test_closing_a_channel_ends_its_command(self, transport: Transport) -> None:
        """A command that does not listen is ended too, and its exit code is nobody's knowledge."""
        folder = transport.run(Command(argv=("mktemp", "-d"))).out.strip()
        channel = transport.open(shell('echo $$ >"$1/pid"; printf up; sleep 60; :', folder))
        assert receive(channel, 2) == b"up"
        started = time.monotonic()
        assert channel.close() == -1
        assert time.monotonic() - started < _PATIENCE_SECONDS
        assert _is_gone(transport, f"{folder}/pid")
        transport.run(shell('rm -r "$1"', folder))

    def test_a_far_end_that_is_gone_is_an_unknown_outcome(self, transport: Transport) -> None:
        """Sending to a command that has ended fails, sooner or later."""
        channel = transport.open(Command(argv=("true",)))

        def send_on() -> None:
            end = time.monotonic() + _PATIENCE_SECONDS
            while time.monotonic() < end:
                channel.send(b"x" * 65536)

        with pytest.raises(OutcomeUnknownError):
            send_on()
        channel.close()

    def test_a_channel_to_a_missing_program_is_told(self, transport: Transport) -> None:
        """Not sent where it is known at once, else the shell's own exit code."""
        try:
            channel = transport.open(Command(argv=("no-such-program-here",)))
        except NotSentError:
            return
        assert (receive(channel, 1), channel.close()) == (b"", _NOT_FOUND)

    def test_a_closed_transport_connects_anew(self, transport: Transport) -> None:
        """``close`` lets go of connections; twice is harmless, and the next command makes a new one."""
        transport.close()
        transport.close()
        assert transport.run(Command(argv=("echo", "again"))).out == "again\n"


def receive(channel: Channel, count: int) -> bytes:
    """So many bytes of a channel, less only at its end."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = channel.receive_into(view)
        if not got:
            break
        view = view[got:]
    return bytes(data[: count - len(view)])


def _is_gone(transport: Transport, pid_file: str) -> bool:
    # A shell waits for the process over there; a zombie (its parent does not care) counts as gone.
    script = (
        'for i in $(seq 80); do kill -0 "$(cat "$1")" 2>/dev/null || exit 0; '
        'grep -q "^State:.Z" "/proc/$(cat "$1")/status" 2>/dev/null && exit 0; sleep 0.1; done; exit 1'
    )
    return transport.run(shell(script, pid_file, timeout=2 * _END_SECONDS)).exit_code == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer without its command.

    Attributes:
        stdout: Text or bytes.
        stderr: Text or bytes.
        exit_code: 0..255.
    """

    stdout: str | bytes = b""
    stderr: str | bytes = b""
    exit_code: int = 0

    def to(self, command: Command) -> Completed:
        """The completion of a command that answers so."""
        return Completed(
            command=command, exit_code=self.exit_code, stdout=_bytes(self.stdout), stderr=_bytes(self.stderr)
        )


Answer: TypeAlias = Reply | Completed | BaseException


class ScriptedTransport(Transport):
    """Answers from a function or in a written order; what it was asked is in ``commands``.

    Args:
        answers: Called with each command, or given one by one; an exception is raised.
        channels: Makes the channel of each command that is opened.
    """

    def __init__(
        self,
        answers: Callable[[Command], Answer] | Iterable[Answer] = (),
        *,
        channels: Callable[[Command], Channel] | None = None,
    ) -> None:
        self.commands: list[Command] = []
        self.closed = 0
        self._answer = answers if callable(answers) else _in_order(answers)
        self._channels = channels
        self._lock = threading.Lock()

    def run(self, command: Command) -> Completed:
        """Records the command and gives its answer.

        Raises:
            AssertionError: There is no answer left.
        """
        with self._lock:
            self.commands.append(command)
            answer = self._answer(command)
        if isinstance(answer, BaseException):
            raise answer
        return answer.to(command) if isinstance(answer, Reply) else answer

    def open(self, command: Command) -> Channel:
        """Records the command and gives its channel.

        Raises:
            AssertionError: It was made without channels.
        """
        with self._lock:
            self.commands.append(command)
        if self._channels is None:
            raise AssertionError(f"nobody expected a channel for: {command.line}")
        return self._channels(command)

    def close(self) -> None:
        """Counts how often it was closed."""
        self.closed += 1


def _in_order(answers: Iterable[Answer]) -> Callable[[Command], Answer]:
    left = iter(answers)

    def answer(command: Command) -> Answer:
        for found in left:
            return found
        raise AssertionError(f"no answer is left for: {command.line}")

    return answer


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8")
