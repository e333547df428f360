"""The ledger: what was noted is there after any end, and one that cannot be read is begun anew."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.staging import ledgerfile as module
from aifa_hpc.staging.ledger import Ledger, Remembered, Unfinished
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


def test_rows_that_wait_are_written_in_their_order(tmp_path: Path) -> None:
    """Of one statement they wait for each other; another one, or a question, finds all that came before it."""
    with Ledger(tmp_path / "l.sqlite", clock=lambda: 0.0) as ledger:
        ledger.note_unfinished("place", "a", KNOWN)
        for number in range(3):
            ledger.note_part("place", "a", number, SUM)
        ledger.forget_unfinished("place", "a")
        ledger.note_part("place", "a", 7, SUM)
        for pin in ("older", "newer"):
            ledger.note_content("place", "a", pin, ())
        assert ({"a": ("newer", ())}, 0) == (ledger.content("place"), ledger.held("place", {"a": 100}))
        ledger.note_unfinished("place", "a", KNOWN)
        assert ledger.unfinished("place", "a") == KNOWN


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


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    """The error says so and what to do; nothing is put aside, and what was noted before is still there."""
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.note_content("place", "a", "pin", ())
    with Ledger(path) as ledger:
        ledger._base.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
        with pytest.raises(TransferError, match=r"l\.sqlite cannot be used: the disk is full\. Free some space"):
            _fill(ledger)
    with Ledger(path) as ledger:
        assert "a" in ledger.content("place")
    assert ["l.sqlite"] == [found.name for found in tmp_path.iterdir()]


def _fill(ledger: Ledger) -> None:
    for number in range(2000):
        ledger.note_content("place", f"b{number}", "pin", (b"x" * 32,) * 100)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_disk_that_is_full_from_the_start_is_told(tmp_path: Path) -> None:
    """Opening a ledger there is an error of one sentence, and leaves no file that is taken for a damaged one."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)), check=False).returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        (small / "filler").write_bytes(b"x" * 12288)
        with pytest.raises(InputError, match="the disk is full"):
            Ledger(small / "l.sqlite")
        assert not [found for found in small.iterdir() if "unreadable" in found.name]
    finally:
        subprocess.run(("umount", str(small)), check=True)


def test_the_last_copy_to_each_place_is_remembered(tmp_path: Path) -> None:
    """The newest first, with who is at it now and how much of each file is there."""
    began = Remembered(place="p/", source="here", destination="there", begun=1.0)
    ended = Remembered(
        place="q/", source="here", destination="q", begun=2.0, ended=3.0, files=4, bytes=5, problem="x", done=3
    )
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.note_copy(began)
        ledger.note_copy(ended)
        ledger.note_unfinished("p", "a", KNOWN)
        ledger.note_part("p", "a", 7, SUM)
        with ledger.hold("p/"):
            running = ledger.copies()
        assert [ended, replace(began, pid=os.getpid())] == running
        assert [ended, began] == ledger.copies()
        [(place, path, known)] = ledger.all_unfinished()
    assert ("p", "a", "f-1", 1) == (place, path, known.token, len(known.sums))


def test_held_is_what_a_plan_need_not_send(tmp_path: Path) -> None:
    """Acknowledged parts of its own files, no more than they are long; of other copies nothing."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for path, parts in (("a", 2), ("b", 1), ("other", 5)):
            ledger.note_unfinished("place", path, KNOWN)
            for number in range(parts):
                ledger.note_part("place", path, number, SUM)
        assert 13 + 8 == ledger.held("place", {"a": 13, "b": 100, "c": 100})
        assert 0 == ledger.held("elsewhere", {"a": 13})
