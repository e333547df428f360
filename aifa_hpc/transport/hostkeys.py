"""Host keys: published fingerprints, how ssh is told of them, and what is said when a key is not known."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from aifa_hpc.errors import HostKeyError, InputError
from aifa_hpc.transport.known_hosts import known_name

_FINGERPRINT = re.compile(r"(?:(?P<type>[a-z0-9@.-]+)\s+)?SHA256:(?P<digest>[A-Za-z0-9+/]{43})=?")

# Names under which a key type is negotiated (RFC 8332: one RSA key, two signature algorithms).
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}

# Run by ssh without a shell in between; $1.. are what ssh_config(5) TOKENS put there, then the pinned fingerprints.
_KNOWN_HOSTS_SCRIPT = (
    'host=$1 type=$2 key=$3 offered=$4; shift 4; for f; do [ "$f" = "$offered" ] && echo "$host $type $key"; done; :'
)

KeyState: TypeAlias = Literal["unknown", "changed", "revoked"]
_STATES = {
    "unknown": "is not known",
    "changed": "is not the one known for it",
    "revoked": "is marked @revoked in known_hosts",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """A host key somebody published.

    Attributes:
        fingerprint: ``SHA256:`` and the digest, as ``ssh-keygen -l`` prints it.
        type: OpenSSH key type (``ssh-ed25519``), empty when it was not said.
    """

    fingerprint: str
    type: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Reads ``SHA256:...``, with the key type in front or without.

        Raises:
            InputError: It is neither.
        """
        found = _FINGERPRINT.fullmatch(text.strip())
        if found is None:
            raise InputError(
                f"{text!r} is not a host key fingerprint: write SHA256: and 43 characters of base64, "
                "as `ssh-keygen -lf` prints it."
            )
        return cls(fingerprint=f"SHA256:{found['digest']}", type=found["type"] or "")


def fingerprint(key: bytes) -> str:
    """SHA256 fingerprint of a public key blob, as ssh-keygen(1) prints it: base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def pin_options(pins: tuple[Pin, ...]) -> tuple[str, ...]:
    """Options that make ssh accept pinned keys besides known ones; it needs OpenSSH 8.5 for them.

    ``KnownHostsCommand`` (ssh_config(5)) adds to the user's files and takes nothing from them. The pinned types go to
    the front of what is negotiated, or a server would present another of its keys, which nobody has published.
    """
    if not pins:
        return ()
    words = ("/bin/sh", "-c", _KNOWN_HOSTS_SCRIPT, "aifa", "%H", "%t", "%K", "%f", *(pin.fingerprint for pin in pins))
    options = ["-o", f"KnownHostsCommand={shlex.join(words)}"]
    types = dict.fromkeys(name for pin in pins if pin.type for name in algorithms(pin.type))
    if types:
        options += ["-o", f"HostKeyAlgorithms=^{','.join(types)}"]
    return tuple(options)


def algorithms(key_type: str) -> tuple[str, ...]:
    """Names under which a key of this type is negotiated, the preferred first."""
    return _ALGORITHMS.get(key_type, (key_type,))


def host_key_error(
    host: str,
    port: int,
    offered: tuple[str, ...],
    pins: tuple[Pin, ...] = (),
    *,
    state: KeyState = "unknown",
    said: str = "",
) -> HostKeyError:
    """The error for a server that cannot be trusted, with all that a person needs to decide.

    Args:
        host: Name it was reached by.
        port: TCP port.
        offered: Its keys, each ``type SHA256:...``.
        pins: What the site publishes.
        state: What known_hosts says of that name.
        said: The ssh program's own words, when it did not show the key.
    """
    name = known_name(host, port)
    shown = f"it offers {' and '.join(offered)}" if offered else f"ssh said: {said or 'nothing about the key'}"
    text = f"The host key of {host} port {port} {_STATES[state]}: {shown}."
    if pins:
        expected = ", ".join(f"{pin.type} {pin.fingerprint}".strip() for pin in pins)
        text += f" The site publishes {expected}."
    if pins or state != "unknown":
        hint = (
            "Nothing was sent. Somebody may be in between, or the machine got new keys: ask the site's support, or "
            "look at its published fingerprints, before anything else."
        )
        if state == "changed":
            hint += f" If it announced the change, forget the old key with `ssh-keygen -R {shlex.quote(name)}`."
    else:
        hint = (
            "Nothing was sent. Compare it with the fingerprint the site publishes; if it is the same, connect once by "
            f"hand with `ssh -p {port} {shlex.quote(host)}` and answer the question with that fingerprint."
        )
    return HostKeyError(text, hint=hint)
