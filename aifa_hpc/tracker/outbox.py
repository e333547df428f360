"""Delivers events to the user's sinks: by whoever asks a site, and by ``aifa events deliver``.

One process delivers at a time; the lock of a killed one is gone with it. A sink that fails holds up neither the others
nor the caller: what is due stays due.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import AifaError, DeliveryError
from aifa_hpc.tracker.poller import utc_now
from aifa_hpc.tracker.schedule import outage_seconds
from aifa_hpc.tracker.sinks.base import Patience
from aifa_hpc.tracker.sinks.config import load_sinks

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aifa_hpc.tracker.sinks.base import Sink
    from aifa_hpc.tracker.store import Store

logger = logging.getLogger(__name__)

_TRIES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What became of one sink's events.

    Attributes:
        sink: Its name.
        count: Events that were delivered; metrics are no events.
        error: Why some are still due.
    """

    sink: str
    count: int = 0
    error: DeliveryError | None = None


def deliver(
    sinks: Sequence[Sink],
    store: Store,
    *,
    clock: Callable[[], datetime.datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    tries: int = _TRIES,
) -> list[Delivery]:
    """Delivers all that is due to each sink, trying again what may pass; waits for a process that is at it.

    Args:
        sinks: Where to.
        store: Where events are.
        clock: Gives the time, aware.
        sleep: Waits between two tries, in seconds.
        tries: For each delivery.
    """
    with _alone(store.path, wait=True):
        return [_deliver(sink, store, clock(), Patience(attempts=tries, sleep=sleep)) for sink in sinks]


def _deliver(sink: Sink, store: Store, now: datetime.datetime, patience: Patience) -> Delivery:
    try:
        return Delivery(sink=sink.name, count=sink.deliver(store, now=now, patience=patience))
    except DeliveryError as error:
        return Delivery(sink=sink.name, error=error)


class Outbox:
    """Delivers beside other work, at most one try for each sink at a time, and never fails.

    Args:
        load: Gives the user's sinks.
        clock: Gives the time, aware.
        monotonic: A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        load: Callable[[], list[Sink]] = load_sinks,
        *,
        clock: Callable[[], datetime.datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._clock = clock
        self._monotonic = monotonic
        self._sinks: list[Sink] | None = None
        self._failures: dict[str, tuple[int, float]] = {}

    def flush(self, store: Store) -> None:
        """Delivers what is due, if nobody else is at it; sinks that failed just now are left alone for a while."""
        try:
            if self._sinks is None:
                self._sinks = []  # said once, not at every look
                self._sinks = self._load()
            ready = [sink for sink in self._sinks if self._failures.get(sink.name, (0, 0.0))[1] <= self._monotonic()]
            if ready:
                with _alone(store.path, wait=False) as mine:
                    for sink in ready if mine else ():
                        self._note(_deliver(sink, store, self._clock(), Patience(attempts=1, sleep=time.sleep)))
        except AifaError as error:
            logger.warning("events are not delivered: %s", error)
        except Exception:  # a sink's library may raise anything, and asking a site must not fail for it
            logger.exception("events are not delivered")

    def _note(self, done: Delivery) -> None:
        count, _ = self._failures.pop(done.sink, (0, 0.0))
        if done.error is not None:
            self._failures[done.sink] = (count + 1, self._monotonic() + outage_seconds(count + 1))
            if count == 0:
                logger.warning("sink %s: %s `aifa events deliver` tries it at once.", done.sink, done.error)


@contextmanager
def _alone(store: Path, *, wait: bool) -> Iterator[bool]:
    """Whether nobody else delivers meanwhile; where a file system has no locks, an event may come twice."""
    file = os.open(store.with_name("events.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            alone = True
        except BlockingIOError:
            alone = False
        except OSError:
            alone = True
        yield alone
    finally:
        os.close(file)
