"""The ledger: what was noted is there after any end, and one that cannot be read is begun anew."""

from __future__ import annotations

import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.staging import ledger as module
from aifa_hpc.staging.ledger import Ledger, Unfinished
from aifa_hpc.staging.model import PartSum

if TYPE_CHECKING:
    from pathlib import Path

SUM = PartSum(blocks=(b"a" * 32, b"b" * 32), md5=b"m" * 16)
KNOWN = Unfinished(token="f-1", fingerprint="f", part=8, version=1, sums={})


def test_what_was_noted_is_read_by_the_next(tmp_path: Path) -> None:
    """Contents and parts, with names of any bytes."""
    path = tmp_path / "deep/er/l.sqlite"
    name = "caf\udce9'\n"
    with Ledger(path) as ledger:
        ledger.note_content("place", name, "pin", SUM.blocks)
        ledger.note_content("place", "empty", "pin", ())
        ledger.note_unfinished("place", name, KNOWN)
        ledger.note_part("place", name, 3, SUM)
    with Ledger(path) as ledger:
        assert {name: ("pin", SUM.blocks), "empty": ("pin", ())} == ledger.content("place")
        found = ledger.unfinished("place", name)
        assert found == Unfinished(token="f-1", fingerprint="f", part=8, version=1, sums={3: SUM})
        assert ({}, None) == (ledger.content("other"), ledger.unfinished("other", name))
        ledger.forget_unfinished("place", name)
        assert ledger.unfinished("place", name) is None


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    """Names of files are nobody else's business."""
    Ledger(tmp_path / "state/l.sqlite").close()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state", tmp_path / "state/l.sqlite")]
    assert [0o700, 0o600] == modes


def test_a_partial_file_is_on_record_before_it_is_made(tmp_path: Path) -> None:
    """Another process sees it at once, without a close."""
    with Ledger(tmp_path / "l.sqlite") as ledger, Ledger(tmp_path / "l.sqlite") as other:
        ledger.note_unfinished("place", "a", KNOWN)
        found = other.unfinished("place", "a")
    assert found == KNOWN


def test_a_new_partial_file_has_none_of_the_old_parts(tmp_path: Path) -> None:
    """Parts belong to a token."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.note_unfinished("place", "a", KNOWN)
        ledger.note_part("place", "a", 0, SUM)
        ledger.note_unfinished("place", "a", KNOWN)
        found = ledger.unfinished("place", "a")
    assert found == KNOWN


def test_acknowledgements_are_committed_in_batches(tmp_path: Path) -> None:
    """By time or by number, so that a disk with slow syncs does not rule the rate."""
    now = [0.0]
    with Ledger(tmp_path / "l.sqlite", clock=lambda: now[0]) as ledger, Ledger(tmp_path / "l.sqlite") as other:
        ledger.note_content("place", "a", "pin", ())
        assert other.content("place") == {}
        now[0] = 1.0
        ledger.note_content("place", "b", "pin", ())
        assert {"a", "b"} == set(other.content("place"))


@pytest.mark.parametrize("junk", [b"", b"\0" * 5000, b"SQLite format 3\0"])
def test_a_ledger_that_cannot_be_read_is_put_aside(tmp_path: Path, junk: bytes) -> None:
    """It is never needed for correctness, so it never stops a copy; the old one is kept to look at."""
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"no database " + junk)
    with Ledger(path) as ledger:
        ledger.note_content("place", "a", "pin", ())
        assert set(ledger.content("place")) == {"a"}
    aside = [found.read_bytes() for found in path.parent.iterdir() if "unreadable" in found.name]
    assert [b"no database " + junk] == aside


def test_migrations_run_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old ledger is taken up by a newer program with all it holds."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.note_content("place", "a", "pin", ())
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, "CREATE TABLE extra (x); CREATE TABLE more (y)"))
    for _ in range(2):
        with Ledger(tmp_path / "l.sqlite") as ledger:
            assert set(ledger.content("place")) == {"a"}
    with sqlite3.connect(tmp_path / "l.sqlite") as base:
        tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert ({"extra", "more"} <= tables, (len(module.MIGRATIONS),)) == (
            True,
            base.execute("PRAGMA user_version").fetchone(),
        )
    base.close()


def test_a_ledger_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    """It is not put aside either: the newer program will want it."""
    Ledger(tmp_path / "l.sqlite").close()
    base = sqlite3.connect(tmp_path / "l.sqlite")
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(InputError, match="version 99"):
        Ledger(tmp_path / "l.sqlite")
    assert ["l.sqlite"] == [path.name for path in tmp_path.iterdir()]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the path."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"file/l\.sqlite cannot be written"):
        Ledger(tmp_path / "file/l.sqlite")
