"""A call that was submitted: a :class:`concurrent.futures.Future`, and the job behind it."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.plan import read_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.executor.host import Part


class Call(Future[Any]):
    """One function call that runs as a job, or as a task of an array.

    ``result``, ``exception``, ``done``, ``add_done_callback`` are those of :class:`concurrent.futures.Future`, so
    ``concurrent.futures.wait`` and ``as_completed`` take it, and ``asyncio.wrap_future`` makes it awaitable.

    Args:
        cluster: Its site.
        index: Its place in its array; 0 when it is a job of its own.

    Attributes:
        index: As above.
        folder: Of its job on the site; empty until it is submitted.
    """

    def __init__(self, cluster: Cluster, index: int) -> None:
        super().__init__()
        self.index = index
        self._cluster = cluster
        self._token = ""
        self._job = ""
        self.folder = ""
        self._array = False
        self._all: list[Any] | None = None
        self._seen = "SUBMITTING"

    def __repr__(self) -> str:
        return f"<Call {self.token or 'not submitted yet'} on {self._cluster.site.name}: {self.state}>"

    @property
    def token(self) -> str:
        """Finds the call again in another process: ``executor.attach(token)``; empty until it is submitted."""
        return f"{self._token}_{self.index}" if self._array and self._token else self._token

    @property
    def id(self) -> str:
        """Slurm's id, ``123`` or ``123_4``; empty until it is submitted."""
        return self._job

    @property
    def state(self) -> str:
        """The state of its job as last seen; of an array, of all its tasks together."""
        return self._seen

    def see(self, state: str) -> None:
        """Remembers the state of its job."""
        self._seen = state

    def place(self, token: str, parts: Sequence[Part], *, array: bool) -> None:
        """Says which job it is.

        Args:
            token: Of the job, or of the whole array.
            parts: The job's submissions, which count an array's tasks through.
            array: It is a task.
        """
        self._token, self._array = token, array
        before = 0
        for part in parts:
            tasks = read_indices(part.tasks)
            if not array or self.index < before + len(tasks):
                self.folder = part.folder
                self._job = f"{part.job_id}_{tasks[self.index - before]}" if array else str(part.job_id)
                return
            before += len(tasks)
        raise InputError(f"job {token!r} has {before} tasks, and none with the number {self.index}.")

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is done, and returns whether it is; a failure is not raised.

        Args:
            timeout: Seconds.
        """
        with suppress(CancelledError, TimeoutError):
            self.exception(timeout)
        return self.done()

    def results(self, timeout: float | None = None) -> list[Any]:
        """What each rank returned, in their order; errors as ``result``, which gives that of rank 0."""
        self.result(timeout)
        return list(self._all or [])

    def finish(self, values: list[Any]) -> None:
        """Sets what its ranks returned."""
        self._all = values
        self.set_result(values[0])

    def cancel(self) -> bool:
        """Asks Slurm to cancel it; returns whether it is cancelled, which a call that is done is not.

        Raises:
            SiteError: Slurm refused.
            TransportError: The site cannot be reached.
        """
        if self.done():
            return self.cancelled()
        if self._job:
            self._cluster.cancel(self._job)
        if super().cancel():
            self.set_running_or_notify_cancel()
        return self.cancelled()
