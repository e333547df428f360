"""Where things stand on an axis of time: ticks, shares of the width, and how many jobs ran and waited when."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aifa_hpc.views.history import History, Span

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(_MINUTE * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 7, 14, 28, 91, 182, 364)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark on an axis.

    Attributes:
        at: Where, in percent of the width.
        label: Time of day, or day.
    """

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A stretch of time over the width of a chart.

    Attributes:
        begin: Left end.
        end: Right end, later than the left one.
    """

    begin: datetime.datetime
    end: datetime.datetime

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ValueError(f"an axis ends at {self.end}, before it begins at {self.begin}")

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.begin).total_seconds()

    def at(self, moment: datetime.datetime) -> float:
        """Where a moment is, in percent; what is outside is at the edge."""
        return 100 * min(1.0, max(0.0, (moment - self.begin).total_seconds() / self.seconds))

    def place(self, span: Span) -> tuple[float, float]:
        """Left end and width of a span, in percent."""
        left = self.at(span.start)
        return left, self.at(span.end) - left

    def ticks(self, zone: datetime.tzinfo | None, most: int = 6) -> list[Tick]:
        """Marks at round times.

        Args:
            zone: Whose times; ``None`` for this computer's.
            most: Fewer than this many and one more.
        """
        step = next((step for step in _STEPS if self.seconds / step <= most), _STEPS[-1])
        local = self.begin.astimezone(zone)
        moment = local.replace(hour=0, minute=0, second=0, microsecond=0)
        found = []
        while moment <= self.end:
            if moment >= self.begin:
                found.append(Tick(at=self.at(moment), label=_label(moment.astimezone(zone), step)))
            moment += datetime.timedelta(seconds=step)
        return found[:: -(-len(found) // (most + 1)) or 1]


def axis_of(histories: Sequence[History], *, since: datetime.datetime | None = None) -> Axis:
    """The axis on which all of these jobs fit, a minute long at least."""
    begin = min(one.begin for one in histories)
    end = max(one.end for one in histories)
    begin = max(begin, since) if since is not None and since < end else begin
    return Axis(begin=begin, end=max(end, begin + datetime.timedelta(minutes=1)))


def activity(histories: Iterable[History], axis: Axis, columns: int) -> list[tuple[float, float]]:
    """How many jobs ran and waited, on average, in each of so many columns of an axis."""
    ran, waited = [0.0] * columns, [0.0] * columns
    for one in histories:
        for wait in one.waits:
            _spread(waited, axis, wait)
        for run in one.runs:
            _spread(ran, axis, run.span)
    return list(zip(ran, waited, strict=True))


def steps(heights: Sequence[float], floors: Sequence[float], top: float) -> str:
    """The outline of columns as an SVG path in a box of 1000 by 100, each on its own floor."""
    width = 1000 / len(heights)
    points = []
    for number, height in enumerate(heights):
        y = 100 - 100 * (floors[number] + height) / top
        points += [f"{number * width:.1f},{y:.2f}", f"{(number + 1) * width:.1f},{y:.2f}"]
    for number in reversed(range(len(floors))):
        y = 100 - 100 * floors[number] / top
        points += [f"{(number + 1) * width:.1f},{y:.2f}", f"{number * width:.1f},{y:.2f}"]
    return f"M{' '.join(points)}Z"


def _spread(columns: list[float], axis: Axis, span: Span) -> None:
    """Adds a span to the columns it covers, by the share that it covers of each."""
    left, width = axis.place(span)
    first, last = left / 100 * len(columns), (left + width) / 100 * len(columns)
    for number in range(int(first), min(len(columns), int(last) + 1)):
        covered = min(last, number + 1) - max(first, number)
        columns[number] += max(0.0, covered)


def _label(moment: datetime.datetime, step: int) -> str:
    if step >= _DAY or (moment.hour, moment.minute) == (0, 0):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}"
