"""Slurm's job states and flags, which of them are ends, and what pending reasons mean.

Base states and flags are those of sacct(1) and squeue(1), Slurm 26.05. Only the states listed in :data:`TERMINAL` are
ends. A word that is not listed here comes from a newer Slurm: it is kept as it is and never taken for an end, because
a job that seems to run too long is a nuisance and a job that seems done too early is a loss.
"""

from __future__ import annotations

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

REASONS = {
    "AssocGrpBillingMinutes": "the project's budget is used up",
    "AssocGrpCpuLimit": "the project already uses as many cores as it may",
    "AssocGrpCPUMinutesLimit": "the project's budget is used up",
    "AssocGrpGRES": "the project already uses as many GPUs as it may",
    "AssocGrpNodeLimit": "the project already uses as many nodes as it may",
    "AssocGrpGRESMinutes": "the project's budget is used up",
    "AssocMaxJobsLimit": "you already run as many jobs as your project allows",
    "BadConstraints": "no node has what it asks for: it will never start",
    "BeginTime": "its begin time lies ahead: asked for, or set some minutes off when it was put back into the queue",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "the job it waits for can no longer end as asked: this one will never start",
    "InvalidAccount": "the account is not valid for this user or partition",
    "InvalidQOS": "the QOS is not valid for this account",
    "JobArrayTaskLimit": "the array's own limit of running tasks is reached",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held; release it with scontrol release",
    "JobLaunchFailure": "its script could not be started: often a folder or log that the node cannot open",
    "NodeDown": "a node it needs is down",
    "NonZeroExitCode": "its script ended with an error",
    "None": "the scheduler has not looked at it yet",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives",
    "PartitionTimeLimit": "it asks for more time than the partition gives",
    "Priority": "jobs with a higher priority come first",
    "QOSGrpNodeLimit": "jobs of this QOS already use as many nodes as they may together",
    "QOSMaxCpuPerUserLimit": "you already use as many cores as this QOS allows",
    "QOSMaxJobsPerUserLimit": "you already run as many jobs as this QOS allows",
    "QOSMaxNodePerUserLimit": "you already use as many nodes as this QOS allows",
    "QOSMaxWallDurationPerJobLimit": "it asks for more time than this QOS allows",
    "ReqNodeNotAvail": "a node it needs is down, reserved or in maintenance",
    "Reservation": "it waits for its reservation",
    "Resources": "it is next, and waits for nodes to become free",
    "job requeued in held state": "it was put back into the queue and is held; release it with scontrol release",
    "launch failed requeued held": "its nodes failed to start it, so it is held; release it with scontrol release",
}


QUEUE_ONLY = frozenset({"BeginTime", "Dependency", "JobArrayTaskLimit", "Priority", "Reservation", "Resources"})
"""Reasons to wait, which accounting keeps when the job has long ended."""


def base_state(word: str) -> str:
    """The state in ``CANCELLED by 1000``, ``RUNNING+``, ``CD`` or ``COMPLETED``; unknown words pass through."""
    first = word.strip().split(" ", 1)[0].rstrip("+").upper()
    return _SHORT.get(first, first)


def is_terminal(state: str) -> bool:
    """Whether an attempt with this base state is over."""
    return state in TERMINAL


def explain_reason(reason: str) -> str:
    """A pending reason as a sentence; ``(Resources)`` and ``ReqNodeNotAvail, UnavailableNodes:x`` are understood.

    What has no sentence here is kept as Slurm said it.
    """
    text = reason.strip()
    if text.startswith("(") and text.endswith(")"):  # squeue's own column %R
        text = text[1:-1]
    code = text.split(",", 1)[0].strip()
    return REASONS.get(code, text)
