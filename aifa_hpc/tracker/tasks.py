"""Many records to one: the tasks of an array, and the components of a heterogeneous job.

squeue and sacct print ``123_4`` for a task that has begun, ``123_[5-9%2]`` for those that wait together, and ``123+1``
for a component. sacct may show ``31_[3-4%1]`` and ``31_3`` for a moment: what is said of a task by itself wins. It may
also show ``31_[3-4]``, or ``31`` alone, as cancelled when that came to 4 only, and 3 begins a moment later: what squeue
shows by itself is not believed to have ended together.

A task that is cancelled while it waits vanishes from both (Slurm 22.05 and 24.11, as seen). That none waits any more is
shown by the array's own number, which the last task to leave the waiting ones keeps.

An array is alive while any of its tasks is, and over when every task is known to be; it then failed if any task did.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.slurm.reasons import explain_reason
from aifa_hpc.slurm.states import COMPLETED, WAITING, is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aifa_hpc.slurm.query import Subject
    from aifa_hpc.slurm.records import Answer, JobRecord, Sentinel

_ID = re.compile(r"(?P<base>\d+)(?:_(?P<task>\d+)|_\[(?P<waiting>[^\]%]*)(?:%\d+)?\]|\+(?P<component>\d+))", re.ASCII)

_WORST = (
    "FAILED",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "BOOT_FAIL",
    "TIMEOUT",
    "DEADLINE",
    "PREEMPTED",
    "CANCELLED",
    "REVOKED",
)
"""Ends from bad to better; what is not listed is worse than COMPLETED and better than these."""


def badness(state: str) -> int:
    """A rank among ends: the higher, the worse."""
    if state == COMPLETED:
        return 0
    return len(_WORST) + 1 - _WORST.index(state) if state in _WORST else 1


def counted(states: Iterable[str]) -> str:
    """``2 RUNNING, 1 COMPLETED``, in the order in which they appear."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def gather(answer: Answer, arrays: Iterable[Subject]) -> Answer:
    """The answer with one record for each job.

    Args:
        answer: What the site said.
        arrays: Those of the jobs that are arrays.
    """
    arrays = tuple(arrays)
    expected = {one.id: frozenset(map(str, read_indices(one.tasks))) for one in arrays}
    shown = frozenset(answer.queue or ())
    return replace(
        answer,
        queue=None if answer.queue is None else _gather(answer.queue, expected, partial=False),
        accounting=None if answer.accounting is None else _gather(answer.accounting, expected, shown, partial=True),
        sentinels=answer.sentinels | _exits(answer.sentinels, arrays),
        closed=frozenset(one.id for one in arrays if one.id in answer.closed and not _is_late(answer, one)),
    )


def _is_late(answer: Answer, array: Subject) -> bool:
    """Whether some task of an array has run, by its exit record, and accounting does not know it yet."""
    token = array.folder.rpartition("/")[2]
    ran = (index for index in read_indices(array.tasks) if f"{token}_{index}" in answer.sentinels)
    return any(f"{array.id}_{index}" not in (answer.accounting or ()) for index in ran)


def _exits(sentinels: Mapping[str, Sentinel], arrays: Iterable[Subject]) -> dict[str, Sentinel]:
    """The exit record of each array of which every task has left one: the worst of them."""
    found = {}
    for one in arrays:
        token = one.folder.rpartition("/")[2]
        records = [sentinels.get(f"{token}_{index}") for index in read_indices(one.tasks)]
        known = [record for record in records if record is not None]
        if known and len(known) == len(records):
            worst = max(known, key=lambda record: record.code)
            found[token] = worst._replace(id=one.id, at=max(record.at for record in known))
    return found


def _gather(
    records: Mapping[str, JobRecord],
    expected: Mapping[str, frozenset[str]],
    shown: frozenset[str] = frozenset(),
    *,
    partial: bool,
) -> dict[str, JobRecord]:
    found: dict[str, JobRecord] = {}
    groups: dict[str, dict[str, JobRecord]] = {}
    waiting: dict[str, dict[str, JobRecord]] = {}
    for key, record in records.items():
        match = _ID.fullmatch(key)
        if match is not None and match["waiting"] is None:
            groups.setdefault(match["base"], {})[match["task"] or f"+{match['component']}"] = record
        elif match is not None or key in expected:  # a range of tasks, or the bare id: all of them
            base = match["base"] if match is not None else key
            numbers = map(str, read_indices(match["waiting"])) if match is not None else expected[key]
            own = (number for number in numbers if f"{base}_{number}" not in shown)
            waiting.setdefault(base, {}).update(dict.fromkeys(own, record))
        else:
            found[key] = record
    for base in groups.keys() | waiting.keys():
        known = waiting.get(base, {}) | groups.get(base, {})
        missing = len(expected.get(base, frozenset()) - known.keys())
        folded = _fold(base, list(known.values()), missing=missing, partial=partial) if known else None
        if folded is not None:
            found[base] = folded
    return found


def _fold(base: str, records: list[JobRecord], *, missing: int, partial: bool) -> JobRecord | None:
    """One record for many.

    Args:
        base: Their common id.
        records: One for each task that the source knows.
        missing: Tasks that it does not know.
        partial: Say what is known of an array although tasks are missing (accounting, which writes tasks down when they
            begin); the queue forgets the ends of tasks, so that what is left there proves no end of all.
    """
    alive = [record for record in records if not is_terminal(record.state)]
    counts = counted(record.state for record in records)
    if alive or (missing and partial):
        begun = len(alive) < len(records) or any(record.state not in WAITING for record in alive)
        reasons = {record.reason for record in alive if record.reason} - {"None"}
        why = "; ".join(explain_reason(reason) for reason in sorted(reasons))
        state = "RUNNING" if begun else alive[0].state
        whole = next((record for record in alive if record.state not in WAITING), records[0])
        text = counts if len(records) > 1 else ""
        told = ": ".join(filter(None, (text, why)))
        ends = None if alive else _end(base, records, f"{counts}, {missing} cancelled before they began")
        if ends is not None and badness(ends.state) < badness("CANCELLED"):
            ends = ends._replace(state="CANCELLED")
        return _common(base, whole, records)._replace(state=state, reason=told, at_least=ends)
    if missing:
        return None
    return _end(base, records, counts if len({record.state for record in records}) > 1 else "")


def _end(base: str, records: list[JobRecord], reason: str) -> JobRecord:
    """The worst of some ends, for this reason if there is one."""
    worst = max(records, key=lambda record: badness(record.state))
    return _common(base, worst, records)._replace(state=worst.state, reason=reason or worst.reason)


def _common(base: str, main: JobRecord, records: list[JobRecord]) -> JobRecord:
    elapsed = [record.elapsed_seconds for record in records if record.elapsed_seconds is not None]
    starts = [record.start for record in records if record.start]
    return main._replace(
        id=base,
        nodes=",".join(dict.fromkeys(record.nodes for record in records if record.nodes)),
        start=min(starts, default=""),
        end=max((record.end for record in records), default=""),
        elapsed_seconds=max(elapsed, default=None),
        earlier=tuple(one for record in records for one in record.earlier),
    )
