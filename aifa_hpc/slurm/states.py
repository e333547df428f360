"""Slurm's job states and flags, and which of them are ends.

Base states and flags are those of sacct(1) and squeue(1), Slurm 26.05. Only the states listed in :data:`TERMINAL` are
ends. A word that is not listed here comes from a newer Slurm: it is kept as it is and never taken for an end, because
a job that seems to run too long is a nuisance and a job that seems done too early is a loss.
"""

from __future__ import annotations

from functools import lru_cache

COMPLETED = "COMPLETED"

TERMINAL = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        COMPLETED,
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)
"""States that accounting gives to an attempt that is over. Whether the *job* is over depends on requeueing."""

WAITING = frozenset(
    {
        "CONFIGURING",
        # Flags that a prolog's failure puts on a job which then goes back to the queue; accounting has the end, if any.
        "LAUNCH_FAILED",
        "PENDING",
        "RECONFIG_FAIL",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    }
)
ACTIVE = frozenset({"COMPLETING", "RESIZING", "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "UPDATE_DB"})

_SHORT = {
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": COMPLETED,
    "CF": "CONFIGURING",
    "CG": "COMPLETING",
    "DL": "DEADLINE",
    "F": "FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "RQ": "REQUEUED",
    "S": "SUSPENDED",
    "TO": "TIMEOUT",
}

QUEUE_ONLY = frozenset({"BeginTime", "Dependency", "JobArrayTaskLimit", "Priority", "Reservation", "Resources"})
"""Reasons to wait, which accounting keeps when the job has long ended."""


@lru_cache(maxsize=256)  # ten thousand jobs are in a handful of states
def base_state(word: str) -> str:
    """The state in ``CANCELLED by 1000``, ``RUNNING+``, ``CD`` or ``COMPLETED``; unknown words pass through."""
    first = word.strip().split(" ", 1)[0].rstrip("+").upper()
    return _SHORT.get(first, first)


def is_terminal(state: str) -> bool:
    """Whether an attempt with this base state is over."""
    return state in TERMINAL
