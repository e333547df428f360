"""The one place where jobs are remembered: a SQLite file per user, shared by scripts, command line and cron.

``$AIFA_STATE_DIR/jobs.sqlite3``, mode 0600 in a folder of mode 0700. A row is written before anything is sent (its
state is then ``SUBMITTING``), so a process that dies in between leaves a token that finds the job later::

    token         site   name    job_id  folder              state      ...
    k3v9qd2m7tfa  lumi   digits  123     /scratch/.../k3v9…  COMPLETED

Every change of the schema is a step in :data:`_MIGRATIONS`; the step and its number are written in one transaction. A
file from a newer version is refused, not guessed at.
"""

from __future__ import annotations

import datetime
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.events import OVER, SUBMITTING, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MIGRATIONS = (
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
)

_SUBMITTING_REASON = "under way; if its process died, the site is asked about it after some minutes"
_UNUSABLE = "Make its folder writable and free space there, or point $AIFA_STATE_DIR at another folder."
_DAMAGED = "Move it away to begin anew; jobs go on where they are, and squeue and sacct show them there."


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A remembered job.

    Attributes:
        token: Its identity before and after it has an id.
        site: Site name.
        name: As the user named it.
        job_id: Slurm's id; ``None`` until one is known.
        folder: Its folder on the site.
        status: Last known status.
        created_at: When it was meant to be submitted.
        changed_at: When its state last changed.
        part_of: Token of the first part, for the links of a chain and the chunks of an array; empty for a job that is
            one submission.
        tasks: Indices of an array as sbatch was given them; empty when it is none.
    """

    token: str
    site: str
    name: str
    job_id: str | None
    folder: str
    status: Status
    created_at: datetime.datetime
    changed_at: datetime.datetime
    part_of: str = ""
    tasks: str = ""

    @property
    def log(self) -> str:
        """Where its standard output and error go, on the site; for an array a pattern of them."""
        return f"{self.folder}/{self.job_id}{'_*' if self.tasks else ''}.out"

    @property
    def logs(self) -> tuple[str, ...]:
        """The same, each file of an array by itself."""
        if not self.tasks:
            return (self.log,)
        return tuple(f"{self.folder}/{self.job_id}_{index}.out" for index in read_indices(self.tasks))


class Store:
    """Remembered jobs. Safe between processes; one object belongs to one thread.

    Args:
        path: The file; its folder is made with mode 0700.

    Raises:
        InputError: It cannot be read or written, or was written by a newer version. Every method raises it likewise.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        with self._writing():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > len(_MIGRATIONS):
                raise InputError(
                    f"{self._path} was written by a newer aifa_hpc"
                    f" (schema {version}, this one knows {len(_MIGRATIONS)}).",
                    hint="Upgrade aifa_hpc, or point $AIFA_STATE_DIR at another folder.",
                )
            for number, step in enumerate(_MIGRATIONS[version:], version + 1):
                for statement in filter(str.strip, step.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def intend(
        self,
        *,
        token: str,
        site: str,
        name: str,
        folder: str,
        now: datetime.datetime,
        part_of: str = "",
        tasks: str = "",
    ) -> Row:
        """Writes down that a job is about to be submitted."""
        with self._writing():
            self._db.execute(
                "INSERT INTO jobs (token, site, name, folder, state, reason, created_at, changed_at, part_of, tasks)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (token, site, name, folder, SUBMITTING, _SUBMITTING_REASON, *(now.isoformat(),) * 2, part_of, tasks),
            )
        return self.get(token)

    def update(self, token: str, status: Status, *, now: datetime.datetime, job_id: str | None = None) -> Row:
        """Writes a status, and the id once there is one; a job that is over stays as it is."""
        with self._writing():
            row = self._db.execute("SELECT state FROM jobs WHERE token = ?", (token,)).fetchone()
            if row is not None and row["state"] not in OVER:
                self._db.execute(
                    "UPDATE jobs SET job_id = coalesce(?, job_id), reason = ?, exit_code = ?, exit_signal = ?,"
                    " nodes = ?, start = ?, end = ?, elapsed_seconds = ?, proof = ?, absent_since = ?,"
                    " changed_at = CASE WHEN state = ? THEN changed_at ELSE ? END, state = ? WHERE token = ?",
                    (
                        job_id,
                        status.reason,
                        status.exit.code if status.exit else None,
                        status.exit.signal if status.exit else None,
                        status.nodes,
                        status.start,
                        status.end,
                        status.elapsed_seconds,
                        status.proof,
                        status.absent_since.isoformat() if status.absent_since else None,
                        status.state,
                        now.isoformat(),
                        status.state,
                        token,
                    ),
                )
        return self.get(token)

    def get(self, token: str) -> Row:
        """A job by its token.

        Raises:
            InputError: Nobody knows it.
        """
        rows = self._select("SELECT * FROM jobs WHERE token = ?", token)
        if not rows:
            raise InputError(f"no job with the token {token!r} is known here.")
        return rows[0]

    def parts(self, token: str) -> list[Row]:
        """The parts of the job whose first one has this token, in order; any other row is its own only part."""
        rows = self._select("SELECT * FROM jobs WHERE part_of = ? ORDER BY created_at, rowid", token)
        return rows or [self.get(token)]

    def find(self, word: str, site: str | None = None) -> Row:
        """A job by its id or token.

        Raises:
            InputError: Nobody knows it, or several sites have that id.
        """
        word = word.encode("utf-8", "replace").decode()  # what is no Unicode is nobody's id
        query = "SELECT * FROM jobs WHERE ? IN (job_id, token) AND (? IS NULL OR site = ?) ORDER BY created_at DESC"
        rows = self._select(query, word, site, site)
        sites = sorted({row.site for row in rows})
        if not rows:
            where = f" on {site}" if site else ""
            raise InputError(
                f"no job {word!r}{where} is known here.", hint="`aifa jobs --all` lists the ones that are."
            )
        if len(sites) > 1:
            raise InputError(f"job {word!r} exists on {' and '.join(sites)}.", hint="Add --site.")
        return rows[0]

    def rows(self, site: str | None = None, *, active: bool = False) -> list[Row]:
        """Jobs, the oldest first."""
        found = self._select("SELECT * FROM jobs WHERE ? IS NULL OR site = ? ORDER BY created_at, rowid", site, site)
        return [row for row in found if not (active and row.status.over)]

    def claim_question(self, site: str, *, now: datetime.datetime, floor: float) -> bool:
        """Whether this caller may ask the site now; the claim and its time are one transaction.

        Args:
            site: Site name.
            now: The caller's time.
            floor: Seconds that must have passed since anybody asked.
        """
        with self._writing():
            row = self._db.execute("SELECT at FROM asked WHERE site = ?", (site,)).fetchone()
            if row is not None:
                passed = (now - datetime.datetime.fromisoformat(row["at"])).total_seconds()
                if 0 <= passed < floor:  # a clock set back must not silence us for good
                    return False
            self._db.execute("INSERT OR REPLACE INTO asked (site, at) VALUES (?, ?)", (site, now.isoformat()))
        return True

    def _select(self, query: str, *values: str | None) -> list[Row]:
        with self._explained():
            return [_row(row) for row in self._db.execute(query, values)]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says which file it is, and what a person can do."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
            raise InputError(
                f"the file that remembers jobs, {self._path}, cannot be used: {why}.",
                hint=_DAMAGED if damaged else _UNUSABLE,
            ) from error


def _row(row: sqlite3.Row) -> Row:
    code, absent = row["exit_code"], row["absent_since"]
    status = Status(
        state=row["state"],
        reason=row["reason"],
        exit=None if code is None else ExitStatus(code, row["exit_signal"] or 0),
        nodes=row["nodes"],
        start=row["start"],
        end=row["end"],
        elapsed_seconds=row["elapsed_seconds"],
        proof=row["proof"],
        absent_since=datetime.datetime.fromisoformat(absent) if absent else None,
    )
    return Row(
        token=row["token"],
        site=row["site"],
        name=row["name"],
        job_id=row["job_id"],
        folder=row["folder"],
        status=status,
        created_at=datetime.datetime.fromisoformat(row["created_at"]),
        changed_at=datetime.datetime.fromisoformat(row["changed_at"]),
        part_of=row["part_of"],
        tasks=row["tasks"],
    )
