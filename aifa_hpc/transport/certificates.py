"""User certificates of OpenSSH: which ones a host would be shown, and until when they are good.

Sites that hand out certificates make them short: a day, or a shift. A connection that is open outlives them, a new one
is refused. So their end is told before it comes, and an expired one is not tried where nothing else is configured:
failed logins get an address blocked.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from aifa_hpc.transport.local import exchange

WARN_BEFORE = datetime.timedelta(hours=1)
"""Time left at which an end is announced: enough to ask for another certificate before a transfer is cut off."""

# ssh-keygen(1) -L; "forever" and "after X" have no end.
_VALID = re.compile(r"^\s*Valid: (?:from \S+ to|before) (?P<until>\S+)\s*$", re.MULTILINE)
_IS_CERTIFICATE = re.compile(r"^\s*Type: \S+ user certificate\s*$", re.MULTILINE)
_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A user certificate in a file.

    Attributes:
        path: The file.
        until: When it ends, aware and in UTC; ``None`` when it never does.
        named: The configuration names it (``CertificateFile``), so that the host is meant to see it.
    """

    path: str
    until: datetime.datetime | None
    named: bool = False

    def expired(self, now: datetime.datetime) -> bool:
        """Whether no server takes it any more."""
        return self.until is not None and self.until <= now

    def warning(self, now: datetime.datetime) -> str:
        """What to tell of it now; empty while there is time."""
        if self.until is None or self.until - now > WARN_BEFORE:
            return ""
        if self.expired(now):
            return f"The certificate {self.path} expired at {_shown(self.until)}."
        minutes = max(1, int((self.until - now).total_seconds() // 60))
        return f"The certificate {self.path} expires in {minutes} min, at {_shown(self.until)}: get the next one."


def read_certificate(text: str, path: str, *, named: bool = False) -> Certificate | None:
    """Reads what ``ssh-keygen -L`` printed in UTC; ``None`` when that was no user certificate."""
    if not _IS_CERTIFICATE.search(text):
        return None
    valid = _VALID.search(text)
    until = datetime.datetime.fromisoformat(valid["until"]).replace(tzinfo=datetime.UTC) if valid else None
    return Certificate(path=path, until=until, named=named)


def certificates(configuration: str) -> tuple[Certificate, ...]:
    """The certificates a host would be shown.

    Args:
        configuration: What ``ssh -G`` printed for it: files that are named, and those beside its identities.
    """
    settings = [line.split(" ", 1) for line in configuration.splitlines() if " " in line]
    named = [path for key, path in settings if key == "certificatefile"]
    beside = [f"{path}-cert.pub" for key, path in settings if key == "identityfile"]
    found = []
    for path in dict.fromkeys([*named, *beside]):
        file = Path(path.strip('"')).expanduser()
        if file.is_file():
            argv = ("env", "TZ=UTC", "LC_ALL=C", "ssh-keygen", "-L", "-f", str(file))
            said = exchange(argv, b"", _SECONDS).stdout.decode("utf-8", "replace")
            if certificate := read_certificate(said, str(file), named=path in named):
                found.append(certificate)
    return tuple(found)


def _shown(time: datetime.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
