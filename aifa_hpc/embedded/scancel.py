"""scancel: ends jobs, or sends them a signal.

As with Slurm 22.05, ending a job that is unknown or over is no error; sending it a signal is.
"""

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
    jobs, complaints = _chosen(store, options, words, number)
    if number is None:
        cancel(store, [job for job, step in jobs if step is None], time.time())
    for job, step in jobs:
        if step is not None:
            _signal_step(store, job, step, number or signal.SIGTERM)
        elif number is not None and job.state == RUNNING:
            _signal_job(store, job, number, options)
    settle(store, settings)
    if complaints and "quiet" not in options:
        raise Refusal(*complaints)
    return 1 if complaints else 0


def _chosen(
    store: Store, options: dict[str, str], words: Sequence[str], number: int | None
) -> tuple[list[tuple[Job, str | None]], list[str]]:
    """The jobs and steps that are meant, and what to say about those that are not there."""
    if not words:
        active = store.jobs("state IN (?, ?)", (PENDING, RUNNING))
        return [(job, None) for job in active if _matches(job, options)], []
    jobs: list[tuple[Job, str | None]] = []
    complaints = []
    # To end what is not there is done already; to signal it, or to look for it among others, fails.
    strict = number is not None or bool(_FILTERS & set(options))
    for word in words:
        found, step = _find(store, word, running=number is not None)
        if not found and (strict or step is not None):
            what = "job id" if step is None else "job step id"
            complaints.append(f"scancel: error: Kill job error on {what} {word}: Invalid job id specified")
        jobs += ((job, step) for job in found if _matches(job, options))
    return jobs, complaints


def cancel(store: Store, jobs: Sequence[Job], now: float) -> None:
    """Ends waiting jobs at once, and asks the supervisors of running ones to end them; ended ones stay as they are."""
    supervisors = []
    with store.transaction():
        for job in jobs:
            current = store.job(job.id)
            if current is None or not current.is_active:
                continue
            if current.state == PENDING:
                columns = {"state": CANCELLED, "ended": now, "launched": 0, "reason": "None"}
                store.update(job.id, cancelled_by=os.getuid(), **columns)
            else:
                store.update(job.id, cancelled_by=os.getuid(), killing=1)
                supervisors.append(current.pid)
    processes.signal_all(supervisors, signal.SIGTERM)  # after the commit, so that they find what they are woken for


def signal_steps(store: Store, job: Job, number: int) -> None:
    """Sends a signal to the tasks of a job's sruns, wherever they are below them."""
    own = set(processes.descendants(job.session))
    for step in store.steps(job):
        if step["pid"] in own and step["ended"] is None:
            processes.signal_all(processes.descendants(step["pid"]), number)


def _find(store: Store, word: str, *, running: bool) -> tuple[list[Job], str | None]:
    """The jobs of a word that are not over (or that run), and the step it names."""
    match = _ID.fullmatch(word)
    if match is None:
        raise Refusal(f"scancel: error: Invalid job id {word}")
    base, tasks, step = match.groups()
    states = {RUNNING} if running or step is not None else {PENDING, RUNNING}
    known = [job for job in store.tasks(int(base)) if job.state in states]
    if tasks is None or tasks == "*":
        return known, step
    wanted = set()
    for part in tasks.strip("[]").split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    return [job for job in known if job.array_task in wanted], step


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
    own = {job.session, *processes.descendants(job.session)}
    for row in store.steps(job):
        if row["step"] == step and row["ended"] is None and row["pid"] in own:
            shell = [row["pid"]] if step == "batch" else []
            processes.signal_all([*shell, *processes.descendants(row["pid"])], number)
