"""What users hold of a job: follow it, cancel it, read its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, JobFailedError, SiteError, TransportError
from aifa_hpc.tracker.groups import whole
from aifa_hpc.tracker.logs import LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.store import Row


class JobHandle:
    """One job of a connection.

    Args:
        connection: Its site.
        row: What is remembered of it.
        task: Index of the only task of an array that is read and cancelled; empty for all.
    """

    def __init__(self, connection: Connection, row: Row, *, task: str = "") -> None:
        self._connection = connection
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

    def refresh(self) -> Status:
        """Reads its status from the store."""
        self._row = whole(self._connection.store.parts(self.token))
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
        status = self._connection.wait(self, timeout=timeout, seen=seen, trouble=trouble)
        if check and not status.ok:
            raise JobFailedError(
                f"job {self.id or self.token} ({self.name}) ended as {status.state}"
                + (f", exit {status.exit}" if status.exit else "")
                + (f": {status.reason}" if status.reason else "")
                + ".",
                hint=f"Its last lines: `aifa logs {self.id}`." if self.id else "",
            )
        return status

    def cancel(self) -> None:
        """Asks Slurm to cancel it, all parts of it; ``wait`` tells when that has happened.

        Raises:
            InputError: It has no id, so there is nothing to cancel.
            SiteError: Slurm refused.
        """
        known = self._known_id()
        if self._task:
            self._connection.cluster.cancel(f"{known}_{self._task}")
            return
        # The last first: a link would begin as soon as the one before it is cancelled.
        for row in reversed(self._connection.store.parts(self.token)):
            if row.job_id is not None and (row.job_id == known or not row.status.over):
                self._connection.cluster.cancel(row.job_id)

    def logs(self) -> str:
        """Its output so far; empty before it has begun."""
        return b"".join(self.read()).decode("utf-8", "replace")

    def read(self) -> Iterator[bytes]:
        """Its output so far, in pieces of a megabyte at most; with a heading where there are several logs."""
        self._known_id()
        yield from LogReader(self._connection.cluster.read_log).more(self._logs())

    def _logs(self) -> list[str]:
        if self._task:
            return [f"{self.folder}/{self.id}_{self._task}.out"]
        return [path for row in self._connection.store.parts(self.token) if row.job_id for path in row.logs]

    def follow(self, *, interval: float = 2.0, trouble: Callable[[str], None] | None = None) -> Iterator[bytes]:
        """Its output as it grows, until it is over and all of it was given.

        Args:
            interval: Seconds between two looks.
            trouble: Told when the site cannot be asked, and when it can again; a warning is logged by default.

        Raises:
            TransportError: The site cannot be reached until a person mends something.
        """
        patience = self._connection.patience(trouble)
        reader = LogReader(self._connection.cluster.read_log)
        while True:
            if patience.ready():
                with patience.bearing(TransportError, SiteError):
                    self._connection.poll()
            over = self.refresh().over
            if patience.ready():
                with patience.bearing(TransportError):
                    self._known_id()
                    yield from reader.more(self._logs())
                    patience.answered()
                    if over:
                        return
            self._connection.pause(interval)

    def _known_id(self) -> str:
        if self.id is None:
            raise InputError(
                f"job {self.name!r} ({self.token}) has no id: it is {self.status.state} ({self.status.reason}).",
                hint="" if self.status.over else "`aifa jobs` asks the site what became of it.",
            )
        return self.id
