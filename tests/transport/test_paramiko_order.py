"""Nothing leaves on a channel after its CLOSE, whoever closes it and whoever sends."""

from __future__ import annotations

import threading
from typing import Any

import paramiko
import pytest

from aifa_hpc.transport.paramiko_order import OrderedChannel, ordered

_CLOSE, _EOF, _DATA = 97, 96, 94  # RFC 4254, section 9


class Wire:
    """A transport that notes the kind of each message, and lets a test act while one is being sent."""

    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.before = lambda kind: None

    def _send_user_message(self, message: paramiko.Message) -> None:
        kind = message.asbytes()[0]
        self.before(kind)
        self.kinds.append(kind)

    def is_active(self) -> bool:
        return True

    def get_log_channel(self) -> str:
        return "paramiko"

    def _sanitize_window_size(self, size: int) -> int:
        return size

    def _sanitize_packet_size(self, size: int) -> int:
        return size

    def _unlink_channel(self, number: int) -> None:
        """Forgets nothing."""


def channel(wire: Wire) -> Any:
    """An open channel on that wire, as open_session leaves it."""
    made = paramiko.Channel(1)
    made._set_transport(wire)
    made._set_window(1 << 20, 1 << 15)
    made._set_remote_channel(7, 1 << 20, 1 << 15)
    return ordered(made)


def test_what_is_ready_when_the_far_side_closes_is_not_sent() -> None:
    """Data and an end of file that lost the race against CLOSE stay here; the sender learns of it."""
    wire = Wire()
    made = channel(wire)
    data = paramiko.Message()
    data.add_byte(bytes([_DATA]))
    paramiko.Channel._handle_close(made, None)
    with pytest.raises(OSError, match="closed"):
        made._send(b"x", data)
    made.shutdown_write()
    assert [_EOF, _CLOSE] == wire.kinds


def test_a_close_waits_for_the_message_that_is_being_sent() -> None:
    """The far side's CLOSE is answered after the data that already is on its way, never before."""
    wire = Wire()
    made = channel(wire)
    closing = threading.Thread(target=paramiko.Channel._handle_close, args=(made, None))

    def meanwhile(kind: int) -> None:
        if kind == _DATA and not closing.ident:
            closing.start()
            closing.join(0.2)

    wire.before = meanwhile
    made.sendall(b"some bytes")
    closing.join(10)
    assert [_DATA, _EOF, _CLOSE] == wire.kinds


def test_an_ordered_channel_is_one_of_paramikos() -> None:
    """The change of class keeps everything else."""
    assert isinstance(channel(Wire()), OrderedChannel)
