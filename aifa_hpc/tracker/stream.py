"""Events of jobs as they come, from all sites that have jobs to ask about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aifa_hpc.errors import AifaError
from aifa_hpc.tracker.waiting import TICK_SECONDS, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.records import Event
    from aifa_hpc.tracker.store import Store
    from aifa_hpc.tracker.waiting import News

_PAGE = 1000
_AGAIN_SECONDS = 60.0
"""After this a site that only a person could open is tried again: the person may have."""


def read_events(store: Store, *, after: int = 0, site: str = "") -> Iterator[Event]:
    """All events that are known, the oldest first.

    Args:
        store: Where they are.
        after: Number of the last one that is known already.
        site: Only of this site.
    """
    while page := store.events(after=after, limit=_PAGE):
        yield from (event for event in page if site in {"", event.site})
        after = page[-1].id


def follow_events(store: Store, *, after: int = 0, pause: Callable[[float], None]) -> Iterator[Event | None]:
    """The same, and then those that come, without end; ``None`` at each look that found nothing more.

    Args:
        store: Where they are.
        after: Number of the last one that is known already.
        pause: Waits between two looks, in seconds.
    """
    while True:
        for event in read_events(store, after=after):
            after = event.id
            yield event
        yield None
        pause(TICK_SECONDS)


class Everywhere:
    """Has every site asked that has jobs which are not over, each in a thread of its own.

    Args:
        connect: Opens a site by its name.
        trouble: Told when a site cannot be asked.
        monotonic: A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        connect: Callable[[str], Connection],
        *,
        trouble: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._trouble = trouble
        self._monotonic = monotonic
        self._open: dict[str, Connection] = {}
        self._not_before: dict[str, float] = {}

    def look(self, store: Store) -> None:
        """Begins to ask sites that have got jobs since the last look."""
        for name in {row.site for row in store.rows(active=True)} - self._open.keys():
            if self._monotonic() >= self._not_before.get(name, 0.0):
                self._begin(name)

    def close(self) -> None:
        """Asks no more."""
        for connection in list(self._open.values()):
            connection.close()

    def _begin(self, name: str) -> None:
        def tell(news: News) -> None:
            if isinstance(news, AifaError):
                self._failed(name, news)

        try:
            connection = self._open[name] = self._connect(name)
            connection.watcher.add(Subscription(token="", tell=tell))
        except AifaError as error:
            self._failed(name, error)

    def _failed(self, name: str, error: AifaError) -> None:
        if name not in self._not_before:
            self._trouble(f"{name} is not asked: {error}")
        self._not_before[name] = self._monotonic() + _AGAIN_SECONDS
        self._open.pop(name, None)
