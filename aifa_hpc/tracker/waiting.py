"""Waiting for many jobs on many sites: one thread for each connection asks its site, and tells whoever wants to know.

Callbacks, ``await``, :func:`as_completed` and following events all rest on a :class:`Watcher`. Its thread lives while
somebody is told something and asks no more often than any other poll, however many jobs are waited for. A site that
does not answer holds up nobody who waits for another.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from aifa_hpc.errors import AifaError, InputError, JobFailedError, SiteError, TransportError
from aifa_hpc.tracker.groups import whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.handle import JobHandle
    from aifa_hpc.tracker.records import Row

logger = logging.getLogger(__name__)

News: TypeAlias = "Row | AifaError"
"""What a subscriber is told: the job as it is now, or why it will be told nothing any more."""

TICK_SECONDS = 0.5
"""How often the store is looked into; the site is asked at its own pace."""

_JOIN_SECONDS = 2.0
"""How long closing waits for a question that is under way; its thread ends by itself after that."""


@dataclass(kw_only=True, slots=True, eq=False)
class Subscription:
    """Somebody who wants to know.

    Attributes:
        token: The job's; empty to be told of failures only.
        tell: Told, in the watcher's thread.
        last: State and reason that it knows.
    """

    token: str
    tell: Callable[[News], None]
    last: tuple[str, str] | None = None


class Watcher:
    """Asks a site in a thread of its own while anybody is subscribed.

    Args:
        connection: The site.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._fresh = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @property
    def busy(self) -> bool:
        """Somebody is told something."""
        return bool(self._subscriptions)

    def add(self, subscription: Subscription) -> None:
        """Begins to tell; at once what differs from what is known, then every change.

        Raises:
            InputError: The connection is closed.
        """
        with self._lock:
            if self._closed:
                raise self._over()
            self._subscriptions.append(subscription)
            self._fresh = True
            if self._thread is None:
                name = f"aifa-{self._connection.cluster.site.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
        self._wake.set()

    def remove(self, subscription: Subscription) -> None:
        """Tells no more."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
        self._wake.set()

    @contextmanager
    def telling(self, token: str, tell: Callable[[News], None]) -> Iterator[None]:
        """Tells of a job inside."""
        subscription = Subscription(token=token, tell=tell)
        self.add(subscription)
        try:
            yield
        finally:
            self.remove(subscription)

    def close(self) -> None:
        """Ends the thread; who still waits is told so."""
        thread, self._closed = self._thread, True
        self._fail(self._over())
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def _over(self) -> InputError:
        return InputError(f"the connection to {self._connection.cluster.site.name} was closed.")

    def _run(self) -> None:
        try:
            self._follow()
        except AifaError as error:
            self._fail(error)
        except Exception as error:  # whoever waits must not wait for ever for a thread that is gone
            logger.exception("jobs are not followed any more")
            self._fail(AifaError(f"jobs are not followed any more: {type(error).__name__}: {error}"))
        finally:
            self._connection.leave_thread()

    def _follow(self) -> None:
        patience = self._connection.patience(None)
        seen = -1
        while self._wanted():
            asked = False
            if patience.ready():
                with patience.bearing(TransportError, SiteError):
                    asked = self._connection.poll()
                    if asked:
                        patience.answered()
            newest = self._connection.store.last_event()
            if self._take_fresh() or asked or newest != seen:
                seen = newest
                self._tell()
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()

    def _wanted(self) -> bool:
        with self._lock:
            if not self._subscriptions:
                self._thread = None  # whoever comes next starts another
            return bool(self._subscriptions)

    def _take_fresh(self) -> bool:
        with self._lock:
            fresh, self._fresh = self._fresh, False
        return fresh

    def _tell(self) -> None:
        for subscription in list(self._subscriptions):
            if not subscription.token:
                continue
            row = whole(self._connection.store.parts(subscription.token))
            known = (row.status.state, row.status.reason)
            if known != subscription.last:
                subscription.last = known
                _call(subscription, row)
            if row.status.over:
                self.remove(subscription)

    def _fail(self, error: AifaError) -> None:
        with self._lock:
            left, self._subscriptions = self._subscriptions, []
            self._thread = None
        self._wake.set()
        for subscription in left:
            _call(subscription, error)


def _call(subscription: Subscription, news: News) -> None:
    try:
        subscription.tell(news)
    except Exception:  # a subscriber's own fault must not end the others' news
        logger.exception("what was to be told of job %s failed", subscription.token)


def call_back(job: JobHandle, tell: Callable[[Status], None], *, end: bool) -> Callable[[], None]:
    """Has a function called with every new status of a job, or with its last one; returns what ends that."""

    def told(news: News) -> None:
        if isinstance(news, AifaError):
            logger.warning("job %s is not watched any more: %s", job.id or job.token, news)
        elif news.status.over or not end:
            job.know(news)
            tell(news.status)

    last = None if end else (job.status.state, job.status.reason)
    subscription = Subscription(token=job.token, tell=told, last=last)
    job.connection.watcher.add(subscription)
    return lambda: job.connection.watcher.remove(subscription)


async def statuses(job: JobHandle) -> AsyncIterator[Status]:
    """A job's status now, and every new one up to its last.

    Raises:
        TransportError: The site cannot be reached until a person mends something.
        InputError: The connection was closed.
    """
    import asyncio  # noqa: PLC0415 - most scripts do without

    loop = asyncio.get_running_loop()
    news: asyncio.Queue[News] = asyncio.Queue()

    def tell(one: News) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.put_nowait, one)

    with job.connection.watcher.telling(job.token, tell):
        while True:
            one = await news.get()
            if isinstance(one, AifaError):
                raise one
            job.know(one)
            yield one.status
            if one.status.over:
                return


def as_completed(jobs: Iterable[JobHandle], *, timeout: float | None = None) -> Iterator[JobHandle]:
    """Gives jobs as they end, on any number of connections and sites.

    Args:
        jobs: Handles; one that is over already comes at once.
        timeout: Seconds for all of them; the jobs go on.

    Raises:
        TimeoutError: Some are not over.
        TransportError: A site cannot be reached until a person mends something.
    """
    left = {(job.token, id(job.connection)): job for job in jobs}
    total, deadline = len(left), None if timeout is None else time.monotonic() + timeout
    ended: queue.SimpleQueue[tuple[tuple[str, int], News]] = queue.SimpleQueue()

    def telling(key: tuple[str, int]) -> Callable[[News], None]:
        def tell(news: News) -> None:
            if isinstance(news, AifaError) or news.status.over:
                ended.put((key, news))

        return tell

    with ExitStack() as stack:
        for key, job in left.items():
            stack.enter_context(job.connection.watcher.telling(job.token, telling(key)))
        while left:
            try:
                seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
                key, news = ended.get(timeout=seconds)
            except queue.Empty:
                shown = ", ".join(f"{job.id or job.token} is {job.refresh().state}" for job in left.values())
                raise TimeoutError(f"{len(left)} of {total} jobs are not over after {timeout:g} s: {shown}") from None
            if isinstance(news, AifaError):
                raise news
            job = left.pop(key)
            job.know(news)
            yield job


def wait_all(jobs: Iterable[JobHandle], *, timeout: float | None = None, check: bool = False) -> list[Status]:
    """Waits until all jobs are over, on any number of connections and sites, and gives their last statuses in order.

    Args:
        jobs: Handles.
        timeout: Seconds for all of them; the jobs go on.
        check: Raise when one did not end well.

    Raises:
        TimeoutError: Some are not over.
        TransportError: A site cannot be reached until a person mends something.
        JobFailedError: Some ended in another state than COMPLETED, and ``check`` is set; all of them are named.
    """
    known = list(jobs)
    for _ in as_completed(known, timeout=timeout):
        pass
    found = [job.refresh() for job in known]
    failed = [job for job, status in zip(known, found, strict=True) if not status.ok]
    if check and failed:
        raise JobFailedError(
            f"{len(failed)} of {len(known)} jobs did not end well: "
            + ", ".join(f"{job.id or job.token} ({job.name}) ended as {job.status.state}" for job in failed)
            + ".",
            hint="`aifa logs ID` shows their last lines.",
        )
    return found
