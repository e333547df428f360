"""Progress of a copy: a bar on a terminal, a plain line every few seconds otherwise."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aifa_hpc.cli.output import JsonOutput, Output, count_files
from aifa_hpc.staging.progress import Progress
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as Bars

_LINE_SECONDS = 5.0


class LineProgress(Progress):
    """A line every few seconds, for logs of unattended runs.

    Args:
        say: Takes a line.
        clock: Seconds that only grow.
    """

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._said = clock()
        self._size = self._done = 0

    def start(self, files: int, size: int) -> None:
        self._size = size
        self._say(f"{count_files(files)}, {show_size(size)}")

    def skipped(self, size: int) -> None:
        self.advance(size)

    def resumed(self, size: int) -> None:
        self._say(f"resuming after {show_size(size)}")
        self.advance(size)

    def advance(self, size: int) -> None:
        self._done += size
        if self._clock() - self._said >= _LINE_SECONDS:
            self._said = self._clock()
            share = 100 * self._done / self._size if self._size else 100.0
            self._say(f"{share:.0f} %: {show_size(self._done)} of {show_size(self._size)}")


class BarProgress(Progress):
    """A bar with rate and time left."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("looking", total=None)

    def start(self, files: int, size: int) -> None:
        self._bars.update(self._task, description=count_files(files), total=size)

    def checking(self, files: int) -> None:
        self._bars.update(self._task, description=f"comparing {files}")

    def skipped(self, size: int) -> None:
        self._bars.advance(self._task, size)

    def resumed(self, size: int) -> None:
        self._bars.advance(self._task, size)

    def advance(self, size: int) -> None:
        self._bars.advance(self._task, size)

    def finished(self, path: str) -> None:
        self._bars.update(self._task, description=path.rpartition("/")[2][:30])


@contextmanager
def show_progress(output: Output) -> Iterator[Progress]:
    """The progress that fits where standard error goes."""
    if isinstance(output, JsonOutput):
        yield Progress()
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
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            yield BarProgress(bars)
