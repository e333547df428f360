"""A private sshd on a free loopback port, with keys, known_hosts and ssh_config of its own, for tests and benches.

::

    with Sshd.started(folder, "MaxSessions 2") as sshd:
        OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=folder / "control")

Logins are those of the current user, by key, and with ``second_factor`` by a code after it. Its log counts them
(:meth:`Sshd.accepted_logins`). It needs the server's program (Debian: openssh-server) and ends with the block.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import hmac
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.testing.faults import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROGRAM = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
_ALIAS = "aifa-test"
_START_SECONDS = 10.0

# sshd takes its PAM service from the fixed folder /etc/pam.d: in a mount namespace of its own that folder is ours.
_WITH_PAM = 'mount --bind "$1" /etc/pam.d && shift && exec "$@"'
_PAM = """auth required pam_google_authenticator.so [secret={secret}] user=root [authtok_prompt={prompt} ]
account required pam_permit.so
session required pam_permit.so
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondFactor:
    """A time-based code that the server asks for after the key, by PAM (Debian: libpam-google-authenticator; root).

    Attributes:
        prompt: How it asks.
        secret: Key of the codes, in base32.
    """

    prompt: str = "JSC TOTP Verification code:"
    secret: str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105 - of nothing but a test server

    def code(self, now: float) -> str:
        """The code at a time in seconds since 1970 (RFC 6238 with SHA-1, 30 seconds and six digits)."""
        key = base64.b32decode(self.secret + "=" * (-len(self.secret) % 8))
        digest = hmac.new(key, int(now // 30).to_bytes(8, "big"), hashlib.sha1).digest()
        start = digest[-1] & 15
        number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
        return f"{number % 10**6:06}"

    def lacking(self) -> str:
        """Why this machine cannot do it; empty when it can."""
        if os.geteuid() == 0 and shutil.which("google-authenticator") and shutil.which("unshare"):
            return ""
        return "a second factor needs root, unshare (util-linux), and PAM's module of libpam-google-authenticator"

    def install(self, folder: Path) -> tuple[str, ...]:
        """Writes what PAM reads below ``folder``, and returns the words to put in front of the server's.

        Raises:
            RuntimeError: This machine cannot do it.
        """
        if lacking := self.lacking():
            raise RuntimeError(lacking)
        secret = folder / "totp"
        secret.write_text(f'{self.secret}\n" TOTP_AUTH\n')
        secret.chmod(0o600)
        pam = folder / "pam.d"
        pam.mkdir(exist_ok=True)
        for name in ("sshd", "other"):
            (pam / name).write_text(_PAM.format(secret=secret, prompt=self.prompt))
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", _WITH_PAM, "aifa", str(pam))

    @property
    def settings(self) -> tuple[str, ...]:
        """Lines of sshd_config that ask for it."""
        return (
            "UsePAM yes",
            "KbdInteractiveAuthentication yes",
            "AuthenticationMethods publickey,keyboard-interactive:pam",
            "PermitRootLogin yes",  # or sshd hands PAM a dummy in the place of what root typed
        )


@dataclass
class Sshd:
    """A running server.

    Attributes:
        folder: Holds everything of it.
        port: Loopback port.
        user: Who logs in.
        alias: Host name in its ssh_config.
        extra: Lines of sshd_config that win over the defaults.
        second_factor: What it asks for after the key.
    """

    folder: Path
    port: int
    user: str
    extra: tuple[str, ...] = ()
    alias: str = _ALIAS
    second_factor: SecondFactor | None = None
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, folder: Path, *extra: str, alias: str = _ALIAS, second_factor: SecondFactor | None = None
    ) -> Iterator[Sshd]:
        """Starts one in an empty folder, and ends it with all its connections.

        Args:
            folder: For everything of it.
            extra: Lines of sshd_config that win over the defaults, such as ``MaxSessions 2``.
            alias: Host name in its ssh_config.
            second_factor: What it asks for after the key.

        Raises:
            RuntimeError: There is no sshd, or it does not start; with its words.
        """
        if _PROGRAM is None:
            raise RuntimeError("there is no sshd here (Debian: openssh-server)")
        folder.mkdir(parents=True, exist_ok=True)
        sshd = cls(
            folder=folder,
            port=free_port(),
            user=getpass.getuser(),
            extra=extra,
            alias=alias,
            second_factor=second_factor,
        )
        for name in ("host_key", "user_key"):
            make_key(folder / name)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
        sshd.write_config()
        sshd.start()
        try:
            yield sshd
        finally:
            sshd.stop()

    @property
    def ssh_config(self) -> Path:
        """Client configuration that reaches it as ``alias``."""
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """The only known_hosts file of that configuration."""
        return self.folder / "known_hosts"

    @property
    def identity(self) -> Path:
        """The user's private key."""
        return self.folder / "user_key"

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.folder / "sshd.log"

    @property
    def host_key(self) -> str:
        """Type and base64 of its public host key."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        """SHA256 fingerprint of its host key."""
        return fingerprint(self.folder / "host_key.pub")

    def write_config(self, *lines: str) -> None:
        """Writes the client configuration, with ``lines`` before its own (the first of a setting wins)."""
        own = (
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {self.user}",
            f'IdentityFile "{self.identity}"',
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f'UserKnownHostsFile "{self.known_hosts}"',
            "GlobalKnownHostsFile /dev/null",
        )
        self.ssh_config.write_text("\n  ".join((f"Host {self.alias}", *lines, *own)) + "\n")

    def start(self) -> None:
        """Starts the server on its port and waits until it answers."""
        factor = self.second_factor
        config = self.folder / "sshd_config"
        lines = (
            *self.extra,
            *(factor.settings if factor else ()),
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f'HostKey "{self.folder}/host_key"',
            f'AuthorizedKeysFile "{self.folder}/authorized_keys"',
            f'PidFile "{self.folder}/sshd.pid"',
            "AuthenticationMethods publickey",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "MaxStartups 100",
            "LogLevel VERBOSE",
            # bash reads ~/.bashrc under sshd unless it is a nested shell: whose files these are is no part of a test.
            "SetEnv SHLVL=1",
        )
        config.write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        assert _PROGRAM is not None
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            before_it = factor.install(self.folder) if factor else ()
            argv = (*before_it, _PROGRAM, "-D", "-e", "-f", str(config))
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
        end = time.monotonic() + _START_SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            if b"Server listening on" in self.log.read_bytes()[before:]:
                return
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ends the server and every connection it has."""
        if self.process is None:
            return
        for pid in (*self.sessions(), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def sessions(self) -> list[int]:
        """Process ids of the servers behind open connections, children last."""
        assert self.process is not None
        return [pid for pid in descendants(self.process.pid) if _program(pid).startswith("sshd")]

    def drop_connections(self) -> None:
        """Kills the servers behind open connections; the listener stays."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def accepted_logins(self) -> int:
        """Logins that succeeded so far."""
        return sum(re.match(r"Accepted \S+ for ", line) is not None for line in self.log.read_text().splitlines())

    def attempts(self) -> int:
        """Connections that were opened so far, whatever became of them."""
        return sum(line.startswith("Connection from ") for line in self.log.read_text().splitlines())


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8")
    except OSError:
        return ""


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_key(path: Path, kind: str = "ed25519") -> None:
    """Makes a key pair without a passphrase."""
    path.unlink(missing_ok=True)
    subprocess.run(("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "aifa test", "-f", str(path)), check=True)


def fingerprint(public_key: Path) -> str:
    """SHA256 fingerprint of a public key file, by ssh-keygen."""
    argv = ("ssh-keygen", "-lf", str(public_key))
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[1]
