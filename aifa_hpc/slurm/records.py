"""What Slurm says about a job, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, order=True)
class ExitStatus:
    """Exit code and signal, as accounting prints them: ``1:0``."""

    code: int
    signal: int = 0

    def __str__(self) -> str:
        return f"{self.code}:{self.signal}"

    @property
    def ok(self) -> bool:
        """Neither a code nor a signal."""
        return self.code == 0 and self.signal == 0


class JobRecord(NamedTuple):
    """One job, or one task of an array, as one source describes it. A tuple, because there may be ten thousand.

    Attributes:
        id: ``123``, or ``123_4`` for a task of an array.
        state: Base state; a word we do not know is kept.
        reason: Why it waits, or why it ended; empty when nothing is said.
        nodes: Host list as printed.
        start: ISO time as printed, empty when not started.
        expected_start: When the queue thinks that a pending job will start; empty when it does not say.
        gist: What the queue says, but for the time that passes: the same again is no news.
        elapsed_seconds: Time it has run; ``None`` where the source does not say.
        name: Job name.
        end: ISO time as printed, empty when not ended.
        exit: Exit status; ``None`` where the source does not know it.
        earlier: Its attempts before this one that went back into the queue, the oldest first, as accounting has them.
        at_least: Of an array of which accounting knows some tasks, all of them ended: the end that these come to if the
            others never began.
    """

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    start: str = ""
    expected_start: str = ""
    gist: str = ""
    elapsed_seconds: int | None = None
    name: str = ""
    end: str = ""
    exit: ExitStatus | None = None
    earlier: tuple[JobRecord, ...] = ()
    at_least: JobRecord | None = None


class Sentinel(NamedTuple):
    """The line a job script writes when it ends, whatever accounting says. A tuple, because there may be many.

    Attributes:
        id: Job id as the script knew it.
        restarts: ``SLURM_RESTART_COUNT`` of that attempt.
        code: Exit code of the script.
        at: Seconds since the epoch, by the compute node's clock.
    """

    id: str
    restarts: int
    code: int
    at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer to one question about many jobs.

    Attributes:
        queue: Records of squeue by job id; ``None`` when it did not answer.
        accounting: Records of sacct by job id; ``None`` when it did not answer. It was not asked about jobs that the
            queue shows alive.
        sentinels: Exit records by token, those of an array's tasks by ``TOKEN_INDEX``.
        errors: What the programs that did not answer said, by program name.
        same: Jobs of which the queue says what it said last time, time running on; not in ``queue``.
        closed: Arrays that are gone from the queue and of which no task waits any more, as accounting has it: the last
            task to leave the waiting ones keeps the array's own number (``JobIDRaw``).
    """

    queue: dict[str, JobRecord] | None
    accounting: dict[str, JobRecord] | None
    sentinels: dict[str, Sentinel]
    errors: dict[str, str]
    same: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
