"""A TCP proxy on the loopback that behaves like a bad link: far away, or cut after so many bytes.

::

    with Link(port, delay=0.02, cut_after=10_000_000) as link:
        ...  # connect to 127.0.0.1:link.port

Every piece is held for ``delay`` seconds each way, so a round trip takes twice that and as much is under way at a time
as ends and windows allow. It moves bytes that it cannot read: what is above TCP sees a link, not a stand-in.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PIECE = 256 * 1024
_UNDER_WAY = 64 * 2**20
"""Most bytes held in one direction of a connection; more than that waits at the sender."""


class Link:
    """Passes connections on to a port of this machine.

    Args:
        target: That port.
        delay: Seconds that each piece takes, one way.
        cut_after: Bytes, in both directions of all connections, after which everything is cut, once.
    """

    def __init__(self, target: int, *, delay: float = 0.0, cut_after: int | None = None) -> None:
        self._target, self._delay = target, delay
        self._lock = threading.Lock()
        self._left = cut_after
        self._open: dict[socket.socket, int] = {}  # and how many threads still use it
        self.passed = 0
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="aifa-link").start()

    def cut(self, *, after: int = 0) -> None:
        """Cuts all connections, now or when so many more bytes have passed; new ones are taken as before."""
        with self._lock:
            self._left = after
        self.count(0)

    def close(self) -> None:
        """Ends the link."""
        self._listener.close()
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _drop(self) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {near: 2, far: 2}
                for source, sink in ((near, far), (far, near)):
                    _Way(self, source, sink, self._delay).start()

    def count(self, size: int) -> bool:
        """Counts what is to pass; whether it may."""
        with self._lock:
            self.passed += size
            if self._left is None:
                return True
            self._left -= size
            if self._left > 0:
                return True
            self._left = None
            self.cuts += 1
            self._drop()
            return False

    def let_go(self, end: socket.socket) -> None:
        """One of the two threads of a connection's end uses it no more."""
        with self._lock:
            self._open[end] -= 1
            if not self._open[end]:
                del self._open[end]
                end.close()


class _Way:
    """One direction of a connection: a thread that reads, one that writes when it is time."""

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket, delay: float) -> None:
        self._link, self._source, self._sink, self._delay = link, source, sink, delay
        self._held: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begins to pass on."""
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True, name="aifa-link").start()

    def _read(self) -> None:
        data = b"-"
        while data:
            try:
                data = self._source.recv(_PIECE)
            except OSError:
                data = b""
            if data and not self._link.count(len(data)):
                data = b""
            with self._changed:
                self._changed.wait_for(lambda: self._bytes < _UNDER_WAY)
                self._held.append((time.monotonic() + self._delay, data))
                self._bytes += len(data)
                self._changed.notify_all()
        self._link.let_go(self._source)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._held)
                due, data = self._held.popleft()
                self._bytes -= len(data)
                self._changed.notify_all()
            if not data:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self._sink.sendall(data)
            except OSError:
                # Nobody listens any more: what is read from now on goes nowhere, and its sender is told.
                with contextlib.suppress(OSError):
                    self._source.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self._link.let_go(self._sink)


def main() -> None:
    """``python -m aifa_hpc.testing.link PORT DELAY`` prints its own port and works until its input ends."""
    with Link(int(sys.argv[1]), delay=float(sys.argv[2])) as link:
        sys.stdout.write(f"{link.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
