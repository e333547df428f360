"""What the ssh program wrote while it logged in (``LogLevel=DEBUG1``), as the error that says what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aifa_hpc.errors import NotSentError, tail
from aifa_hpc.transport.hostkeys import KeyState, host_key_error
from aifa_hpc.transport.refusals import PersonNeededError

if TYPE_CHECKING:
    from aifa_hpc.transport.hostkeys import Pin

# Lines that are for programmers.
_NOISE = re.compile(r"^(?:debug\d: .*|OpenSSH_.*|Authenticated to .*|Transferred: .*|Bytes per second: .*)$")
_OFFERED = re.compile(r"^debug1: Server host key: (?P<type>\S+) (?P<fingerprint>SHA256:\S+)", re.MULTILINE)
_PEER = re.compile(r"^debug1: Authenticating to (?P<host>\S+):(?P<port>\d+) as ", re.MULTILINE)


def login_error(log: str, *, host: str, port: int, pins: tuple[Pin, ...], program: str, also: str = "") -> NotSentError:
    """Why nobody was let in.

    Args:
        log: All that was written.
        host: Where to, where the log does not say.
        port: Likewise; 0 is ssh's own.
        pins: Fingerprints that the site publishes.
        program: The ssh program.
        also: What is known besides of a refused login.
    """
    lines = (line.strip() for line in log.splitlines())
    said = tail("\n".join(line for line in lines if line and not _NOISE.match(line)))
    if "Host key verification failed" in log or "REMOTE HOST IDENTIFICATION HAS CHANGED" in log:
        peer = _PEER.findall(log)
        name, number = (peer[-1][0], int(peer[-1][1])) if peer else (host, port or 22)
        offered = tuple(dict.fromkeys(f"{kind} {digest}" for kind, digest in _OFFERED.findall(log)))
        state: KeyState = "revoked" if "REVOKED" in log else "changed" if "HAS CHANGED" in log else "unknown"
        return host_key_error(name, number, offered[-1:], pins, state=state, said=said)
    if "knownhostscommand" in log.lower() and "Bad configuration option" in log:
        return PersonNeededError(
            f"This {program} is older than OpenSSH 8.5 and cannot use the site's published host keys.",
            hint='Update OpenSSH, or set transport = "fabric" for the site.',
        )
    text = f"Cannot log in to {host}; nothing was sent. ssh said: {said or 'nothing'}"
    if "Permission denied" in log:
        hint = "Check the key, the user name, and from which addresses the site lets this key in."
        return PersonNeededError(text, hint=f"{also} {hint}".strip())
    return NotSentError(text)
