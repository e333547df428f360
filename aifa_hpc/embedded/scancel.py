"""scancel: ends jobs, or sends them a signal."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

from . import processes
from .request import signal_number
from .schedule import settle
from .show import STATES, names
from .store import CANCELLED, PENDING, RUNNING, Job, Store
from .supervise import signal_steps
from .words import Refusal, read_line, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

_OPTIONS = table(
    "account/A= batch/b clusters/M= ctld full/f help hurry/H interactive/i jobname/n= me name= nodelist/w= "
    "partition/p= qos/q= quiet/Q reservation/R= sibling= signal/s= state/t= usage user/u= verbose/v version/V wckey="
)
_ID = re.compile(r"(\d+)(?:_(\d+|\*|\[[\d,-]+\]))?(?:\.(\d+|batch))?", re.ASCII)
_FILTERS = {"account", "jobname", "name", "me", "partition", "qos", "reservation", "state", "user", "nodelist"}


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``scancel ARGV``."""
    options, words = read_line("scancel", _OPTIONS, argv, interleaved=True)
    number = None
    if "signal" in options:
        number = signal_number(options["signal"])
        if number is None:
            raise Refusal(f"Unknown job signal: {options['signal']}")
    if not words and not _FILTERS & set(options):
        raise Refusal("scancel: error: No job identification provided")
    store = Store(settings.database)
    settle(store, settings)
    complaints = []
    jobs: list[tuple[Job, str | None]] = []
    for word in words:
        found, step = _find(store, word)
        if not found:
            complaints.append(f"scancel: error: Kill job error on job id {word}: Invalid job id specified")
        jobs += ((job, step) for job in found)
    if not words:
        jobs = [(job, None) for job in store.jobs("state IN (?, ?)", (PENDING, RUNNING))]
    for job, step in jobs:
        if _matches(job, options):
            _end(store, job, step, number, options)
    settle(store, settings)
    if complaints and "quiet" not in options:
        raise Refusal(*complaints)
    return 1 if complaints else 0


def _end(store: Store, job: Job, step: str | None, number: int | None, options: dict[str, str]) -> None:
    if step is not None:
        _signal_step(store, job, step, number or signal.SIGTERM)
    elif number is None:
        cancel(store, job)
    elif job.state == RUNNING:
        _signal_job(store, job, number, options)


def cancel(store: Store, job: Job) -> None:
    """Ends a waiting job at once, and asks the supervisor of a running one to end it; an ended one stays as it is."""
    with store.transaction():
        now_job = store.job(job.id)
        if now_job is None or not now_job.is_active:
            return
        if now_job.state == PENDING:
            store.update(
                job.id, state=CANCELLED, ended=time.time(), cancelled_by=os.getuid(), launched=0, reason="None"
            )
            return
        store.update(job.id, cancelled_by=os.getuid(), killing=1)
    processes.signal_all([now_job.pid], signal.SIGTERM)  # after the commit, so that it finds what it is woken for


def _find(store: Store, word: str) -> tuple[list[Job], str | None]:
    match = _ID.fullmatch(word)
    if match is None:
        raise Refusal(f"scancel: error: Invalid job id {word}")
    base, tasks, step = match.groups()
    if tasks is None or tasks == "*":
        return store.tasks(int(base)), step
    wanted = set()
    for part in tasks.strip("[]").split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    return [job for job in store.tasks(int(base)) if job.array_task in wanted], step


def _matches(job: Job, options: dict[str, str]) -> bool:
    request = job.request
    own = {
        "account": request.account,
        "jobname": job.name,
        "name": job.name,
        "partition": job.partition,
        "qos": request.qos,
        "reservation": request.reservation,
    }
    if any(option in options and value not in names(options[option]) for option, value in own.items()):
        return False
    if "user" in options and not {request.user, str(request.uid)} & names(options["user"]):
        return False
    wanted = names(options.get("state", "").upper())
    return not wanted or bool({job.state, STATES[job.state]} & wanted)


def _signal_job(store: Store, job: Job, number: int, options: dict[str, str]) -> None:
    """To the tasks of its sruns; with ``--batch`` to the shell alone, with ``--full`` to everything."""
    if "full" in options:
        processes.signal_all([job.session, *processes.descendants(job.session)], number)
    elif "batch" in options:
        processes.signal_all([job.session], number)
    else:
        signal_steps(store, job, number)


def _signal_step(store: Store, job: Job, step: str, number: int) -> None:
    for row in store.steps(job):
        if row["step"] == step and row["ended"] is None:
            own = [row["pid"]] if step == "batch" else []
            processes.signal_all([*own, *processes.descendants(row["pid"])], number)
