"""Finds out how much of a file arrived in an earlier run, by comparing digests of both sides.

The partial file is hashed where it lies, and the source file where that lies; nothing is sent for it. The ledger only
saves work: digests of source parts that were acknowledged need no second look at the source, and with
``trust="durable"`` neither does the partial file. A partial file is continued only when its name holds the fingerprint
of this very state of the source file, so that another writer of it can only be writing the same bytes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from aifa_hpc.staging import geometry
from aifa_hpc.staging.ledger import Unfinished
from aifa_hpc.staging.model import Found, Part, Partial, PartSum, fingerprint, new_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger

Trust: TypeAlias = Literal["verified", "durable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A partial file that is ready for parts.

    Attributes:
        partial: Where they go.
        parts: All of them.
        sums: Digests of those that are there already, by number.
    """

    partial: Partial
    parts: tuple[Part, ...]
    sums: dict[int, PartSum]


def begin(
    file: Found,
    path: str,
    *,
    source: Endpoint,
    destination: Endpoint,
    ledger: Ledger,
    part: int,
    trust: Trust,
    candidates: Sequence[Partial] = (),
    blocks: tuple[bytes, ...] | None = None,
) -> Begun:
    """Takes up the partial file of a target where it was left, or makes one.

    Args:
        file: The source file.
        path: What it shall be at the destination.
        source: Where it is.
        destination: Where it goes.
        ledger: Told of the partial file before it is made.
        part: Size of the parts.
        trust: ``verified`` hashes acknowledged parts again at the destination, ``durable`` believes the ledger.
        candidates: Partial files of this target that the destination has, by anybody.
        blocks: Digests of the source file's blocks, where they are known already.

    Raises:
        TransferError: One of the two cannot be read or written.
    """
    print_ = fingerprint(source.identity, file)
    parts = geometry.cut(file.size, part)
    known = ledger.unfinished(destination.identity, path)
    if known is not None and (known.fingerprint, known.part, known.version) != (print_, part, geometry.VERSION):
        gone = known.token
        destination.discard([Partial(path=path, token=gone)])
        ledger.forget_unfinished(destination.identity, path)
        known, candidates = None, [found for found in candidates if found.token != gone]
    usable = [replace(found, path=path) for found in candidates if _ours(found, print_, known)]
    if not usable and known is not None:
        recalled = destination.recall(path, known.token)
        usable = [recalled] if recalled is not None else []
    if not usable and destination.checks_md5:
        # An upload has no fingerprint, and needs none: parts are continued only when their MD5 is the source's.
        usable = [replace(found, path=path) for found in candidates]
    token = new_token(print_, secrets.token_hex(4))

    def note(token: str) -> None:
        """Before it is made or renamed; an upload's id, which only the store can choose, right after."""
        fresh = Unfinished(token=token, fingerprint=print_, part=part, version=geometry.VERSION, sums={})
        ledger.note_unfinished(destination.identity, path, fresh)

    if not usable:
        note(token)
        partial = destination.begin(path, file.size, token)
        if partial.token != token:
            note(partial.token)
        return Begun(partial=partial, parts=parts, sums={})
    # The longest holds most; what others hold is theirs to lose once the file is published.
    best = max(usable, key=lambda found: found.size)
    noted = known.sums if known is not None and known.token == best.token else {}
    partial = best
    if known is None or known.token != best.token:
        note(token)
        partial = destination.adopt(best, token)
        if partial.token != token:
            note(partial.token)
    sums = _held(
        file, partial, parts, noted, source=source, destination=destination, trust=trust,
        blocks=geometry.group(blocks, part) if blocks else None,
    )  # fmt: skip
    for number, found in sums.items():
        ledger.note_part(destination.identity, path, number, found)
    return Begun(partial=partial, parts=parts, sums=sums)


def _ours(found: Partial, print_: str, known: Unfinished | None) -> bool:
    return found.token.startswith(f"{print_}-") or (known is not None and known.token == found.token)


def _held(
    file: Found,
    partial: Partial,
    parts: Sequence[Part],
    noted: dict[int, PartSum],
    *,
    source: Endpoint,
    destination: Endpoint,
    trust: Trust,
    blocks: tuple[PartSum, ...] | None,
) -> dict[int, PartSum]:
    """Digests of the parts that the partial file holds as the source has them."""
    held: dict[int, PartSum] = {}
    within = [part for part in parts if part.offset + part.length <= partial.size]
    if trust == "durable":
        held.update({part.index: noted[part.index] for part in within if part.index in noted})
    asked = [part for part in within if part.index not in held]
    if not asked:
        return held
    there = dict(zip((part.index for part in asked), destination.partial_sums(partial, asked), strict=True))
    here = {part.index: noted[part.index] for part in asked if part.index in noted}
    if blocks is not None and not destination.checks_md5:
        here = {part.index: blocks[part.index] for part in asked} | here
    # A part that is a hole, or not there, is not worth a look at the source.
    unread = [part for part in asked if part.index not in here and there[part.index] != PartSum()]
    if unread:
        [read] = source.sums([(file.path, unread)], md5=destination.checks_md5)
        here.update(zip((part.index for part in unread), read, strict=True))
    for part in asked:
        mine = here.get(part.index)
        if mine is not None and mine.agrees(there[part.index]):
            held[part.index] = mine
    return held
