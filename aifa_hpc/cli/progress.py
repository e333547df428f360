"""Progress of a copy: a bar on a terminal, a plain line every few seconds otherwise, events for machines."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aifa_hpc.cli.output import JsonOutput, Output, count_files
from aifa_hpc.staging.progress import Progress
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as Bars

_LINE_SECONDS = 5.0
_EVENT_SECONDS = 1.0
_NAME = 30
"""Letters of a file's name beside the bar."""


class LineProgress(Progress):
    """A line every few seconds, for logs of unattended runs.

    Args:
        say: Takes a line.
        clock: Seconds that only grow.
    """

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._said = self._begun = clock()
        self._size = self._done = self._sent = self._resumed = 0

    def hint(self, text: str) -> None:
        self._say(f"note: {text}")

    def start(self, files: int, size: int) -> None:
        self._size, self._begun = size, self._clock()
        self._say(f"{count_files(files)}, {show_size(size)}")

    def checking(self, files: int) -> None:
        self._say(f"comparing {count_files(files)}")

    def skipped(self, size: int) -> None:
        self._advance(size)

    def resumed(self, size: int) -> None:
        if not self._resumed:
            self._say("resuming: what an interrupted run had sent is kept")
        self._resumed += 1
        self._advance(size)

    def reused(self, size: int) -> None:
        self._advance(size)

    def advance(self, size: int) -> None:
        self._sent += size
        self._advance(size)

    def removed(self, path: str) -> None:
        self._say(f"deleted: {path}")

    def _advance(self, size: int) -> None:
        self._done += size
        now = self._clock()
        if now - self._said >= _LINE_SECONDS:
            self._said = now
            share = 100 * self._done / self._size if self._size else 100.0
            rate = self._sent / max(now - self._begun, 1e-9)
            left = f", {(self._size - self._done) / rate:.0f} s left" if rate > 0 else ""
            self._say(f"{share:.0f} %: {show_size(self._done)} of {show_size(self._size)} at {show_size(rate)}/s{left}")


class EventProgress(Progress):
    """One JSON value a line with a key ``event``: at every change, and how far it is once a second.

    Args:
        say: Takes a line.
        work: What is done to bytes: ``sent``, or ``checked`` where none are.
        clock: Seconds that only grow.
    """

    def __init__(
        self, say: Callable[[str], None], *, work: str = "sent", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._work = work
        self._clock = clock
        self._begun = clock()
        self._said = -_EVENT_SECONDS
        self._total = 0
        self._counts = dict.fromkeys((work, "skipped", "resumed", "reused"), 0)

    def hint(self, text: str) -> None:
        self._tell("hint", text=text)

    def start(self, files: int, size: int) -> None:
        self._total, self._begun = size, self._clock()
        self._tell("start", files=files, bytes=size)

    def checking(self, files: int) -> None:
        self._tell("checking", files=files)

    def skipped(self, size: int) -> None:
        self._count("skipped", size)

    def resumed(self, size: int) -> None:
        self._count("resumed", size)

    def reused(self, size: int) -> None:
        self._count("reused", size)

    def advance(self, size: int) -> None:
        self._count(self._work, size)

    def finished(self, path: str) -> None:
        self._tell("finished", path=path)

    def removed(self, path: str) -> None:
        self._tell("removed", path=path)

    def _count(self, key: str, size: int) -> None:
        self._counts[key] += size
        now = self._clock()
        done = sum(self._counts.values())
        if now - self._said >= _EVENT_SECONDS or done == self._total:
            self._said = now
            rate = self._counts[self._work] / max(now - self._begun, 1e-9)
            left = round((self._total - done) / rate, 1) if rate > 0 else None
            self._tell("progress", bytes=done, of=self._total, rate=round(rate), seconds_left=left, **self._counts)

    def _tell(self, event: str, **fields: Any) -> None:
        self._say(json.dumps({"event": event, **fields}))


class BarProgress(Progress):
    """A bar with rate, time left, and parts that need not be sent again."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("looking", total=None, kept="")
        self._parts = 0

    def hint(self, text: str) -> None:
        from rich.text import Text  # noqa: PLC0415 - only for a terminal

        self._bars.console.print(Text(f"note: {text}", style="yellow"))

    def start(self, files: int, size: int) -> None:
        self._bars.update(self._task, description=count_files(files), total=size)

    def checking(self, files: int) -> None:
        self._bars.update(self._task, description=f"comparing {files}")

    def skipped(self, size: int) -> None:
        self._bars.advance(self._task, size)

    def resumed(self, size: int) -> None:
        self._keep(size)

    def reused(self, size: int) -> None:
        self._keep(size)

    def advance(self, size: int) -> None:
        self._bars.advance(self._task, size)

    def finished(self, path: str) -> None:
        self._bars.update(self._task, description=path.rpartition("/")[2][:_NAME])

    def removed(self, path: str) -> None:
        self._bars.update(self._task, description=f"deleted {path.rpartition('/')[2][:_NAME]}")

    def _keep(self, size: int) -> None:
        self._parts += 1
        self._bars.update(self._task, advance=size, kept=f"{self._parts} parts were there")


@contextmanager
def show_progress(output: Output, *, work: str = "sent") -> Iterator[Progress]:
    """The progress that fits where standard error goes; machines are told what is done to bytes."""
    if isinstance(output, JsonOutput):
        yield EventProgress(lambda line: print(line, file=sys.stderr), work=work)  # noqa: T201 - this is the output
    elif not sys.stderr.isatty():
        yield LineProgress(output.note)
    else:
        from rich.console import Console  # noqa: PLC0415 - only for a terminal
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bars  # noqa: PLC0415

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[kept]}", markup=False),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            yield BarProgress(bars)
