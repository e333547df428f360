"""Submission and polling against a cluster whose answers are written down."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.errors import InputError, NotSentError, SiteError, SubmissionUnknownError
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.slurm.flows import Ticket
from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord
from aifa_hpc.tracker.poller import Poller, new_token
from aifa_hpc.tracker.store import Store
from aifa_hpc.units import Walltime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)
JOB = Job(name="digits", resources=Resources(time=Walltime(60)), launch=Launch(command=("true",)))


@dataclass
class WrittenCluster:
    """A cluster that says what it was told to say, and remembers what it was asked."""

    submitted: Any = "123"
    looked_up: Any = None
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    prepared: list[tuple[Any, ...]] = field(default_factory=list)
    site: Any = field(
        default_factory=lambda: SimpleNamespace(name="lumi", scheduler=SimpleNamespace(poll_seconds=30.0))
    )

    def prepare(self, job: Job, token: str, *part: Any, **place: Any) -> tuple[Ticket, str]:
        """As the real one, with some script."""
        self.prepared.append((*part, place))
        return Ticket(token=token, name=f"{job.name}.{token}", jobs="/scratch/jobs"), "#!/bin/bash\n"

    def submit(self, ticket: Ticket, script: str) -> str:
        """The written outcome."""
        del ticket, script
        return _said(self.submitted)

    def look_up(self, ticket: Ticket) -> str | None:
        """The written outcome."""
        del ticket
        return _said(self.looked_up)

    def ask(self, jobs: list[str], folders: list[str], *, since: str) -> Answer:
        """The next written answer."""
        del folders, since
        self.asked.append(tuple(jobs))
        return self.answers.pop(0)


def _said(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Moves it."""
        self.now += datetime.timedelta(seconds=seconds)


def poller(cluster: WrittenCluster, store: Store, clock: Clock, tokens: str = "abcdef") -> Poller:
    """A poller with tokens that are letters in order."""
    letters = iter(tokens)
    return Poller(cluster, store, clock=clock, token=lambda: next(letters))  # type: ignore[arg-type] # same methods


def test_tokens_differ_and_are_job_name_safe() -> None:
    """A thousand tokens are a thousand different words of letters and digits."""
    tokens = {new_token() for _ in range(1000)}
    assert (1000, True) == (len(tokens), all(token.isalnum() and len(token) == 12 for token in tokens))


def test_a_submission_is_remembered_with_its_id(store: Store) -> None:
    """The row has the id, the token and the folder."""
    row = poller(WrittenCluster(), store, Clock()).submit(JOB)
    assert ("123", "a", "/scratch/jobs/a", "PENDING") == (row.job_id, row.token, row.folder, row.status.state)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (SiteError("sbatch refused the job"), "REFUSED"),
        (NotSentError("no route"), "NOT_SENT"),
        (SubmissionUnknownError("silence", token="a"), "UNKNOWN"),
    ],
)
def test_what_went_wrong_is_raised_and_remembered(store: Store, outcome: Exception, state: str) -> None:
    """Each outcome of a submission has its own state in the store."""
    with pytest.raises(type(outcome)):
        poller(WrittenCluster(submitted=outcome), store, Clock()).submit(JOB)
    assert state == store.get("a").status.state


def test_an_interrupted_submission_is_looked_for_at_once(store: Store) -> None:
    """^C in the middle leaves a row that the next poll settles, without waiting for it to grow old."""
    clock, cluster = Clock(), WrittenCluster(submitted=KeyboardInterrupt(), looked_up="77")
    cluster.answers = [Answer(queue={}, accounting={}, sentinels={}, errors={})]
    subject = poller(cluster, store, clock)
    with pytest.raises(KeyboardInterrupt):
        subject.submit(JOB)
    assert "UNKNOWN" == store.get("a").status.state
    subject.poll()
    assert "77" == store.get("a").job_id


def test_a_job_that_cannot_be_written_down_is_not_said_to_have_failed(store: Store) -> None:
    """The disk is full when the id comes back: the error has the id, and is of the kind that forbids another try."""

    class Filling(WrittenCluster):
        def submit(self, ticket: Ticket, script: str) -> str:
            store._db.execute("PRAGMA query_only = 1")  # every write fails from here on
            return super().submit(ticket, script)

    with pytest.raises(SubmissionUnknownError, match="job 123 was submitted to lumi, but"):
        poller(Filling(), store, Clock()).submit(JOB)


def test_an_illegal_job_leaves_nothing_behind(store: Store) -> None:
    """A job that cannot be rendered is not remembered."""

    class Refusing(WrittenCluster):
        def prepare(self, job: Job, token: str, *part: Any, **place: Any) -> tuple[Ticket, str]:
            raise InputError(f"{job.name} {token}")

    with pytest.raises(InputError):
        poller(Refusing(), store, Clock()).submit(JOB)
    assert [] == store.rows()


def test_many_jobs_are_one_question(store: Store) -> None:
    """All jobs of a site are asked about together, and again only after the interval."""
    clock = Clock()
    running = {str(number): JobRecord(id=str(number), state="RUNNING") for number in range(3)}
    done = {key: JobRecord(id=key, state="COMPLETED", exit=ExitStatus(0)) for key in running}
    cluster = WrittenCluster(
        answers=[
            Answer(queue=running, accounting={}, sentinels={}, errors={}),
            Answer(queue={}, accounting=done, sentinels={}, errors={}),
        ]
    )
    subject = poller(cluster, store, clock)
    for number in range(3):
        cluster.submitted = str(number)
        subject.submit(JOB)
    assert [True, False] == [subject.poll(), subject.poll()]
    clock.forward(40)
    assert [True, False] == [subject.poll(), subject.poll()]
    assert [("0", "1", "2"), ("0", "1", "2")] == cluster.asked
    assert ["COMPLETED"] * 3 == [row.status.state for row in store.rows()]


def test_an_unknown_submission_is_settled_by_the_next_poll(store: Store) -> None:
    """What was found on the site gets its id; what never arrived is said to have never arrived."""
    clock = Clock()
    cluster = WrittenCluster(submitted=SubmissionUnknownError("silence", token="a"))
    subject = poller(cluster, store, clock)
    for _ in range(2):
        with pytest.raises(SubmissionUnknownError):
            subject.submit(JOB)
    outcomes = iter(["77", None])
    cluster.look_up = lambda ticket: next(outcomes)  # type: ignore[method-assign] # another written answer for each
    cluster.answers = [Answer(queue={}, accounting={}, sentinels={}, errors={})]
    clock.forward(10)
    subject.poll()
    assert [("77", "LAGGING"), (None, "NOT_SENT")] == [(row.job_id, row.status.state) for row in store.rows()]


def test_a_submission_whose_process_died_is_looked_for_only_when_it_is_old(store: Store) -> None:
    """A row that is still SUBMITTING belongs to a living process for minutes, then to whoever polls."""
    clock = Clock()
    store.intend(token="z", site="lumi", name="digits", folder="/scratch/jobs/z", now=clock())
    cluster = WrittenCluster(looked_up=None)
    subject = poller(cluster, store, clock)
    subject.poll()
    assert "SUBMITTING" == store.get("z").status.state
    clock.forward(600)
    subject.poll()
    assert "NOT_SENT" == store.get("z").status.state
