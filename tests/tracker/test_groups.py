"""Tasks, components, chunks and links to one status; tokens of jobs to ids."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.features import After
from aifa_hpc.slurm.parse import parse_accounting, parse_queue
from aifa_hpc.slurm.query import Subject
from aifa_hpc.slurm.records import Answer, ExitStatus, JobRecord, Sentinel
from aifa_hpc.slurm.states import is_terminal
from aifa_hpc.tracker.events import LOST_AFTER, SETTLE, Status, merge
from aifa_hpc.tracker.groups import collapse, resolve, whole
from aifa_hpc.tracker.store import Row
from aifa_hpc.tracker.tasks import badness, gather

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


def answer(queue: str | None, accounting: str | None) -> Answer:
    """What two programs printed."""
    return Answer(
        queue=None if queue is None else parse_queue(queue),
        accounting=None if accounting is None else parse_accounting(accounting),
        sentinels={},
        errors={},
    )


def arrays(job: str, tasks: str) -> list[Subject]:
    """An array that is asked about."""
    return [Subject(id=job, folder="/jobs/t", tasks=tasks)] if tasks else []


def queued(*lines: str) -> str:
    """Lines of squeue from ``ID STATE``."""
    return "".join(f"{line.split()[0]}|{line.split()[1]}|None|n1|N/A|0:05|a.t\n" for line in lines)


def accounted(*lines: str) -> str:
    """Lines of sacct from ``ID STATE EXIT``."""
    return "".join(
        f"{line.split()[0]}|{line.split()[1]}|{line.split()[2]}|n1|2026-11-24T10:00:0{number % 10}|Unknown|7|None|a.t\n"
        for number, line in enumerate(lines)
    )


CASES: list[tuple[str, str | None, str | None, tuple[str, str, ExitStatus | None]]] = [
    # alive while any task is
    ("0-4", queued("31_[2-4%2] PENDING", "31_0 RUNNING"), "", ("RUNNING", "3 PENDING, 1 RUNNING", None)),
    ("0-4", queued("31_[0-4%2] PENDING"), accounted("31_[0-4%2] PENDING 0:0"), ("PENDING", "5 PENDING", None)),
    (
        "0-2",
        queued("31_2 RUNNING"),
        accounted("31_0 FAILED 1:0", "31_1 COMPLETED 0:0", "31_2 RUNNING 0:0"),
        ("RUNNING", "", None),
    ),
    # over when all are
    ("0-1", "", accounted("31_0 COMPLETED 0:0", "31_1 COMPLETED 0:0"), ("COMPLETED", "", ExitStatus(0))),
    (
        "0-2",
        "",
        accounted("31_0 COMPLETED 0:0", "31_1 FAILED 3:0", "31_2 CANCELLED 0:0"),
        ("FAILED", "1 COMPLETED, 1 FAILED, 1 CANCELLED", ExitStatus(3)),
    ),
    (
        "0-8:4",
        "",
        accounted("31_0 COMPLETED 0:0", "31_[4,8%1] CANCELLED 0:0"),
        ("CANCELLED", "2 CANCELLED, 1 COMPLETED", ExitStatus(0)),
    ),
    # what sacct says of a task by itself wins over the range it was in
    (
        "3,4",
        "",
        accounted("31_[3-4%1] PENDING 0:0", "31_3 COMPLETED 0:0", "31_4 COMPLETED 0:0"),
        ("COMPLETED", "", ExitStatus(0)),
    ),
    # a range that is cancelled is not the end of a task that the queue shows by itself
    (
        "0,1",
        queued("31_0 COMPLETED", "31_1 CANCELLED"),
        accounted("31_[0-1] CANCELLED 0:0"),
        ("LAGGING", "gone from the queue, not yet in accounting", None),
    ),
    # nor is the bare id, which Slurm 22.05 shows for a second or two
    (
        "0,1",
        queued("31_0 COMPLETED", "31_1 CANCELLED"),
        accounted("31 CANCELLED 0:0"),
        ("LAGGING", "gone from the queue, not yet in accounting", None),
    ),
    (
        "0,1",
        queued("31_0 COMPLETED", "31_1 CANCELLED"),
        accounted("31_0 COMPLETED 0:0", "31_1 CANCELLED 0:0"),
        ("CANCELLED", "1 COMPLETED, 1 CANCELLED", ExitStatus(0)),
    ),
    # tasks of which nobody says anything are not over
    ("0-2", "", accounted("31_0 COMPLETED 0:0"), ("LAGGING", "gone from the queue, not yet in accounting", None)),
    ("0-2", queued("31_0 COMPLETED"), None, ("LAGGING", "gone from the queue, not yet in accounting", None)),
    ("0-1", queued("31_0 COMPLETED", "31_1 FAILED"), None, ("FAILED", "1 COMPLETED, 1 FAILED", None)),
    # components
    ("", queued("31+0 RUNNING", "31+1 RUNNING"), "", ("RUNNING", "2 RUNNING", None)),
    ("", "", accounted("31+0 COMPLETED 0:0", "31+1 COMPLETED 0:0"), ("COMPLETED", "", ExitStatus(0))),
    ("", "", accounted("31+0 FAILED 1:0", "31+1 COMPLETED 0:0"), ("FAILED", "1 FAILED, 1 COMPLETED", ExitStatus(1))),
]


@pytest.mark.parametrize(("tasks", "queue", "accounting", "expected"), CASES)
def test_many_records_are_one_status(
    tasks: str, queue: str | None, accounting: str | None, expected: tuple[str, str, ExitStatus | None]
) -> None:
    """Alive while any task is; over when all are known to be, and then as bad as the worst."""
    found = merge(Status(state="PENDING"), gather(answer(queue, accounting), arrays("31", tasks)), "31", "t", NOW)
    assert expected == (found.state, found.reason, found.exit)


@pytest.mark.parametrize(
    ("accounting", "expected"),
    [
        (("31_0 COMPLETED 0:0",), ("CANCELLED", "1 COMPLETED, 2 cancelled before they began", ExitStatus(0))),
        (
            ("31_0 COMPLETED 0:0", "31_2 FAILED 3:0"),
            ("FAILED", "1 COMPLETED, 1 FAILED, 1 cancelled before they began", ExitStatus(3)),
        ),
        ((), ("LOST", "", None)),
    ],
)
def test_tasks_that_were_cancelled_while_they_waited(
    accounting: tuple[str, ...], expected: tuple[str, str, ExitStatus | None]
) -> None:
    """Slurm forgets them; once nobody has shown them for long, the others tell how the array ended.

    For not so long, where accounting shows that no task waits any more; but for one that ran, as its exit record tells.
    """
    told = gather(answer("", accounted(*accounting)), arrays("31", "0-2"))
    first = merge(Status(state="RUNNING"), told, "31", "t", NOW)
    found = merge(first, told, "31", "t", NOW + LOST_AFTER)
    assert "LAGGING" == first.state
    assert expected == (found.state, found.reason if accounting else "", found.exit)
    for ran, proven in ((), bool(accounting)), (("t_1",), False):
        sentinels = {task: Sentinel(id="39", restarts=0, code=0, at=5) for task in ran}
        shown = replace(answer("", accounted(*accounting)), closed=frozenset({"31"}), sentinels=sentinels)
        states = [
            merge(first, gather(shown, arrays("31", "0-2")), "31", "t", NOW + after).state
            for after in (SETTLE - datetime.timedelta(seconds=1), SETTLE)
        ]
        assert ["LAGGING", expected[0] if proven else "LAGGING"] == states


def test_plain_jobs_are_left_alone() -> None:
    """And arrays of other jobs do not touch them."""
    told = answer(queued("30 RUNNING", "31_0 RUNNING"), "")
    found = gather(told, arrays("31", "0"))
    assert told.queue is not None
    assert found.queue is not None
    assert (told.queue["30"], {"30", "31"}) == (found.queue["30"], set(found.queue))


STATES = st.sampled_from(["PENDING", "RUNNING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NEWWORD"])


@given(st.lists(STATES, min_size=1, max_size=6), st.randoms())
def test_order_does_not_matter_and_no_end_is_invented(states: list[str], random: Any) -> None:
    """An array is over if and only if all its tasks are, in whatever order they are told."""
    records = {f"5_{number}": JobRecord(id=f"5_{number}", state=state) for number, state in enumerate(states)}
    shuffled = list(records.items())
    random.shuffle(shuffled)
    tasks = arrays("5", f"0-{len(states) - 1}" if len(states) > 1 else "0")
    empty = Answer(queue={}, accounting={}, sentinels={}, errors={})
    one, other = (gather(replace(empty, accounting=dict(told)), tasks) for told in (records.items(), shuffled))
    assert one.accounting is not None
    assert other.accounting is not None
    assert one.accounting["5"].state == other.accounting["5"].state
    assert all(map(is_terminal, states)) == is_terminal(one.accounting["5"].state)
    if all(map(is_terminal, states)):
        assert max(map(badness, states)) == badness(one.accounting["5"].state)


def row(token: str, state: str, *, job_id: str | None = "1", **more: Any) -> Row:
    """A remembered submission."""
    fields = {"part_of": "t0", "tasks": ""} | {key: more.pop(key) for key in ("part_of", "tasks") if key in more}
    return Row(
        token=token,
        site="x",
        name="a",
        job_id=job_id,
        folder="/j",
        status=Status(state=state, **more),
        created_at=NOW,
        changed_at=NOW,
        **fields,
    )


@pytest.mark.parametrize(
    ("parts", "state", "reason"),
    [
        (["TIMEOUT", "RUNNING", "PENDING"], "RUNNING", "link 2 of 3"),
        (["TIMEOUT", "PENDING", "PENDING"], "PENDING", "link 2 of 3"),
        (["TIMEOUT", "COMPLETED", "CANCELLED"], "COMPLETED", "link 2 of 3"),
        (["COMPLETED", "COMPLETED", "COMPLETED"], "COMPLETED", "link 3 of 3"),
        (["CANCELLED", "CANCELLED", "CANCELLED"], "CANCELLED", "link 3 of 3"),
        (["TIMEOUT", "REFUSED", "NOT_SENT"], "TIMEOUT", "link 1 of 3, 2 not submitted"),
    ],
)
def test_a_chain_is_as_its_last_link_that_ran(parts: list[str], state: str, reason: str) -> None:
    """Links that were cancelled before they began say nothing."""
    found = whole([row(f"t{number}", part, elapsed_seconds=0) for number, part in enumerate(parts)])
    assert ("t0", state, reason) == (found.token, found.status.state, found.status.reason)


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        (["COMPLETED", "FAILED"], "FAILED"),
        (["COMPLETED", "COMPLETED"], "COMPLETED"),
        (["COMPLETED", "PENDING"], "RUNNING"),
        (["PENDING", "PENDING"], "PENDING"),
    ],
)
def test_chunks_are_as_bad_as_the_worst(parts: list[str], state: str) -> None:
    """And alive while any is."""
    assert state == whole([row(f"t{number}", part, tasks="0-1") for number, part in enumerate(parts)]).status.state


def test_one_row_for_each_job() -> None:
    """Groups and plain jobs keep the order in which they began."""
    rows = [
        row("t0", "RUNNING"),
        row("p", "RUNNING", part_of=""),
        row("t1", "PENDING"),
    ]
    assert ["t0", "p"] == [one.token for one in collapse(rows)]


def test_tokens_become_ids() -> None:
    """Ids stay, tokens are looked up, all chunks of an array count, and minutes are kept."""
    parts = {
        "k3v9qd2m7tfa": [row("k3v9qd2m7tfa", "RUNNING", job_id="7", part_of="")],
        "k3v9qd2m7tfb": [row("b", "RUNNING", job_id=job_id, tasks="0-1") for job_id in ("8", "9")],
        "k3v9qd2m7tfc": [row("c", "RUNNING", job_id=job_id) for job_id in ("10", "11")],
    }
    after = After(
        ok=["1", "k3v9qd2m7tfb"],
        started=["k3v9qd2m7tfa+5", "2+1", "k3v9qd2m7tfc"],
        any=["k3v9qd2m7tfc"],
        singleton=True,
    )
    expected = After(ok=["1", "8", "9"], started=["7+5", "2+1", "10"], any=["10", "11"], singleton=True)
    assert expected == resolve(after, parts.__getitem__)
    with pytest.raises(InputError, match=r"after\.ok names the chain"):
        resolve(After(ok=["k3v9qd2m7tfc"]), parts.__getitem__)
    with pytest.raises(InputError, match="which has no id: it is UNKNOWN"):
        resolve(After(ok=["k3v9qd2m7tfa"]), lambda _: [row("k3v9qd2m7tfa", "UNKNOWN", job_id=None)])


def test_exit_records_of_all_tasks_are_one_of_the_array() -> None:
    """The worst of them, once every task has left one; until then nothing is said of the whole."""
    records = {
        f"t_{index}": Sentinel(id=f"9{index}", restarts=0, code=code, at=index) for index, code in ((0, 0), (1, 7))
    }
    told = Answer(queue={}, accounting=None, sentinels=records, errors={})
    assert Sentinel(id="31", restarts=0, code=7, at=1) == gather(told, arrays("31", "0-1")).sentinels["t"]
    assert "t" not in gather(told, arrays("31", "0-2")).sentinels
