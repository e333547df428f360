"""A queue of what is to be carried: bounded, closed at its end, and woken in batches.

Waking somebody for each of a million small files costs more than to carry them: who waits for room is woken when half
of it is free.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Jobs(Generic[T]):
    """First in, first out, for several threads.

    Args:
        room: How many it holds.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._filled, self._freed = threading.Condition(self._lock), threading.Condition(self._lock)
        self._hungry = 0
        self._closed = self._stopped = False

    def put(self, item: T) -> bool:
        """Adds one, waiting for room; whether it will be taken."""
        with self._lock:
            if len(self._items) >= self._room:
                self._freed.wait_for(lambda: len(self._items) <= self._room // 2 or self._stopped)
            if self._stopped:
                return False
            self._items.append(item)
            if self._hungry:
                self._filled.notify()
            return True

    def take(self, *, wait: bool) -> T | None:
        """The next one; ``None`` when there is none now, or (waiting) none will come."""
        with self._lock:
            if wait and not self._items:
                self._hungry += 1
                self._filled.wait_for(lambda: self._items or self._closed or self._stopped)
                self._hungry -= 1
            if self._stopped or not self._items:
                return None
            item = self._items.popleft()
            if len(self._items) == self._room // 2:
                self._freed.notify_all()
            return item

    def close(self) -> None:
        """No more will come."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()

    def stop(self) -> None:
        """Nothing is taken any more."""
        with self._lock:
            self._stopped = True
            self._filled.notify_all()
            self._freed.notify_all()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def stopped(self) -> bool:
        """Whether nothing is taken any more."""
        return self._stopped
