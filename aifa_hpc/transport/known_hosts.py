"""known_hosts files as sshd(8) SSH_KNOWN_HOSTS FILE FORMAT has them: names, patterns, hashes and revoked keys."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownKey:
    """One line.

    Attributes:
        names: Comma-separated patterns, or one hash.
        type: Key type (``ssh-ed25519``).
        key: Public key blob.
        marker: ``@revoked``, ``@cert-authority`` or empty.
    """

    names: str
    type: str
    key: bytes
    marker: str = ""

    def is_for(self, name: str) -> bool:
        """Whether the line speaks of a host; ``name`` is ``[host]:port`` on other ports than 22."""
        if self.names.startswith("|1|"):
            return _hash_matches(self.names, name)
        found = False
        for pattern in self.names.lower().split(","):
            # Only * and ? are special there, but fnmatch knows brackets too, which stand around names with a port.
            positive = pattern.removeprefix("!").replace("[", "[[]")
            if fnmatch.fnmatchcase(name.lower(), positive):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


def read_known_hosts(text: str) -> tuple[KnownKey, ...]:
    """Every line that holds a key; as with ssh, lines that do not are skipped."""
    found = []
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):  # noqa: PLR2004 - names, type, key
            continue
        try:
            key = base64.b64decode(words[2], validate=True)
        except ValueError:
            continue
        found.append(KnownKey(names=words[0], type=words[1], key=key, marker=marker))
    return tuple(found)


def known_name(host: str, port: int) -> str:
    """How a host on a port is written in known_hosts."""
    return host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004 - the only port that is left out


def _hash_matches(hashed: str, name: str) -> bool:
    # |1|base64 of the salt|base64 of HMAC-SHA1(salt, name)
    try:
        _, _, salt, digest = hashed.split("|")
        expected = base64.b64decode(digest, validate=True)
        actual = hmac.new(base64.b64decode(salt, validate=True), name.encode(), hashlib.sha1).digest()
    except ValueError:
        return False
    return hmac.compare_digest(expected, actual)
