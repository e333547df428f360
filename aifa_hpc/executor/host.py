"""What an executor needs of the connection that made it; the tracker, which is above, has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.errors import AifaError
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.slurm.records import ExitStatus


class Finding(Protocol):
    """One thing that an explanation found."""

    @property
    def text(self) -> str:
        """A sentence."""

    @property
    def evidence(self) -> str:
        """What was seen."""

    @property
    def weight(self) -> str:
        """``cause``, ``sign`` or ``note``."""


class Explanation(Protocol):
    """Why a job is as it is."""

    @property
    def findings(self) -> Sequence[Finding]:
        """Causes first."""


class Status(Protocol):
    """How a job is."""

    @property
    def state(self) -> str:
        """Slurm's word, or the tracker's."""

    @property
    def exit(self) -> ExitStatus | None:
        """How it exited."""

    @property
    def over(self) -> bool:
        """It does not change any more."""

    @property
    def ok(self) -> bool:
        """It ended well."""


class Part(Protocol):
    """One submission of a job."""

    @property
    def job_id(self) -> str | None:
        """Slurm's id."""

    @property
    def name(self) -> str:
        """As the user named it."""

    @property
    def folder(self) -> str:
        """On the site."""

    @property
    def tasks(self) -> str:
        """Indices of an array; empty for none."""

    @property
    def status(self) -> Status:
        """As last known."""


class Handle(Protocol):
    """A job."""

    @property
    def token(self) -> str:
        """Its token."""

    def explain(self) -> Explanation:
        """Why it is as it is."""


class Host(Protocol):
    """A connection, which any thread may use."""

    cluster: Cluster

    def submit(self, job: Job) -> Handle:
        """Submits a job exactly once."""

    def job(self, word: str) -> Handle:
        """A remembered job."""

    def parts(self, token: str) -> Sequence[Part]:
        """The submissions of a job, in order."""

    def watch(self, token: str, tell: Callable[[Part | AifaError], None]) -> None:
        """Has somebody told of a job now and with each change, to its end, or why nothing will be told any more."""
