"""Few small files and what names them go in one call, in their order, and nothing comes before what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.manifest import MANIFEST, read_manifest
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.store import small_of, store_bytes
from aifa_hpc.staging.together import FILES, fits
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance


class Ordered(LocalEndpoint):
    """A source that wants some files published last."""

    last = ("meta/v2", "meta/hint")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[SSHEndpoint]:
    """A folder, through the agent."""
    (tmp_path / "there").mkdir()
    with SSHEndpoint(LocalTransport(), str(tmp_path / "there")) as endpoint:
        yield endpoint


SMALL = {"data/a": b"a" * 5000, "data/b": b"", "meta/v2": b"names a and b", "meta/hint": b"2"}


def test_steps_are_published_in_their_order(there: SSHEndpoint, tmp_path: Path) -> None:
    """With the row of each, as a listing has it."""
    files = [small_of(path, data) for path, data in SMALL.items()]
    found = there.store_at_once(files, [2, 1, 1])
    assert tree(tmp_path / "there") == SMALL
    assert found == there.stat(list(SMALL))


def test_nothing_is_published_after_what_was_not(there: SSHEndpoint, tmp_path: Path) -> None:
    """A folder stands where the metadata should go: data arrive, the hint does not, and nothing else is left."""
    (tmp_path / "there/meta/v2").mkdir(parents=True)
    found = there.store_at_once([small_of(path, data) for path, data in SMALL.items()], [2, 1, 1])
    assert [one.path if one else None for one in found] == ["data/a", "data/b", None, None]
    assert tree(tmp_path / "there") == {"data/a": SMALL["data/a"], "data/b": b""}


def test_a_file_is_replaced_only_if_it_is_the_one_that_is_meant(there: SSHEndpoint, tmp_path: Path) -> None:
    """Another one, one that is there where none is meant, and none where one is meant stay as they are."""
    assert there.replace(small_of("f", b"new"), "a pin") is None
    made = there.replace(small_of("f", b"first"), "")
    assert made is not None
    assert there.replace(small_of("f", b"second"), "") is None
    store_bytes(there, "f", b"somebody else's")
    assert there.replace(small_of("f", b"second"), made.pin) is None
    assert tree(tmp_path / "there") == {"f": b"somebody else's"}

    [now] = there.stat(["f"])
    assert now is not None
    assert there.replace(small_of("f", b"second"), now.pin) == there.stat(["f"])[0]
    assert tree(tmp_path / "there") == {"f": b"second"}


def test_only_what_is_little_goes_together(there: SSHEndpoint) -> None:
    """By bytes and by number, and only where a place keeps an order."""
    assert fits([there.at_once], there)
    assert fits([0] * FILES, there)
    assert not fits([there.at_once, 1], there)
    assert not fits([0] * (FILES + 1), there)
    assert not fits([], there)
    assert not fits([0], LocalEndpoint("/"))


@pytest.mark.parametrize("large", [0, 3_000_000])
def test_a_copy_has_all_of_them(
    there: SSHEndpoint, large: int, tmp_path: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """Of small files, and of what names them after a large one; what an earlier attempt left is taken away."""
    files = SMALL | {"data/a": b"x" * large or b"a"}
    make_tree(tmp_path / "here", files)
    source = Ordered(tmp_path / "here")
    first = copy(source, there, clearance=clearance, ledger=ledger)
    assert (first.files_sent, first.bytes_sent) == (4, sum(map(len, files.values())))

    changed = {"data/c": b"c" * 100, "meta/v2": b"names a, b and c", "meta/hint": b"3"}
    make_tree(tmp_path / "here", changed)
    second = copy(source, there, clearance=clearance, ledger=ledger)
    assert second.files_sent == 3
    assert tree(tmp_path / "there") == files | changed
    manifest = read_manifest((tmp_path / "there" / MANIFEST).read_text("ascii"))
    assert [(one.path, one.size) for one in manifest.entries] == sorted(
        (path, len(data)) for path, data in (files | changed).items()
    )


def test_a_manifest_that_somebody_else_published_meanwhile_keeps_what_is_theirs(
    there: SSHEndpoint, tmp_path: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """Between the plan and the end another data set came into the folder: both are in the manifest."""
    make_tree(tmp_path / "here", {"mine": b"1"})
    make_tree(tmp_path / "other", {"theirs": b"2"})

    def meanwhile(_: object) -> None:
        with SSHEndpoint(LocalTransport(), str(tmp_path / "there")) as same:
            copy(LocalEndpoint(tmp_path / "other"), same, clearance=clearance, ledger=ledger_of_theirs)

    with Ledger(tmp_path / "their state" / "staging.sqlite") as ledger_of_theirs:
        copy(LocalEndpoint(tmp_path / "here"), there, clearance=clearance, ledger=ledger, approve=meanwhile)
    manifest = read_manifest((tmp_path / "there" / MANIFEST).read_text("ascii"))
    assert [one.path for one in manifest.entries] == ["mine", "theirs"]
