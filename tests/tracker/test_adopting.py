"""Jobs that were submitted by other means are followed like any other."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.slurm.foreign import Foreign
from aifa_hpc.tracker.adopting import adopt
from aifa_hpc.tracker.connection import Connection
from aifa_hpc.tracker.store import Store
from tests.tracker.written import Clock, WrittenCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOWN = {
    "5": Foreign(id="5", user="ada", name="hand", state="RUNNING", submitted="2026-11-20T08:00:00", log="/tmp/5.out"),
    "6": Foreign(id="6", user="ada", name="many", state="PENDING", tasks=(0, 1, 2), log="/tmp/6_%a.out"),
    "7": Foreign(id="7", user="bea", name="hers", state="RUNNING"),
    "8": Foreign(id="8", user="ada", name="done", state="FAILED"),
}


class Knowing(WrittenCluster):
    """A cluster that knows these jobs."""

    def drive(self, flow: Any) -> tuple[str, dict[str, Foreign]]:
        """Who we are, and the jobs."""
        flow.close()
        return "ada", KNOWN


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


def take(store: Store, *ids: str) -> list[tuple[str, str | None, str]]:
    """Token, id and state of what was adopted."""
    rows = adopt(ids, Knowing(), store, clock=Clock(), token=iter("abcdef").__next__)  # type: ignore[arg-type] # same methods
    return [(row.token, row.job_id, row.status.state) for row in rows]


def test_what_is_adopted_is_remembered_as_going_on(store: Store) -> None:
    """Its end, if it has one, is for the next poll to tell; asked for again, it is the same row."""
    assert [("a", "5", "RUNNING"), ("b", "6", "PENDING"), ("c", "8", "RUNNING")] == take(store, "5", "6", "8")
    assert [("a", "5", "RUNNING")] == take(store, "5")
    assert ["5", "6", "8"] == [row.job_id for row in store.rows(active=True)]


def test_an_adopted_job_has_its_own_logs(store: Store) -> None:
    """There is no folder of ours; accounting is asked from the day on which it was submitted."""
    take(store, "5", "6", "8")
    rows = [store.find(word) for word in ("5", "6", "8")]
    assert [("/tmp/5.out",), ("/tmp/6_0.out", "/tmp/6_1.out", "/tmp/6_2.out"), ()] == [row.logs for row in rows]
    assert all(row.adopted for row in rows)
    assert datetime.datetime(2026, 11, 20, 8, tzinfo=datetime.UTC) == rows[0].created_at


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (("5_1", "x"), ["id = 5_1: is no job id", "id = x: is no job id"]),
        (("5", "7", "99"), ["id = 7: is a job of bea", "id = 99: is not known to lumi"]),
    ],
)
def test_all_that_cannot_be_adopted_is_told(store: Store, ids: tuple[str, ...], words: list[str]) -> None:
    """Other people's jobs, unknown ones and words that are none; then none is adopted."""
    with pytest.raises(InputError) as caught:
        take(store, *ids)
    assert all(word in str(caught.value) for word in words)
    assert [] == store.rows()


def test_a_log_that_nobody_knows_of_is_said(store: Store) -> None:
    """Of a job that was over when it was adopted accounting tells no path; an empty log would be a lie."""
    take(store, "5", "8")
    connection = Connection(Knowing(), store)  # type: ignore[arg-type] # same methods
    assert ["/tmp/5.out"] == [source.path for source in connection.job("5").log_sources()]
    with pytest.raises(InputError, match=r"nobody knows where job 8 \(done\) has its log"):
        connection.job("8").log_sources()
