"""Parts that are at the destination already: found by their digests, at the boundaries of blocks."""

from __future__ import annotations

import hashlib

from aifa_hpc.manifest import BLOCK, Manifest, make_entry, make_manifest
from aifa_hpc.staging import geometry
from aifa_hpc.staging.donors import Donors
from aifa_hpc.staging.model import Found
from aifa_hpc.staging.plan import Action, Verdict


def blocks(text: str) -> tuple[bytes, ...]:
    """A digest for each letter."""
    return tuple(hashlib.sha256(letter.encode()).digest() for letter in text)


def there(files: dict[str, str]) -> Manifest:
    """Files of whole blocks, a letter for each."""
    return make_manifest(
        make_entry(path=path, size=len(text) * BLOCK, blocks=blocks(text)) for path, text in files.items()
    )


def action(path: str, text: str, old: str = "") -> Action:
    """A file that is to be sent."""
    return Action(
        verdict=Verdict.SEND,
        file=Found(path=path, size=len(text) * BLOCK, pin="p"),
        path=path,
        there_blocks=blocks(old) if old else None,
    )


def borrowed(donors: Donors, wanted: Action, text: str, part: int = 1) -> list[tuple[int, str, int]]:
    """Part, path and block of each loan."""
    parts = geometry.cut(len(text) * BLOCK, part * BLOCK)
    loans = donors.loans(wanted, blocks(text), parts, part * BLOCK)
    return [(loan.part.index, loan.path, loan.offset // BLOCK) for loan in loans]


def test_an_older_version_lends_what_did_not_change() -> None:
    """By path, wherever the block is now."""
    new = action("f", "axc", old="abc")
    donors = Donors(None, {})
    assert (True, [(0, "f", 0), (2, "f", 2)]) == (donors.likely(new), borrowed(donors, new, "axc"))


def test_a_file_that_grew_lends_its_beginning() -> None:
    """The manifest knows it, though its size is another."""
    new = action("f", "abcd")
    donors = Donors(there({"f": "abc"}), {})
    assert (True, [(0, "f", 0), (1, "f", 1), (2, "f", 2)]) == (donors.likely(new), borrowed(donors, new, "abcd"))


def test_a_file_that_moved_lends_all_of_itself() -> None:
    """Found by its size, in the folder and in others that are named."""
    new = action("new", "abc")
    for donors, name in (
        (Donors(there({"old": "abc"}), {}), "old"),
        (Donors(None, {"/x": there({"old": "abc"})}), "/x/old"),
    ):
        assert (True, [(0, name, 0), (1, name, 1), (2, name, 2)]) == (donors.likely(new), borrowed(donors, new, "abc"))


def test_a_part_of_several_blocks_is_lent_whole_or_not() -> None:
    """All its blocks must be there one after the other."""
    new = action("f", "abcd", old="zabxcd")
    assert [(0, "f", 1), (1, "f", 4)] == borrowed(Donors(None, {}), new, "abcd", part=2)
    assert [(1, "f", 2)] == borrowed(Donors(None, {}), action("f", "abcd", old="axcd"), "abcd", part=2)


def test_where_nothing_is_like_it_nothing_is_hashed() -> None:
    """Hashing the source first would be for nothing."""
    assert not Donors(there({"old": "abc", "small": "a"}), {}).likely(action("new", "abcd"))
