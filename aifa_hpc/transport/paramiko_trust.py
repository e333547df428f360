"""How paramiko decides whom to trust and what to negotiate: known_hosts, published keys, AES-GCM first, no prompts."""

from __future__ import annotations

import contextlib
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko

from aifa_hpc.transport.hostkeys import KeyState, Pin, algorithms, fingerprint, host_key_error
from aifa_hpc.transport.known_hosts import KnownKey, known_name, read_known_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import fabric

# A channel moves at most its window per round trip (RFC 4254, 5.2): 100 MiB/s at 40 ms. paramiko shifts all it holds at
# each read, so more is slower: measured 460 MiB/s with 4 MiB and 35 with 32.
WINDOW_BYTES = 4 * 2**20
PACKET_BYTES = 2**15

# paramiko asks for new keys after 512 MiB, and its reading thread stops for ever when a channel closes in that moment.
# AES may be used for 2**32 blocks of 16 bytes, 64 GiB (RFC 4344, 3.2), and sshd sees to that itself.
_REKEY_BYTES = 2**35


class _Strict(paramiko.MissingHostKeyPolicy):  # type: ignore[misc] # paramiko has no types
    """Trusts published and known keys, and nothing else.

    The client itself is given no known keys, so every key comes here: paramiko compares only with the first of several
    and knows neither patterns nor ``@revoked``.
    """

    def __init__(self, host: str, port: int, pins: tuple[Pin, ...], known: tuple[KnownKey, ...]) -> None:
        self._host = host
        self._port = port
        self._pins = pins
        self._known = known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002 - paramiko's signature
        blob = key.asbytes()
        offered = fingerprint(blob)
        mine = [entry for entry in self._known if entry.key == blob]
        revoked = any(entry.marker == "@revoked" for entry in mine)
        known = any(not entry.marker for entry in mine)
        if not revoked and (known or any(pin.fingerprint == offered for pin in self._pins)):
            return
        known = any(not entry.marker for entry in self._known)
        state: KeyState = "revoked" if revoked else "changed" if known else "unknown"
        raise host_key_error(self._host, self._port, (f"{key.get_name()} {offered}",), self._pins, state=state)


class _QuietTransport(paramiko.Transport):  # type: ignore[misc] # paramiko has no types
    """A transport that never asks on the terminal."""

    def auth_interactive_dumb(self, *_: Any, **__: Any) -> list[str]:
        raise paramiko.AuthenticationException("it asks for a second factor or a password")


def make_strict(connection: fabric.Connection, pins: tuple[Pin, ...], *, alias: str = "") -> None:
    """Makes a connection that is not open yet trust known and pinned keys only, and never ask on a terminal."""
    config = connection.ssh_config
    host, port = str(connection.host), int(connection.port)
    # ssh_config(5) HostKeyAlias: the name to look up instead, on whatever port.
    name = alias or config.get("hostkeyalias") or known_name(host, port)
    known = tuple(entry for entry in _known_keys(config) if entry.is_for(name))
    connection.client.set_missing_host_key_policy(_Strict(host, port, pins, known))
    types = [pin.type for pin in pins if pin.type] + [entry.type for entry in known if not entry.marker]
    keys = connection.connect_kwargs.get("key_filename")
    connection.connect_kwargs = {
        "transport_factory": _transport_factory([name for kind in types for name in algorithms(kind)]),
        **({"key_filename": list(keys)} if keys else {}),
    }


def _known_keys(config: dict[str, str]) -> Iterable[KnownKey]:
    for option, default in (
        ("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"),
        ("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"),
    ):
        value = config.get(option, default)
        # paramiko has taken the quotes off when there is one quoted path.
        paths = [value] if Path(value).expanduser().exists() else shlex.split(value)
        for path in paths:
            with contextlib.suppress(OSError):
                yield from read_known_hosts(Path(path).expanduser().read_text("utf-8", "replace"))


def _transport_factory(preferred: list[str]) -> Callable[..., paramiko.Transport]:
    """Makes transports that prefer known key types and AES-GCM, which paramiko does in one pass and puts last."""

    def make(sock: Any, **settings: Any) -> paramiko.Transport:
        if isinstance(sock, socket.socket):
            # A request is several small packets: Nagle's algorithm would hold the last one back for 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = _QuietTransport(
            sock, default_window_size=WINDOW_BYTES, default_max_packet_size=PACKET_BYTES, **settings
        )
        transport.packetizer.REKEY_BYTES = _REKEY_BYTES
        options = transport.get_security_options()
        ciphers = (name for name in options.ciphers if name.startswith("aes"))
        options.ciphers = tuple(sorted(ciphers, key=lambda name: "gcm" not in name))
        first = [name for name in preferred if name in options.key_types]
        options.key_types = tuple(dict.fromkeys((*first, *options.key_types)))
        return transport

    return make
