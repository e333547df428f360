"""What copies that nobody finished have left: found, told with age and reason, and removed when asked.

Ours is what carries a token that only this program makes, an upload whose id our ledger noted, or one of a key that our
ledger says was about to be uploaded, by a process that ended before it could note the id. Everything else stays
whatever its age; so does what is younger than asked, which a copy elsewhere may still be writing to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, TransferError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.model import Partial

_TOKEN = re.compile(r"(?:[0-9a-f]{16}-[0-9a-f]{8}|0-[0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stray:
    """A partial file or an upload.

    Attributes:
        partial: Which.
        age: Seconds since it was last written to.
        ours: This program made it.
        removable: It is ours and old enough.
        reason: Why it is or is not, for people.
    """

    partial: Partial
    age: float
    ours: bool
    removable: bool
    reason: str


def find_strays(place: Endpoint, *, ledger: Ledger, older: float, now: datetime) -> list[Stray]:
    """Looks for what was left below a folder.

    Args:
        place: The folder.
        ledger: Knows uploads by their ids, and which copies are running.
        older: Seconds; what is younger stays.
        now: The time of day.

    Raises:
        InputError: It is no folder.
        TransferError: It cannot be listed, or a copy into it is running.
    """
    if place.kind() == "file":
        raise InputError(f"{place} is a file.", hint="Name the folder that copies went to.")
    for known in ledger.copies():
        inside = f"{known.place.rstrip('/')}/".startswith(f"{place.identity}/")
        if known.pid and inside:
            raise TransferError(
                f"process {known.pid} is copying to {known.destination}.", hint="Wait for it, or end it first."
            )
    noted = {(f"{where}/{path}", _noted(known.token)) for where, path, known in ledger.all_unfinished()}
    return [_judged(place, partial, noted, older, now.timestamp()) for partial in place.strays()]


def remove_strays(place: Endpoint, strays: Sequence[Stray], *, ledger: Ledger) -> None:
    """Removes those that may be, and forgets them.

    Raises:
        TransferError: It is not allowed.
    """
    doomed = [stray.partial for stray in strays if stray.removable]
    place.discard(doomed)
    gone = {(f"{place.identity}/{partial.path}", partial.token) for partial in doomed}
    keys = {path for path, _ in gone} if place.checks_md5 else set()
    for where, path, known in ledger.all_unfinished():
        full = f"{where}/{path}"
        if (full, known.token) in gone or (full in keys and _noted(known.token) is None):
            ledger.forget_unfinished(where, path)
    ledger.flush()


def _judged(place: Endpoint, partial: Partial, noted: set[tuple[str, str | None]], older: float, now: float) -> Stray:
    age = max(0.0, now - partial.mtime_ns / 10**9)
    named = not place.checks_md5 and _TOKEN.fullmatch(partial.token) is not None
    full = f"{place.identity}/{partial.path}"
    ours = named or (full, partial.token) in noted or (place.checks_md5 and (full, None) in noted)
    if not ours:
        reason = "not known to be ours"
    elif age < older:
        reason = "too young: a copy may be writing to it"
    else:
        reason = "left by a copy that did not end"
    return Stray(partial=partial, age=age, ours=ours, removable=ours and age >= older, reason=reason)


def _noted(token: str) -> str | None:
    """The token, or ``None`` for one that is of our making: an upload would have the store's id in its place."""
    return None if _TOKEN.fullmatch(token) else token
