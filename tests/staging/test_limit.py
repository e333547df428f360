"""Limits are read as rclone's, and kept by all who share a file, whatever the clock does."""

from __future__ import annotations

import datetime
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.limit import Limit, Timetable, parse_limit
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger

MEGABYTE = 2**20
NOON = datetime.datetime(2026, 11, 24, 12).astimezone().timestamp()


class Clock:
    """A clock that goes on by sleeping."""

    def __init__(self) -> None:
        self.now = NOON

    def sleep(self, seconds: float) -> None:
        """Goes on."""
        self.now += seconds


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("20M", {0: 20 * MEGABYTE, 12: 20 * MEGABYTE}),
        ("1.5G/s", {12: 1536 * MEGABYTE}),
        ("off", {12: 0}),
        ("0", {12: 0}),
        ("18:00,off 8:00,20M", {0: 0, 7: 0, 8: 20 * MEGABYTE, 17: 20 * MEGABYTE, 18: 0, 23: 0}),
    ],
)
def test_a_limit_by_the_hour(text: str, hours: dict[int, int]) -> None:
    """Before the first time holds what holds after the last."""
    found = parse_limit(text)
    assert hours == {hour: found.rate(datetime.time(hour)) for hour in hours}


@pytest.mark.parametrize("text", ["", "fast", "20", "24:00,1M", "08:00", "08:00,1M 08:00,2M", "08:00,1M 2M", "-1M"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    """With what is one."""
    with pytest.raises(InputError) as caught:
        parse_limit(text)
    assert "08:00,20M 18:00,off" in caught.value.hint


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=30), st.integers(1024, 10**9))
def test_bytes_of_all_processes_keep_to_the_rate(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], rate: int
) -> None:
    """Whoever asks, a turn begins when all bytes before it have had their time."""
    path, clock = tmp_path_factory.mktemp("limit") / "limit.sqlite3", Clock()
    table = Timetable(rates=((0, rate),))
    with _limit(path, table, clock) as one, _limit(path, table, clock) as other:
        for number, size in enumerate(sizes):
            (one, other)[number % 2].take(size)
            assert clock.now - NOON == pytest.approx(sum(sizes[:number]) / rate, rel=1e-6, abs=1e-3)


def test_time_that_nobody_used_is_not_saved(tmp_path: Path) -> None:
    """After a pause it goes on at the rate, without a burst."""
    clock = Clock()
    with _limit(tmp_path / "limit", parse_limit("1M"), clock) as limit:
        limit.take(MEGABYTE)
        clock.sleep(3600)
        limit.take(MEGABYTE)
        limit.take(MEGABYTE)
    assert NOON + 3601 == pytest.approx(clock.now)


def test_a_clock_that_is_set_back_stops_nobody(tmp_path: Path) -> None:
    """Turns that were given by the old clock are forgotten."""
    clock = Clock()
    with _limit(tmp_path / "limit", parse_limit("1M"), clock) as limit:
        limit.take(MEGABYTE)
        clock.now -= 86400
        limit.take(MEGABYTE)
        limit.take(MEGABYTE)
    assert NOON - 86399 == pytest.approx(clock.now)


def test_off_waits_for_nobody(tmp_path: Path) -> None:
    """Nor is it counted."""
    clock = Clock()
    with _limit(tmp_path / "limit", parse_limit("off"), clock) as limit:
        for _ in range(3):
            limit.take(2**40)
    assert NOON == clock.now


def test_processes_wait_for_each_other(tmp_path: Path) -> None:
    """What two of them took is reserved one after the other, to the byte."""
    program = """
import pathlib, sys, time
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.limit import Limit, parse_limit
with Limit(pathlib.Path(sys.argv[1]), parse_limit("100M"), clock=lambda: 1e9, sleep=lambda _: None) as limit:
    for _ in range(500):
        limit.take(2**20)
"""
    path = tmp_path / "limit"
    both = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(2)]
    assert [0, 0] == [process.wait(60) for process in both]
    with closing(sqlite3.connect(path)) as base:
        (free,) = base.execute("SELECT free FROM turn").fetchone()
    assert 1000 / 100 == pytest.approx(free - 1e9)


@pytest.mark.parametrize("near", [True, False])
def test_a_copy_asks_for_what_leaves_the_machine(
    tmp_path: Path, ledger: Ledger, clearance: Clearance, near: bool
) -> None:
    """Every byte, and none that stays."""
    make_tree(tmp_path / "src", {"a": b"x" * 1000, "b/c": bytes(9 * MEGABYTE)})
    taken: list[int] = []
    target = str(tmp_path / "dst")
    there: Endpoint = LocalEndpoint(target) if near else SSHEndpoint(LocalTransport(), target, label="site")
    with LocalEndpoint(str(tmp_path / "src")) as here, there:
        copy(here, there, clearance=clearance, ledger=ledger, limit=taken.append)
    assert (0 if near else 9 * MEGABYTE + 1000) == sum(taken)


def _limit(path: Path, timetable: Timetable, clock: Clock) -> Limit:
    return Limit(path, timetable, clock=lambda: clock.now, sleep=clock.sleep)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """With what to do; a copy does not end with a traceback of SQLite's."""
    (tmp_path / "limit").write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="limit, cannot be used: file is not a database") as caught:
        Limit(tmp_path / "limit", parse_limit("1M"))
    assert "delete it" in caught.value.hint
    with pytest.raises(InputError, match="cannot be used"):
        Limit(tmp_path / "limit" / "below", parse_limit("1M"))
