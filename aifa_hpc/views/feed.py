"""What the live view is fed with: one thread for the store, and one for each site, so that no key waits for a wire.

A site's thread asks about its jobs at the site's own pace, reads the log that is looked at, and cancels; all over one
connection, one after the other. What they find is handed over as values.
"""

from __future__ import annotations

import codecs
import contextlib
import datetime
import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from aifa_hpc.errors import AifaError, InputError, SiteError
from aifa_hpc.sites.load import state_dir
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.tracker.connection import connect
from aifa_hpc.tracker.groups import whole
from aifa_hpc.tracker.logs import LogReader
from aifa_hpc.tracker.poller import utc_now
from aifa_hpc.tracker.schedule import outage_seconds
from aifa_hpc.tracker.store import Store
from aifa_hpc.views.board import SiteState, Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.staging.ledger import Remembered
    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.records import Row

TICK_SECONDS = 1.0
LOG_SECONDS = 3.0
"""Between two looks at the log that is shown; ``aifa logs -f`` has two seconds, for one who only reads."""

_LEAVE_SECONDS = 1.0
"""How long the end of the program waits for questions that are under way; their answers are for nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The log that somebody looks at.

    Attributes:
        token: Of the job.
        site: Where it is.
        tail: Lines of each file to begin with; 0 for all.
    """

    token: str
    site: str
    tail: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """All jobs and transfers, as they stand."""

    jobs: tuple[Watched, ...]
    transfers: tuple[Remembered, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogText:
    """Some more of a log, or a word in its place."""

    look: Look
    text: str = ""
    told: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A sentence about what was done."""

    text: str
    bad: bool = False


News: TypeAlias = Jobs | SiteState | LogText | Notice


class Feed:
    """All that runs behind the live view.

    Args:
        tell: Takes what is new; called from several threads.
        site: Only the jobs of this site.
    """

    def __init__(self, tell: Callable[[News], None], *, site: str | None = None) -> None:
        self._tell = tell
        self._site = site
        self._stop = threading.Event()
        self._sites: dict[str, SiteFeed] = {}
        self._lock = threading.Lock()
        self._counted: dict[str, tuple[datetime.datetime, int]] = {}
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; questions that are under way are waited for a moment only."""
        self._stop.set()
        deadline = time.monotonic() + _LEAVE_SECONDS
        with self._lock:
            feeds = [*self._sites.values()]
        for feed in feeds:
            feed.stop()
        for thread in (self._thread, *(feed.thread for feed in feeds)):
            thread.join(max(0.0, deadline - time.monotonic()))

    def look(self, look: Look | None) -> None:
        """Reads this log from now on, and no other."""
        if look is not None:
            self._feed(look.site)
        with self._lock:
            for feed in self._sites.values():
                feed.look(look if look is not None and look.site == feed.name else None)

    def cancel(self, row: Row) -> None:
        """Asks the job's site to cancel it."""
        self._feed(row.site).cancel(row)

    def _feed(self, name: str) -> SiteFeed:
        with self._lock:
            if name not in self._sites:
                self._sites[name] = SiteFeed(name, self._tell)
                self._sites[name].thread.start()
            return self._sites[name]

    def _run(self) -> None:
        try:
            with contextlib.closing(Store(state_dir() / "jobs.sqlite3")) as store:
                while not self._stop.is_set():
                    self._read(store)
                    self._stop.wait(TICK_SECONDS)
        except AifaError as error:
            self._tell(Notice(text=str(error), bad=True))

    def _read(self, store: Store) -> None:
        groups: dict[str, list[Row]] = {}
        for row in store.rows(self._site):
            groups.setdefault(row.part_of or row.token, []).append(row)
        jobs = [Watched(row=whole(parts), runs=self._runs(store, parts)) for parts in groups.values()]
        self._tell(Jobs(jobs=tuple(jobs), transfers=read_transfers()))
        for name in {one.row.site for one in jobs if not one.row.status.over}:
            self._feed(name)

    def _runs(self, store: Store, parts: list[Row]) -> int:
        """How often the present part was begun; looked up again only when its state has changed."""
        row = next((row for row in parts if not row.status.over), parts[-1])
        known = self._counted.get(row.token)
        if known is None or known[0] != row.changed_at:
            number = max((one.number for one in store.attempts(row.token)), default=1)
            known = self._counted[row.token] = (row.changed_at, number)
        return known[1]


class SiteFeed:
    """A site's own thread.

    Args:
        name: Of the site; also an attribute.
        tell: Takes what is new.
    """

    def __init__(self, name: str, tell: Callable[[News], None]) -> None:
        self.name = name
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._tell = tell
        self._stop = threading.Event()
        self._wake: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._look: Look | None = None
        self._state = SiteState(name=name)
        self._failures = 0
        self._not_before = 0.0
        self._troubled: datetime.datetime | None = None
        self._reading: _Reading | None = None

    def stop(self) -> None:
        """Ends after what is under way."""
        self._stop.set()
        self._wake.put(None)

    def look(self, look: Look | None) -> None:
        """Reads this log from now on."""
        if look != self._look:
            self._look = look
            self._wake.put(None)

    def cancel(self, row: Row) -> None:
        """Cancels a job, as soon as what is under way is done."""
        self._wake.put(row)

    def _run(self) -> None:
        connection: Connection | None = None
        while not self._stop.is_set():
            wanted = self._next()
            ready = time.monotonic() >= self._not_before
            if self._stop.is_set() or (wanted is None and not ready):
                continue
            try:
                if connection is None:
                    connection = connect(self.name)
                if wanted is not None:
                    self._cancel(connection, wanted)
                if ready:
                    self._poll(connection)
                    self._read(connection)
            except AifaError as error:
                self._failed(error)
                if wanted is not None:
                    self._tell(Notice(text=f"{_job(wanted)} was not cancelled: {error}", bad=True))
        if connection is not None:
            connection.close()

    def _next(self) -> Row | None:
        """A job to cancel; after a tick at most, none."""
        with contextlib.suppress(queue.Empty):
            while not self._stop.is_set():
                wanted = self._wake.get(timeout=TICK_SECONDS)
                if wanted is not None or self._wake.empty():
                    return wanted
        return None

    def _poll(self, connection: Connection) -> None:
        asked = connection.poll()
        # Where it is not our turn, another process may have asked: its answer is ours.
        answered = connection.store.answers().get(self.name)
        state = replace(self._state, jobs=len(connection.jobs(active=True)), answered=answered)
        if asked or (answered is not None and self._troubled is not None and answered > self._troubled):
            self._failures, self._troubled = 0, None
            state = replace(state, trouble="", again=None)
        self._say(state)

    def _read(self, connection: Connection) -> None:
        look = self._look
        if look is None or self._reading is None or self._reading.look != look:
            self._reading = None if look is None else _Reading(look, connection)
        if self._reading is None:
            return
        try:
            self._reading.more(self._tell)
        except (InputError, SiteError) as error:  # of this log; the site is there
            self._reading.over = True
            self._tell(LogText(look=self._reading.look, told=str(error)))

    def _cancel(self, connection: Connection, row: Row) -> None:
        connection.job(row.token).cancel()
        self._tell(Notice(text=f"asked {self.name} to cancel {_job(row)}"))

    def _failed(self, error: AifaError) -> None:
        """A person may mend it meanwhile, so it is tried again, ever more seldom."""
        self._failures += 1
        seconds = outage_seconds(self._failures)
        self._not_before = time.monotonic() + seconds
        self._troubled = utc_now()
        again = self._troubled + datetime.timedelta(seconds=seconds)
        self._say(replace(self._state, trouble=str(error), again=again))
        if self._look is not None:
            self._tell(LogText(look=self._look, told=str(error)))

    def _say(self, state: SiteState) -> None:
        if state != self._state:
            self._state = state
            self._tell(state)


class _Reading:
    """One log that is looked at, as far as it was read.

    Attributes:
        look: Which one.
        over: There is no more of it.
    """

    def __init__(self, look: Look, connection: Connection) -> None:
        self.look = look
        self.over = False
        self._handle = connection.job(look.token)
        self._reader = LogReader(connection.cluster.read_logs, tail=look.tail)
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._due = 0.0
        self._last = ""

    def more(self, tell: Callable[[News], None]) -> None:
        """Reads on, when it is time and there may be more.

        Raises:
            InputError: The job has no id, so it has no log.
            SiteError: It cannot be read.
            TransportError: The site cannot be reached.
        """
        if self.over or time.monotonic() < self._due:
            return
        over = self._handle.refresh().over
        news, more = self._reader.more(self._handle.log_sources())
        for one in news:
            name = one.path.rpartition("/")[2].removesuffix(".out")
            heading = f"==> {name} <==\n" if self._reader.count > 1 and name != self._last else ""
            self._last = name
            if one.anew or one.path not in self._decoders:
                self._decoders[one.path] = codecs.getincrementaldecoder("utf-8")("replace")
            tell(LogText(look=self.look, text=heading + self._decoders[one.path].decode(one.data)))
        if not self._decoders:
            tell(LogText(look=self.look, told="it wrote nothing" if over else "nothing is written yet"))
        self.over = over and not more
        self._due = time.monotonic() + (0.0 if more else LOG_SECONDS)


def read_transfers() -> tuple[Remembered, ...]:
    """The last copy to each place, the newest first, as staging's ledger has them."""
    path = state_dir() / "staging.sqlite3"
    if not path.exists():  # opening a ledger makes one
        return ()
    try:
        with Ledger(path) as ledger:
            return tuple(ledger.copies())
    except AifaError:
        return ()  # `aifa stage` says what is wrong with it


def _job(row: Row) -> str:
    return f"job {row.job_id or row.token}"
