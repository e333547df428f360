"""What copies that nobody finished have left: found, told with age and reason, and removed when asked.

Ours is what carries a token that only this program makes, or an upload whose id our ledger noted. Everything else stays
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
    noted = {(f"{where}/{path}", known.token) for where, path, known in ledger.all_unfinished()}
    return [_judged(place, partial, noted, older, now.timestamp()) for partial in place.strays()]


def remove_strays(place: Endpoint, strays: Sequence[Stray], *, ledger: Ledger) -> None:
    """Removes those that may be, and forgets them.

    Raises:
        TransferError: It is not allowed.
    """
    doomed = [stray.partial for stray in strays if stray.removable]
    place.discard(doomed)
    gone = {(f"{place.identity}/{partial.path}", partial.token) for partial in doomed}
    for where, path, known in ledger.all_unfinished():
        if (f"{where}/{path}", known.token) in gone:
            ledger.forget_unfinished(where, path)
    ledger.flush()


def _judged(place: Endpoint, partial: Partial, noted: set[tuple[str, str]], older: float, now: float) -> Stray:
    age = max(0.0, now - partial.mtime_ns / 10**9)
    named = not place.checks_md5 and _TOKEN.fullmatch(partial.token) is not None
    ours = named or (f"{place.identity}/{partial.path}", partial.token) in noted
    if not ours:
        reason = "not known to be ours"
    elif age < older:
        reason = "too young: a copy may be writing to it"
    else:
        reason = "left by a copy that did not end"
    return Stray(partial=partial, age=age, ours=ours, removable=ours and age >= older, reason=reason)
