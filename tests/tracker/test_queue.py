"""The queue of jobs that a site does not take yet."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aifa_hpc.errors import InputError, NotSentError, OutcomeUnknownError, SiteError
from aifa_hpc.jobs.features import Array, Chain
from aifa_hpc.slurm.records import Answer, JobRecord
from aifa_hpc.tracker.poller import Poller
from aifa_hpc.tracker.store import Store
from aifa_hpc.units import Walltime
from tests.tracker.written import JOB, SILENT, Clock, WrittenCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.slurm.submission import Outcome, Ticket
    from aifa_hpc.tracker.records import Row

TOKENS = [str(number) for number in range(1000, 2000)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


def poller(cluster: WrittenCluster, store: Store, clock: Clock, start: int = 0) -> Poller:
    """A poller with tokens that count up."""
    return Poller(cluster, store, clock=clock, token=iter(TOKENS[start:]).__next__)  # type: ignore[arg-type] # same methods


def states(rows: list[Row]) -> dict[str, int]:
    """How many are in each state."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.status.state] = found.get(row.status.state, 0) + 1
    return found


def ended(rows: list[Row]) -> Answer:
    """An answer by which all of these have ended well."""
    done = {str(row.job_id): JobRecord(id=str(row.job_id), state="COMPLETED") for row in rows if row.job_id}
    return Answer(queue={}, accounting=done, sentinels={}, errors={})


def test_many_jobs_are_one_command_in_order(store: Store) -> None:
    """Each row gets its own id, and no script is kept."""
    cluster = WrittenCluster()
    rows = poller(cluster, store, Clock()).queue.put([JOB] * 200)
    assert [TOKENS[:200]] == cluster.sent
    assert [(token, f"9{token}", "PENDING") for token in TOKENS[:200]] == [
        (row.token, row.job_id, row.status.state) for row in rows
    ]
    assert [] == store.waiting("lumi")
    assert ["QUEUED", "SUBMITTING", "PENDING"] == [one.state for one in store.events() if one.token == "1000"]


def test_the_published_limit_is_kept_and_topped_up(store: Store) -> None:
    """LUMI takes 210 jobs in small-g: what is above waits, and goes as others end, whoever polls."""
    cluster, clock = WrittenCluster(), Clock()
    rows = poller(cluster, store, clock).queue.put([JOB] * 450)
    assert {"PENDING": 210, "QUEUED": 240} == states(rows)
    assert "waits here until lumi has room for it" == rows[-1].status.reason
    other = poller(cluster, store, clock)  # another process, later
    for expected in ([210, 210], [210, 210, 30]):
        cluster.answers = [ended(store.rows(active=True))]
        clock.forward(60)
        assert other.poll()
        assert expected == [len(sent) for sent in cluster.sent]
    assert {"COMPLETED": 420, "PENDING": 30} == states(store.rows())


def test_other_partitions_do_not_wait(store: Store) -> None:
    """A job for which there is no room does not hold up one for which there is."""
    other = replace(JOB, resources=replace(JOB.resources, partition="dev-g"))
    rows = poller(WrittenCluster(), store, Clock()).queue.put([other] * 3 + [JOB])
    assert ["PENDING", "PENDING", "QUEUED", "PENDING"] == [row.status.state for row in rows]


def test_the_sites_own_limit_ends_the_feeding_until_the_next_poll(store: Store) -> None:
    """An association's MaxSubmit is in no profile: the site says that it is full, and is asked again later."""
    cluster, clock = WrittenCluster(room=3), Clock()
    rows = poller(cluster, store, clock).queue.put([JOB] * 5)
    assert {"PENDING": 3, "QUEUED": 2} == states(rows)
    assert rows[-1].status.reason.endswith("AssocMaxSubmitJobLimit")
    assert 1 == len(cluster.sent)
    cluster.room, cluster.answers = 5, [SILENT]
    clock.forward(60)
    poller(cluster, store, clock).poll()
    assert ["1003", "1004"] == cluster.sent[-1]
    assert "QUEUED" not in states(store.rows())


def test_an_array_of_any_length_is_one_handle(store: Store) -> None:
    """It becomes chunks of which four fit, in order, with offsets; together they are one job."""
    cluster, clock = WrittenCluster(), Clock()
    (row,) = poller(cluster, store, clock).queue.put([replace(JOB, array=Array(count=500))])
    parts = store.parts(row.token)
    assert ["0-51"] * 9 + ["0-31"] == [part.tasks for part in parts]
    assert [0, 52, 104, 156] == [part.offset for part, _ in cluster.prepared[:4]]
    assert {"PENDING": 4, "QUEUED": 6} == states(parts)
    assert ("91000", "PENDING", "parts: 4 PENDING, 6 QUEUED") == (row.job_id, row.status.state, row.status.reason)


def test_chunks_with_a_limit_go_one_after_the_other(store: Store) -> None:
    """The limit of running tasks holds for the whole array, so a chunk waits here until the one before is over."""
    cluster, clock = WrittenCluster(), Clock()
    poller(cluster, store, clock).queue.put([replace(JOB, array=Array(count=100, limit=5))])
    assert [["1000"]] == cluster.sent
    done = {f"91000_{task}": JobRecord(id=f"91000_{task}", state="COMPLETED") for task in range(52)}
    cluster.answers = [Answer(queue={}, accounting=done, sentinels={}, errors={})]
    clock.forward(60)
    poller(cluster, store, clock).poll()
    assert [["1000"], ["1001"]] == cluster.sent


def test_silence_is_followed_by_the_same_jobs_again(store: Store) -> None:
    """Nothing is fenced off and nothing forgotten: the next poll sends the same tokens, which submits nothing twice."""
    cluster, clock = WrittenCluster(failures=[OutcomeUnknownError("link lost")]), Clock()
    rows = poller(cluster, store, clock).queue.put([JOB] * 3)
    assert {"UNKNOWN": 3} == states(rows)
    clock.forward(60)
    poller(cluster, store, clock).poll()
    assert [TOKENS[:3]] * 2 == cluster.sent
    assert {"PENDING": 3} == states(store.rows())


def test_a_process_that_died_leaves_its_jobs_to_others(store: Store) -> None:
    """What is under way is somebody's for minutes, then anybody's."""
    cluster, clock = WrittenCluster(failures=[SystemExit()]), Clock()
    with pytest.raises(SystemExit):
        poller(cluster, store, clock).queue.put([JOB] * 2)
    assert {"SUBMITTING": 2} == states(store.rows())
    for seconds, sent in ((60, 1), (600, 2)):
        clock.forward(seconds)
        poller(cluster, store, clock).poll()
        assert sent == len(cluster.sent)
    assert {"PENDING": 2} == states(store.rows())


def test_what_was_left_under_a_wrong_clock_is_taken_when_it_is_set_right(store: Store) -> None:
    """Its time is still to come: nobody waits for a year until it is old."""
    cluster, clock = WrittenCluster(failures=[SystemExit()]), Clock()
    with pytest.raises(SystemExit):
        poller(cluster, store, clock).queue.put([JOB])
    clock.forward(-365 * 86400)
    poller(cluster, store, clock).poll()
    assert {"PENDING": 1} == states(store.rows())


@pytest.mark.parametrize(
    ("failure", "state"), [(NotSentError("no route"), "NOT_SENT"), (SiteError("no folder"), "REFUSED")]
)
def test_a_site_that_takes_nothing_leaves_nothing_waiting(store: Store, failure: Exception, state: str) -> None:
    """Who is told that nothing was submitted may submit again: nothing of it is sent later."""
    with pytest.raises(type(failure)):
        poller(WrittenCluster(failures=[failure]), store, Clock()).queue.put([JOB] * 2)
    assert {state: 2} == states(store.rows())
    assert [] == store.waiting("lumi")


def test_an_outage_of_the_site_lets_waiting_jobs_wait(store: Store) -> None:
    """They were taken before, so they are not given up."""
    cluster, clock = WrittenCluster(room=1), Clock()
    poller(cluster, store, clock).queue.put([JOB] * 2)
    cluster.answers, cluster.failures = [SILENT], [NotSentError("no route")]
    clock.forward(60)
    with pytest.raises(NotSentError):
        poller(cluster, store, clock).poll()
    assert "the last try failed: no route" in store.get("1001").status.reason
    assert "QUEUED" == store.get("1001").status.state


def test_what_may_exist_is_no_waiting_job_after_an_outage(store: Store) -> None:
    """Sent, then silence, then no way to the site: it is not cancelled here, as a job that never left would be."""
    cluster, clock = WrittenCluster(failures=[OutcomeUnknownError("silence"), NotSentError("no route")]), Clock()
    subject = poller(cluster, store, clock)
    (row,) = subject.queue.put([JOB])
    clock.forward(60)
    with pytest.raises(NotSentError):
        subject.poll()
    assert ("UNKNOWN", False) == (store.get(row.token).status.state, subject.queue.drop(row))
    clock.forward(60)
    subject.poll()
    assert {"PENDING": 1} == states(store.rows())


@pytest.mark.parametrize("failure", [None, OutcomeUnknownError("silence"), NotSentError("no route")])
def test_a_process_that_slept_takes_nothing_back(store: Store, failure: Exception | None) -> None:
    """Another one took its job over meanwhile, and was told the id."""

    class Sleeping(WrittenCluster):
        def submit_many(self, tickets: list[Ticket], scripts: list[str], *, queue: bool) -> list[Outcome]:
            clock.forward(600)
            if failure is not None:
                poller(other, store, clock).poll()
                raise failure
            found = super().submit_many(tickets, scripts, queue=queue)
            poller(other, store, clock).poll()
            return found

    cluster, other, clock = Sleeping(room=0), WrittenCluster(), Clock()
    queue = poller(cluster, store, clock).queue
    with contextlib.nullcontext() if failure is None else contextlib.suppress(NotSentError):
        queue.put([JOB])
    (row,) = store.rows()
    assert (["1000"], "91000", "PENDING") == (other.sent[0], row.job_id, row.status.state)


def test_a_waiting_job_is_cancelled_here(store: Store) -> None:
    """The site never hears of it; one that is on its way is not ours to forget."""
    cluster = WrittenCluster(room=1)
    subject = poller(cluster, store, Clock())
    sent, waits = subject.queue.put([JOB] * 2)
    assert [False, True, False] == [subject.queue.drop(row) for row in (sent, waits, waits)]
    assert ["PENDING", "CANCELLED"] == [row.status.state for row in store.rows()]
    assert [] == store.waiting("lumi")


def test_all_problems_of_all_jobs_are_told_and_nothing_is_sent(store: Store) -> None:
    """One bad job among many keeps all of them here, and nothing is remembered."""

    class Picky(WrittenCluster):
        def prepare(self, job: object, token: str, *part: object, **place: object) -> object:  # type: ignore[override] # refuses
            del job, part, place
            raise InputError(f"bad {token}")

    cluster = Picky()
    with pytest.raises(InputError, match=r"bad 1000\nbad 1001"):
        poller(cluster, store, Clock()).queue.put([JOB] * 2)
    assert ([], []) == (cluster.sent, store.rows())


def test_a_chain_does_not_wait_here(store: Store) -> None:
    """Its links wait at the site, in the order that only the site can keep while we are away."""
    with pytest.raises(InputError, match="Submit each chain by itself"):
        poller(WrittenCluster(), store, Clock()).queue.put([replace(JOB, chain=Chain(total=Walltime(180)))])
