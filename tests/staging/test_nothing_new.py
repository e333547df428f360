"""A copy that finds everything there asks and writes as little as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.manifest import MANIFEST, read_manifest
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.model import Found
    from aifa_hpc.staging.plan import Plan

FILES = {"a": b"a", "b/c": b"cc", "d": b""}


class _Read(LocalEndpoint):
    """Keeps which small files were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def read_found(self, found: Found) -> bytes:
        self.read.append(found.path)
        return super().read_found(found)


class _Asked(LocalEndpoint):
    """Keeps which paths were asked about."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: set[str] = set()

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        self.asked.update(paths)
        return super().stat(paths)


class _Noted(Ledger):
    """Keeps the paths whose content was noted."""

    noted: tuple[str, ...] = ()

    def note_content(self, place: str, path: str, pin: str, blocks: tuple[bytes, ...]) -> None:
        self.noted += (path,)
        super().note_content(place, path, pin, blocks)


def test_the_manifest_is_read_once(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """By planning, by the copy and before another one takes its place; not at all where nothing changed."""
    make_tree(tmp_path / "src", FILES)
    read = []
    for more in ({}, {}, {"e": b"e"}):
        make_tree(tmp_path / "src", more)
        far = _Read(tmp_path / "dst")
        copy(LocalEndpoint(tmp_path / "src"), far, clearance=clearance, ledger=ledger)
        read.append(far.read)
    assert [[], [], [MANIFEST]] == read


def test_what_others_publish_meanwhile_stays(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A copy from another machine into the same folder ends while this one is under way."""
    make_tree(tmp_path / "ours", {"a": b"a"})
    make_tree(tmp_path / "theirs", {"b": b"b"})
    there = LocalEndpoint(tmp_path / "dst")

    def meanwhile(_: Plan) -> None:
        with Ledger(tmp_path / "other" / "staging.sqlite") as other:
            copy(LocalEndpoint(tmp_path / "theirs"), there, clearance=clearance, ledger=other)

    copy(LocalEndpoint(tmp_path / "ours"), there, clearance=clearance, ledger=ledger, approve=meanwhile)
    manifest = read_manifest((tmp_path / "dst" / MANIFEST).read_text())
    assert {"a": "ours", "b": "theirs"} == {
        entry.path: manifest.sets[entry.set].source.rpartition("/")[2] for entry in manifest.entries
    }


def test_what_the_ledger_knows_is_not_noted_again(tmp_path: Path, clearance: Clearance) -> None:
    """A ledger that lost it learns it from the manifest."""
    make_tree(tmp_path / "src", FILES)
    ends = LocalEndpoint(tmp_path / "src"), LocalEndpoint(tmp_path / "dst")
    noted = []
    for name in ("one", "one", "other"):
        with _Noted(tmp_path / name / "staging.sqlite") as ledger:
            copy(*ends, clearance=clearance, ledger=ledger)
            noted.append(sorted(set(ledger.noted)))
    assert [sorted(FILES), [], sorted(FILES)] == noted


def test_a_mode_that_was_changed_there_is_in_the_manifest(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """An entry is kept only for a file that is as it says."""
    make_tree(tmp_path / "src", FILES)
    ends = LocalEndpoint(tmp_path / "src"), LocalEndpoint(tmp_path / "dst")
    found = []
    for _ in range(2):
        copy(*ends, clearance=clearance, ledger=ledger)
        manifest = read_manifest((tmp_path / "dst" / MANIFEST).read_text())
        found.append({entry.path: entry.executable for entry in manifest.entries})
        (tmp_path / "dst/a").chmod(0o755)
    assert [dict.fromkeys(FILES, False), dict.fromkeys(FILES, False) | {"a": True}] == found


def test_where_nothing_is_nothing_is_asked_about(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A folder that does not exist has no files; one that does may have any."""
    make_tree(tmp_path / "src", FILES)
    asked = []
    for name in ("new", "old"):
        (tmp_path / "old").mkdir(exist_ok=True)
        far = _Asked(tmp_path / name)
        copy(LocalEndpoint(tmp_path / "src"), far, clearance=clearance, ledger=ledger)
        asked.append(far.asked & FILES.keys())
        assert FILES == tree(tmp_path / name)
    assert [set(), set(FILES)] == asked
