"""Manifests of folders that several copies go into: each data set keeps what is its own."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.manifest import DataSet, Entry, Manifest, make_entry
from aifa_hpc.staging.datasets import merge

names = st.sampled_from(["a", "b", "c/d", "c/e", "f"])
files = st.dictionaries(names, st.binary(min_size=1, max_size=2), max_size=5)
HERE, THERE = DataSet(source="here", place="1", published="t1"), DataSet(source="there", place="2", published="t2")


def entries(found: dict[str, bytes]) -> list[Entry]:
    """Entries of short files."""
    return [
        make_entry(path=path, size=len(data), blocks=(hashlib.sha256(data).digest(),)) for path, data in found.items()
    ]


def owners(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Source and digest by path."""
    return {entry.path: (manifest.sets[entry.set].source, entry.digest) for entry in manifest.entries}


@given(files, files)
def test_the_last_copy_of_a_path_owns_it(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    """Whatever else was there stays with its own set."""
    merged = merge(merge(None, entries(one), HERE), entries(two), THERE)
    wanted = {entry.path: ("here", entry.digest) for entry in entries(one)}
    wanted |= {entry.path: ("there", entry.digest) for entry in entries(two)}
    assert wanted == owners(merged)
    assert all(merged.of(number) for number in range(1, len(merged.sets)))


@given(files, files)
def test_the_same_again_changes_nothing(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    """Not the time either: the very same manifest comes back, and need not be published."""
    first = merge(merge(None, entries(one), HERE), entries(two), THERE)
    again = merge(first, entries(two), DataSet(source="there", place="2", published="t3", tool="9"))
    assert first is again


def test_what_a_source_no_longer_has_stays_in_its_set_until_it_is_deleted() -> None:
    """One set for one source, however often it is copied."""
    first = merge(None, entries({"a": b"1", "b": b"2"}), HERE)
    second = merge(first, entries({"a": b"1"}), HERE)
    third = merge(second, entries({"a": b"1"}), HERE, gone=["b"])
    assert [{"a", "b"}, {"a", "b"}, {"a"}] == [set(owners(found)) for found in (first, second, third)]
    assert 1 == len(second.sets)
