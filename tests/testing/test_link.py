"""The bad link: far away, cut where it is told, and otherwise as good as none."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aifa_hpc.testing.link import Link

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def echo() -> Iterator[int]:
    """A server that says back what it hears, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                with end:
                    try:
                        while data := end.recv(65536):
                            end.sendall(data)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def receive(end: socket.socket, count: int) -> bytes:
    """As many bytes, or those that came before the end."""
    data = b""
    while len(data) < count:
        try:
            piece = end.recv(65536)
        except OSError:
            break
        if not piece:
            break
        data += piece
    return data


def test_bytes_pass_as_they_are() -> None:
    """In both directions, however many."""
    data = bytes(range(256)) * 10_000
    with echo() as port, Link(port) as link, socket.create_connection(("127.0.0.1", link.port)) as end:
        sender = threading.Thread(target=end.sendall, args=(data,))
        sender.start()
        heard = receive(end, len(data))
        sender.join()
    assert data == heard


def test_a_round_trip_takes_twice_the_delay() -> None:
    """Not less; a busy machine may take longer."""
    with echo() as port, Link(port, delay=0.05) as link, socket.create_connection(("127.0.0.1", link.port)) as end:
        begun = time.monotonic()
        end.sendall(b"x")
        heard = receive(end, 1)
        took = time.monotonic() - begun
    assert (b"x", True) == (heard, took >= 0.1)


def test_it_is_cut_once_and_taken_again() -> None:
    """After the bytes that were named; the next connection is a good one."""
    with echo() as port, Link(port, cut_after=100_000) as link:
        with socket.create_connection(("127.0.0.1", link.port)) as end:
            sender = threading.Thread(target=_send, args=(end, bytes(300_000)))
            sender.start()
            heard = len(receive(end, 300_000))
            sender.join()
        with socket.create_connection(("127.0.0.1", link.port)) as end:
            end.sendall(b"again")
            after = receive(end, 5)
    assert (True, b"again", 1) == (heard < 100_000, after, link.cuts)


def _send(end: socket.socket, data: bytes) -> None:
    try:
        end.sendall(data)
    except OSError:
        return
