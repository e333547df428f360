"""Statuses of jobs, read and written by the thousand; each change of a state is an event in the same transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from aifa_hpc.tracker.records import ALIVE, STATUS, status_of

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.records import Row
    from aifa_hpc.tracker.schema import Database

_NUMBERED = (
    f"SELECT token, name, job_id, tasks, seen, {', '.join(STATUS)} FROM jobs WHERE site = ? AND {ALIVE}"  # noqa: S608 - our own words
    " AND job_id IN (SELECT value FROM json_each(?)) ORDER BY rowid"
)
_CHANGE = (
    "UPDATE jobs SET changed_at = CASE state WHEN ? THEN changed_at ELSE ? END, told_at = ?, state = ?, reason = ?,"
    " exit_code = ?, exit_signal = ?, nodes = ?, start = ?, end = ?, elapsed_seconds = ?, proof = ?, absent_since = ?,"
    " seen = ? WHERE token"
)
_EACH = f"{_CHANGE} = ?"
_ALIKE = f"{_CHANGE} IN (SELECT value FROM json_each(?))"  # noqa: S608 - our own words
_TELL = "INSERT INTO events (token, site, job_id, name, at, state, reason, previous) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Brief(NamedTuple):
    """What a poll needs to know of a row. A tuple, because there may be ten thousand.

    Attributes:
        token: As in the row; so are the others.
        site: Site name.
        name: As the user named it.
        job_id: Slurm's id.
        tasks: Indices of an array; empty when it is none.
        seen: What the queue said of it last, when the same again is no news.
        status: Last known status.
    """

    token: str
    site: str
    name: str
    job_id: str
    tasks: str
    seen: str
    status: Status


def numbered(db: Database, site: str, ids: Iterable[str]) -> list[Brief]:
    """The jobs with these ids that are not over."""
    answered = db.select("SELECT answered FROM asked WHERE site = ?", site)
    at = answered[0]["answered"] if answered else None
    statuses: dict[tuple[Any, ...], Status] = {}
    found = []
    for row in db.select(_NUMBERED, site, json.dumps(list(ids))):
        token, name, job_id, tasks, seen = row[:5]
        columns = row[5:]
        status = statuses.get(columns)  # thousands wait alike
        if status is None:
            status = statuses[columns] = status_of(columns, at)
        found.append(Brief(token, site, name, job_id, tasks, seen, status))
    return found


def change(db: Database, changes: Iterable[tuple[Row | Brief, Status, str]], *, now: datetime.datetime) -> None:
    """Writes what has just become known of jobs, and the events that follow.

    Args:
        db: The store's file.
        changes: Jobs that are not over, as they were read in the same transaction, each with its status now and with
            what the queue said of it when the same again will be no news.
        now: When that became known.
    """
    at, told = now.isoformat(), list[tuple[str | None, ...]]()
    alike: dict[tuple[Status, str], list[str]] = {}
    for row, status, seen in changes:
        if row.status.state != status.state:
            told.append(_event(row, status, at, row.status.state))
        alike.setdefault((status, seen), []).append(row.token)
    each: list[tuple[Any, ...]] = []
    with db.writing():
        for (status, seen), tokens in alike.items():
            columns = (status.state, at, at, *_columns(status), seen)
            if len(tokens) == 1:
                each.append((*columns, tokens[0]))
            else:
                db.execute(_ALIKE, (*columns, json.dumps(tokens)))
        db.execute_many(_EACH, each)
        db.execute_many(_TELL, told)


def tell(db: Database, rows: Iterable[Row], *, now: datetime.datetime) -> None:
    """Writes the first event of jobs that are new here."""
    with db.writing():
        db.execute_many(_TELL, (_event(row, row.status, now.isoformat(), "") for row in rows))


def _event(row: Row | Brief, status: Status, at: str, previous: str) -> tuple[str | None, ...]:
    return (row.token, row.site, row.job_id, row.name, at, status.state, status.reason, previous)


def _columns(status: Status) -> tuple[Any, ...]:
    """A status as the table has it, from ``state`` to ``absent_since``."""
    exit_, absent = status.exit, status.absent_since
    return (
        status.state,
        status.reason,
        exit_.code if exit_ else None,
        exit_.signal if exit_ else None,
        status.nodes,
        status.start,
        status.end,
        status.elapsed_seconds,
        status.proof,
        absent.isoformat() if absent else None,
    )
