"""The tables of the job store, each change of them a step; opens the file, migrates it, and explains its failures.

A step and its number are written in one transaction. A file from a newer version is refused, not guessed at::

    jobs      a row for each submission, at its last known status
    attempts  runs of a submission that ended and went back into the queue; the row is its last one
    events    every change of a state, in order; never changed, so that readers may come back for more
    cursors   how far each reader of events has come
    queued    scripts of submissions that wait here for room under the site's limit
    asked     when a site was asked last, when it last answered, and how long that took
    budgets   what is left of a site's patience, shared by all processes
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        token TEXT PRIMARY KEY,
        site TEXT NOT NULL,
        name TEXT NOT NULL,
        job_id TEXT,
        folder TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        exit_code INTEGER,
        exit_signal INTEGER,
        nodes TEXT NOT NULL DEFAULT '',
        start TEXT NOT NULL DEFAULT '',
        end TEXT NOT NULL DEFAULT '',
        elapsed_seconds INTEGER,
        proof TEXT NOT NULL DEFAULT '',
        absent_since TEXT,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL
    );
    CREATE INDEX jobs_by_id ON jobs (site, job_id);
    CREATE TABLE asked (site TEXT PRIMARY KEY, at TEXT NOT NULL);
    """,
    """
    ALTER TABLE jobs ADD COLUMN part_of TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN tasks TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE jobs ADD COLUMN account TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN partition TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN nodes_wanted INTEGER;
    ALTER TABLE jobs ADD COLUMN limit_seconds INTEGER;
    ALTER TABLE jobs ADD COLUMN rate REAL;
    ALTER TABLE jobs ADD COLUMN unit TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN log_file TEXT NOT NULL DEFAULT '';
    CREATE INDEX jobs_by_part ON jobs (part_of);
    CREATE TABLE attempts (
        token TEXT NOT NULL,
        job_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        nodes TEXT NOT NULL,
        start TEXT NOT NULL,
        end TEXT NOT NULL,
        exit_code INTEGER,
        exit_signal INTEGER,
        PRIMARY KEY (token, job_id, number)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,
        site TEXT NOT NULL,
        job_id TEXT,
        name TEXT NOT NULL,
        at TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        previous TEXT NOT NULL
    );
    CREATE TABLE cursors (sink TEXT PRIMARY KEY, event_id INTEGER NOT NULL);
    CREATE TABLE queued (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL UNIQUE,
        script TEXT NOT NULL,
        after TEXT NOT NULL
    );
    CREATE TABLE budgets (
        site TEXT NOT NULL,
        kind TEXT NOT NULL,
        level REAL NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (site, kind)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE asked ADD COLUMN answered TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN run TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE jobs ADD COLUMN seen TEXT NOT NULL DEFAULT '';
    ALTER TABLE asked ADD COLUMN took REAL NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN told_at TEXT NOT NULL DEFAULT '';
    """,
)

_UNUSABLE = "Make its folder writable and free space there, or point $AIFA_STATE_DIR at another folder."
_DAMAGED = "Move it away to begin anew; jobs go on where they are, and squeue and sacct show them there."


class Database:
    """The file. Safe between processes; one object belongs to one thread.

    Args:
        path: Where it is; its folder is made with mode 0700.

    Raises:
        InputError: It cannot be read or written, or was written by a newer version. Every method raises it likewise.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        try:
            self._migrate()
        except BaseException:
            self._db.close()
            raise

    def _migrate(self) -> None:
        with self.writing():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise InputError(
                    f"{self.path} was written by a newer aifa_hpc"
                    f" (schema {version}, this one knows {len(MIGRATIONS)}).",
                    hint="Upgrade aifa_hpc, or point $AIFA_STATE_DIR at another folder.",
                )
            for number, step in enumerate(MIGRATIONS[version:], version + 1):
                for statement in filter(str.strip, step.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def execute(self, query: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """One statement; writes belong inside :meth:`writing`."""
        with self._explained():
            return self._db.execute(query, values)

    def execute_many(self, query: str, values: Iterable[tuple[Any, ...]]) -> None:
        """One statement for each of the values, inside :meth:`writing`."""
        with self._explained():
            self._db.executemany(query, values)

    def select(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a question."""
        with self._explained():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction around all that is done inside, also by a ``writing`` inside this one."""
        if self._inside():
            yield
            return
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._inside():  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def _inside(self) -> bool:
        return self._db.in_transaction

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says which file it is, and what a person can do."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
            raise InputError(
                f"the file that remembers jobs, {self.path}, cannot be used: {why}.",
                hint=_DAMAGED if damaged else _UNUSABLE,
            ) from error
