"""The ssh program as a transport: the user's configuration, agent, jump hosts and second factor, one login for all.

Two kinds of processes are kept apart. A *login* is ``ssh -o ControlMaster=auto ... exit 0``: it authenticates, stays in
the background as a master and carries no command of ours. A *client* carries one command over the master's socket and
has ``ProxyCommand`` set to something that cannot connect. So a client never logs in by itself, whatever happens to the
master: the ssh program's own habit, to open a new connection when the master refuses (and perhaps run a command a
second time, or ask a person for a code at night), cannot happen. What fails before a client has found a master was not
sent, by construction.

The master that a transport opens ends by itself after five minutes without work (``ControlPersist``): other processes
may be using it, so ``close`` leaves it alone. Masters for sites with a second factor are opened by a person with
:meth:`OpenSSHTransport.login_command` and live for eight hours after their last use.
"""

from __future__ import annotations

import datetime
import logging
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from aifa_hpc.errors import NotSentError, tail
from aifa_hpc.transport.base import Channel, ProcessChannel
from aifa_hpc.transport.certificates import Certificate, certificates
from aifa_hpc.transport.hostkeys import Pin, pin_options
from aifa_hpc.transport.local import Exchange, exchange
from aifa_hpc.transport.login_log import login_error
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError
from aifa_hpc.transport.sockets import control_path
from aifa_hpc.transport.ssh import SSHTransport, require_names

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

# Longer than any sensible pause between two questions about jobs, so that a poller logs in once.
_PERSIST_SECONDS = 300
_PERSIST_BY_HAND = "8h"


# ssh_config(5) options of every process. A dead link is noticed within a minute.
_ALWAYS = (
    "StrictHostKeyChecking=yes",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)
_UNATTENDED = (
    "BatchMode=yes",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
)

_SSH_FAILED = 255
"""ssh's own exit code, not the command's (ssh(1), EXIT STATUS)."""

_FAST_CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com"

# A client's request to the master was out and unanswered (mux_client_request_session in mux.c), unless it was refused.
_REQUEST = re.compile(r"^mux_client_request_session: (?P<what>.*)$", re.MULTILINE)
_REFUSED = re.compile(r"session request failed|[Mm]aster refused")


_MASTER = re.compile(r"Master running \(pid=(?P<pid>\d+)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A shared connection that is open.

    Attributes:
        host: Where it leads.
        pid: The ssh program that holds it.
        since: When it was opened, aware and in UTC.
    """

    host: str
    pid: int
    since: datetime.datetime


class OpenSSHTransport(SSHTransport):
    """Commands through the ``ssh`` program (OpenSSH 8.5 or newer for pinned keys, 7.3 otherwise).

    Args:
        host: Name, as the ssh configuration knows it.
        user: Remote user name; empty leaves it to the configuration.
        port: TCP port; 0 leaves it to the configuration.
        ssh_config: Configuration file used instead of ``~/.ssh/config``.
        identity_file: Private key tried first.
        host_key_alias: Name to look up in known_hosts in the place of the host's own.
        pinned: Fingerprints the site publishes (``SHA256:...``, with the key type in front when it is known).
        control_dir: Private folder for the master's socket; made with mode 0700.
        mfa: The site asks a person for a second factor, so only a person opens the connection.
        mfa_prompt: How it asks.
        site: What the user calls the machine.
        inet_only: Only IPv4.
        connect_timeout: Seconds until an attempt to connect is given up.
        program: The ssh program.

    Raises:
        InputError: A name that ssh would take for an option, or a malformed fingerprint.
        NotSentError: No folder can be trusted with the socket.
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
        control_dir: Path,
        mfa: bool = False,
        mfa_prompt: str = "",
        site: str = "",
        inet_only: bool = False,
        connect_timeout: float = 15.0,
        program: str = "ssh",
    ) -> None:
        super().__init__()
        require_names(host, user, host_key_alias)
        self._host = host
        self._port = port
        self._pins = tuple(Pin.read(text) for text in pinned)
        self._mfa = mfa
        self._mfa_prompt = mfa_prompt
        self._site = site
        self._connect_timeout = connect_timeout
        self._program = program
        self._socket = control_path(control_dir, host, user, str(port), ssh_config, identity_file)
        self._login_lock = threading.Lock()
        self._warned = False
        # Printed by the client's ProxyCommand: ssh has given the master up and would have connected anew. No remote
        # command can print it, and a shell of its own keeps standard output open until the words are out: ssh kills
        # the command when that closes.
        self._no_login = f"aifa: no new login {secrets.token_hex(8)}"
        self._no_connection = f"/bin/sh -c 'echo {self._no_login} >&2; exit 1'"
        # A terminal is no place to ask, and neither is a window: jump hosts inherit this.
        self._env = os.environ | {"SSH_ASKPASS_REQUIRE": "never"}
        self._route = (
            *(("-F", ssh_config) if ssh_config else ()),
            *(("-i", identity_file) if identity_file else ()),
            *(("-p", str(port)) if port else ()),
            *(("-l", user) if user else ()),
            *(("-4",) if inet_only else ()),
            *_options(*_ALWAYS, f"ConnectTimeout={max(1, round(connect_timeout))}"),
            *(_options(f"HostKeyAlias={host_key_alias}") if host_key_alias else ()),
            *pin_options(self._pins),
        )

    def login_command(self) -> tuple[str, ...]:
        """The command a person runs in a terminal to open the shared connection; the site may ask for a code there."""
        options = _options("ControlMaster=auto", f"ControlPersist={_PERSIST_BY_HAND}", "LogLevel=INFO")
        return (self._program, *self._mux, *self._route, *options, *self._ciphers(), "--", self._host, "exit 0")

    def logout(self) -> bool:
        """Ends the shared connection for everybody; whether there was one."""
        return self._control("exit").exit_code == 0

    def alive(self) -> bool:
        """Whether a shared connection is open; asks only the local socket."""
        return self.session() is not None

    def session(self) -> Session | None:
        """The shared connection; ``None`` when there is none."""
        try:
            opened = self._socket.lstat().st_mtime
        except OSError:
            return None
        found = _MASTER.search(self._control("check").stderr.decode("utf-8", "replace"))
        if found is None:
            return None
        return Session(
            host=self._host, pid=int(found["pid"]), since=datetime.datetime.fromtimestamp(opened, datetime.UTC)
        )

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:
        """The user certificates that the host would be shown."""
        return certificates(self._configuration)

    def refuse_expired(self, now: datetime.datetime) -> None:
        """Says what is wrong before the host does, which would count it as a failed login.

        Raises:
            PersonNeededError: Every certificate that the configuration names for the host has expired.
        """
        named = [one for one in self.certificates if one.named]
        if named and all(one.expired(now) for one in named):
            raise PersonNeededError(
                f"Nothing was sent to {self._host}. {' '.join(one.warning(now) for one in named)}",
                hint="Get a new one where you got it, then run the command again.",
            )

    def explain_no_start(self, said: str) -> None:
        """Reads the words of a client."""
        if self._no_login not in said:
            return
        request = _REQUEST.search(said)
        if request is None:
            kind = PersonNeededError if self._mfa else NotSentError
            raise kind(f"There is no open connection to {self._host}; nothing was sent.", hint=self._login_hint())
        if _REFUSED.search(request["what"]):
            raise ChannelRefusedError(
                f"{self._host} refuses one more channel on the open connection ({request['what'].strip()}); "
                "nothing was sent.",
                hint="Let other work on this connection end first, or ask the site about MaxSessions.",
            )

    @property
    def _mux(self) -> tuple[str, ...]:
        # Per cent signs are tokens in a ControlPath.
        return ("-S", str(self._socket).replace("%", "%%"))

    def _client(self, line: str, *more: str) -> tuple[str, ...]:
        # With the user's own ControlPersist in force, ssh would send the words of a ProxyCommand to /dev/null.
        options = _options(
            *_UNATTENDED,
            "ControlMaster=no",
            "ControlPersist=no",
            f"ProxyCommand={self._no_connection}",
            "LogLevel=ERROR",
        )
        return (self._program, *self._mux, *self._route, *options, *more, "--", self._host, line)

    def _exchange(self, line: str, stdin: bytes, timeout: float, *, login: bool = True) -> Exchange:
        self._require_program()
        while True:
            done = exchange(self._client(line), stdin, timeout, self._env)
            said = done.stderr.decode("utf-8", "backslashreplace") if self._no_login.encode() in done.stderr else ""
            try:
                self.explain_no_start(said)
            except ChannelRefusedError:
                raise
            except NotSentError:
                if not login or self._mfa:
                    raise
                login = False
                self._login()
                continue
            if done.exit_code == _SSH_FAILED and not done.stdout:
                self._require_configuration()
            return done

    def subsystem(self, name: str) -> Channel:
        """Over the same connection."""
        return self._start(name, "-s")

    def _start(self, line: str, *more: str) -> Channel:
        self._require_program()
        self._warn_once()
        # The check is a local question of 3 ms, and a client that finds no master would be known too late here.
        if not self.alive():
            if self._mfa:
                self.explain_no_start(self._no_login)
            self._login()
        return ProcessChannel(self._client(line, *more), env=self._env)

    def _warn_once(self) -> None:
        """Announces, before work that may take long, that a broken connection could soon not be opened again."""
        with self._login_lock:
            if not self._warned:
                self._warned = True
                for one in self.certificates:
                    if said := one.warning(utc_now()):
                        logger.warning("%s", said)

    def _ciphers(self) -> tuple[str, ...]:
        """Puts AES-GCM first, which carries twice as much as OpenSSH's first choice, unless a configuration chose."""
        if shutil.which(self._program) is None:
            return ()
        default = self._ask_configuration("-F", "none")
        chosen, usual = (
            [line for line in text.splitlines() if line.startswith("ciphers ")]
            for text in (self._configuration, default)
        )
        return _options(f"Ciphers=^{_FAST_CIPHERS}") if chosen and chosen == usual else ()

    @cached_property
    def _configuration(self) -> str:
        """What the ssh program makes of its configuration for this host."""
        return self._ask_configuration(*self._route)

    def _ask_configuration(self, *options: str) -> str:
        argv = (self._program, *options, "-G", "--", self._host)
        return exchange(argv, b"", 10, self._env).stdout.decode("utf-8", "replace")

    def _control(self, request: str) -> Exchange:
        self._require_program()
        argv = (self._program, *self._mux, *self._route, "-O", request, "--", self._host)
        return exchange(argv, b"", 10, self._env)

    def _login(self) -> None:
        """Opens the shared connection, once for all threads.

        Raises:
            HostKeyError: The server is not known, or not the one that is.
            NotSentError: It cannot be reached or does not let us in.
        """
        with self._login_lock:
            if self.alive():
                return
            self.refuse_expired(utc_now())
            self.await_login()
            code, log = self._connect(f"ControlPersist={_PERSIST_SECONDS}", "ControlMaster=auto", *self._mux)
            # The login shell may end as it likes.
            if code != _SSH_FAILED or self.alive():
                return
            if "debug1: Executing proxy command" in log:
                # Beside ControlPersist the words of a jump host's ssh go to /dev/null: hear them without.
                code, log = self._connect("ControlPersist=no", "ControlMaster=no", "-S", "none")
            raise self._why(log)

    def _connect(self, persist: str, master: str, *mux: str) -> tuple[int | None, str]:
        options = _options(*_UNATTENDED, persist, master, "LogLevel=DEBUG1")
        argv = (self._program, *mux, *self._route, *options, *self._ciphers(), "--", self._host, "exit 0")
        # A file, not a pipe: the master in the background may keep it open.
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
            try:
                # Each jump host has its own ConnectTimeout, and authentication comes on top.
                code = process.wait(timeout=3 * self._connect_timeout + 15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
            log.seek(0)
            return code, log.read().decode("utf-8", "backslashreplace")

    def _why(self, log: str) -> NotSentError:
        expired = [one.warning(utc_now()) for one in self.certificates if one.expired(utc_now())]
        return login_error(
            log, host=self._host, port=self._port, pins=self._pins, program=self._program, also=" ".join(expired)
        )

    def _login_hint(self) -> str:
        if not self._mfa:
            return "Run the command again."
        asks = f' The site asks "{self._mfa_prompt.strip()}".' if self._mfa_prompt else ""
        return f"A person opens it, once for hours: `aifa login {self._site or self._host}`.{asks}"

    def _require_program(self) -> None:
        if shutil.which(self._program) is None:
            raise PersonNeededError(
                f"There is no program {self._program!r} on PATH; nothing was sent.",
                hint='Install OpenSSH, or set transport = "fabric" for the site in sites.toml.',
            )

    def _require_configuration(self) -> None:
        """Refuses a configuration that ssh cannot read: it then ends before it looks for a master."""
        done = exchange((self._program, *self._route, "-G", "--", self._host), b"", 10, self._env)
        if done.exit_code == _SSH_FAILED:
            said = tail(done.stderr.decode("utf-8", "backslashreplace"))
            raise PersonNeededError(
                f"{self._program} cannot use its configuration, so nothing was sent: {said}.",
                hint="Mend that file, or name another as `ssh_config` of the site in sites.toml.",
            )


def utc_now() -> datetime.datetime:
    """The time, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def _options(*settings: str) -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("-o", setting))
