"""The attempts of a submission: requeueing, preemption and failed nodes start it again under the same id.

Accounting has a record for each attempt. Before it tells, the queue shows that an attempt has ended when a job that ran
waits again, or runs since a later time.

A job that a node's prolog refuses goes round: it "runs" for some seconds, is put back, and starts again minutes later,
often on the same node. On JUPITER's 1024-node jobs this was seen more than 13 times in a row, each run 2 to 8 seconds
long with exit code 0:54. To squeue it looks as if the job kept starting; here it is said.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.slurm.reasons import explain_reason
from aifa_hpc.slurm.states import WAITING, is_terminal
from aifa_hpc.tracker.records import Attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.slurm.records import JobRecord
    from aifa_hpc.tracker.events import Status

_BRIEF = datetime.timedelta(seconds=15)
"""A run that a prolog ended is shorter: JUPITER's took 2 to 8 s, and sites' prologs check for longer on big jobs."""

_OFTEN = 2
"""So many of them in a row are no chance: the nodes differ, or one of them is bad."""


def past_attempts(record: JobRecord, *, alive: bool) -> tuple[Attempt, ...]:
    """What accounting knows of the attempts before the present one.

    Args:
        record: Its last record of a job.
        alive: The queue shows the job alive, so a record that has ended is of the attempt before.
    """
    ended = alive and bool(record.end) and (is_terminal(record.state) or record.state == "REQUEUED")
    past = (*record.earlier, record) if ended else record.earlier
    numbers: dict[str, int] = {}
    found = []
    for one in past:
        numbers[one.id] = numbers.get(one.id, 0) + 1
        found.append(
            Attempt(
                number=numbers[one.id],
                job_id=one.id,
                state=one.state,
                reason=explain_reason(one.reason),
                nodes=one.nodes,
                start=one.start,
                end=one.end,
                exit=one.exit,
            )
        )
    return tuple(found)


def goes_on_after(queued: JobRecord | None, accounted: JobRecord) -> bool:
    """Whether the queue shows the job alive behind the run that accounting has last.

    Accounting is asked a moment later than the queue: the end of the very run that the queue still shows is no attempt
    before it, nor is that of a job that never began.
    """
    if queued is None or is_terminal(queued.state) or not accounted.start:
        return False
    return not queued.start or queued.start > accounted.start


def lost_attempt(previous: Status, now: Status, job_id: str, number: int) -> Attempt | None:
    """The attempt that must have ended between two looks, if one has; how it ended is for accounting to tell.

    Args:
        previous: The status before.
        now: The status that the queue shows.
        job_id: The job's id.
        number: Number of the attempt that ran before.
    """
    again = now.state in WAITING and now.state != "CONFIGURING" and not now.start
    if not previous.start or not (again or (now.start and now.start > previous.start)):
        return None
    return Attempt(
        number=number,
        job_id=job_id,
        state="REQUEUED",
        reason="put back into the queue",
        nodes=previous.nodes,
        start=previous.start,
    )


def with_attempts(status: Status, past: Sequence[Attempt]) -> Status:
    """The status, its reason saying that it is not the first attempt, and whether the attempts go round in circles."""
    if not past:
        return status
    last = past[-1]
    where = f" on {last.nodes}" if last.nodes else ""
    note = _circling(past) or f"attempt {len(past) + 1}, the one before ended as {last.state}{where}"
    return replace(status, reason="; ".join(filter(None, (note, status.reason))))


def _circling(past: Sequence[Attempt]) -> str:
    brief = 0
    for one in reversed(past):
        if not _was_brief(one):
            break
        brief += 1
    if brief < _OFTEN:
        return ""
    nodes = ", ".join(dict.fromkeys(one.nodes for one in past[-brief:] if one.nodes))
    codes = ", ".join(dict.fromkeys(str(one.exit) for one in past[-brief:] if one.exit and not one.exit.ok))
    return (
        f"started and put back {brief} times within seconds: a node refuses it before it begins"
        + (f" (exit {codes})" if codes else "")
        + (f"; exclude the bad one of {nodes} or tell the site" if nodes else "")
    )


def _was_brief(attempt: Attempt) -> bool:
    try:
        start, end = (datetime.datetime.fromisoformat(text) for text in (attempt.start, attempt.end))
    except ValueError:
        return False  # it never began, or nobody knows when it ended
    return end - start < _BRIEF
