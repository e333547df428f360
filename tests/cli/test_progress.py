"""Progress: lines, events and a bar that add up, with rate, time left and what need not be sent."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TextColumn

from aifa_hpc.cli.progress import BarProgress, EventProgress, LineProgress

if TYPE_CHECKING:
    from aifa_hpc.staging.progress import Progress

MIB = 2**20


def a_copy(progress: Progress, tick) -> None:  # type: ignore[no-untyped-def]
    """A copy of 100 MiB: 10 were there, 20 had been sent, 5 are borrowed, 65 are sent in 13 seconds."""
    progress.hint("look here")
    progress.checking(3)
    progress.start(4, 100 * MIB)
    progress.skipped(10 * MIB)
    progress.resumed(10 * MIB)
    progress.resumed(10 * MIB)
    progress.reused(5 * MIB)
    for _ in range(13):
        tick()
        progress.advance(5 * MIB)
    progress.finished("sub/a.parquet")
    progress.removed("old")


class Clock:
    """Seconds by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        """One more."""
        self.now += 1


def test_lines_tell_share_rate_and_time_left() -> None:
    """Every five seconds, and once of what is resumed."""
    said: list[str] = []
    clock = Clock()
    a_copy(LineProgress(said.append, clock=clock), clock.tick)
    assert [
        "note: look here",
        "comparing 3 files",
        "4 files, 100 MiB",
        "resuming: what an interrupted run had sent is kept",
        "60 %: 60 MiB of 100 MiB at 5 MiB/s, 8 s left",
        "85 %: 85 MiB of 100 MiB at 5 MiB/s, 3 s left",
        "deleted: old",
    ] == said


def test_events_are_json_and_the_last_one_is_complete() -> None:
    """Machines see every change, and how far it is."""
    said: list[str] = []
    clock = Clock()
    a_copy(EventProgress(said.append, clock=clock), clock.tick)
    events = [json.loads(line) for line in said]
    assert ["hint", "checking", "start", "progress"] == [event["event"] for event in events[:4]]
    assert ["finished", "removed"] == [event["event"] for event in events[-2:]]
    counts = {"sent": 65 * MIB, "skipped": 10 * MIB, "resumed": 20 * MIB, "reused": 5 * MIB}
    last = {"event": "progress", "bytes": 100 * MIB, "of": 100 * MIB, "rate": 5 * MIB, "seconds_left": 0.0}
    assert last | counts == events[-3]


def test_what_is_only_checked_is_not_said_to_be_sent() -> None:
    """A verification sends nothing; its speed is that of the checking."""
    said: list[str] = []
    clock = Clock()
    a_copy(EventProgress(said.append, work="checked", clock=clock), clock.tick)
    last = json.loads(said[-3])
    assert (65 * MIB, 5 * MIB, False) == (last["checked"], last["rate"], "sent" in last)


def test_the_bar_is_full_in_the_end_and_counts_parts() -> None:
    """Of a terminal, without one."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bars = Bars(TextColumn("{task.fields[kept]}"), console=console)
    a_copy(BarProgress(bars), lambda: None)
    [task] = bars.tasks
    assert (100 * MIB, True, "3 parts were there") == (task.completed, task.finished, task.fields["kept"])
