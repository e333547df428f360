"""How many lanes a copy is worth: grown while that brings more bytes, shrunk when it does not or is refused.

One SSH channel moves at most its window of 2 MiB in a round trip, so a far site wants many; on a near one they only
take turns at the same processors. Nobody can know which it is, so it is tried: each step adds half as many again, and
is taken back when goodput grew by less than a twentieth.
"""

from __future__ import annotations

TICK_SECONDS = 0.5
GAIN = 1.05
REST_TICKS = 20
"""How long a number that was found good is kept: a link changes, but not by the second."""


class Pace:
    """Decides from what was carried since the last look.

    Args:
        first: Lanes to begin with.
        most: Lanes at most.
    """

    def __init__(self, first: int, most: int) -> None:
        self.wanted = max(1, min(first, most))
        self._most = max(1, most)
        self._before: tuple[int, float] | None = None
        self._rest = 1  # the first look sees lanes that only begin

    def refused(self, active: int) -> None:
        """The place gives no more than so many."""
        self._most = max(1, active)
        self.wanted = min(self.wanted, self._most)
        self._before = None
        self._rest = REST_TICKS

    def look(self, rate: float) -> int:
        """How many lanes are wanted now that so many bytes a second are carried."""
        if self._rest:
            self._rest -= 1
            return self.wanted
        if self._before is not None and rate < GAIN * self._before[1]:
            self.wanted, self._rest = self._before[0], REST_TICKS
            self._before = None
        elif self.wanted < self._most:
            self._before = (self.wanted, rate)
            self.wanted = min(self._most, self.wanted + max(1, self.wanted // 2))
            self._rest = 1
        else:
            self._before = None
        return self.wanted
