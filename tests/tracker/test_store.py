"""The job store: one file, many processes, no lost update."""

from __future__ import annotations

import datetime
import sqlite3
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.events import SUBMITTING, Status
from aifa_hpc.tracker.schema import MIGRATIONS
from aifa_hpc.tracker.store import Attempt, Store

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


def test_what_was_asked_for_comes_back(store: Store) -> None:
    """Account, partition, size, limit and price stay with the row."""
    asked = {
        "account": "p1",
        "partition": "small-g",
        "nodes_wanted": 2,
        "limit_seconds": 60,
        "rate": 16.0,
        "run": "f00d",
    }
    store.intend(token="a", site="lumi", name="digits", folder="/f", now=NOW, unit="GPU-h", **asked)  # type: ignore[arg-type] # one value of each kind
    row = store.get("a")
    assert asked | {"unit": "GPU-h"} == {key: getattr(row, key) for key in (*asked, "unit")}


def test_every_change_of_a_state_is_an_event(store: Store) -> None:
    """The intent, the id, the end; a new reason alone, and news of a job that is over, are none."""
    intend(store, "a")
    store.update("a", Status(state="PENDING", reason="Priority"), now=NOW, job_id="7")
    store.update("a", Status(state="PENDING", reason="Resources"), now=NOW)
    later = NOW + datetime.timedelta(seconds=5)
    store.update("a", Status(state="FAILED", reason="exit 1"), now=later)
    store.update("a", Status(state="RUNNING"), now=later)
    assert [
        (1, None, "SUBMITTING", "", NOW),
        (2, "7", "PENDING", "SUBMITTING", NOW),
        (3, "7", "FAILED", "PENDING", later),
    ] == [(one.id, one.job_id, one.state, one.previous, one.at) for one in store.events()]
    assert [3] == [one.id for one in store.events(after=2)]
    assert [1, 2] == [one.id for one in store.events(limit=2)]


def test_an_event_exists_only_if_its_change_does(store: Store) -> None:
    """A transaction that is given up takes its events with it."""
    intend(store, "a")
    with pytest.raises(InputError), store.together():  # noqa: PT012 - what was written before the failure is the point
        intend(store, "b")
        store.get("c")
    assert (["a"], ["a"]) == ([one.token for one in store.rows()], [one.token for one in store.events()])


def test_each_reader_of_events_has_a_place_of_its_own(store: Store) -> None:
    """It survives the process and never goes back."""
    store.advance("webhook", 5)
    store.advance("webhook", 3)
    assert (5, 0) == (store.cursor("webhook"), store.cursor("prometheus"))


def test_the_newest_event_has_the_largest_number(store: Store) -> None:
    """Who looks for something new need not read what is old."""
    before = store.last_event()
    intend(store, "a")
    assert (0, 1) == (before, store.last_event())


def test_when_a_site_answered_last_outlives_the_next_question(store: Store) -> None:
    """A site that is asked and says nothing has the age of its last answer; one that never answered has none."""
    lumi = Asking(store, "lumi")
    lumi.claim(now=NOW, floor=0, pace=30)
    Asking(store, "jupiter").claim(now=NOW, floor=0, pace=30)
    lumi.answered(now=NOW, seconds=0)
    lumi.claim(now=NOW + datetime.timedelta(hours=1), floor=0, pace=30)
    assert {"lumi": NOW} == store.answers()


def test_attempts_are_the_past_ones_and_the_present_one(store: Store) -> None:
    """What is said again of an attempt goes over what was said before; the row itself is the last one."""
    intend(store, "a")
    assert [] == store.attempts("a")
    store.update("a", Status(state="RUNNING", nodes="n2", start="2026-11-24T13:00:00"), now=NOW, job_id="7")
    first = Attempt(number=1, job_id="7", state="REQUEUED", start="2026-11-24T12:00:00", nodes="n1")
    store.keep_attempts("a", [first])
    first = replace(first, state="NODE_FAIL", end="2026-11-24T12:30:00", exit=ExitStatus(0, 9))
    store.keep_attempts("a", [first])
    present = Attempt(number=2, job_id="7", state="RUNNING", nodes="n2", start="2026-11-24T13:00:00")
    assert [first, present] == store.attempts("a")


def test_a_file_of_an_older_version_is_migrated_with_what_is_in_it(tmp_path: Path) -> None:
    """Each older schema gains the new columns and tables; its rows stay."""
    for version in range(1, len(MIGRATIONS)):
        path = tmp_path / f"{version}.sqlite3"
        with sqlite3.connect(path) as db:
            db.executescript(";".join(MIGRATIONS[:version]))
            db.execute(f"PRAGMA user_version = {version}")
            db.execute(
                "INSERT INTO jobs (token, site, name, folder, state, created_at, changed_at)"
                " VALUES ('a', 'lumi', 'n', '/f', 'RUNNING', ?, ?)",
                (NOW.isoformat(), NOW.isoformat()),
            )
        db.close()
        store = Store(path)
        assert ("RUNNING", None, "") == ((row := store.get("a")).status.state, row.rate, row.account)
        store.update("a", Status(state="COMPLETED"), now=NOW)
        assert ["COMPLETED"] == [one.state for one in store.events()]
        store.close()


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
        Asking(one, site).claim(now=now, floor=30, pace=30)
        for one, site, now in (
            (store, "lumi", NOW),
            (other, "lumi", NOW),
            (other, "jupiter", NOW),
            (other, "lumi", later),
            (store, "lumi", back),
        )
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


def test_a_running_job_grows_older_with_its_sites_answers(store: Store) -> None:
    """What goes on as it did is not written again; how long it has run follows from when the site answered last."""
    for token, state in (("a", "RUNNING"), ("b", "SUSPENDED")):
        intend(store, token)
        store.update(token, Status(state=state, elapsed_seconds=10), now=NOW, job_id=token)
    asking = Asking(store, "lumi")
    asking.claim(now=NOW, floor=0, pace=30)
    seconds = []
    for later in (0, 60):
        asking.answered(now=NOW + datetime.timedelta(seconds=later), seconds=0)
        seconds.append([row.status.elapsed_seconds for row in store.rows()])
    assert [[10, 10], [70, 10]] == seconds
