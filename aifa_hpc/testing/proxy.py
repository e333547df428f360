"""A bad network on the loopback: a TCP proxy that cuts a connection at a byte or a message, delays and throttles.

::

    with Proxy(sshd.port) as proxy:
        proxy.arm(Cut(direction="up", after=3, unit="messages"))
        ...                      # whoever connects to 127.0.0.1, proxy.port is cut off behind the third SSH message
        assert proxy.cuts == 1   # and afterwards nobody is

What passes is counted over all connections since the last :meth:`Proxy.arm`; a cut resets that one connection on both
sides, as a router does that has forgotten it.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from aifa_hpc.testing.sshwire import Boundaries

if TYPE_CHECKING:
    from types import TracebackType

Direction: TypeAlias = Literal["up", "down"]
Unit: TypeAlias = Literal["bytes", "messages"]

_BLOCK_BYTES = 64 * 1024
_QUEUED_BLOCKS = 1024  # 64 MiB are under way at most, more than any delay of ours holds
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where a connection ends.

    Attributes:
        direction: ``up`` from the client to the server, ``down`` from the server to the client.
        after: So many units pass, and not one byte more.
        unit: ``bytes``, or ``messages`` of SSH, the line with the version being the first.
    """

    direction: Direction
    after: int
    unit: Unit = "bytes"

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ValueError(f"after = {self.after} cannot be negative")


@dataclass
class _Pair:
    client: socket.socket
    server: socket.socket
    boundaries: dict[Direction, Boundaries | None] = field(
        default_factory=lambda: {"up": Boundaries(), "down": Boundaries()}
    )

    def reset(self) -> None:
        for one in (self.client, self.server):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RD)  # wakes the thread that reads; the writing side stays for the RST
            with contextlib.suppress(OSError):
                one.close()


class Proxy:
    """Forwards connections from a free loopback port to a server; a context manager.

    Args:
        port: The server's port.
        host: Its address.
        delay: Seconds that everything takes each way: half of a round trip; may be changed at any time.
        rate: Bytes per second each way and connection; ``None`` is as fast as it goes.
        ssh: What passes is SSH, whose messages are counted.
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", delay: float = 0.0, rate: float | None = None, ssh: bool = True
    ) -> None:
        self._target = (host, port)
        self._ssh = ssh
        self.delay = delay
        self._rate = rate
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._passed: dict[tuple[Direction, Unit], int] = {}
        self._pairs: list[_Pair] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the listener and every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset_connections()

    def arm(self, cut: Cut | None) -> None:
        """Counts from zero, and cuts once where ``cut`` says; with ``None`` it only counts."""
        with self._lock:
            self._cut = cut
            self._passed = {}

    def passed(self, direction: Direction, unit: Unit = "bytes") -> int:
        """What went through in that direction since the last :meth:`arm`."""
        with self._lock:
            return self._passed.get((direction, unit), 0)

    def reset_connections(self) -> None:
        """Cuts every open connection now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.reset()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server) if self._ssh else _Pair(client, server, {"up": None, "down": None})
            with self._lock:
                self.connections += 1
                self._pairs.append(pair)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._carry(pair, "up", client, server)
            self._carry(pair, "down", server, client)

    def _carry(self, pair: _Pair, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_QUEUED_BLOCKS)

        def read() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(_BLOCK_BYTES)
                except OSError:
                    data = b""
                under_way.put((time.monotonic() + self.delay, data))

        def write() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = under_way.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    if not self._pass(pair, direction, data, target):
                        return

        for work in (read, write):
            threading.Thread(target=work, daemon=True).start()

    def _pass(self, pair: _Pair, direction: Direction, data: bytes, target: socket.socket) -> bool:
        """Sends what may pass; whether the connection goes on."""
        with self._lock:
            ends = self._ends(pair, direction, data)
            keep = self._until_cut(direction, len(data), ends)
            now = len(data) if keep is None else keep
            for unit, amount in (("bytes", now), ("messages", sum(end <= now for end in ends))):
                key: tuple[Direction, Unit] = (direction, "bytes" if unit == "bytes" else "messages")
                self._passed[key] = self._passed.get(key, 0) + amount
            if keep is not None:
                self._cut = None
                self.cuts += 1
        try:
            target.sendall(data[:now])
        finally:
            if keep is not None:
                pair.reset()
        if self._rate is not None:
            time.sleep(now / self._rate)
        return keep is None

    def _ends(self, pair: _Pair, direction: Direction, data: bytes) -> list[int]:
        boundaries = pair.boundaries[direction]
        if boundaries is None:
            return []
        try:
            return boundaries.ends(data)
        except ValueError:  # another cipher, or no SSH: bytes only
            pair.boundaries[direction] = None
            return []

    def _until_cut(self, direction: Direction, size: int, ends: list[int]) -> int | None:
        """How many of these bytes still pass before the cut; ``None`` when it is not among them."""
        cut = self._cut
        if cut is None or cut.direction != direction:
            return None
        left = cut.after - self._passed.get((direction, cut.unit), 0)
        if cut.unit == "bytes":
            return left if left <= size else None
        if left <= 0:
            return 0
        return ends[left - 1] if left <= len(ends) else None
