"""What keeps data at a destination right: repair of bad parts, deletions, reuse, and removal of what was left."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.manifest import BLOCK, MANIFEST, read_manifest
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy, make_plan
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.model import partial_path
from aifa_hpc.staging.repair import repair
from aifa_hpc.staging.strays import find_strays, remove_strays
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.endpoints import some_bytes
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.engine import Summary
    from aifa_hpc.staging.verify import Level

BIG = some_bytes(2 * BLOCK + 999)
FILES = {"a": b"hello", "sub/big": BIG}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A folder with a small file and one of three parts."""
    make_tree(tmp_path / "src", FILES)
    return tmp_path / "src"


def far(path: Path) -> SSHEndpoint:
    """The same machine, through the agent."""
    return SSHEndpoint(LocalTransport(), str(path), channels=1)


def spoil(path: Path, at: int, data: bytes = b"rotten") -> None:
    """Overwrites some bytes and keeps the time."""
    kept = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    os.utime(path, ns=(kept.st_mtime_ns, kept.st_mtime_ns))


def mended(place: SSHEndpoint, ledger: Ledger, clearance: Clearance, source: str = "") -> list[Summary]:
    """Checks and repairs."""
    report = verify(place, ledger=ledger)
    return repair(place, report, open_source=LocalEndpoint, clearance=clearance, ledger=ledger, source=source)


def test_only_the_bad_part_is_fetched_again(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """The good ones are taken from the damaged file, where it lies."""
    dst = src.parent / "dst"
    with far(dst) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        spoil(dst / "sub/big", BLOCK + 5)
        [summary] = mended(place, ledger, clearance)
        assert [BLOCK, BLOCK, BLOCK + 999] == [summary.bytes_sent, summary.bytes_repaired, summary.bytes_borrowed]
        assert (FILES, True) == (tree(dst), verify(place).ok)


def test_a_source_that_is_no_longer_what_was_published_repairs_nothing(
    src: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """By size, by content, and when it is gone; the damaged file stays as it is."""
    dst = src.parent / "dst"
    with far(dst) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        spoil(dst / "sub/big", 5)
        before = tree(dst)
        (src / "sub/big").write_bytes(some_bytes(len(BIG), seed=2))
        with pytest.raises(TransferError, match=r"'sub/big' .* changed"):
            mended(place, ledger, clearance)
        (src / "sub/big").write_bytes(b"short")
        with pytest.raises(TransferError, match="no longer what the manifest says"):
            mended(place, ledger, clearance)
        (src / "sub/big").unlink()
        with pytest.raises(TransferError, match="no longer has it"):
            mended(place, ledger, clearance)
    assert before == {path: data for path, data in tree(dst).items() if not path.endswith("part")}


def test_a_manifest_does_not_decide_what_leaves(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A source that nothing was copied from here must be named by the user."""
    dst = src.parent / "dst"
    with far(dst) as place, Ledger(src.parent / "other.sqlite") as other:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        (dst / "a").unlink()
        with pytest.raises(InputError, match="--from SRC"):
            mended(place, other, clearance)
        mended(place, other, clearance, source=str(src))
    assert FILES == tree(dst)


def test_each_set_is_repaired_from_its_own_source(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Two data sets in one folder, both damaged; the folder's manifest keeps both."""
    dst, more = src.parent / "dst", src.parent / "more"
    make_tree(more, {"b": b"other", "c": b"again"})
    with far(dst) as place:
        for one in (src, more, src):
            copy(LocalEndpoint(one), place, clearance=clearance, ledger=ledger)
        (dst / "a").unlink()
        (dst / "b").write_bytes(b"wrong")
        assert [1, 1] == [summary.files_sent for summary in mended(place, ledger, clearance)]
    assert FILES | {"b": b"other", "c": b"again"} == tree(dst)
    manifest = read_manifest((dst / MANIFEST).read_text("ascii"))
    assert [{str(src), str(more)}, 4] == [{one.source for one in manifest.sets}, len(manifest.entries)]


def test_a_purged_folder_is_brought_back_by_the_manifest_kept_here(
    src: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """Also when the manifest was purged with the rest."""
    dst = src.parent / "dst"
    with far(dst) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        for path in ("a", "sub/big", MANIFEST):
            (dst / path).unlink()
        assert 3 == len(verify(place, ledger=ledger).damaged)
        mended(place, ledger, clearance)
        assert (FILES, True) == (tree(dst), verify(place).ok)


@pytest.mark.parametrize(("level", "hashed"), [("known", 0), ("sample", 2 * BLOCK), ("full", len(BIG) + 5)])
def test_a_check_reads_as_much_as_it_is_told(
    src: Path, ledger: Ledger, clearance: Clearance, *, level: Level, hashed: int
) -> None:
    """Nothing of what is known and untouched, some blocks, or all."""
    dst = src.parent / "dst"
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    report = verify(LocalEndpoint(dst), ledger=ledger, level=level, sample=2, seed=3)
    assert (True, hashed) == (report.ok, report.bytes_hashed)


@pytest.mark.parametrize("level", ["known", "sample"])
def test_a_quick_check_hashes_all_of_what_was_touched(
    src: Path, ledger: Ledger, clearance: Clearance, level: Level
) -> None:
    """And finds what is gone or short without a look inside."""
    dst = src.parent / "dst"
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    (dst / "sub/big").write_bytes(BIG[:-1] + b"!")
    (dst / "a").unlink()
    report = verify(LocalEndpoint(dst), ledger=ledger, level=level, sample=0)
    assert {"a", "sub/big"} == {path for path, _ in report.damaged}


def test_deletions_are_only_of_what_this_source_made_and_nobody_changed(
    src: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """What others put there, what was changed, and what came from elsewhere stays."""
    dst, more = src.parent / "dst", src.parent / "more"
    make_tree(src, {"old": b"1", "changed": b"2"})
    make_tree(more, {"theirs": b"3"})
    for one in (src, more):
        copy(LocalEndpoint(one), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    make_tree(dst, {"mine": b"4", "changed": b"22"})
    for path in ("old", "changed"):
        (src / path).unlink()
    summary = copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger, delete=True)
    assert FILES | {"theirs": b"3", "mine": b"4", "changed": b"22"} == tree(dst)
    assert (1, ("changed",)) == (summary.files_removed, summary.spared)


def test_an_empty_source_deletes_nothing(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """It is more often a disk that is not mounted."""
    dst = src.parent / "dst"
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    for path in FILES:
        (src / path).unlink()
    with pytest.raises(InputError, match="has no files"):
        copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger, delete=True)
    assert FILES == tree(dst)


@pytest.mark.parametrize("remote", [True, False])
def test_what_is_there_in_another_version_is_not_sent(
    src: Path, ledger: Ledger, clearance: Clearance, remote: bool
) -> None:
    """A file that was patched and grew sends the rest; one that was renamed sends nothing."""
    dst = src.parent / "dst"
    with far(dst) if remote else LocalEndpoint(dst) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        grown = BIG[:BLOCK] + b"patch" + BIG[BLOCK + 5 :] + b"more"
        (src / "sub/big").rename(src / "moved")
        (src / "sub/big").write_bytes(grown)
        summary = copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
    assert {"a": b"hello", "sub/big": grown, "moved": BIG} == tree(dst)
    assert (BLOCK + 999 + 4, BLOCK + len(BIG)) == (summary.bytes_sent, summary.bytes_borrowed)


def test_parts_are_taken_from_another_folder_there(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A new version beside the old one costs what is new."""
    with far(src.parent / "v1") as one, far(src.parent / "v2") as two:
        copy(LocalEndpoint(src), one, clearance=clearance, ledger=ledger)
        manifest = read_manifest((src.parent / "v1" / MANIFEST).read_text("ascii"))
        summary = copy(
            LocalEndpoint(src), two, clearance=clearance, ledger=ledger, reuse={str(src.parent / "v1"): manifest}
        )
    assert (FILES, 5, len(BIG)) == (tree(src.parent / "v2"), summary.bytes_sent, summary.bytes_borrowed)


def test_a_lender_that_rotted_lends_nothing(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Its bytes are hashed on the way, whatever its manifest says."""
    dst = src.parent / "dst"
    with far(dst) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        spoil(dst / "sub/big", 5)
        (src / "sub/big").rename(src / "moved")
        summary = copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
    assert (BIG, BLOCK) == ((dst / "moved").read_bytes(), summary.bytes_sent)


def test_a_plan_is_applied_after_it_was_interrupted(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """What it published itself is not taken for a change."""
    source, place = LocalEndpoint(src), LocalEndpoint(src.parent / "dst")
    _, plan = make_plan(source, place, clearance=clearance, ledger=ledger)
    copy(source, place, clearance=clearance, ledger=ledger)
    (src.parent / "dst/a").unlink()
    summary = copy(source, place, clearance=clearance, ledger=ledger, plan=plan)
    assert (5, len(BIG)) == (summary.bytes_sent, summary.bytes_skipped)


def test_only_what_is_ours_and_old_is_removed(src: Path, ledger: Ledger) -> None:
    """By the token in its name; the ledger forgets what is gone."""
    dst = src.parent / "dst"
    ours, theirs = partial_path("x/big", f"{'f' * 16}-{'1' * 8}"), "x/.big.theirs.aifa-part"
    make_tree(dst, {ours: b"1", theirs: b"2", "data": b"3"})
    now = datetime.now(UTC)
    with far(dst) as place:
        young = find_strays(place, ledger=ledger, older=3600, now=now)
        old = find_strays(place, ledger=ledger, older=3600, now=now + timedelta(hours=2))
        assert ([False] * 2, [False, True]) == ([one.removable for one in young], sorted(one.removable for one in old))
        remove_strays(place, old, ledger=ledger)
    assert {theirs: b"2", "data": b"3"} == tree(dst)


def test_nothing_is_removed_under_a_running_copy(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Who holds the place is named."""
    place = LocalEndpoint(src.parent / "dst")
    copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
    with ledger.hold(f"{place.identity}/"), pytest.raises(TransferError, match=f"process {os.getpid()} is copying"):
        find_strays(place, ledger=ledger, older=0, now=datetime.now(UTC))
