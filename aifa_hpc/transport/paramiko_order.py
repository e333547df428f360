"""A paramiko channel on which nothing is sent after it was closed.

paramiko builds a message under the channel's lock and sends it after releasing that lock, so that data or an end of
file may leave after the CLOSE that its reader thread sends meanwhile. OpenSSH answers a message for a channel that is
no more by ending the whole connection (``channel_from_packet_id`` in channels.c), and every other command on it is
lost. With both cores busy, one of a few hundred short commands met this.
"""

from __future__ import annotations

import threading
from typing import Any, cast

import paramiko


class OrderedChannel(paramiko.Channel):  # type: ignore[misc] # paramiko has no types
    """Sends one message after the other, and none after CLOSE; made of a channel by :func:`ordered`.

    Locks are taken in one order: the channel's own, then ``_order``. Nobody waits for the far side's window with
    ``_order`` held, because only the reader thread opens it, and that thread must be able to close.
    """

    _order: Any

    def _send(self, data: bytes, message: Any) -> int:
        with self.lock:
            if self.closed:
                raise OSError("Socket is closed")
            size: int = self._wait_for_send_window(len(data))
            if size == 0:
                return 0
            message.add_string(data[:size])
        if not self._deliver(message):
            raise OSError("Socket is closed")
        return size

    def shutdown(self, how: int) -> None:
        if how != 1:
            self.eof_received = 1
        if how != 0:
            with self.lock:
                message = self._send_eof()
            if message is not None:
                self._deliver(message)

    def _deliver(self, message: Any) -> bool:
        with self._order:
            if self.closed or self.transport is None:
                return False
            self.transport._send_user_message(message)  # noqa: SLF001 - its own class's way to send
            return True

    def _close_internal(self) -> tuple[None, None]:
        # Called with the channel's lock held, by our close() and by the reader thread alike; what it returns would be
        # sent after the lock is released.
        with self._order:
            for message in super()._close_internal():
                if message is not None:
                    self.transport._send_user_message(message)  # noqa: SLF001 - as above
        return None, None


def ordered(channel: paramiko.Channel) -> paramiko.Channel:
    """Makes a fresh channel an ordered one; paramiko offers no other place to say which class it shall be."""
    made = cast("OrderedChannel", channel)
    made._order = threading.RLock()  # noqa: SLF001 - what a constructor would do
    made.__class__ = OrderedChannel
    return made
