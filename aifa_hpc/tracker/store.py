"""The one place where jobs are remembered: a SQLite file per user, shared by scripts, command line and cron.

``$AIFA_STATE_DIR/jobs.sqlite3``, mode 0600 in a folder of mode 0700. A row is written before anything is sent (its
state is then ``SUBMITTING``), so a process that dies in between leaves a token that finds the job later::

    token         site   name    job_id  folder              state      ...
    k3v9qd2m7tfa  lumi   digits  123     /scratch/.../k3v9…  COMPLETED

Every change of a state writes an event in the same transaction, so readers of events miss none (``tracker.schema`` has
the tables).
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.tracker.changes import change, tell
from aifa_hpc.tracker.events import LOST, OVER, SUBMITTING, Status
from aifa_hpc.tracker.records import Attempt, Event, Row, exit_of, row_of
from aifa_hpc.tracker.schema import Database

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["Attempt", "Event", "Row", "Store"]

_JOBS = "SELECT *, jobs.site AS site, (SELECT answered FROM asked WHERE asked.site = jobs.site) AS answered FROM jobs"
_SUBMITTING_REASON = "under way; if its process died, the site is asked about it after some minutes"


class Store:
    """Remembered jobs. Safe between processes; one object belongs to one thread.

    Args:
        path: The file; its folder is made with mode 0700.

    Raises:
        InputError: It cannot be read or written, or was written by a newer version. Every method raises it likewise.
    """

    def __init__(self, path: Path) -> None:
        self._db = Database(path)

    @property
    def database(self) -> Database:
        """The file, for what has tables of its own in it."""
        return self._db

    @property
    def path(self) -> Path:
        """The file; another thread opens it anew."""
        return self._db.path

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def together(self) -> AbstractContextManager[None]:
        """Makes one transaction of all that is written inside: a thousand rows cost one wait for the disk."""
        return self._db.writing()

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
        account: str = "",
        partition: str = "",
        nodes_wanted: int | None = None,
        limit_seconds: int | None = None,
        rate: float | None = None,
        unit: str = "",
        run: str = "",
        status: Status | None = None,
    ) -> Row:
        """Writes down that a job is about to be submitted, or waits here when it has another status."""
        row = Row(
            token=token,
            site=site,
            name=name,
            job_id=None,
            folder=folder,
            status=status or Status(state=SUBMITTING, reason=_SUBMITTING_REASON),
            created_at=now,
            changed_at=now,
            part_of=part_of,
            tasks=tasks,
            account=account,
            partition=partition,
            nodes_wanted=nodes_wanted,
            limit_seconds=limit_seconds,
            rate=rate,
            unit=unit,
            run=run,
        )
        self.insert(row)
        return row

    def insert(self, row: Row) -> None:
        """Writes down a job that is new here."""
        values = {
            "token": row.token,
            "site": row.site,
            "name": row.name,
            "job_id": row.job_id,
            "folder": row.folder,
            "created_at": row.created_at.isoformat(),
            "part_of": row.part_of,
            "tasks": row.tasks,
            "account": row.account,
            "partition": row.partition,
            "nodes_wanted": row.nodes_wanted,
            "limit_seconds": row.limit_seconds,
            "rate": row.rate,
            "unit": row.unit,
            "log_file": row.log_file,
            "run": row.run,
            "state": row.status.state,
            "reason": row.status.reason,
            "changed_at": row.changed_at.isoformat(),
        }
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        with self._db.writing():
            self._db.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608 - our own names
            tell(self._db, [row], now=row.created_at)

    def update(
        self, token: str, status: Status, *, now: datetime.datetime, job_id: str | None = None, revive: bool = False
    ) -> Row:
        """Writes a status, and the id once there is one; a job that is over stays as it is.

        Args:
            token: The job's.
            status: What is known now.
            now: When that became known.
            job_id: Slurm's id, when it has just become known.
            revive: It was given up as LOST, and has been found.
        """
        with self._db.writing():
            return self.change(self.get(token), status, now=now, job_id=job_id, revive=revive)

    def change(
        self, row: Row, status: Status, *, now: datetime.datetime, job_id: str | None = None, revive: bool = False
    ) -> Row:
        """As :meth:`update`, of a row that was read in the same transaction."""
        if row.status.state in OVER and not (revive and row.status.state == LOST):
            return row
        changed_at = row.changed_at if row.status.state == status.state else now
        known = replace(row, job_id=job_id or row.job_id)
        with self._db.writing():
            if job_id is not None:
                self._db.execute("UPDATE jobs SET job_id = ? WHERE token = ?", (job_id, row.token))
            change(self._db, [(known, status, "")], now=now)
        return replace(known, status=status, changed_at=changed_at)

    def get(self, token: str) -> Row:
        """A job by its token.

        Raises:
            InputError: Nobody knows it.
        """
        rows = self._rows(f"{_JOBS} WHERE token = ?", token)
        if not rows:
            raise InputError(f"no job with the token {token!r} is known here.")
        return rows[0]

    def parts(self, token: str) -> list[Row]:
        """The parts of the job whose first one has this token, in order; any other row is its own only part."""
        rows = self._rows(f"{_JOBS} WHERE part_of = ? ORDER BY created_at, rowid", token)
        return rows or [self.get(token)]

    def find(self, word: str, site: str | None = None) -> Row:
        """A job by its id or token.

        Raises:
            InputError: Nobody knows it, or several sites have that id.
        """
        word = word.encode("utf-8", "replace").decode()  # what is no Unicode is nobody's id
        query = f"{_JOBS} WHERE ? IN (job_id, token) AND (? IS NULL OR site = ?) ORDER BY created_at DESC"
        rows = self._rows(query, word, site, site)
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
        query = f"{_JOBS} WHERE (? IS NULL OR site = ?)"
        if active:
            query += f" AND state NOT IN ({', '.join('?' * len(OVER))})"
        return self._rows(f"{query} ORDER BY created_at, rowid", site, site, *(sorted(OVER) if active else ()))

    def unsettled(self, site: str) -> list[Row]:
        """Submissions that have no id and do not wait here: nobody has told yet what became of them."""
        rows = self._rows(
            f"{_JOBS} WHERE site = ? AND job_id IS NULL AND token NOT IN (SELECT token FROM queued)"  # noqa: S608 - our own words
            " ORDER BY created_at, rowid",
            site,
        )
        return [row for row in rows if not row.status.over]

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Changes of states, the oldest first.

        Args:
            after: Number of the last one that is known already.
            limit: Most that are given.
        """
        found = self._db.select("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", after, limit)
        return [Event(**{**row, "at": datetime.datetime.fromisoformat(row["at"])}) for row in map(dict, found)]

    def last_event(self) -> int:
        """Number of the newest event; 0 when there is none."""
        return int(self._db.select("SELECT coalesce(max(id), 0) AS id FROM events")[0]["id"])

    def cursor(self, sink: str) -> int:
        """Number of the last event that this reader has dealt with; 0 for one that is new."""
        found = self._db.select("SELECT event_id FROM cursors WHERE sink = ?", sink)
        return int(found[0]["event_id"]) if found else 0

    def advance(self, sink: str, event_id: int) -> None:
        """Remembers that a reader has dealt with all events up to this one; never goes back.

        A reader reads, delivers, and then advances: what it delivered before it died is delivered once more.
        """
        with self._db.writing():
            self._db.execute(
                "INSERT INTO cursors (sink, event_id) VALUES (?, ?)"
                " ON CONFLICT (sink) DO UPDATE SET event_id = max(event_id, excluded.event_id)",
                (sink, event_id),
            )

    def attempts(self, token: str) -> list[Attempt]:
        """The runs of a submission, the oldest first: those that went back into the queue, then the present one.

        ``JobHandle.attempts`` has those of all submissions of a job.
        """
        row = self.get(token)
        past = self.past_attempts(token)
        if row.job_id is None:
            return past
        status = row.status
        present = Attempt(
            number=1 + sum(one.job_id == row.job_id for one in past),
            job_id=row.job_id,
            state=status.state,
            reason=status.reason,
            nodes=status.nodes,
            start=status.start,
            end=status.end,
            exit=status.exit,
        )
        return [*past, present]

    def retried(self, site: str) -> set[str]:
        """Tokens of the submissions of which some run went back into the queue."""
        found = self._db.select("SELECT DISTINCT token FROM attempts JOIN jobs USING (token) WHERE site = ?", site)
        return {row["token"] for row in found}

    def past_attempts(self, token: str) -> list[Attempt]:
        """The runs of a submission that went back into the queue, the oldest first."""
        found = self._db.select("SELECT * FROM attempts WHERE token = ? ORDER BY start, job_id, number", token)
        return [
            Attempt(
                number=one["number"],
                job_id=one["job_id"],
                state=one["state"],
                reason=one["reason"],
                nodes=one["nodes"],
                start=one["start"],
                end=one["end"],
                exit=exit_of(one),
            )
            for one in found
        ]

    def keep_attempts(self, token: str, attempts: Iterable[Attempt]) -> None:
        """Remembers runs that went back into the queue; what was said before of the same job ids is forgotten."""
        found = list(attempts)
        with self._db.writing():
            for job_id in {one.job_id for one in found}:
                self._db.execute("DELETE FROM attempts WHERE token = ? AND job_id = ?", (token, job_id))
            for one in found:
                code = (one.exit.code, one.exit.signal) if one.exit else (None, None)
                self._db.execute(
                    "INSERT INTO attempts"
                    " (token, job_id, number, state, reason, nodes, start, end, exit_code, exit_signal)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (token, one.job_id, one.number, one.state, one.reason, one.nodes, one.start, one.end, *code),
                )

    def keep_script(self, token: str, script: str, after: str) -> None:
        """Keeps the script of a job that waits here, and the token of the job that must be over before it."""
        with self._db.writing():
            self._db.execute("INSERT INTO queued (token, script, after) VALUES (?, ?, ?)", (token, script, after))

    def script(self, token: str) -> str:
        """The script of a job that waits here."""
        return str(self._db.select("SELECT script FROM queued WHERE token = ?", token)[0]["script"])

    def drop_script(self, token: str) -> None:
        """Forgets the script of a job that waits no longer."""
        with self._db.writing():
            self._db.execute("DELETE FROM queued WHERE token = ?", (token,))

    def waiting(self, site: str) -> list[tuple[Row, str]]:
        """The jobs of a site whose scripts are kept, in order, each with the token of the job it comes after."""
        found = self._db.select(f"{_JOBS} JOIN queued USING (token) WHERE site = ? ORDER BY number", site)
        return [(row_of(row), row["after"]) for row in found]

    def answers(self) -> dict[str, datetime.datetime]:
        """When each site last answered; those that never did are not in it."""
        found = self._db.select("SELECT site, answered FROM asked WHERE answered != ''")
        return {row["site"]: datetime.datetime.fromisoformat(row["answered"]) for row in found}

    def _rows(self, query: str, *values: str | None) -> list[Row]:
        return [row_of(row) for row in self._db.select(query, *values)]
