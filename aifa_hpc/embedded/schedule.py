"""Which waiting jobs may start, and why the others wait: first come, first served, one job a slot.

There is no daemon. Whoever changes something (sbatch, an ending job, scancel) and whoever asks (squeue, sacct) calls
:func:`settle`, which also notices supervisors that died. A start that waits for the clock alone (``--begin``,
``after:ID+5``) therefore happens at the next command.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .processes import is_alive, kill_session, spawn_detached
from .store import CANCELLED, COMPLETED, NODE_FAIL, PENDING, RUNNING, Job, Store

if TYPE_CHECKING:
    from .request import Term
    from .settings import Settings

LAUNCH_SECONDS = 10.0
"""A supervisor that has not taken its job by then is taken for dead, and another is started."""

MARKER = "AIFA_EMBEDDED_JOB"
"""Variable that marks the processes of a job: ``ROOT:ID``."""


def settle(store: Store, settings: Settings) -> None:
    """Buries what died, gives every waiting job its reason and starts those that may run."""
    with store.transaction():
        now = time.time()
        for job in store.jobs("state = ?", (RUNNING,)):
            if not is_alive(job.pid, job.pid_started):
                bury(store, settings, job, now)
        launches = decide(store, settings, now)
    for number in launches:
        spawn_detached(settings.argv("supervise", str(number)))


def bury(store: Store, settings: Settings, job: Job, now: float) -> None:
    """Ends a job whose supervisor is gone: the machine went down, or somebody killed it."""
    if job.session:
        kill_session(job.session, f"{MARKER}={settings.root}:{job.id}")
    state = CANCELLED if job.cancelled_by is not None else NODE_FAIL
    for step in store.steps(job):
        if step["ended"] is None:
            store.end_step(job.id, job.restarts, step["step"], state=CANCELLED, ended=now)
    if state == NODE_FAIL and job.request.requeue:
        requeue(store, job)
    else:
        store.update(job.id, state=state, ended=now, reason="NodeDown" if state == NODE_FAIL else "None", killing=0)


def requeue(store: Store, job: Job) -> None:
    """Puts a job back into the queue; its next attempt counts one restart more."""
    store.update(
        job.id,
        state=PENDING,
        reason="None",
        restarts=job.restarts + 1,
        launched=0,
        started=None,
        ended=None,
        killing=0,
        exit_code=0,
        exit_signal=0,
        pid=None,
        pid_started=None,
        session=None,
    )


def decide(store: Store, settings: Settings, now: float) -> list[int]:
    """Writes the reason of every waiting job and returns the ids of those that shall start now."""
    active = store.jobs("state IN (?, ?)", (PENDING, RUNNING))
    taken = [job for job in active if job.state == RUNNING or job.launched > now - LAUNCH_SECONDS]
    free = settings.slots - len(taken)
    in_array: dict[int, int] = {}
    for job in taken:
        in_array[job.base] = in_array.get(job.base, 0) + 1
    launches: list[int] = []
    full = False
    for job in active:
        if job in taken:
            continue
        reason = blocked(store, job, settings, now)
        limit = job.request.array_limit
        if not reason and limit and in_array.get(job.base, 0) >= limit:
            reason = "JobArrayTaskLimit"
        if not reason and free < 1:
            reason, full = ("Priority" if full else "Resources"), True
        if reason:
            if reason != job.reason:
                store.update(job.id, reason=reason)
            continue
        free -= 1
        in_array[job.base] = in_array.get(job.base, 0) + 1
        store.update(job.id, launched=now, reason="None")
        launches.append(job.id)
    return launches


def blocked(store: Store, job: Job, settings: Settings, now: float) -> str:
    """The reason why a job may not start whatever is free; empty when it may."""
    if job.held:
        return "JobHeldUser"
    dependency = job.request.dependency
    if dependency is not None:
        held = [holds(store, job, term, settings, now) for term in dependency.terms]
        if dependency.any:
            if True not in held:
                return "Dependency" if None in held else "DependencyNeverSatisfied"
        elif False in held:
            return "DependencyNeverSatisfied"
        elif None in held:
            return "Dependency"
    return "BeginTime" if job.begin > now else ""


def holds(store: Store, job: Job, term: Term, settings: Settings, now: float) -> bool | None:
    """Whether a condition holds; ``None`` is not yet."""
    if term.kind == "singleton":
        rivals = store.jobs("name = ? AND id < ? AND state IN (?, ?)", (job.name, job.id, PENDING, RUNNING))
        return True if not [rival for rival in rivals if rival.base != job.base] else None
    others = store.tasks(term.job, term.task)
    if not others:
        return True  # a job that Slurm does not know (any more) keeps nobody waiting
    if term.kind == "after":
        begun = [other.started or (other.ended if not other.is_active else None) for other in others]
        late = now - term.delay * settings.minute
        return True if all(moment is not None and moment <= late for moment in begun) else None
    good = [other.state == COMPLETED for other in others if not other.is_active]
    if term.kind == "afterok" and False in good:
        return False
    if len(good) < len(others):
        return None
    return {"afterok": True, "afternotok": False in good, "afterany": True}[term.kind]
