"""How many commands run on one connection at once: fewer when the server refuses a channel, slowly more again."""

from __future__ import annotations

import threading

_GOOD_RUNS = 32
"""So many commands without a refusal until one more may run beside the others: what took the channels may be gone."""


class Gate:
    """Lets so many callers through at once.

    Args:
        most: The most that are ever inside.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = most
        self._inside = 0
        self._good = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may be inside now."""
        return self._limit

    def enter(self, timeout: float) -> bool:
        """Waits at most so many seconds for a place; whether there was one."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._inside < self._limit, max(0.0, timeout)):
                return False
            self._inside += 1
            return True

    def leave(self, *, refused: bool) -> None:
        """Gives the place back.

        Args:
            refused: The server had no channel for this caller: only as many as are still inside get along.
        """
        with self._changed:
            self._inside -= 1
            if refused:
                self._limit = max(1, min(self._limit, self._inside))
                self._good = 0
            else:
                self._good += 1
                if self._good >= _GOOD_RUNS and self._limit < self._most:
                    self._limit += 1
                    self._good = 0
            self._changed.notify_all()
