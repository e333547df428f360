"""Values as Slurm's programs print them: moments, spans, node lists, the waiting part of an array."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from aifa_hpc.slurm.hostlist import compress_hostlist

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .store import Job

STATES = {
    "PENDING": "PD",
    "RUNNING": "R",
    "SUSPENDED": "S",
    "COMPLETED": "CD",
    "CANCELLED": "CA",
    "FAILED": "F",
    "TIMEOUT": "TO",
    "NODE_FAIL": "NF",
    "PREEMPTED": "PR",
    "BOOT_FAIL": "BF",
    "DEADLINE": "DL",
    "OUT_OF_MEMORY": "OOM",
    "COMPLETING": "CG",
    "CONFIGURING": "CF",
    "RESIZING": "RS",
    "REQUEUED": "RQ",
}
"""States and their short forms, squeue(1) JOB STATE CODES."""


def moment(seconds: float | None, missing: str = "N/A") -> str:
    """A point of time, local, in the form that ``SLURM_TIME_FORMAT`` asks for."""
    if not seconds:
        return missing
    form = os.environ.get("SLURM_TIME_FORMAT", "standard")
    if "%" not in form:
        form = "%Y-%m-%dT%H:%M:%S"
    return time.strftime(form, time.localtime(seconds))


def elapsed(job: Job, now: float) -> int:
    """Whole seconds a job has run."""
    return 0 if job.started is None else max(0, int(job.ended or now) - int(job.started))


def span(seconds: int, *, short: bool = False) -> str:
    """``[D-]HH:MM:SS`` as sacct prints it; ``short`` leaves out what is zero in front, as squeue does."""
    days, rest = divmod(seconds, 86400)
    hours, minutes, rest = rest // 3600, rest // 60 % 60, rest % 60
    if not short or days:
        clock = f"{hours:02}:{minutes:02}:{rest:02}"
        return f"{days}-{clock}" if days else clock
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def nodes(job: Job) -> str:
    """The nodes of a job that has started."""
    return compress_hostlist(job.request.hosts) if job.started is not None else ""


def is_waiting_task(job: Job) -> bool:
    """A task that Slurm still counts to its array's common record: it waits, or was cancelled while it did."""
    return job.array_id is not None and job.started is None and job.restarts == 0


def gathered(jobs: Iterable[Job]) -> list[tuple[str, Job]]:
    """Jobs with the ids people see: an array's waiting tasks are one line, ``12_[0-3%2]``.

    Those that were cancelled while they waited are a line for each scancel.
    """
    lines: list[tuple[str, Job]] = []
    waiting: dict[tuple[int, float | None], list[Job]] = {}
    for job in jobs:
        if not is_waiting_task(job):
            lines.append((job.label, job))
            continue
        key = (job.base, job.ended)
        if key not in waiting:
            lines.append(("", job))
        waiting.setdefault(key, []).append(job)
    return [(label or f"{job.base}_[{indices(waiting[job.base, job.ended])}]", job) for label, job in lines]


def indices(tasks: list[Job]) -> str:
    """Indices of an array's tasks and its limit: ``0-3,7%2``."""
    numbers = sorted(task.array_task for task in tasks)
    text = compress_hostlist([f"n{number}" for number in numbers]).removeprefix("n").strip("[]")
    limit = tasks[0].request.array_limit
    return f"{text}%{limit}" if limit else text


def raw_id(job: Job) -> int:
    """A job's own id; waiting tasks have none yet and show their array's."""
    return job.base if is_waiting_task(job) else int(job.id)


def names(text: str) -> set[str]:
    """A comma separated option value."""
    return {word for word in text.split(",") if word}


def start(job: Job) -> float | None:
    """When a job started; one that was cancelled before counts as started then, but for an array's tasks."""
    began: float | None = job.started
    return began if began is not None or is_waiting_task(job) else job.ended
