"""Threads that carry parts from a source to a destination, each with a lane of its own at both.

A worker asks for parts ahead and lets writes fly, so that neither a round trip nor an ``fsync`` stops the stream; both
are bounded for each lane. A part is acknowledged when it is durable, and then noted in the ledger; the worker that gets
the acknowledgement of a file's last part publishes it. The first error stops all, after what was handed over has been
acknowledged.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import AifaError, TransferError, TransportError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.feed import PartFeed
from aifa_hpc.staging.jobs import Jobs
from aifa_hpc.staging.pace import TICK_SECONDS, Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aifa_hpc.staging.endpoints.base import Endpoint, Lane, Pending, Reading
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.model import Found, Part, Partial, PartSum, Target
    from aifa_hpc.staging.progress import Progress

AHEAD_BYTES = 2 * BLOCK
"""What a lane may have asked for: the part at hand and the next, so that a source never waits for our question."""
FLYING_BYTES = 8 * BLOCK
"""What a lane may have handed over that is not durable yet.

It is no memory of ours, and is not sent again unless the far side's machine fails: after a broken link it is hashed
where it lies.
"""
AHEAD_JOBS = 64
"""How many parts a lane may have asked for; small files are asked for many at a time, so half of them must be done."""
FLYING_JOBS = 128
ATTEMPTS = 3
"""How often a part that arrives damaged is sent."""


@dataclass(kw_only=True)
class FileWork:
    """One file on its way.

    Attributes:
        file: At the source.
        target: What it shall be.
        partial: Where its parts go; ``None`` for a file that is stored in one piece.
        sums: Digests by part, filled as they are acknowledged.
        missing: Parts that are not there yet.
        wanted: What each part must hold, where that is known: other content is no longer what was planned.
    """

    file: Found
    target: Target
    partial: Partial | None
    sums: list[PartSum | None]
    missing: int
    wanted: Sequence[PartSum] = ()
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def arrived(self, part: Part, found: PartSum) -> bool:
        """Notes a part; whether it was the last one."""
        with self.lock:
            self.sums[part.index] = found
            self.missing -= 1
            return self.missing == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A part of a file that is to be carried; ``attempt`` counts how often that was tried, from one."""

    work: FileWork
    part: Part
    attempt: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flying:
    job: Job
    feed: PartFeed
    pending: Pending


class Stopped(Exception):  # noqa: N818 - not an error: somebody else had one
    """The crew was stopped by an error in one of its workers."""


class Crew:
    """Workers between two endpoints.

    Args:
        source: Where parts are read.
        destination: Where they are written.
        ledger: Told of every acknowledged part.
        progress: Told of every byte.
        published: Called with each file that was published, as the destination has it now.
        limit: Waits until so many bytes may go on.
        first: How many workers to begin with.
        lanes: How many at most.
    """

    def __init__(
        self,
        *,
        source: Endpoint,
        destination: Endpoint,
        ledger: Ledger,
        progress: Progress,
        published: Callable[[FileWork, Found], None],
        limit: Callable[[int], None],
        first: int,
        lanes: int,
    ) -> None:
        self._source, self._destination = source, destination
        self._ledger, self._progress, self._published, self._limit = ledger, progress, published, limit
        self.source_is_near = source.local
        self._jobs: Jobs[Job] = Jobs(2 * AHEAD_JOBS)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._pace = Pace(first, lanes)
        self._carried = 0
        self._active = 0
        self._threads: list[threading.Thread] = []
        self._hire()
        self._steering = threading.Thread(target=self._steer, name="aifa-pace", daemon=True)
        self._steering.start()

    def give(self, job: Job) -> None:
        """Hands over a job, waiting while there are enough.

        Raises:
            Stopped: There was an error; :meth:`finish` raises it.
        """
        if not self._jobs.put(job):
            raise Stopped

    def finish(self) -> None:
        """Waits until all jobs are done.

        Raises:
            AifaError: The first error of a worker.
        """
        self._jobs.close()
        self._join()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Stops after what was handed over is acknowledged."""
        self._jobs.stop()
        self._join()

    def _join(self) -> None:
        for thread in self._threads:  # it may grow meanwhile
            thread.join()
        self._over.set()
        self._steering.join()
        for thread in self._threads:
            thread.join()

    def _hire(self) -> None:
        with self._lock:
            for _ in range(self._pace.wanted - self._active):
                thread = threading.Thread(target=self._work, name=f"aifa-lane-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                self._active += 1
                thread.start()

    def _steer(self) -> None:
        """Looks at what is carried, and hires; who is too many leaves by himself."""
        before = 0
        while not self._over.wait(TICK_SECONDS):
            with self._lock:
                carried, before = self._carried - before, self._carried
                wanted = self._pace.look(carried / TICK_SECONDS)
            if wanted > self._active and len(self._jobs) and not self._jobs.stopped:
                self._hire()

    def _work(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                try:
                    lanes = [stack.enter_context(place.lane()) for place in (self._source, self._destination)]
                except (TransportError, TransferError):
                    # A server may allow fewer than we would like: the others go on without this one.
                    with self._lock:
                        self._active -= 1
                        self._pace.refused(self._active)
                        if self._active:
                            return
                    raise
                _Worker(self, *lanes).run()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in finish()
            with self._lock:
                self._error = self._error or error
            self._jobs.stop()

    # What a worker asks of the crew.

    def next_job(self, *, wait: bool) -> Job | None:
        """A job, or ``None`` when there is none: now, or (waiting) any more."""
        return self._jobs.take(wait=wait)

    def too_many(self) -> bool:
        """Whether the worker that asks should leave; he is counted as gone then."""
        if self._active <= self._pace.wanted:
            return False
        with self._lock:
            if self._active <= self._pace.wanted:
                return False
            self._active -= 1
            return True

    def carried(self, size: int) -> None:
        """So many bytes were handed over."""
        with self._lock:
            self._carried += size

    def feed(self, job: Job, reading: Reading) -> PartFeed:
        """The bytes of a job."""
        return PartFeed(
            reading,
            file=job.work.file,
            length=job.part.length,
            place=str(self._source),
            progress=self._progress,
            limit=self._limit,
            wanted=job.work.wanted[job.part.index] if job.work.wanted else None,
        )

    def acknowledged(self, flying: _Flying, destination: Lane, found: Found | None) -> None:
        """Notes what arrived, and publishes a file that is complete."""
        work, part = flying.job.work, flying.job.part
        arrived = replace(flying.feed.sum, md5=flying.pending.md5)
        if work.partial is not None:
            self._ledger.note_part(self._destination.identity, work.target.path, part.index, arrived)
        if not work.arrived(part, arrived):
            return
        if found is None:
            found = self.publish(work, destination)
        self._published(work, found)

    def publish(self, work: FileWork, lane: Lane) -> Found:
        """Gives a complete file its name."""
        assert work.partial is not None, "a file stored in one piece is published by storing it"
        sums = tuple(found for found in work.sums if found is not None)
        assert len(sums) == len(work.sums), "published before all parts are there"
        return lane.publish(work.partial, replace(work.target, sums=sums))

    def lost(self, error: TransportError) -> TransferError:
        """A broken connection, as an error of the copy."""
        return TransferError(
            f"the copy from {self._source} to {self._destination} was interrupted: {error.message.rstrip('.')}.",
            hint="Run the same command again: what arrived is kept and is not sent twice.",
        )

    def taken_back(self, feed: PartFeed) -> None:
        """Bytes that passed and will pass again."""
        self._progress.advance(-feed.passed)


class _Worker:
    def __init__(self, crew: Crew, source: Lane, destination: Lane) -> None:
        self._crew, self._source, self._destination = crew, source, destination
        self._ahead: deque[tuple[Job, Reading]] = deque()
        self._ahead_bytes = 0
        self._flying: deque[_Flying] = deque()
        self._redo: deque[Job] = deque()
        self._leaving = False
        self._flying_bytes = 0
        # Nearby, a file is read when its turn comes: what is asked for ahead only waits for us instead of for others.
        self._ahead_most = 1 if crew.source_is_near else AHEAD_BYTES

    def run(self) -> None:
        """Carries jobs until there are no more."""
        try:
            while True:
                if not self._leaving:
                    self._leaving = self._crew.too_many()
                self._ask_ahead()
                if self._ahead:
                    self._send()
                elif self._flying:
                    self._land()
                elif self._leaving:
                    return
                else:
                    job = self._crew.next_job(wait=True)
                    if job is None:
                        return
                    self._ask(job)
        except TransportError as error:
            raise self._crew.lost(error) from error
        except BaseException:
            # What flies may still land; an error in that does not hide the first one.
            with contextlib.suppress(AifaError):
                while self._flying:
                    self._land()
            raise

    def _ask_ahead(self) -> None:
        if len(self._ahead) > AHEAD_JOBS // 2:
            return
        while self._ahead_bytes < self._ahead_most and len(self._ahead) < AHEAD_JOBS:
            job = self._redo.popleft() if self._redo else None
            if job is None and not self._leaving:
                job = self._crew.next_job(wait=False)
            if job is None:
                return
            self._ask(job)

    def _ask(self, job: Job) -> None:
        self._ahead.append((job, self._source.read(job.work.file.path, job.part)))
        self._ahead_bytes += job.part.length

    def _send(self) -> None:
        job, reading = self._ahead.popleft()
        self._ahead_bytes -= job.part.length
        feed = self._crew.feed(job, reading)
        try:
            pending = self._hand_over(job, feed)
        except DamagedError:
            self._again(job, feed)
            return
        self._crew.carried(job.part.length)
        self._flying.append(_Flying(job=job, feed=feed, pending=pending))
        self._flying_bytes += job.part.length
        while self._flying_bytes > max(FLYING_BYTES, job.part.length) or len(self._flying) > FLYING_JOBS:
            self._land()

    def _hand_over(self, job: Job, feed: PartFeed) -> Pending:
        work = job.work
        if work.partial is None:
            return self._destination.store(work.target, feed)
        return self._destination.write(work.partial, job.part, feed)

    def _land(self) -> None:
        flying = self._flying.popleft()
        self._flying_bytes -= flying.job.part.length
        try:
            found = flying.pending.wait()
        except DamagedError:
            self._again(flying.job, flying.feed)
            return
        self._crew.acknowledged(flying, self._destination, found)

    def _again(self, job: Job, feed: PartFeed) -> None:
        """Sends what arrived damaged once more, or raises what is being handled when that was tried often enough."""
        if job.attempt == ATTEMPTS:
            raise  # noqa: PLE0704 - called while the error is handled
        self._crew.taken_back(feed)
        self._redo.append(replace(job, attempt=job.attempt + 1))
