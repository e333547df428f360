"""The job store: one file, many processes, no lost update."""

from __future__ import annotations

import datetime
import sqlite3
import stat
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.events import SUBMITTING, Status
from aifa_hpc.tracker.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(tmp_path / "state" / "jobs.sqlite3")
    yield store
    store.close()


def intend(store: Store, token: str, site: str = "lumi") -> None:
    """Remembers a job."""
    store.intend(token=token, site=site, name="digits", folder=f"/scratch/jobs/{token}", now=NOW)


def test_the_file_is_private(store: Store, tmp_path: Path) -> None:
    """Nobody else can read which jobs there are."""
    modes = [stat.S_IMODE((tmp_path / "state" / name).stat().st_mode) for name in ("", "jobs.sqlite3")]
    assert [0o700, 0o600] == modes


def test_an_intent_is_remembered_before_anything_else(store: Store) -> None:
    """A row exists, and says SUBMITTING, before there is an id."""
    intend(store, "a")
    row = store.get("a")
    assert (SUBMITTING, None, "/scratch/jobs/a") == (row.status.state, row.job_id, row.folder)


def test_a_status_comes_back_as_it_was_written(store: Store) -> None:
    """Every field survives the file."""
    intend(store, "a")
    status = Status(
        state="LAGGING",
        reason="gone",
        exit=ExitStatus(1, 9),
        nodes="nid[1-2]",
        start="2026-11-24T12:00:00",
        end="",
        elapsed_seconds=5,
        proof="sacct",
        absent_since=NOW,
    )
    assert ("123", status) == ((row := store.update("a", status, now=NOW, job_id="123")).job_id, row.status)
    assert status == store.find("123").status


def test_an_end_is_final(store: Store) -> None:
    """A late answer does not wake a job that is over."""
    intend(store, "a")
    store.update("a", Status(state="COMPLETED"), now=NOW, job_id="123")
    assert "COMPLETED" == store.update("a", Status(state="RUNNING"), now=NOW).status.state


def test_the_same_id_on_two_sites_needs_the_site(store: Store) -> None:
    """An id is a site's own; the error says which sites have it and what to add."""
    for token, site in (("a", "lumi"), ("b", "jupiter")):
        intend(store, token, site)
        store.update(token, Status(state="RUNNING"), now=NOW, job_id="7")
    with pytest.raises(InputError, match=r"jupiter and lumi.*--site"):
        store.find("7")
    assert "b" == store.find("7", "jupiter").token


def test_an_unknown_job_is_an_error_that_says_what_to_do(store: Store) -> None:
    """A word nobody knows is named in the error."""
    with pytest.raises(InputError, match=r"no job '99'.*aifa jobs --all"):
        store.find("99")


def test_one_question_within_the_interval(store: Store, tmp_path: Path) -> None:
    """Two processes that want to ask at once make one question; a clock set back does not silence for good."""
    other = Store(tmp_path / "state" / "jobs.sqlite3")
    later = NOW + datetime.timedelta(seconds=31)
    back = NOW - datetime.timedelta(days=1)
    claims = [
        store.claim_question("lumi", now=NOW, floor=30),
        other.claim_question("lumi", now=NOW, floor=30),
        other.claim_question("jupiter", now=NOW, floor=30),
        other.claim_question("lumi", now=later, floor=30),
        store.claim_question("lumi", now=back, floor=30),
    ]
    other.close()
    assert [True, False, True, True, True] == claims


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """A schema this version does not know is left alone."""
    path = tmp_path / "jobs.sqlite3"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(InputError, match="newer aifa_hpc"):
        Store(path)


def test_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Four processes that each write 25 jobs leave 100."""
    path = tmp_path / "jobs.sqlite3"
    code = textwrap.dedent(f"""
        import datetime, pathlib, sys
        from aifa_hpc.tracker.store import Store
        store = Store(pathlib.Path({str(path)!r}))
        for number in range(25):
            now = datetime.datetime.now(datetime.UTC)
            store.intend(token=f"{{sys.argv[1]}}-{{number}}", site="lumi", name="n", folder="/f", now=now)
        store.close()
    """)
    processes = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(4)]
    assert [0, 0, 0, 0] == [process.wait(60) for process in processes]
    store = Store(path)
    assert 100 == len(store.rows("lumi"))
    store.close()


def _folder_in_the_way(path: Path) -> None:
    path.mkdir(parents=True)


def _file_in_the_way(path: Path) -> None:
    path.parent.write_text("")


def _garbage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(_folder_in_the_way, "writable"), (_file_in_the_way, "writable"), (_garbage, "Move it away")],
)
def test_a_file_that_cannot_be_used_is_named_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], None], word: str
) -> None:
    """A folder in its place, a file in the place of its folder, a damaged file: the path and what helps."""
    path = tmp_path / "state" / "jobs.sqlite3"
    spoil(path)
    with pytest.raises(InputError, match=f"{path}.*{word}"):
        Store(path)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """What was written before stays readable; the write that failed says which file it is."""
    store = Store(tmp_path / "jobs.sqlite3")
    intend(store, "a")
    store._db.execute("PRAGMA max_page_count = 1")  # SQLite then fails as on a disk without room
    with pytest.raises(InputError, match="full"):
        intend(store, "b" * 100_000)
    store.close()
    again = Store(tmp_path / "jobs.sqlite3")
    assert "a" == again.rows()[0].token
    again.close()


def test_a_word_that_is_no_unicode_is_nobodys_id(store: Store) -> None:
    """Bytes from a command line that no job can have are not found, and break nothing."""
    with pytest.raises(InputError, match="no job"):
        store.find("\udcff")
