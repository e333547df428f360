"""What the job store remembers, as values: rows, their earlier attempts, and the events of their states."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.events import OVER, Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A remembered job.

    Attributes:
        token: Its identity before and after it has an id.
        site: Site name.
        name: As the user named it.
        job_id: Slurm's id; ``None`` until one is known.
        folder: Its folder on the site; empty for a job that was adopted.
        status: Last known status.
        created_at: When it was meant to be submitted, or adopted.
        changed_at: When its state last changed.
        part_of: Token of the first part, for the links of a chain and the chunks of an array; empty for a job that is
            one submission.
        tasks: Indices of an array as sbatch was given them; empty when it is none.
        account: Project that is billed, where one is named.
        partition: Where it runs, as far as that is known.
        nodes_wanted: Nodes asked for, by each task of an array.
        limit_seconds: Walltime asked for.
        rate: Billed units per hour while all of this submission runs; ``None`` when nobody knows.
        unit: What the rate counts, as ``jobs.quote`` says it: ``GPU-h`` or ``core-h``.
        log_file: Where an adopted job writes; empty for one with a folder.
        run: Id of the experiment's run that the job logs to, its ``MLFLOW_RUN_ID``; empty when it has none.
    """

    token: str
    site: str
    name: str
    job_id: str | None
    folder: str
    status: Status
    created_at: datetime.datetime
    changed_at: datetime.datetime
    part_of: str = ""
    tasks: str = ""
    account: str = ""
    partition: str = ""
    nodes_wanted: int | None = None
    limit_seconds: int | None = None
    rate: float | None = None
    unit: str = ""
    log_file: str = ""
    run: str = ""

    @property
    def adopted(self) -> bool:
        """Submitted by other means, and only followed."""
        return not self.folder

    @property
    def log(self) -> str:
        """Where its standard output and error go, on the site; for an array a pattern of them."""
        if self.adopted:
            return self.log_file
        return f"{self.folder}/{self.job_id}{'_*' if self.tasks else ''}.out"

    @property
    def logs(self) -> tuple[str, ...]:
        """The same, each file of an array by itself."""
        if self.adopted and (not self.log_file or "%a" not in self.log_file):
            return (self.log_file,) if self.log_file else ()
        if not self.tasks:
            return (self.log,)
        pattern = self.log_file or f"{self.folder}/{self.job_id}_%a.out"
        return tuple(pattern.replace("%a", str(index)) for index in read_indices(self.tasks))


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A change of a job's state. Events are numbered in the order in which they became known.

    Attributes:
        id: Its number; larger is later.
        token: The job's.
        site: Site name.
        job_id: Slurm's id, once known.
        name: The job's name.
        at: When it became known, aware, in UTC.
        state: The new state.
        reason: Why, as then known.
        previous: The state before; empty for the first.
    """

    id: int
    token: str
    site: str
    job_id: str | None
    name: str
    at: datetime.datetime
    state: str
    reason: str
    previous: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of a submission; requeueing, preemption and failed nodes make more than one.

    Attributes:
        number: From 1, in the order of time, for each job id.
        job_id: Slurm's id; of the task, for an array.
        state: How it ended, or how it goes.
        reason: Why.
        nodes: Host list.
        start: As Slurm prints it; empty when it never began.
        end: As Slurm prints it; empty when it goes on or nobody said.
        exit: Exit status, where known.
    """

    number: int
    job_id: str
    state: str
    reason: str = ""
    nodes: str = ""
    start: str = ""
    end: str = ""
    exit: ExitStatus | None = None


ALIVE = f"state NOT IN ({', '.join(repr(state) for state in sorted(OVER))})"
"""The condition that a job is not over."""

STATUS = (
    "told_at",
    "state",
    "reason",
    "exit_code",
    "exit_signal",
    "nodes",
    "start",
    "end",
    "elapsed_seconds",
    "proof",
    "absent_since",
)
"""The columns of the table ``jobs`` that make a status."""


def status_of(columns: Sequence[Any], answered: str | None) -> Status:
    """A status from these columns.

    A job that goes on as it did is not written down again, so to its running time the time is added from when it was
    told of last to when its site last answered.
    """
    told, state, reason, code, signal, nodes, start, end, elapsed, proof, absent = columns
    if elapsed is not None and state == "RUNNING" and answered and told:
        passed = datetime.datetime.fromisoformat(answered) - datetime.datetime.fromisoformat(told)
        elapsed += max(0, int(passed.total_seconds()))
    return Status(
        state=state,
        reason=reason,
        exit=None if code is None else ExitStatus(code, signal or 0),
        nodes=nodes,
        start=start,
        end=end,
        elapsed_seconds=elapsed,
        proof=proof,
        absent_since=datetime.datetime.fromisoformat(absent) if absent else None,
    )


def row_of(row: sqlite3.Row) -> Row:
    """A line of the table ``jobs``, with when its site last answered as ``answered``."""
    return Row(
        token=row["token"],
        site=row["site"],
        name=row["name"],
        job_id=row["job_id"],
        folder=row["folder"],
        status=status_of([row[name] for name in STATUS], row["answered"]),
        created_at=datetime.datetime.fromisoformat(row["created_at"]),
        changed_at=datetime.datetime.fromisoformat(row["changed_at"]),
        part_of=row["part_of"],
        tasks=row["tasks"],
        account=row["account"],
        partition=row["partition"],
        nodes_wanted=row["nodes_wanted"],
        limit_seconds=row["limit_seconds"],
        rate=row["rate"],
        unit=row["unit"],
        log_file=row["log_file"],
        run=row["run"],
    )


def exit_of(row: sqlite3.Row) -> ExitStatus | None:
    """The exit status in a line of ``attempts``."""
    return None if row["exit_code"] is None else ExitStatus(row["exit_code"], row["exit_signal"] or 0)
