"""What users hold of a job: follow it, cancel it, read its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from aifa_hpc.errors import InputError, JobFailedError
from aifa_hpc.slurm.logs import Source
from aifa_hpc.tracker.explaining import explain_job
from aifa_hpc.tracker.groups import whole
from aifa_hpc.tracker.logs import decoded, read_logs
from aifa_hpc.tracker.waiting import call_back, statuses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.explanation import Explanation
    from aifa_hpc.tracker.records import Attempt, Row


class JobHandle:
    """One job of a connection.

    Args:
        connection: Its site; also an attribute.
        row: What is remembered of it.
        task: Index of the only task of an array that is read and cancelled; empty for all.
    """

    def __init__(self, connection: Connection, row: Row, *, task: str = "") -> None:
        self.connection = connection
        self._row = row
        self._task = task

    def __repr__(self) -> str:
        return f"<Job {self.id or self.token} {self._row.name} on {self._row.site}: {self.status.state}>"

    @property
    def id(self) -> str | None:
        """Slurm's id, once one is known."""
        return self._row.job_id

    @property
    def token(self) -> str:
        """Identity that exists before the id does."""
        return self._row.token

    @property
    def name(self) -> str:
        """As the user named it."""
        return self._row.name

    @property
    def folder(self) -> str:
        """The job's own folder on the site."""
        return self._row.folder

    @property
    def row(self) -> Row:
        """All that is remembered of it."""
        return self._row

    @property
    def status(self) -> Status:
        """Its status as last read; :meth:`refresh` reads the store, ``connection.poll()`` asks the site."""
        return self._row.status

    @property
    def attempts(self) -> list[Attempt]:
        """Its runs as the store has them: of each link of a chain or chunk of an array, those that were put back first.

        A chain has one for each link, told apart by ``job_id``; one that waits or never began has no ``start``.
        """
        store = self.connection.store
        return [attempt for row in store.parts(self.token) for attempt in store.attempts(row.token)]

    def refresh(self) -> Status:
        """Reads its status from the store."""
        self._row = whole(self.connection.store.parts(self.token))
        return self._row.status

    def wait(
        self,
        *,
        timeout: float | None = None,
        check: bool = False,
        seen: Callable[[Status], None] | None = None,
        trouble: Callable[[str], None] | None = None,
    ) -> Status:
        """Follows it to its end, also across times when the site cannot be reached, and returns its last status.

        Args:
            timeout: Seconds until waiting is given up; the job goes on.
            check: Raise when it did not end well.
            seen: Called with every new status.
            trouble: Told when the site cannot be asked, and when it can again; a warning is logged by default.

        Raises:
            TimeoutError: It is not over yet.
            TransportError: The site cannot be reached until a person mends something.
            JobFailedError: It ended in another state than COMPLETED, and ``check`` is set.
        """
        status = self.connection.wait(self, timeout=timeout, seen=seen, trouble=trouble)
        if check and not status.ok:
            raise JobFailedError(
                f"job {self.id or self.token} ({self.name}) ended as {status.state}"
                + (f", exit {status.exit}" if status.exit else "")
                + (f": {status.reason}" if status.reason else "")
                + ".",
                hint=f"Its last lines: `aifa logs {self.id}`." if self.id else "",
            )
        return status

    def explain(self) -> Explanation:
        """Why it waits, or why it failed, with the evidence; one question to the site.

        Raises:
            TransportError: The site cannot be reached.
        """
        return explain_job(self.connection.cluster, self.connection.store.parts(self.token), task=self._task)

    def know(self, row: Row) -> None:
        """Takes over what somebody else has read of it."""
        self._row = row

    def on_change(self, tell: Callable[[Status], None]) -> Callable[[], None]:
        """Calls a function with every status from now on, in a thread of its own; returns what ends that."""
        return call_back(self, tell, end=False)

    def on_end(self, tell: Callable[[Status], None]) -> Callable[[], None]:
        """Calls a function once with its last status, at once when it is over already; returns what ends that."""
        return call_back(self, tell, end=True)

    def statuses(self) -> AsyncIterator[Status]:
        """``async for``: its status now, and every new one up to its last; the loop goes on meanwhile.

        Raises:
            TransportError: The site cannot be reached until a person mends something.
        """
        return statuses(self)

    def __await__(self) -> Generator[Any, None, Status]:
        return self._ended().__await__()

    async def _ended(self) -> Status:
        async for _ in self.statuses():
            pass
        return self.status

    def cancel(self) -> None:
        """Asks Slurm to cancel it, all parts of it; ``wait`` tells when that has happened. What waits here is gone.

        Raises:
            InputError: It has no id, so there is nothing to cancel, or some part of it has none.
            SiteError: Slurm refused.
        """
        if not self._task and self.connection.forget(self.token):
            self.refresh()
            if self.status.over:
                return
        known = self._known_id()
        if self._task:
            self.connection.cluster.cancel(f"{known}_{self._task}")
            return
        # The last first: a link would begin as soon as the one before it is cancelled.
        parts = self.connection.store.parts(self.token)
        for row in reversed(parts):
            if row.job_id is not None and (row.job_id == known or not row.status.over):
                self.connection.cluster.cancel(row.job_id)
        if left := sum(row.job_id is None and not row.status.over for row in parts):
            raise InputError(
                f"{left} of {len(parts)} parts of job {known} are being submitted and have no id yet; the others are"
                " cancelled.",
                hint="`aifa jobs` asks the site what became of them; then cancel it again.",
            )

    @overload
    def logs(
        self,
        *,
        follow: Literal[False] = False,
        rank: int | None = None,
        tail: int = 0,
        trouble: Callable[[str], None] | None = None,
    ) -> str: ...

    @overload
    def logs(
        self,
        *,
        follow: Literal[True],
        rank: int | None = None,
        tail: int = 0,
        trouble: Callable[[str], None] | None = None,
    ) -> Iterator[str]: ...

    def logs(
        self,
        *,
        follow: bool = False,
        rank: int | None = None,
        tail: int = 0,
        trouble: Callable[[str], None] | None = None,
    ) -> str | Iterator[str]:
        """Its output, with a heading where there are several logs; :func:`read_logs` reads those of many jobs at once.

        Args:
            follow: Give it in pieces as it grows, until the job is over and all of it was given.
            rank: Only of this rank, of a job with a log for each rank.
            tail: Begin so many lines before the end of each log; 0 for its beginning.
            trouble: Told when the site cannot be asked, and when it can again; a warning is logged by default.

        Raises:
            InputError: It has no id, so it has no log.
            TransportError: The site cannot be reached; while following: until a person mends something.
        """
        pieces = read_logs([self], follow=follow, rank=rank, tail=tail, trouble=trouble)
        found = (piece.heading + text for piece, text in decoded(pieces))
        return found if follow else "".join(found)

    def log_sources(self) -> list[Source]:
        """Where its logs are: those of all parts, tasks and ranks.

        Raises:
            InputError: It has no id, so it has no log; or it was submitted by hand and only accounting knows it.
        """
        known = self._known_id()
        if self._task:
            return [Source(path=f"{self.folder}/{known}_{self._task}.")]
        parts = [row for row in self.connection.store.parts(self.token) if row.job_id]
        found = [
            Source(path=row.log_file, exact=True)
            if row.adopted
            else Source(path=f"{row.folder}/{row.job_id}{'_' if row.tasks else '.'}")
            for row in parts
            if row.log_file or not row.adopted
        ]
        if not found:
            raise InputError(
                f"nobody knows where job {known} ({self.name}) has its log: it was over when it was adopted.",
                hint="`sacct -X --format=WorkDir --jobs ID` there shows the folder that sbatch was called in.",
            )
        return found

    def _known_id(self) -> str:
        if self.id is None:
            raise InputError(
                f"job {self.name!r} ({self.token}) has no id: it is {self.status.state} ({self.status.reason}).",
                hint="" if self.status.over else "`aifa jobs` asks the site what became of it.",
            )
        return self.id
