"""Which versions leave, and how the index, pins and manifests of versions are written down."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import ParseError
from aifa_hpc.labs.versions import (
    Pin,
    Version,
    expired,
    make_version,
    read_index,
    read_pin,
    version_manifest,
    with_present,
    write_index,
    write_pin,
)
from aifa_hpc.manifest import DataSet, make_entry, make_manifest

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)
SOME = st.sets(st.sampled_from("abcdefgh"))


def version(name: str, *, leaving: bool = False) -> Version:
    """A version of that name."""
    return Version(
        name=name, published="2026-11-24T00:00:00+00:00", tree=f"sha256:{name}", files=1, bytes=2, source="é",
        leaving=leaving,
    )  # fmt: skip


@given(names=NAMES, keep=st.integers(0, 9), pinned=SOME, broken=SOME, leaving=SOME)
def test_what_leaves(names: list[str], keep: int, pinned: set[str], broken: set[str], leaving: set[str]) -> None:
    """Never the present one nor a pinned one; of the others the youngest whole ones stay, so many as are to be kept."""
    found = expired([version(name, leaving=name in leaving) for name in names], keep, pinned, broken)
    assert not {*found} & {*names[-1:], *pinned}
    stay = [name for name in names if name not in found]
    if not keep:
        assert names == stay
        return
    free = [name for name in stay if name not in pinned and name != names[-1]]
    good = [name for name in names[:-1] if name not in pinned | broken | leaving]
    assert good[len(good) - min(len(good), keep - 1) :] == free


@given(names=NAMES, present=st.sampled_from("abcdefgh"))
def test_the_present_version_is_last(names: list[str], present: str) -> None:
    """Once, whether it was there before or not, and it stays."""
    found = with_present([version(name, leaving=True) for name in names], version(present))
    assert [*(name for name in names if name != present), present] == [one.name for one in found]
    assert not found[-1].leaving


@given(names=NAMES, leaving=SOME)
def test_an_index_reads_as_it_was_written(names: list[str], leaving: set[str]) -> None:
    """And none at all is an empty one."""
    versions = tuple(version(name, leaving=name in leaving) for name in names)
    assert (versions, ()) == (read_index(write_index(versions)), read_index(None))


def test_a_pin_reads_as_it_was_written() -> None:
    """Its name is its file's."""
    pin = Pin(name="run.7", version="abc", made="2026-11-24")
    assert pin == read_pin("pins/run.7.json", write_pin(pin))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"aifa_lab": 2, "versions": []}', b'{"aifa_lab": 1, "versions": [{"name": "a"}]}'],
)
def test_an_index_that_is_none_is_refused(data: bytes) -> None:
    """Nothing is deleted by what was not understood."""
    with pytest.raises(ParseError):
        read_index(data)


def test_a_version_has_its_own_files_only() -> None:
    """Not those of others, nor the hint of a table's present metadata; its name is of contents, not of times."""
    entries = [
        make_entry(path=path, size=1, blocks=(bytes(32),), mtime_ns=time)
        for time, path in enumerate(["a", "b", "metadata/v1.metadata.json", "metadata/version-hint.text"])
    ]
    whole = make_manifest(entries, sets=[DataSet(source="s")])
    found = version_manifest(whole, {"a", "metadata/v1.metadata.json", "metadata/version-hint.text"})
    assert ["a", "metadata/v1.metadata.json"] == [entry.path for entry in found.entries]
    made = make_version(found, "2026-11-24")
    assert (found.tree.removeprefix("sha256:")[:12], 2, 2, "s") == (made.name, made.files, made.bytes, made.source)
    assert json.loads(write_index([made]))["versions"][0]["tree"] == found.tree
