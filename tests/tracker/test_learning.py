"""What an answer says of many jobs at once is what it says of each."""

from __future__ import annotations

import datetime
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.learning import learn
from aifa_hpc.tracker.store import Store
from tests.tracker.written import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUED = [
    JobRecord(id="", state="PENDING", reason="Priority", gist="PENDING|Priority||"),
    JobRecord(id="", state="PENDING", reason="Priority", gist="PENDING|Priority||2026-11-25T00:00:00"),
    JobRecord(id="", state="PENDING", reason="Resources", gist="PENDING|Resources||"),
    JobRecord(id="", state="RUNNING", nodes="n1", start="2026-11-24T12:00:00", elapsed_seconds=60, gist="RUNNING||n1|"),
    JobRecord(id="", state="RUNNING", nodes="n2", start="2026-11-24T12:30:00", elapsed_seconds=5, gist="RUNNING||n2|"),
]
ENDED = [
    JobRecord(id="", state="COMPLETED", exit=ExitStatus(0), nodes="n1", start="2026-11-24T12:00:00", end="now"),
    JobRecord(id="", state="FAILED", exit=ExitStatus(3), nodes="n1", start="2026-11-24T12:00:00", end="now"),
]
records = st.none() | st.sampled_from([*QUEUED, *ENDED])


def answer_of(said: Sequence[JobRecord | None]) -> Answer:
    """What the site says; nothing of the jobs that have none."""
    found = {str(number): one._replace(id=str(number)) for number, one in enumerate(said) if one is not None}
    return Answer(
        queue={key: one for key, one in found.items() if one.gist},
        accounting={key: one for key, one in found.items() if not one.gist},
        sentinels={},
        errors={},
    )


def learnt(rounds: Sequence[Sequence[JobRecord | None]], *, at_once: bool) -> tuple[list[object], list[object]]:
    """The rows, and the events by job, after some answers."""
    with tempfile.TemporaryDirectory() as folder, closing(Store(Path(folder) / "jobs.sqlite3")) as store:
        ids = [str(number) for number in range(len(rounds[0]))]
        for one in ids:
            store.intend(token=f"t{one}", site="lumi", name="n", folder=f"/f/t{one}", now=NOW)
            store.update(f"t{one}", Status(state="PENDING"), now=NOW, job_id=one)
        Asking(store, "lumi").claim(now=NOW, floor=0, pace=30)
        for number, said in enumerate(rounds):
            now = NOW + datetime.timedelta(minutes=number + 1)
            with store.together():
                Asking(store, "lumi").answered(now=now, seconds=0)
                for some in [ids] if at_once else [[one] for one in ids]:
                    learn(store, "lumi", some, answer_of(said), now)
        rows: list[object] = [(row, store.past_attempts(row.token)) for row in store.rows()]
        rows += Asking(store, "lumi").subjects()
        events = sorted(store.events(), key=lambda event: (event.token, event.id))
        return rows, [replace(event, id=0) for event in events]


@settings(deadline=None, max_examples=30)  # each writes two files
@given(st.integers(1, 6).flatmap(lambda jobs: st.lists(st.lists(records, min_size=jobs, max_size=jobs), min_size=1)))
def test_many_jobs_learn_together_what_each_learns_alone(rounds: list[list[JobRecord | None]]) -> None:
    """Jobs that change alike are written in one statement, and none gets what is another's."""
    assert learnt(rounds, at_once=False) == learnt(rounds, at_once=True)


def test_what_the_queue_said_is_known_at_the_next_question(tmp_path: Path) -> None:
    """Of a job that waits as it did nothing is read again; of one that is an array everything is."""
    with closing(Store(tmp_path / "jobs.sqlite3")) as store:
        for one, tasks in (("0", ""), ("1", ""), ("2", "0-1")):
            store.intend(token=f"t{one}", site="lumi", name="n", folder=f"/f/t{one}", now=NOW, tasks=tasks)
            store.update(f"t{one}", Status(state="PENDING"), now=NOW, job_id=one)
        with store.together():
            learn(store, "lumi", ["0", "1", "2"], answer_of([QUEUED[0], QUEUED[1], QUEUED[0]]), NOW)
        assert [QUEUED[0].gist, QUEUED[1].gist, ""] == [one.seen for one in Asking(store, "lumi").subjects()]
