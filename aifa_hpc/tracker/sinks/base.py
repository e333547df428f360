"""What every sink does: takes events in order, at least once, and remembers how far it has come.

A sink reads events behind its cursor, delivers them, and only then moves the cursor. Whoever dies in between delivers
the same events once more, each under the same key, so that a reader can tell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from aifa_hpc.errors import DeliveryError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from aifa_hpc.tracker.records import Event
    from aifa_hpc.tracker.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How often a delivery that may pass is tried.

    Attributes:
        attempts: Tries in all.
        sleep: Waits so many seconds: 1, 2, 4, ... and some more at random, so that callers do not come back in step.
    """

    attempts: int
    sleep: Callable[[float], None]

    def retrying(self) -> Retrying:
        """The policy; the last failure is raised as it is."""
        return Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, DeliveryError) and error.passing),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential_jitter(initial=1.0, max=20.0, jitter=1.0),
            sleep=self.sleep,
            reraise=True,
        )


class Sink(ABC):
    """A place that events, or what follows from them, are delivered to.

    Attributes:
        kind: As ``events.toml`` calls such sinks.
        name: As the user named it.
    """

    kind: str
    name: str

    @abstractmethod
    def deliver(self, store: Store, *, now: datetime.datetime, patience: Patience) -> int:
        """Delivers what is due and returns how many events that were.

        Raises:
            DeliveryError: Some are not delivered; they stay due.
        """


class EventSink(Sink):
    """A sink that takes events, one batch after the other.

    Args:
        name: As the user named it.
        since: Earlier events are passed over.
    """

    batch = 1

    def __init__(self, name: str, *, since: datetime.datetime | None = None) -> None:
        self.name = name
        self._since = since

    @abstractmethod
    def send(self, events: Sequence[Event], store: Store) -> None:
        """Delivers a batch; when it returns, all of it has arrived.

        Raises:
            DeliveryError: It may have arrived or not.
        """

    def deliver(self, store: Store, *, now: datetime.datetime, patience: Patience) -> int:
        del now
        cursor, count = f"{self.kind}:{self.name}", 0
        while events := store.events(after=store.cursor(cursor), limit=self.batch):
            due = [event for event in events if self._since is None or event.at >= self._since]
            if due:
                patience.retrying()(self.send, due, store)
            store.advance(cursor, events[-1].id)
            count += len(due)
        return count


def key_of(event: Event) -> str:
    """What tells an event from every other one, of any user: tokens are nobody else's."""
    return f"{event.token}-{event.id}"


def event_fields(event: Event) -> dict[str, Any]:
    """An event as machines get it."""
    return {
        "key": key_of(event),
        "event": event.id,
        "at": event.at.isoformat(),
        "site": event.site,
        "id": event.job_id,
        "name": event.name,
        "token": event.token,
        "state": event.state,
        "previous": event.previous,
        "reason": event.reason,
    }


def event_line(event: Event) -> str:
    """An event as a person reads it."""
    came = f"{event.previous} -> {event.state}" if event.previous else event.state
    line = f"job {event.job_id or event.token} ({event.name}) on {event.site}: {came}"
    return f"{line} ({event.reason})" if event.reason else line
