"""Submission and polling against a cluster whose answers are written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aifa_hpc.errors import InputError, NotSentError, SiteError, SubmissionUnknownError
from aifa_hpc.jobs.features import After, Array, Chain
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.sites.load import load_site
from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord
from aifa_hpc.tracker.groups import whole
from aifa_hpc.tracker.poller import Poller
from aifa_hpc.tracker.store import Store
from aifa_hpc.tracker.submitter import new_token
from aifa_hpc.units import Walltime
from tests.tracker.written import FOUND, JOB, NEVER, Clock, WrittenCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.slurm.query import Subject
    from aifa_hpc.slurm.submission import Ticket


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


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
    row = poller(WrittenCluster(), store, Clock()).submitter.submit(JOB)
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
        poller(WrittenCluster(submitted=outcome), store, Clock()).submitter.submit(JOB)
    assert state == store.get("a").status.state


def test_an_interrupted_submission_is_looked_for_at_once(store: Store) -> None:
    """^C in the middle leaves a row that the next poll settles, without waiting for it to grow old."""
    clock, cluster = Clock(), WrittenCluster(submitted=KeyboardInterrupt(), looked_up=[FOUND])
    cluster.answers = [Answer(queue={}, accounting={}, sentinels={}, errors={})]
    subject = poller(cluster, store, clock)
    with pytest.raises(KeyboardInterrupt):
        subject.submitter.submit(JOB)
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
        poller(Filling(), store, Clock()).submitter.submit(JOB)


def test_an_illegal_job_leaves_nothing_behind(store: Store) -> None:
    """A job that cannot be rendered is not remembered."""

    class Refusing(WrittenCluster):
        def prepare(self, job: Job, token: str, *part: Any, **place: Any) -> tuple[Ticket, str]:
            raise InputError(f"{job.name} {token}")

    with pytest.raises(InputError):
        poller(Refusing(), store, Clock()).submitter.submit(JOB)
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
        subject.submitter.submit(JOB)
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
            subject.submitter.submit(JOB)
    cluster.looked_up = [FOUND, NEVER]
    cluster.answers = [Answer(queue={}, accounting={}, sentinels={}, errors={})]
    clock.forward(10)
    subject.poll()
    assert [("77", "LAGGING"), (None, "NOT_SENT")] == [(row.job_id, row.status.state) for row in store.rows()]


def test_a_submission_whose_process_died_is_looked_for_only_when_it_is_old(store: Store) -> None:
    """A row that is still SUBMITTING belongs to a living process for minutes, then to whoever polls."""
    clock = Clock()
    store.intend(token="z", site="lumi", name="digits", folder="/scratch/jobs/z", now=clock())
    cluster = WrittenCluster(looked_up=[NEVER])
    subject = poller(cluster, store, clock)
    subject.poll()
    assert "SUBMITTING" == store.get("z").status.state
    clock.forward(600)
    subject.poll()
    assert "NOT_SENT" == store.get("z").status.state


CHAIN = Job(
    name="long",
    resources=Resources(time=Walltime(60)),
    launch=Launch(command=("true",)),
    chain=Chain(total=Walltime(180)),
)


@dataclass
class CountingCluster(WrittenCluster):
    """Gives ids one by one, and says what was told after so many."""

    fails_at: int = 99
    outcome: Exception = field(default_factory=lambda: SiteError("no"))

    def submit(self, ticket: Ticket, script: str) -> str:
        """The next id, or the failure."""
        del ticket, script
        if len(self.prepared) > self.fails_at:
            raise self.outcome
        return str(100 + len(self.prepared))


def test_an_answer_that_took_long_takes_nothing_back(store: Store) -> None:
    """Another process asked later, was answered sooner, and knows that the job runs: it was not put back."""
    waits, runs = (
        JobRecord(id="123", state=state, start=start) for state, start in (("PENDING", ""), ("RUNNING", "T1"))
    )

    class Slow(WrittenCluster):
        def ask(self, subjects: list[Subject], *, since: str) -> Answer:
            clock.forward(30)
            assert Poller(other, store, clock=clock).poll()  # type: ignore[arg-type] # same methods
            clock.forward(30)
            return super().ask(subjects, since=since)

    cluster, other, clock = Slow(), WrittenCluster(), Clock()
    cluster.answers, other.answers = (
        [Answer(queue={"123": record}, accounting={}, sentinels={}, errors={})] for record in (waits, runs)
    )
    subject = Poller(cluster, store, clock=clock, token=lambda: "a")  # type: ignore[arg-type] # same methods
    subject.submitter.submit(JOB)
    clock.forward(60)
    assert subject.poll()
    assert ["RUNNING"] == [one.state for one in store.attempts("a")]


def test_the_links_of_a_chain_are_submitted_in_order(store: Store) -> None:
    """Each after the id of the one before, each with a row of its own, together one job."""
    cluster = CountingCluster()
    row = poller(cluster, store, Clock()).submitter.submit(CHAIN)
    places = [place for _, place in cluster.prepared]
    assert [(), ("101",), ("102",)] == [place.get("after", ()) for place in places]
    assert [["a", "b", "c"]] * 3 == [place["tokens"] for place in places]
    assert [("a", "101", "a"), ("b", "102", "a"), ("c", "103", "a")] == [
        (one.token, one.job_id, one.part_of) for one in store.rows()
    ]
    assert ("a", "PENDING", "link 1 of 3") == (row.token, row.status.state, row.status.reason)
    assert ["a", "b", "c"] == [one.token for one in store.parts("a")]
    assert ["b"] == [one.token for one in store.parts("b")]


def test_a_chain_that_breaks_off_says_what_exists(store: Store) -> None:
    """The error names the parts that were submitted and how to cancel them; nothing more is tried."""
    cluster = CountingCluster(fails_at=1)
    with pytest.raises(SiteError) as caught:
        poller(cluster, store, Clock()).submitter.submit(CHAIN)
    assert "Parts 1 to 1 of 3 exist: 101. `aifa cancel 101` cancels them." == caught.value.hint
    assert [("a", "PENDING"), ("b", "REFUSED"), ("c", "NOT_SENT")] == [
        (one.token, one.status.state) for one in store.rows()
    ]


def test_a_chain_whose_submission_is_killed_tells_what_is_missing(store: Store) -> None:
    """Its later links are settled when nobody has been at any of them for long, and are then not submitted."""
    waits = Answer(queue={"101": JobRecord(id="101", state="PENDING")}, accounting={}, sentinels={}, errors={})
    clock, settled = Clock(), WrittenCluster(looked_up=[NEVER, NEVER], answers=[waits] * 2)
    cluster = CountingCluster(fails_at=1, outcome=SystemExit())  # type: ignore[arg-type] # which nobody handles
    dying = poller(cluster, store, clock)
    clock.forward(60)
    with pytest.raises(SystemExit):
        dying.submitter.submit(CHAIN)
    for seconds, states in ((200, ["PENDING", "SUBMITTING", "SUBMITTING"]), (600, ["PENDING", "NOT_SENT", "NOT_SENT"])):
        clock.forward(seconds)
        Poller(settled, store, clock=clock).poll()  # type: ignore[arg-type] # same methods
        assert states == [row.status.state for row in store.rows()]
    chain = whole(store.parts("a")).status
    assert ("PENDING", "link 1 of 3, 2 not submitted") == (chain.state, chain.reason)


def test_a_token_is_turned_into_an_id_before_anything_is_sent(store: Store) -> None:
    """Nobody else's token, and none of another site."""
    cluster = CountingCluster()
    brings = Poller(cluster, store, clock=Clock(), token=iter(["k3v9qd2m7tfa", "b", "c"]).__next__)  # type: ignore[arg-type] # same methods
    brings.submitter.submit(JOB)
    brings.submitter.submit(replace(JOB, after=After(ok=("k3v9qd2m7tfa", "7"))))
    assert [None, After(ok=("101", "7"))] == [one.after for one in cluster.jobs]
    with pytest.raises(InputError, match="no job 'k3v9qd2m7tfz' on lumi"):
        brings.submitter.submit(replace(JOB, after=After(ok=("k3v9qd2m7tfz",))))
    assert 2 == len(store.rows())


def test_tasks_of_an_array_are_one_status(store: Store) -> None:
    """The poll folds what the queue says of each task."""
    site = load_site("lumi")
    tasks = {f"101_{number}": JobRecord(id=f"101_{number}", state="COMPLETED") for number in range(3)}
    tasks["101_1"] = JobRecord(id="101_1", state="FAILED", exit=ExitStatus(2))
    cluster = CountingCluster(site=site, answers=[Answer(queue={}, accounting=tasks, sentinels={}, errors={})])
    asking = poller(cluster, store, Clock())
    asking.submitter.submit(replace(JOB, array=Array(count=3)))
    asking.poll()
    (row,) = store.rows()
    assert ("0-2", "FAILED", "2:0", "2 COMPLETED, 1 FAILED") == (
        row.tasks,
        row.status.state,
        str(row.status.exit),
        row.status.reason,
    )
    assert ["/scratch/jobs/a/101_0.out", "/scratch/jobs/a/101_1.out", "/scratch/jobs/a/101_2.out"] == list(row.logs)
