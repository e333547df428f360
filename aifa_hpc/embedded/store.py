# ruff: noqa: S608 - column names and conditions are this package's own; values are always bound
"""The state of an embedded scheduler: one SQLite file, each change a transaction that locks at its beginning.

A job is a row for each array task. Rows are never deleted: sacct remembers.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from .request import Request, decode_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PENDING, RUNNING = "PENDING", "RUNNING"
COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL = "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"
REQUEUED = "REQUEUED"  # only while a supervisor ends a job that goes back into the queue
ACTIVE = (PENDING, RUNNING)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY,
    array_id INTEGER,           -- base id of the array
    array_task INTEGER,         -- index in it
    name TEXT NOT NULL,
    partition TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT 'None',
    held INTEGER NOT NULL DEFAULT 0,
    submitted REAL NOT NULL,    -- seconds since the epoch, like all times here
    begin REAL NOT NULL DEFAULT 0,
    launched REAL NOT NULL DEFAULT 0, -- a supervisor was started for it and has not taken it yet
    started REAL,
    ended REAL,
    exit_code INTEGER NOT NULL DEFAULT 0,
    exit_signal INTEGER NOT NULL DEFAULT 0,
    killing INTEGER NOT NULL DEFAULT 0, -- its processes are being ended
    cancelled_by INTEGER,       -- uid
    pid INTEGER,                -- supervisor
    pid_started TEXT,
    session INTEGER,            -- process that leads the script's session
    restarts INTEGER NOT NULL DEFAULT 0,
    request TEXT NOT NULL       -- what sbatch was asked for, JSON of request.Request
);
CREATE INDEX IF NOT EXISTS jobs_state ON jobs(state);
CREATE INDEX IF NOT EXISTS jobs_array ON jobs(array_id);
CREATE TABLE IF NOT EXISTS steps (
    job INTEGER NOT NULL,
    restarts INTEGER NOT NULL,  -- which attempt of the job
    step TEXT NOT NULL,         -- batch, 0, 1, ...
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    nodes TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    cpus INTEGER NOT NULL,
    started REAL NOT NULL,
    ended REAL,
    exit_code INTEGER NOT NULL DEFAULT 0,
    exit_signal INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,                -- srun
    PRIMARY KEY (job, restarts, step)
);
"""


_ORDER = "coalesce(array_id, id), array_task, id"  # as submitted


class Job:
    """A row of ``jobs`` as attributes; :attr:`request` is decoded when it is first asked for."""

    def __init__(self, row: sqlite3.Row) -> None:
        self._row = row
        self._request: Request | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self._row[name]
        except IndexError:
            raise AttributeError(name) from None

    @property
    def request(self) -> Request:
        """What sbatch was asked for."""
        if self._request is None:
            self._request = decode_request(json.loads(self._row["request"]))
        return self._request

    @property
    def base(self) -> int:
        """The id people know it by: that of its array."""
        return int(self._row["array_id"] or self._row["id"])

    @property
    def label(self) -> str:
        """``12`` or ``12_3``."""
        return str(self.base) if self._row["array_id"] is None else f"{self.base}_{self._row['array_task']}"

    @property
    def is_active(self) -> bool:
        """It waits or runs."""
        return self._row["state"] in ACTIVE

    @property
    def shown_state(self) -> str:
        """What squeue says: a running job whose processes are being ended is completing."""
        return "COMPLETING" if self._row["state"] == RUNNING and self._row["killing"] else str(self._row["state"])


class Store:
    """The database.

    Args:
        path: SQLite file; made with its tables when it is not there.
    """

    def __init__(self, path: str) -> None:
        # Autocommit: transactions are opened by hand, with the lock they need from the start.
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA synchronous=NORMAL")
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'steps'").fetchone():
            self._db.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, and nobody else writes meanwhile."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def jobs(self, where: str = "1", values: Sequence[Any] = ()) -> list[Job]:
        """Jobs in the order they came, an array's tasks by their indices.

        Args:
            where: A condition in this package's own words, never a user's.
            values: What its question marks stand for.
        """
        rows = self._db.execute(f"SELECT * FROM jobs WHERE {where} ORDER BY {_ORDER}", values)
        return [Job(row) for row in rows]

    def job(self, number: int) -> Job | None:
        """One job by its own id."""
        found = self.jobs("id = ?", (number,))
        return found[0] if found else None

    def tasks(self, number: int, task: int | None = None) -> list[Job]:
        """The jobs a user means with ``12`` (all tasks of an array) or ``12_3``."""
        found = self.jobs("array_id = ?", (number,))
        if not found:
            found = self.jobs("id = ?", (number,))
        return found if task is None else [job for job in found if job.array_task == task]

    def next_id(self) -> int:
        """The id after the last one."""
        last = self._db.execute("SELECT max(id) FROM jobs").fetchone()[0]
        return int(last or 0) + 1

    def add(self, **columns: Any) -> None:
        """A new job."""
        self._insert("jobs", columns)

    def update(self, number: int, **columns: Any) -> None:
        """Changes columns of a job."""
        names = ", ".join(f"{name} = ?" for name in columns)
        self._db.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*columns.values(), number))

    def steps(self, job: Job) -> list[sqlite3.Row]:
        """Steps of a job's present attempt, the batch step first."""
        return self._db.execute(
            "SELECT * FROM steps WHERE job = ? AND restarts = ? ORDER BY step != 'batch', CAST(step AS INTEGER)",
            (job.id, job.restarts),
        ).fetchall()

    def add_step(self, **columns: Any) -> None:
        """A new step."""
        self._insert("steps", columns)

    def end_step(self, job: int, restarts: int, step: str, **columns: Any) -> None:
        """Changes columns of a step that has not ended."""
        names = ", ".join(f"{name} = ?" for name in columns)
        self._db.execute(
            f"UPDATE steps SET {names} WHERE job = ? AND restarts = ? AND step = ? AND ended IS NULL",
            (*columns.values(), job, restarts, step),
        )

    def next_step(self, job: int, restarts: int) -> str:
        """The number of the next srun of a job."""
        count = self._db.execute(
            "SELECT count(*) FROM steps WHERE job = ? AND restarts = ? AND step != 'batch'", (job, restarts)
        ).fetchone()[0]
        return str(count)

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))
