"""A copy looks at no file in folders that are, on both sides, as the last copy left them; whatever changed is found."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifa_hpc.manifest import MANIFEST, read_manifest
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.left import Leaving, Left, Looked, Same, read_left, write_left
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.endpoints import HOSTILE_NAMES
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.engine import Summary
    from aifa_hpc.staging.model import Found
    from aifa_hpc.staging.plan import Plan

FILES = {"a": b"a", "b/c": b"cc", "b/d": b"", "e/f/g": b"ggg"}


class _Asked(LocalEndpoint):
    """Keeps which files were asked about."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        self.asked += paths
        return super().stat(paths)


class _Pair:
    """A source and a destination that copies go between."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.src, self.dst, self._ledger = folder / "src", folder / "dst", ledger
        make_tree(self.src, FILES)
        self.asked: list[str] = []

    def copy(self, *, delete: bool = False, every: bool = False) -> Summary:
        there = _Asked(self.dst)
        leave = clear("open", outgoing=True)
        done = copy(LocalEndpoint(self.src), there, clearance=leave, ledger=self._ledger, delete=delete, every=every)
        self.asked = there.asked
        return done

    @property
    def published(self) -> dict[str, str]:
        manifest = read_manifest((self.dst / MANIFEST).read_text())
        return {entry.path: entry.digest for entry in manifest.entries}

    def truth(self) -> dict[str, str]:
        """What a manifest of the source says that nothing was known of."""
        with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "ledger") as ledger:
            leave = clear("open", outgoing=True)
            copy(LocalEndpoint(self.src), LocalEndpoint(f"{name}/dst"), clearance=leave, ledger=ledger)
            entries = read_manifest(Path(name, "dst", MANIFEST).read_text()).entries
            return {entry.path: entry.digest for entry in entries}


@pytest.fixture
def pair(tmp_path: Path, ledger: Ledger) -> _Pair:
    """One that was copied."""
    made = _Pair(tmp_path, ledger)
    made.copy()
    return made


def spoil(path: Path, data: bytes) -> None:
    """Other bytes in a file that looks as it did."""
    found = path.stat()
    assert len(data) == found.st_size
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_nothing_new_asks_about_the_manifest_only(pair: _Pair) -> None:
    """And tells what is there as if every file had been looked at."""
    every, brief = pair.copy(every=True), pair.copy()
    assert [MANIFEST] == pair.asked
    same = ("files", "files_sent", "bytes_total", "bytes_skipped", "bytes_sent", "tree", "level", "manifest", "ignored")
    assert [getattr(every, key) for key in same] == [getattr(brief, key) for key in same]
    assert (len(FILES), 0) == (brief.files, brief.files_sent)


def test_only_a_folder_that_changed_is_looked_at(pair: _Pair) -> None:
    """The manifest goes on saying what it said of the others."""
    make_tree(pair.src, {"b/new": b"new"})
    done = pair.copy()
    assert (1, len(FILES) + 1, tree(pair.src)) == (done.files_sent, done.files, tree(pair.dst))
    assert {"b/c", "b/d", "b/new"} == {path for path in pair.asked if path != MANIFEST}
    assert pair.truth() == pair.published


_PATHS = st.sampled_from([*FILES, "new", "b/new", "h/i"])
_STEPS = st.tuples(st.sampled_from(["src", "dst"]), _PATHS, st.sampled_from([b"a", b"xx", b"ggg", None]))


@settings(max_examples=25)
@given(rounds=st.lists(st.lists(_STEPS, max_size=3), max_size=3))
def test_whatever_changes_is_found(rounds: list[list[tuple[str, str, bytes | None]]]) -> None:
    """Files written, replaced and removed on either side: the destination holds the source and the manifest says so."""
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "state" / "staging.sqlite") as ledger:
        pair = _Pair(Path(name), ledger)
        pair.copy()
        for steps in rounds:
            for side, path, data in steps:
                if data is None:
                    Path(name, side, path).unlink(missing_ok=True)
                else:
                    make_tree(Path(name, side), {path: data})
            if not tree(pair.src):
                break  # to delete all is refused
            pair.copy(delete=True)
            there, here = tree(pair.dst), tree(pair.src)
            assert here == {path: there[path] for path in here}
            assert pair.truth() == {path: digest for path, digest in pair.published.items() if path in here}


@pytest.mark.parametrize("gone", [MANIFEST, "b/c", "e"])
def test_what_is_gone_there_comes_back(pair: _Pair, gone: str) -> None:
    """A file, a folder, the manifest."""
    path = pair.dst / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    pair.copy()
    assert (tree(pair.src), pair.truth()) == (tree(pair.dst), pair.published)


def test_a_manifest_that_rotted_is_made_again(pair: _Pair) -> None:
    """It looks as it did, and is needed for what did not change."""
    spoil(pair.dst / MANIFEST, bytes((pair.dst / MANIFEST).stat().st_size))
    make_tree(pair.src, {"b/new": b"new"})
    pair.copy()
    assert pair.truth() == pair.published


def test_what_others_put_there_is_looked_past_once(pair: _Pair) -> None:
    """Their files change what the folder is; from then on it is known with them."""
    make_tree(pair.dst, {"b/theirs": b"theirs"})
    asked = []
    for _ in range(3):
        pair.copy()
        asked.append(sorted(pair.asked))
    assert [[MANIFEST, MANIFEST, "b/c", "b/d"], [MANIFEST], [MANIFEST]] == asked


def test_what_others_publish_there_is_not_overlooked(pair: _Pair, ledger: Ledger, clearance: Clearance) -> None:
    """A manifest that another copy wrote is another one: every file is looked at, and is ours again."""
    make_tree(pair.src.parent / "other", FILES)
    copy(LocalEndpoint(pair.src.parent / "other"), LocalEndpoint(pair.dst), clearance=clearance, ledger=ledger)
    pair.copy()
    manifest = read_manifest((pair.dst / MANIFEST).read_text())
    assert FILES.keys() == {path for path in pair.asked if path != MANIFEST}
    assert {str(pair.src)} == {manifest.sets[entry.set].source for entry in manifest.entries}


def test_damage_that_cannot_be_seen_is_mended_once_it_was_found(pair: _Pair, ledger: Ledger) -> None:
    """Size and time are as they were: only a check of every byte tells, and the next copy knows of it."""
    spoil(pair.dst / "b/c", b"xx")
    assert not verify(LocalEndpoint(pair.dst), ledger=ledger).ok
    pair.copy()
    assert tree(pair.src) == tree(pair.dst)


@pytest.mark.parametrize("beside", [(), ("e/f/h",)], ids=["the last one of its folder", "one of two"])
def test_what_stayed_is_deleted_later(pair: _Pair, beside: tuple[str, ...]) -> None:
    """A copy that deletes nothing leaves it in the manifest; one that deletes finds it there."""
    make_tree(pair.src, dict.fromkeys(beside, b"h"))
    pair.copy()
    (pair.src / "e/f/g").unlink()
    removed = [pair.copy(delete=delete).files_removed for delete in (False, False, True, True)]
    assert ([0, 0, 1, 0], tree(pair.src)) == (removed, tree(pair.dst))


def test_a_plan_of_every_file_has_actions_for_all(pair: _Pair, ledger: Ledger, clearance: Clearance) -> None:
    """Who reads it may need them; otherwise those that did not change are a number."""
    plans: list[Plan] = []
    for every in (True, False):
        ends = LocalEndpoint(pair.src), LocalEndpoint(pair.dst)
        copy(*ends, clearance=clearance, ledger=ledger, every=every, approve=plans.append)
    assert [(len(FILES), 0), (0, len(FILES))] == [(len(plan.actions), plan.same_files) for plan in plans]
    assert 1 == len({(plan.files, plan.bytes) for plan in plans})


def test_a_copy_knows_the_states_that_an_endpoint_will_tell(tmp_path: Path) -> None:
    """Made of single files as they are found, one state; of the folder when it is listed, the same one."""
    names = [*(name for name in HOSTILE_NAMES if "/" not in name), os.fsdecode(b"\xff"), "\U0001f600", "\uffee"]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(number))
        (tmp_path / name).chmod(0o755 if number % 2 else 0o644)
    [folder] = LocalEndpoint(tmp_path).folders({})
    leaving = Leaving(Looked(files=[], here={"": folder.state}))
    for found in folder.files or ():
        leaving.add(found.path, found, sent=True)
    assert {"": Same(folder.state, folder.state, len(names), sum(range(len(names))))} == leaving.folders(())


def test_sockets_are_told_of_every_time(pair: _Pair) -> None:
    """So a folder with one is always looked at."""
    os.mkfifo(pair.src / "b/pipe")
    assert [("b/pipe",)] * 3 == [pair.copy().ignored for _ in range(3)]


def test_a_folder_with_far_more_files_than_expected_is_not_looked_at(tmp_path: Path) -> None:
    """A copy of three files does not list a million others."""
    make_tree(tmp_path, {f"f{number}": b"" for number in range(1010)})
    few, enough = LocalEndpoint(tmp_path).states([("", 1), ("", 1010)])
    assert (few, bool(enough)) == ("", True)


@pytest.mark.parametrize("data", [None, b"", b"{}", b"\xff", b'{"version": 0}'])
def test_what_cannot_be_read_is_as_good_as_nothing(data: bytes | None) -> None:
    """Then every file is looked at."""
    assert read_left(data) is None


def test_another_version_is_as_good_as_nothing() -> None:
    """A later program may mean something else by it; this one's comes back as it was."""
    left = Left(manifest="p", tree="t", level="verified", leftover=False, folders={"é\udcff": Same("1", "2", 3, 4)})
    assert (left, None) == (
        read_left(write_left(left)),
        read_left(write_left(left).replace(b'"version": 1', b'"version": 2')),
    )
