"""A cluster that says what it was told to say, and a clock that is set by hand."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.sites.load import load_site
from aifa_hpc.slurm.records import Answer
from aifa_hpc.slurm.submission import Outcome, Ticket
from aifa_hpc.units import Walltime

if TYPE_CHECKING:
    from aifa_hpc.slurm.query import Subject

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)
JOB = Job(
    name="digits",
    resources=Resources(partition="small-g", gpus_per_node=1, time=Walltime(60)),
    launch=Launch(command=("true",)),
)
SILENT = Answer(queue={}, accounting={}, sentinels={}, errors={})
FOUND = Outcome(kind="submitted", job_id="77")
NEVER = Outcome(kind="unsent")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Moves it."""
        self.now += datetime.timedelta(seconds=seconds)


@dataclass
class WrittenCluster:
    """A cluster that remembers what it was asked.

    Attributes:
        room: Jobs that it takes before it is full.
        failures: Raised one by one, instead of an answer to a submission of many.
    """

    submitted: Any = "123"
    looked_up: list[Outcome] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    prepared: list[tuple[Any, ...]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    site: Any = field(default_factory=lambda: load_site("lumi"))
    room: int = 10_000
    sent: list[list[str]] = field(default_factory=list)
    fenced: list[bool] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def prepare(self, job: Job, token: str, *part: Any, **place: Any) -> tuple[Ticket, str]:
        """As the real one, with some script."""
        place.pop("queue", None)
        self.prepared.append((*part, place))
        self.jobs.append(job)
        return Ticket(token=token, name=f"{job.name}.{token}", jobs="/scratch/jobs"), f"#!/bin/bash\n# {token}\n"

    def submit(self, ticket: Ticket, script: str) -> str:
        """The written outcome."""
        del ticket, script
        return said(self.submitted)

    def submit_many(self, tickets: list[Ticket], scripts: list[str], *, queue: bool) -> list[Outcome]:
        """Ids that count up, as long as there is room."""
        assert queue
        assert [f"#!/bin/bash\n# {ticket.token}\n" for ticket in tickets] == scripts
        self.sent.append([ticket.token for ticket in tickets])
        if self.failures:
            raise self.failures.pop(0)
        taken, self.room = tickets[: self.room], max(0, self.room - len(tickets))
        full = Outcome(kind="full", words="AssocMaxSubmitJobLimit")
        found = [Outcome(kind="submitted", job_id=f"9{ticket.token}") for ticket in taken]
        return [*found, *[full] * (len(tickets) - len(taken))]

    def look_up_many(self, tickets: list[Ticket], *, fence: bool) -> list[Outcome]:
        """The written outcomes."""
        self.fenced.append(fence)
        return [self.looked_up.pop(0) for _ in tickets]

    def ask(self, subjects: list[Subject], *, since: str) -> Answer:
        """The next written answer."""
        del since
        self.asked.append(tuple(subject.id for subject in subjects))
        return self.answers.pop(0)


def said(value: Any) -> Any:
    """A written value, or the failure that was written in its place."""
    if isinstance(value, BaseException):
        raise value
    return value
