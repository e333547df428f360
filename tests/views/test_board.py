"""The live view's lines, at every width."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.staging.ledger import Remembered
from aifa_hpc.views.board import (
    SiteState,
    Watched,
    bar,
    cells,
    columns,
    detail,
    fit,
    head,
    site_line,
    transfer_lines,
    visible,
)
from tests.views.conftest import at, row

RUNNING = Watched(row=row("RUNNING", start=0, limit_seconds=3600))


def line(one: Watched, width: int = 80, now: float = 30) -> dict[str, str]:
    """A job's cells by title, half an hour past noon."""
    layout = columns(width, [one])
    found = cells(one, layout, at(now))
    return {column.title: cell.text for column, cell in zip(layout, found, strict=True)}


@given(st.integers(60, 300), st.text(max_size=60), st.sampled_from(["RUNNING", "PENDING", "FAILED", "SPECIAL_EXIT_X"]))
def test_lines_are_never_wider_than_the_terminal(width: int, name: str, state: str) -> None:
    """Whatever the job is called; a cell is one line and holds nothing that a terminal obeys."""
    one = Watched(row=row(state, start=0, name=name, reason=name, job_id="123456789012", site="a-site-with-a-name"))
    layout = columns(width, [one])
    found = cells(one, layout, at(30))
    assert width >= sum(column.width for column in layout) + len(layout) - 1
    assert all(len(cell.text) <= column.width for cell, column in zip(found, layout, strict=True))
    assert not {"\n", "\x1b"} & set("".join(cell.text for cell in found))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (60, ["STATE", "JOB", "NAME", "PROGRESS"]),
        (80, ["STATE", "JOB", "NAME", "SITE", "PROGRESS"]),
        (200, ["STATE", "JOB", "NAME", "SITE", "PROGRESS", "NODES", "UNITS", "ACCOUNT"]),
    ],
)
def test_more_room_has_more_columns(width: int, expected: list[str]) -> None:
    """And all of it is used."""
    layout = columns(width, [RUNNING])
    assert expected == [column.title for column in layout]
    assert width - 1 == sum(column.width for column in layout) + len(layout) - 1


def test_a_running_job_shows_its_walltime() -> None:
    """Half of an hour is half a bar; the units are those of now."""
    found = line(RUNNING, 200)
    assert (f"{'█' * 15}{'░' * 15} 30:00/1:00:00", "2 GPU-h") == (found["PROGRESS"], found["UNITS"])


def test_a_bar_warns_before_the_end() -> None:
    """From nine tenths on, and it does not grow beyond its end."""
    layout = columns(80, [RUNNING])
    tones = [
        next(
            cell.tone
            for cell, column in zip(cells(RUNNING, layout, at(now)), layout, strict=True)
            if column.title == "PROGRESS"
        )
        for now in (30, 55, 70)
    ]
    assert ["run", "late", "late"] == tones
    assert "█" * 10 == bar(7.0)
    assert ["░░", "▌░", "█░", "█▌"] == [bar(share, 2) for share in (0, 0.25, 0.5, 0.75)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "PENDING", "reason": "it waits for another job"}, "it waits for another job"),
        ({"state": "PENDING"}, "waits for 30 min"),
        ({"state": "RUNNING", "start": 0, "limit_seconds": None}, "30:00"),
        ({"state": "COMPLETED", "start": 0, "end": 20}, "took 20 min"),
        ({"state": "FAILED", "start": 0, "end": 20}, "took 20 min, exit 1:0"),
        ({"state": "FAILED", "start": 0, "end": 20, "reason": "out of memory"}, "took 20 min, out of memory"),
        ({"state": "LAGGING", "reason": "gone from the queue"}, "gone from the queue"),
        ({"state": "CANCELLED"}, ""),
    ],
)
def test_progress_tells_what_there_is_to_tell(changes: dict[str, Any], expected: str) -> None:
    """Why it waits, how long it runs, how it ended."""
    assert expected == line(Watched(row=row(**changes)))["PROGRESS"]


def test_further_runs_are_counted() -> None:
    """One run needs no number, and where no job has several there is no column."""
    layout = columns(119, [RUNNING, replace(RUNNING, runs=3)])
    place = [column.title for column in layout].index("RUN")
    assert ["", "3"] == [cells(replace(RUNNING, runs=runs), layout, at(30))[place].text for runs in (1, 3)]
    assert "RUN" not in line(RUNNING, 119)
    assert "run 3" in detail(replace(RUNNING, runs=3), at(30))


def test_what_runs_stands_above_what_waits() -> None:
    """Then come ends; among equals the latest change is first; an old end is shown on demand."""
    jobs = [
        Watched(row=row("COMPLETED", start=-9, end=-5, token="old")),
        Watched(row=row("FAILED", start=1, end=5, token="new")),
        Watched(row=row("PENDING", token="waits")),
        Watched(row=row("RUNNING", start=1, token="runs", changed_at=at(1))),
        Watched(row=row("RUNNING", start=2, token="runs later", changed_at=at(2))),
    ]
    active = ["runs later", "runs", "waits", "new"]
    assert active == [one.row.token for one in visible(jobs, "active", at(0))]
    assert [*active, "old"] == [one.row.token for one in visible(jobs, "all", at(0))]
    assert "2 running, 1 waiting, 2 over" == head(jobs)


def test_a_site_that_is_away_says_so() -> None:
    """Why, and when it is asked again; one that answers says when."""
    away = SiteState(name="lumi", answered=at(0), trouble="No route.\nMore.", again=at(1), jobs=2)
    assert ("lumi is away: No route; asked again in 1 min", "bad") == (
        site_line(away, at(0)).text,
        site_line(away, at(0)).tone,
    )
    there = replace(away, trouble="", again=None)
    assert "lumi: 2 active jobs, answered 2 min ago" == site_line(there, at(2)).text
    assert "lumi: no active jobs" == site_line(SiteState(name="lumi"), at(2)).text


def test_transfers_that_run_or_stopped_are_shown() -> None:
    """One that is complete is not, nor one of days ago; one whose process is gone is."""
    now = at(0).timestamp()
    base = Remembered(place="p", source="shards/", destination="lumi:/x", begun=now - 90, files=2, bytes=2048)
    transfers = [
        replace(base, pid=7, done=871),
        replace(base, ended=now, problem="the disk is full.\nmore", done=2048),
        replace(base, ended=now, problem="it cannot work:\n  - key = 1: too small.\nmore"),
        base,
        replace(base, begun=now - 90000),
        replace(base, ended=now),
    ]
    assert [
        "copying for 2 min, 42 %: shards/ → lumi:/x, 2 files, 2 KiB",
        "stopped at 100 %: shards/ → lumi:/x, 2 files, 2 KiB; the disk is full",
        "stopped at 0 %: shards/ → lumi:/x, 2 files, 2 KiB; it cannot work: key = 1: too small",
        "stopped at 0 %: shards/ → lumi:/x, 2 files, 2 KiB; its process is gone",
    ] == [cell.text for cell in transfer_lines(transfers, now)]
    (looking,) = transfer_lines([replace(base, pid=7, files=0, bytes=0)], now)
    assert "copying for 2 min: shards/ → lumi:/x, looking" == looking.text
    assert "and 3 more copies" == transfer_lines([replace(base, pid=7)] * 7, now)[-1].text


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    """A job that began after now has run for no time."""
    assert line(RUNNING, now=-5)["PROGRESS"].endswith("0:00/1:00:00")


def test_a_text_is_cut_with_a_mark() -> None:
    """It becomes one line first."""
    assert ("a b", "a b…", "…") == (fit("a\n b", 3), fit("a b c d", 4), fit("long", 1))
    assert datetime.UTC == at(0).tzinfo
