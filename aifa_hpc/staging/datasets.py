"""The manifest of a folder after a copy into it: data sets of other sources keep what is theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.manifest import make_manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from aifa_hpc.manifest import DataSet, Entry, Manifest


def merge(old: Manifest | None, entries: Iterable[Entry], data_set: DataSet, *, gone: Collection[str] = ()) -> Manifest:
    """The manifest of a folder after a copy into it.

    Args:
        old: What it had.
        entries: Of the files that the copy brought or found; their ``set`` does not count.
        data_set: What they are from now on.
        gone: Paths that were deleted.

    Returns:
        The old one itself when nothing but the time would differ.
    """
    sets, entries = [data_set], list(entries)
    paths = {entry.path for entry in entries} | set(gone)
    kept = [entry for entry in old.entries if entry.path not in paths] if old is not None else []
    numbers: dict[int, int] = {}
    for number in sorted({entry.set for entry in kept}):
        assert old is not None, "kept entries of no manifest"
        same = old.sets[number].place == data_set.place
        numbers[number] = 0 if same else len(sets)
        sets += [] if same else [old.sets[number]]
    everything = [
        *(_of_set(entry, 0) for entry in entries),
        *(_of_set(entry, numbers[entry.set]) for entry in kept),
    ]
    made = make_manifest(everything, sets=sets)
    return old if old is not None and _same(old, made) else made


def _of_set(entry: Entry, number: int) -> Entry:
    """The entry in that set; it is checked again when it is made anew, so one that is in it already is left."""
    return entry if entry.set == number else replace(entry, set=number)


def _same(old: Manifest, new: Manifest) -> bool:
    """Whether two manifests differ in nothing but the time, the program's version and the order of sets."""
    if len(old.entries) != len(new.entries):
        return False
    mine, other = ([replace(one, published="", tool="") for one in found.sets] for found in (old, new))
    return all(
        _of_set(one, 0) == _of_set(two, 0) and mine[one.set] == other[two.set]
        for one, two in zip(old.entries, new.entries, strict=True)
    )
