"""fabric and paramiko as a transport, where there is no ssh program: one connection for all threads, nothing is asked.

What it cannot do: a second factor, Kerberos, host certificates, ``Include`` in the ssh configuration, and a login
shared with other processes.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING

import fabric
import paramiko

from aifa_hpc.errors import NotSentError, OutcomeUnknownError, tail
from aifa_hpc.transport.base import Channel
from aifa_hpc.transport.hostkeys import Pin
from aifa_hpc.transport.local import Exchange
from aifa_hpc.transport.paramiko_order import ordered
from aifa_hpc.transport.paramiko_trust import PACKET_BYTES, WINDOW_BYTES, make_strict
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError
from aifa_hpc.transport.ssh import SSHTransport, require_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_KEEPALIVE_SECONDS = 15
_GRACE_SECONDS = 2.0
_TAIL_BYTES = 64 * 1024
_BLOCK_BYTES = 256 * 1024

# Foreign exceptions of a connection attempt, the most special first. Nothing of ours was sent in any of these cases.
_FAILURES: tuple[tuple[type[Exception], type[NotSentError], str], ...] = (
    (paramiko.PasswordRequiredException, PersonNeededError, "the key has a passphrase: load it into an ssh agent"),
    (paramiko.AuthenticationException, PersonNeededError, "it does not let us in: check the key and the user name"),
    (socket.gaierror, NotSentError, "its name is not known"),
    (TimeoutError, NotSentError, "it does not answer"),
    (OSError, NotSentError, "it cannot be reached"),
    (paramiko.SSHException, NotSentError, "it does not speak as it should"),
    (EOFError, NotSentError, "it hung up"),
)

# Without a handler Python prints paramiko's log on standard error; our errors say the same.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class FabricTransport(SSHTransport):
    """Commands through fabric and paramiko.

    Args:
        host: Name, as the ssh configuration knows it.
        user: Remote user name; empty leaves it to the configuration.
        port: TCP port; 0 leaves it to the configuration.
        ssh_config: Configuration file used instead of ``~/.ssh/config``.
        identity_file: Private key tried first.
        host_key_alias: Name to look up in known_hosts in the place of the host's own.
        pinned: Fingerprints the site publishes (``SHA256:...``, with the key type in front when it is known).
        control_dir: Not used; here so that both SSH transports are made alike.
        mfa: The site asks a person for a second factor: then nothing can be sent from here.
        mfa_prompt: How it asks.
        site: What the user calls the machine.
        inet_only: Only IPv4.
        connect_timeout: Seconds until an attempt to connect is given up.

    Raises:
        InputError: An impossible name or a malformed fingerprint.
    """

    def __init__(
        self,
        *,
        host: str,
        user: str = "",
        port: int = 0,
        ssh_config: str = "",
        identity_file: str = "",
        host_key_alias: str = "",
        pinned: tuple[str, ...] = (),
        control_dir: Path | None = None,
        mfa: bool = False,
        mfa_prompt: str = "",
        site: str = "",
        inet_only: bool = False,
        connect_timeout: float = 15.0,
    ) -> None:
        super().__init__()
        del control_dir
        require_names(host, user, host_key_alias)
        self._host = host
        self._user = user
        self._port = port
        self._ssh_config = ssh_config
        self._identity_file = identity_file
        self._host_key_alias = host_key_alias
        self._pins = tuple(Pin.read(text) for text in pinned)
        self._mfa = mfa
        self._mfa_prompt = mfa_prompt
        self._site = site
        self._inet_only = inet_only
        self._connect_timeout = connect_timeout
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._connection: fabric.Connection | None = None

    def close(self) -> None:
        """Closes the connection; the next command opens another."""
        with self._lock:
            self._drop()

    def alive(self) -> bool:
        """Whether our own connection is open."""
        connection = self._connection
        return connection is not None and bool(connection.transport.is_active())

    def explain_no_start(self, said: str) -> None:
        """Nothing to read: a refused channel is known before a command is sent."""

    def _drop(self) -> None:
        if self._connection is not None:
            _close(self._connection)
            self._connection = None

    def _transport(self, *, login: bool) -> paramiko.Transport:
        with self._lock:
            if self._connection is not None:
                transport: paramiko.Transport = self._connection.transport
                if transport.is_active():
                    return transport
                self._drop()
            if not login:
                raise NotSentError(f"There is no open connection to {self._host}.")
            if self._mfa:
                asks = f' ("{self._mfa_prompt.strip()}")' if self._mfa_prompt else ""
                raise PersonNeededError(
                    f"{self._host} asks for a second factor{asks}, which the fabric transport cannot answer.",
                    hint=(
                        f'Set transport = "openssh" for the site and run `aifa login {self._site or self._host}`;'
                        " if your account is not asked for one, set mfa = false."
                    ),
                )
            self.await_login()
            self._connection = self._connect()
            self._connection.transport.set_keepalive(_KEEPALIVE_SECONDS)
            return self._connection.transport

    def _session(self, *, login: bool = True) -> paramiko.Channel:
        """A channel nothing was sent on; a connection that turns out to be dead is replaced once."""
        for last in (False, True):
            transport = self._transport(login=login)
            try:
                # One at a time: paramiko keeps the reason of a refusal for whichever thread asks first.
                with self._opening:
                    return ordered(
                        transport.open_session(
                            window_size=WINDOW_BYTES, max_packet_size=PACKET_BYTES, timeout=self._connect_timeout
                        )
                    )
            except paramiko.ChannelException as error:
                raise ChannelRefusedError(
                    f"{self._host} refuses one more channel on the open connection ({error.text}); nothing was sent.",
                    hint="Let other work on this connection end first, or ask the site about MaxSessions.",
                ) from error
            except (paramiko.SSHException, OSError, EOFError) as error:
                if transport.is_active():  # others work on it: it is slow, not dead
                    raise ChannelRefusedError(
                        f"{self._host} opened no channel in {self._connect_timeout:g} s; nothing was sent.",
                        hint="Try again when it is less busy.",
                    ) from error
                if last or not login:
                    raise NotSentError(f"The connection to {self._host} broke; nothing was sent: {error}") from error
        raise AssertionError("the loop returns or raises")

    def _connect(self) -> fabric.Connection:
        connection = self._prepare()
        try:
            if self._inet_only and not connection.gateway:
                connection.connect_kwargs["sock"] = self._ipv4_socket(connection.host, int(connection.port))
            connection.open()
        except Exception as error:
            _close(connection)
            for kind, ours, what in _FAILURES:
                if isinstance(error, kind):
                    name = f"{connection.host} port {connection.port}"
                    raise ours(f"Cannot log in to {name}; nothing was sent: {what} ({error}).") from error
            raise  # ours already (a host key), or a programming error
        return connection

    def _prepare(self) -> fabric.Connection:
        # lazy: no fabric.yaml of whoever runs this has a say.
        config = fabric.Config(runtime_ssh_path=self._ssh_config or None, lazy=True)
        config.load_ssh_config()
        connection = fabric.Connection(
            self._host,
            user=self._user or None,
            port=self._port or None,
            config=config,
            forward_agent=False,
            connect_timeout=max(1, round(self._connect_timeout)),
            connect_kwargs={"key_filename": [self._identity_file]} if self._identity_file else None,
        )
        make_strict(connection, self._pins, alias=self._host_key_alias)
        hop = connection.gateway
        while isinstance(hop, fabric.Connection):
            hop.connect_timeout = connection.connect_timeout
            hop.forward_agent = False
            make_strict(hop, ())  # the site's keys are the site's, not its jump host's
            hop = hop.gateway
        return connection

    def _ipv4_socket(self, host: str, port: int) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(self._connect_timeout)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _exchange(self, line: str, stdin: bytes, timeout: float, *, login: bool = True) -> Exchange:
        channel = self._session(login=login)
        late = threading.Event()

        def give_up() -> None:
            late.set()
            channel.close()

        timer = threading.Timer(timeout, give_up)
        timer.daemon = True
        timer.start()
        stdout, stderr = bytearray(), bytearray()
        threads = [
            threading.Thread(target=_drain, args=(channel.recv_stderr, stderr.extend), daemon=True),
            threading.Thread(target=_feed, args=(channel, stdin), daemon=True),
        ]
        try:
            channel.exec_command(line)
            for thread in threads:
                thread.start()
            _drain(channel.recv, stdout.extend)
            for thread in threads:
                thread.join()
        except (paramiko.SSHException, OSError, EOFError) as error:
            # The line may have arrived: the marks in what came back decide.
            stderr += f"\n{error}".encode()
        finally:
            timer.cancel()
            with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
                channel.close()
        return Exchange(
            exit_code=None if late.is_set() else channel.exit_status, stdout=bytes(stdout), stderr=bytes(stderr)
        )

    def subsystem(self, name: str) -> Channel:
        """Over the same connection."""
        return self._begin(lambda channel: channel.invoke_subsystem(name))

    def _start(self, line: str) -> Channel:
        return self._begin(lambda channel: channel.exec_command(line))

    def _begin(self, request: Callable[[paramiko.Channel], None]) -> Channel:
        channel = self._session()
        try:
            request(channel)
        except (paramiko.SSHException, OSError, EOFError) as error:
            channel.close()
            raise OutcomeUnknownError(
                f"The connection broke while a command started; it may have run: {error}"
            ) from error
        return _ParamikoChannel(channel)


class _ParamikoChannel(Channel):
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._stderr = bytearray()
        # Both streams share one window: what nobody reads on standard error would stop standard output.
        self._reader = threading.Thread(target=_drain, args=(channel.recv_stderr, self._keep), daemon=True)
        self._reader.start()

    def send(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        try:
            for start in range(0, len(view), _BLOCK_BYTES):
                self._channel.sendall(bytes(view[start : start + _BLOCK_BYTES]))
        except (paramiko.SSHException, OSError, EOFError) as error:
            said = self.stderr_tail()
            raise OutcomeUnknownError(
                "the connection ended while data was in flight" + (f": {said}" if said else "")
            ) from error

    def receive_into(self, view: memoryview) -> int:
        try:
            data = self._channel.recv(len(view))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise OutcomeUnknownError(f"the connection ended while data was in flight: {error}") from error
        if not data and not self._channel.eof_received:
            raise OutcomeUnknownError("the connection ended while data was in flight")
        view[: len(data)] = data
        return len(data)

    def finish_input(self) -> None:
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            self._channel.shutdown_write()

    def stderr_tail(self) -> str:
        return tail(bytes(self._stderr).decode("utf-8", "backslashreplace"))

    def close(self) -> int:
        self.finish_input()
        self._reader.join(_GRACE_SECONDS)
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()
        self._reader.join(_GRACE_SECONDS)
        code: int = self._channel.exit_status
        return code

    def _keep(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-_TAIL_BYTES]


def _close(connection: fabric.Connection) -> None:
    # fabric leaves jump hosts and half-open connections to the garbage collector.
    while isinstance(connection, fabric.Connection):
        # What closing a broken connection says helps nobody.
        with contextlib.suppress(Exception):
            connection.client.close()
        connection = connection.gateway


def _drain(receive: Callable[[int], bytes], keep: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while data := receive(_BLOCK_BYTES):
            keep(data)


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    # A command may end without reading its input: whether it did is not decided here.
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.sendall(data)
        channel.shutdown_write()
