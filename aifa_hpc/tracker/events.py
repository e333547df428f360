"""Evidence about a job to its status. Absence is not success, and one source's word is not always the last.

Three sources speak: the queue (squeue), accounting (sacct) and the sentinel that the job script writes when it ends.
They are slow, late or down at different times. The rules, first match wins:

1. The queue shows it alive: that is its state.
2. Accounting gives an end: that is its end. Exceptions: ``COMPLETED`` against a sentinel with another exit code is
   ``FAILED`` (a script lost its exit code); a state that sites requeue from is believed once it has stood
   :data:`SETTLE`.
3. The queue shows an end and accounting does not answer at all: believed, with the sentinel's exit code.
4. Nobody shows it alive: ``LAGGING``. The sentinel settles it after :data:`SETTLE`; without one it is ``LOST`` after
   :data:`LOST_AFTER` of continuous absence, which is an end that says so. An array of which accounting knows the ends
   of some tasks then ended as these did: the others were cancelled before they began, which Slurm writes down nowhere.
   After :data:`SETTLE` already, where accounting shows that none waits any more.
5. The queue did not answer: nothing is concluded from silence.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from aifa_hpc.slurm.reasons import explain_reason
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.slurm.states import COMPLETED, QUEUE_ONLY, TERMINAL, is_terminal

if TYPE_CHECKING:
    from aifa_hpc.slurm.records import Answer, JobRecord, Sentinel

QUEUED = "QUEUED"
SUBMITTING = "SUBMITTING"
UNKNOWN = "UNKNOWN"
REFUSED = "REFUSED"
NOT_SENT = "NOT_SENT"
LAGGING = "LAGGING"
LOST = "LOST"

OVER = TERMINAL | {LOST, NOT_SENT, REFUSED}
"""States a job does not leave."""

SETTLE = datetime.timedelta(seconds=60)
"""How long accounting may lag behind: slurmdbd is written by slurmctld in batches, and sites run it busy."""

LOST_AFTER = datetime.timedelta(minutes=15)
"""Continuous absence after which a job is given up; longer than a controller's restart or failover takes."""

_REQUEUED_FROM = frozenset({"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What is known of a job now.

    Attributes:
        state: A Slurm state, or one of ours: QUEUED, SUBMITTING, UNKNOWN, REFUSED, NOT_SENT, LAGGING, LOST.
        reason: A sentence for a person: why it waits, or why it ended like this.
        exit: Exit status, where known.
        nodes: Host list.
        start: As Slurm prints it, in UTC.
        end: The same.
        elapsed_seconds: Running time.
        proof: Who said so: ``squeue``, ``sacct``, ``sentinel``, or empty.
        absent_since: Since when nobody shows it alive.
    """

    state: str
    reason: str = ""
    exit: ExitStatus | None = None
    nodes: str = ""
    start: str = ""
    end: str = ""
    elapsed_seconds: int | None = None
    proof: str = ""
    absent_since: datetime.datetime | None = None

    @property
    def over(self) -> bool:
        """The job does not change any more."""
        return self.state in OVER

    @property
    def ok(self) -> bool:
        """Proven to have ended well."""
        return self.state == COMPLETED


def merge(previous: Status, answer: Answer, job: str, token: str, now: datetime.datetime) -> Status:  # noqa: PLR0911 - a return for each rule
    """The status that follows from one answer.

    Args:
        previous: The status before.
        answer: What the site said about all jobs.
        job: This job's id.
        token: Its token, which names its folder.
        now: When the answer came.
    """
    queued = (answer.queue or {}).get(job)
    accounted = (answer.accounting or {}).get(job)
    sentinel = answer.sentinels.get(token)
    if sentinel is not None and sentinel.id != job:
        sentinel = None
    if queued is not None and not is_terminal(queued.state):
        return _from(queued, "squeue")
    absent_since = min(previous.absent_since or now, now)  # a clock may have been set back since
    absent = now - absent_since
    if accounted is not None and is_terminal(accounted.state):
        if accounted.state in _REQUEUED_FROM and absent < SETTLE:
            return _lagging(previous, absent_since, f"ended as {accounted.state}; sites often requeue such jobs")
        return _ended(accounted, sentinel, "sacct")
    if answer.queue is None:
        if accounted is not None and answer.accounting is not None:
            return _from(accounted, "sacct")
        return replace(previous, reason=_silence(answer))
    if queued is not None and (answer.accounting is None or absent >= SETTLE):
        return _ended(queued, sentinel, "squeue")
    if sentinel is not None and absent >= SETTLE:
        state = COMPLETED if sentinel.code == 0 else "FAILED"
        reason = "accounting never showed its end; the script's own exit record does"
        return Status(
            state=state, reason=reason, exit=ExitStatus(sentinel.code), nodes=previous.nodes, proof="sentinel"
        )
    proven = job in answer.closed and accounted is not None and accounted.at_least is not None
    if absent >= (SETTLE if proven else LOST_AFTER):
        return _given_up(replace(previous, absent_since=absent_since), accounted, sentinel)
    return _lagging(previous, absent_since, "gone from the queue, not yet in accounting")


def _from(record: JobRecord, proof: str) -> Status:
    over = is_terminal(record.state)
    reason = "" if over and record.reason in QUEUE_ONLY else record.reason
    exit_ = record.exit if over else None
    return _told(record.state, reason, exit_, record.nodes, record.start, record.end, record.elapsed_seconds, proof)


@lru_cache(maxsize=1024)  # of ten thousand jobs most wait alike
def _told(  # noqa: PLR0917 - they are the key
    state: str, reason: str, exit_: ExitStatus | None, nodes: str, start: str, end: str, elapsed: int | None, proof: str
) -> Status:
    return Status(
        state=state,
        reason=explain_reason(reason),
        exit=exit_,
        nodes=nodes,
        start=start,
        end=end,
        elapsed_seconds=elapsed,
        proof=proof,
    )


def _ended(record: JobRecord, sentinel: Sentinel | None, proof: str) -> Status:
    status = _from(record, proof)
    if sentinel is None:
        return status
    if status.ok and sentinel.code != 0:
        reason = f"its script ended with exit code {sentinel.code}, whatever Slurm says"
        return replace(status, state="FAILED", exit=ExitStatus(sentinel.code), reason=reason, proof="sentinel")
    return status if status.exit is not None else replace(status, exit=ExitStatus(sentinel.code))


def _given_up(previous: Status, accounted: JobRecord | None, sentinel: Sentinel | None) -> Status:
    """What is concluded after long absence: of an array that some tasks of it never began, if the others ended."""
    if accounted is not None and accounted.at_least is not None:
        return _ended(accounted.at_least, sentinel, "sacct")
    reason = "neither queue nor accounting has shown it for a long time, and its script left no exit record"
    return replace(previous, state=LOST, reason=reason, proof="")


def _lagging(previous: Status, absent_since: datetime.datetime, reason: str) -> Status:
    return replace(previous, state=LAGGING, reason=reason, proof="", absent_since=absent_since)


def _silence(answer: Answer) -> str:
    said = "; ".join(
        f"{program}: {text.splitlines()[-1] if text else 'no answer'}" for program, text in answer.errors.items()
    )
    return f"the site does not tell ({said})" if said else "the site does not tell"
