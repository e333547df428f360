"""The fault kit does what it says: a test that trusts it would else prove nothing."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.testing.proxy import Cut, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.testing.sshd import Sshd


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def say(port: int, data: bytes) -> bytes:
    """Sends all of it, and returns what came back before the end or the cut."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                got += piece
        except OSError:
            pass
    return got


@pytest.mark.parametrize("after", [0, 1, 999, 1000])
def test_a_cut_down_lets_exactly_so_many_bytes_pass_once(echo: int, after: int) -> None:
    """The connection is reset behind that byte; the next one is whole."""
    with Proxy(echo) as proxy:
        proxy.arm(Cut(direction="down", after=after))
        got = say(proxy.port, b"x" * 1000)
        assert (after, 1, 1) == (proxy.passed("down"), proxy.cuts, proxy.connections)
        assert len(got) <= after  # a reset may overtake what is still in the socket
        assert b"y" * 1000 == say(proxy.port, b"y" * 1000)
        assert 1 == proxy.cuts


def test_a_cut_up_never_lets_the_server_see_more(echo: int) -> None:
    """The server says back what it got: less than was sent, at most what passed."""
    with Proxy(echo) as proxy:
        proxy.arm(Cut(direction="up", after=500))
        assert len(say(proxy.port, b"x" * 1000)) <= 500
        assert 500 == proxy.passed("up")


def test_delay_and_rate_hold(echo: int) -> None:
    """A round trip takes twice the delay; a rate bounds how fast much passes."""
    with Proxy(echo, delay=0.1) as proxy:
        begun = time.monotonic()
        assert b"x" == say(proxy.port, b"x")
        assert time.monotonic() - begun >= 0.2
    with Proxy(echo, rate=1e6) as proxy:
        begun = time.monotonic()
        assert 300_000 == len(say(proxy.port, b"x" * 300_000))
        assert time.monotonic() - begun >= 0.3


def test_messages_of_a_real_connection_are_counted(aifa_sshd: Sshd, aifa_proxy: Proxy) -> None:
    """A login and a command pass; cut behind any of its first messages, no command of ours runs."""
    command = ("ssh", "-F", str(aifa_sshd.ssh_config), "-o", "Ciphers=aes128-gcm@openssh.com", "-o", "BatchMode=yes")
    aifa_proxy.arm(None)
    done = subprocess.run((*command, aifa_sshd.alias, "echo through"), capture_output=True, text=True, check=True)
    up, down = aifa_proxy.passed("up", "messages"), aifa_proxy.passed("down", "messages")
    assert ("through\n", True, True) == (done.stdout, 8 < up < 40, 8 < down < 40)
    aifa_proxy.arm(Cut(direction="up", after=up - 5, unit="messages"))
    proof = aifa_sshd.folder / "proof"
    cut = subprocess.run((*command, aifa_sshd.alias, f"touch '{proof}'"), capture_output=True, check=False, timeout=30)
    assert (255, up - 5, False) == (cut.returncode, aifa_proxy.passed("up", "messages"), proof.exists())


def test_a_second_factor_is_asked_for(aifa_sshd_with_totp: Sshd) -> None:
    """A key alone does not get in, and nobody can answer in batch mode."""
    command = ("ssh", "-F", str(aifa_sshd_with_totp.ssh_config), "-o", "BatchMode=yes", aifa_sshd_with_totp.alias)
    done = subprocess.run((*command, "true"), capture_output=True, text=True, check=False, timeout=30)
    assert (255, True, 0) == (
        done.returncode,
        "keyboard-interactive" in done.stderr,
        aifa_sshd_with_totp.accepted_logins(),
    )
