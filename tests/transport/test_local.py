"""The local transport keeps the contract of all transports."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, shell
from aifa_hpc.errors import NotSentError
from aifa_hpc.testing.transport import TransportContract
from aifa_hpc.transport.local import LocalTransport, exchange

if TYPE_CHECKING:
    from types import FrameType


@pytest.fixture
def transport() -> LocalTransport:
    """Processes of this machine."""
    return LocalTransport()


class TestLocal(TransportContract):
    """The contract, by processes of this machine."""


def test_variables_come_over_the_inherited_ones() -> None:
    """What is given is seen by the command, and PATH still is."""
    done = LocalTransport({"AIFA_SEEN": "a b"}).run(shell('echo "$AIFA_SEEN"; test -n "$PATH"'))
    assert (done.exit_code, done.out) == (0, "a b\n")


def test_a_program_that_is_not_there_was_not_sent() -> None:
    """Nothing ran, and the error says what was missing."""
    with pytest.raises(NotSentError, match="no-such-program-here"):
        LocalTransport().open(Command(argv=("no-such-program-here",)))


def test_a_child_that_left_the_group_does_not_hold_up_a_timeout() -> None:
    """A daemon that keeps the pipes open is not waited for."""
    script = "printf early; setsid sleep 4 & sleep 30"
    done = exchange(("sh", "-c", script), b"", 0.5)
    assert (done.exit_code, done.stdout) == (None, b"early")


def test_an_interrupt_stays_one_when_the_program_ends_on_it() -> None:
    """^C reaches the caller also where the program is gone by then and there is nothing to kill."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number, frame)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            exchange(("sleep", "0.3"), b"", 10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
