"""Several submissions to one job: the links of a chain, the chunks of an array.

The rows of a group carry the token of the first one, whose id and token stand for the whole; the others stand for
themselves.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.features import KINDS
from aifa_hpc.slurm.states import WAITING
from aifa_hpc.slurm.submission import SUBMIT_TIMEOUT
from aifa_hpc.tracker.events import NOT_SENT, QUEUED, REFUSED, Status
from aifa_hpc.tracker.tasks import badness, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aifa_hpc.jobs.features import After
    from aifa_hpc.tracker.store import Row

_WAITS = WAITING | {QUEUED}

ORPHANED = datetime.timedelta(seconds=2 * SUBMIT_TIMEOUT)
"""Age at which what is being submitted was left behind by a process that died; also an age that is still to come, by a
clock that was set right since."""


def is_left_behind(parts: Iterable[Row], now: datetime.datetime) -> bool:
    """Whether nobody is at a job any more that is being submitted: its parts are submitted one after the other."""
    return abs(now - max(row.changed_at for row in parts)) >= ORPHANED


def collapse(rows: Iterable[Row]) -> list[Row]:
    """One row for each job, in the order of their first parts."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.part_of or row.token, []).append(row)
    return [whole(parts) for parts in groups.values()]


def whole(parts: Sequence[Row]) -> Row:
    """The row that stands for all parts of a job.

    A chain is as its last link that ran, because later ones are cancelled when training says that it is finished; the
    chunks of an array are together as bad as the worst.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    status = _array(parts) if first.tasks else _chain(parts)
    return replace(first, status=status, changed_at=max(row.changed_at for row in parts))


def _chain(parts: Sequence[Row]) -> Status:
    alive = [row for row in parts if not row.status.over]
    ran = [row for row in parts if row.status.over and not _never_ran(row.status)]
    shown = next((row for row in alive if row.status.state not in _WAITS), alive[0]) if alive else (ran or parts)[-1]
    where = f"link {parts.index(shown) + 1} of {len(parts)}"
    if missing := sum(row.status.state in {NOT_SENT, REFUSED} for row in parts):
        where += f", {missing} not submitted"
    elapsed = [row.status.elapsed_seconds for row in parts if row.status.elapsed_seconds is not None]
    status = shown.status
    reason = f"{where}: {status.reason}" if status.reason else where
    return replace(status, reason=reason, elapsed_seconds=sum(elapsed) if elapsed else None)


def _never_ran(status: Status) -> bool:
    return status.state in {NOT_SENT, REFUSED} or (status.state == "CANCELLED" and not status.elapsed_seconds)


def _array(parts: Sequence[Row]) -> Status:
    alive = [row for row in parts if not row.status.over]
    counts = f"parts: {counted(row.status.state for row in parts)}"
    if alive:
        begun = len(alive) < len(parts) or any(row.status.state not in _WAITS for row in alive)
        shown = next((row for row in alive if row.status.state not in _WAITS), alive[0]).status
        return replace(shown, state="RUNNING" if begun and shown.state in _WAITS else shown.state, reason=counts)
    worst = max(parts, key=lambda row: badness(row.status.state)).status
    return replace(worst, reason="; ".join(filter(None, (counts, worst.reason))))


def resolve(after: After, find: Callable[[str], Sequence[Row]]) -> After:
    """The dependencies with ids in the place of tokens.

    Args:
        after: As the user wrote it.
        find: Gives the parts of the job with that token.

    Raises:
        InputError: Nobody knows a token, its job has no id, or a chain is asked for more than its end.
    """
    changed: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        ids: list[str] = []
        for word in getattr(after, kind):
            name, plus, minutes = word.partition("+")
            if name.replace("_", "").isdigit():
                ids.append(word)
            else:
                ids += [f"{job}{plus}{minutes}" for job in _ids(kind, name, find(name))]
        changed[kind] = tuple(ids)
    return msgspec.structs.replace(after, **changed)


def _ids(kind: str, token: str, parts: Sequence[Row]) -> list[str]:
    missing = next((row for row in parts if row.job_id is None), None)
    if missing is not None:
        raise InputError(
            f"after.{kind} names job {missing.name!r} ({token}), which has no id: it is {missing.status.state}.",
            hint="`aifa jobs` asks the site what became of it.",
        )
    if len(parts) > 1 and not parts[0].tasks:
        if kind == "started":
            return [str(parts[0].job_id)]
        if kind != "any":
            raise InputError(
                f"after.{kind} names the chain {parts[0].name!r} ({token}): links that are not needed are cancelled, so"
                " how its last one ends says nothing.",
                hint="Use after.any, and look at the chain's results.",
            )
    return [str(row.job_id) for row in parts]
