"""What users hold of a site: a :class:`Connection`, which gives a handle for each job on it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

from aifa_hpc.cluster import Cluster
from aifa_hpc.errors import AifaError, InputError, SiteError, TransportError
from aifa_hpc.jobs.check import require_open
from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.sites.load import load_site, state_dir
from aifa_hpc.tracker.adopting import adopt
from aifa_hpc.tracker.budget import open_site
from aifa_hpc.tracker.groups import collapse, whole
from aifa_hpc.tracker.handle import JobHandle
from aifa_hpc.tracker.outbox import Outbox
from aifa_hpc.tracker.patience import Patience
from aifa_hpc.tracker.poller import Poller, utc_now
from aifa_hpc.tracker.settling import Ghost, ghosts, settle
from aifa_hpc.tracker.store import Store
from aifa_hpc.tracker.stream import follow_events, read_events
from aifa_hpc.tracker.submitter import new_token
from aifa_hpc.tracker.waiting import TICK_SECONDS, Subscription, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from aifa_hpc.executor.executor import Executor
    from aifa_hpc.jobs.spec import Job, Resources
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.records import Event, Row
    from aifa_hpc.tracker.waiting import News


def connect(name: str, *, template: Path | None = None) -> Connection:
    """Opens a site for work; nothing is sent until something is asked of it.

    Args:
        name: ``lumi``, ``jupiter``, ``local``, or a site of the user's ``sites.toml``.
        template: A template's file that is used in the place of the launch kind's own.

    Raises:
        InputError: No such site, or it is a draft, or the file that remembers jobs cannot be used.
    """
    site = load_site(name)
    require_open(site)
    store = Store(state_dir() / "jobs.sqlite3")
    try:
        return Connection(Cluster(site, open_site(site), template=template), store)
    except BaseException:
        store.close()
        raise


class Connection:
    """A site, the wire to it and the memory of its jobs. Any thread may use it, callbacks among them.

    Args:
        cluster: The site and its transport; closed with the connection.
        store: The job store; closed with the connection.
        sleep: Waits, in seconds.
        monotonic: A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self.watcher = Watcher(self)
        self._outbox = Outbox()
        self._path = store.path
        self._mine = threading.local()
        self._mine.store = store
        self._sleep = sleep
        self._monotonic = monotonic

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection to {self.cluster.site.name}>"

    def close(self) -> None:
        """Lets go of the wire and the store; jobs go on."""
        self.watcher.close()
        self.cluster.close()
        self.leave_thread()

    @property
    def store(self) -> Store:
        """The memory of its jobs, opened once by each thread that asks."""
        if not hasattr(self._mine, "store"):
            self._mine.store = Store(self._path)
        store: Store = self._mine.store
        return store

    def leave_thread(self) -> None:
        """Closes what this thread has opened of the store."""
        if hasattr(self._mine, "store"):
            self._mine.store.close()

    @property
    def _poller(self) -> Poller:
        if not hasattr(self._mine, "poller"):
            self._mine.poller = Poller(self.cluster, self.store)
        poller: Poller = self._mine.poller
        return poller

    def submit(self, job: Job) -> JobHandle:
        """Submits a job exactly once.

        Raises:
            InputError: The job is not legal there; all problems are listed and nothing was sent.
            SiteError: The site refused it.
            NotSentError: It was not submitted; try again.
            SubmissionUnknownError: It may have been submitted; never submit it again, ``jobs()`` settles it.
        """
        return JobHandle(self, self._poller.submitter.submit(job))

    def submit_many(self, jobs: Sequence[Job]) -> list[JobHandle]:
        """Submits many jobs, each exactly once.

        All for which the site has room are one command, the others are submitted as room comes, by whoever polls. A
        handle's status tells what became of it; an array of any length is one handle.

        Raises:
            InputError: Some of them are not legal there; all problems are listed and nothing was sent.
            SiteError: The site has no place for them; none was submitted.
            NotSentError: None was submitted; try again.
        """
        return [JobHandle(self, row) for row in self._poller.queue.put(jobs)]

    def adopt(self, ids: Sequence[str]) -> list[JobHandle]:
        """Follows jobs that were submitted by hand or by other tools, by their ids.

        Raises:
            InputError: Some are not known there, or not yours; none was adopted.
        """
        return [JobHandle(self, row) for row in adopt(ids, self.cluster, self.store, clock=utc_now, token=new_token)]

    def forget(self, token: str) -> int:
        """Cancels those parts of a job that wait here; how many did."""
        return sum(self._poller.queue.drop(row) for row in self.store.parts(token))

    def settle(self, rows: Sequence[Row]) -> list[Row]:
        """Asks the site what became of jobs in doubt; see :mod:`aifa_hpc.tracker.settling`."""
        return settle(rows, self._poller, self.cluster, self.store, utc_now())

    def ghosts(self) -> list[Ghost]:
        """Receipts on the site that nobody here remembers, in all folders that jobs of ours are in."""
        rows = self.store.rows(self.cluster.site.name)
        folders = {row.folder.rpartition("/")[0] for row in rows if row.folder}
        folders.add(f"{self.cluster.workdir(self.cluster.site.access.account)}/jobs")
        return ghosts(self.cluster, self.store, sorted(folders))

    def jobs(self, *, active: bool = False) -> list[JobHandle]:
        """The jobs remembered for this site, the oldest first, as they stand in the store."""
        rows = collapse(self.store.rows(self.cluster.site.name))
        return [JobHandle(self, row) for row in rows if not (active and row.status.over)]

    def job(self, word: str) -> JobHandle:
        """A remembered job by its id or token; also after the process that submitted it is gone.

        The first part of a chain or of an array in chunks stands for the whole. ``123_4`` is the array 123, of which
        only task 4 is read and cancelled.

        Raises:
            InputError: Nobody knows it.
        """
        base, _, task = word.partition("_")
        row = self.store.find(base, self.cluster.site.name)
        if task and not (task.isascii() and task.isdigit() and int(task) in read_indices(row.tasks)):
            rule, name = f"its tasks are {row.tasks}" if row.tasks else "it is no array", row.job_id or base
            raise InputError(f"job {name} has no task {task!r}: {rule}.", hint=f"{name} alone is all of it.")
        return JobHandle(self, whole(self.store.parts(row.token)), task=task)

    def parts(self, token: str) -> list[Row]:
        """The submissions of the job whose first one has this token, in order."""
        return self.store.parts(token)

    def watch(self, token: str, tell: Callable[[News], None]) -> None:
        """Has a function told of a job now and with each change, to its end, in a thread of the connection's.

        Raises:
            InputError: The connection is closed.
        """
        self.watcher.add(Subscription(token=token, tell=tell))

    def executor(self, *, resources: Resources, **options: Any) -> Executor:
        """Submits Python functions; options as :class:`aifa_hpc.executor.executor.Executor` has them.

        Args:
            resources: What each call asks for.
            options: ``python``, ``container``, ``by_value`` and so on.
        """
        from aifa_hpc.executor.executor import Executor  # noqa: PLC0415 - only where functions are submitted

        return Executor(self, resources=resources, **options)

    def poll(self) -> bool:
        """Asks the site about all jobs that are not over, unless somebody asked just now; then events are delivered."""
        asked = self._poller.poll()
        if asked:
            self._outbox.flush(self.store)
        return asked

    def events(self, *, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """Changes of the states of this site's jobs, the oldest first.

        Args:
            after: Number of the last event that is known already.
            follow: Go on with what happens; ends when the caller does.

        Raises:
            TransportError: While following: the site cannot be reached until a person mends something.
        """
        if not follow:
            return read_events(self.store, after=after, site=self.cluster.site.name)
        return self._events_to_come(after)

    def _events_to_come(self, after: int) -> Iterator[Event]:
        failures: list[AifaError] = []
        with self.watcher.telling("", lambda news: failures.append(news) if isinstance(news, AifaError) else None):
            for event in follow_events(self.store, after=after, pause=self.pause):
                if failures:
                    raise failures[0]
                if event is not None and event.site == self.cluster.site.name:
                    yield event

    def patience(self, trouble: Callable[[str], None] | None) -> Patience:
        """What bears the site's outages for somebody who follows a job."""
        return Patience(self.cluster.site.name, trouble=trouble, monotonic=self._monotonic)

    def pause(self, seconds: float) -> None:
        """Waits between two looks."""
        self._sleep(seconds)

    def wait(
        self,
        handle: JobHandle,
        *,
        timeout: float | None = None,
        seen: Callable[[Status], None] | None = None,
        trouble: Callable[[str], None] | None = None,
    ) -> Status:
        """Follows a job to its end, also across times when the site cannot be reached.

        Args:
            handle: The job.
            timeout: Seconds until it gives up waiting; the job goes on.
            seen: Called with every new status.
            trouble: Told when the site cannot be asked, and when it can again; a warning is logged by default.

        Raises:
            TimeoutError: The job is not over yet.
            TransportError: The site cannot be reached until a person mends something.
        """
        begin = self._monotonic()
        patience = self.patience(trouble)
        last = None
        while True:
            if patience.ready():
                with patience.bearing(TransportError, SiteError):
                    if self.poll():
                        patience.answered()
            status = handle.refresh()
            if seen is not None and (status.state, status.reason) != last:
                seen(status)
            last = (status.state, status.reason)
            if status.over:
                return status
            if timeout is not None and self._monotonic() - begin >= timeout:
                raise TimeoutError(f"job {handle.id or handle.token} is {status.state} after {timeout:g} s")
            self._sleep(TICK_SECONDS)
