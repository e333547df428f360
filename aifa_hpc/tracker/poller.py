"""Brings the store and the site together: one submission, one question for all jobs, and what became of the unknown.

Nobody owns the poll: whoever wants to know asks, if nobody else did within the site's polite interval, and writes the
answer down for all.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import secrets
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.errors import AifaError, InputError, NotSentError, SiteError, SubmissionUnknownError
from aifa_hpc.jobs.plan import plan
from aifa_hpc.slurm.submission import SUBMIT_TIMEOUT, Ticket
from aifa_hpc.tracker.events import NOT_SENT, REFUSED, SUBMITTING, UNKNOWN, Status, merge
from aifa_hpc.tracker.groups import resolve, whole
from aifa_hpc.tracker.schedule import interval
from aifa_hpc.tracker.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.jobs.plan import Part
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.tracker.store import Row, Store

logger = logging.getLogger(__name__)

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, 0 or 1: people read tokens to each other
_TOKEN_LENGTH = 12  # 60 bits

_ORPHANED = datetime.timedelta(seconds=2 * SUBMIT_TIMEOUT)
"""Age at which a row that is still SUBMITTING was left behind by a process that died."""

_OUTCOMES: dict[type[BaseException], str] = {
    SiteError: REFUSED,
    NotSentError: NOT_SENT,
    SubmissionUnknownError: UNKNOWN,
    KeyboardInterrupt: UNKNOWN,
}


def new_token() -> str:
    """A token nobody guesses and nobody else has."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_TOKEN_LENGTH))


def utc_now() -> datetime.datetime:
    """The time, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


class Poller:
    """Submits and follows the jobs of one site.

    Args:
        cluster: The site.
        store: Where jobs are remembered.
        clock: Gives the time, aware.
        token: Makes a token.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        *,
        clock: Callable[[], datetime.datetime] = utc_now,
        token: Callable[[], str] = new_token,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._token = token
        self._site = cluster.site.name

    def submit(self, job: Job) -> Row:
        """Writes the intent down, submits, and writes the outcome down; each part of a job in order, exactly once.

        Raises:
            InputError: The job is not legal there; nothing was sent or remembered.
            SiteError: The site refused it.
            NotSentError: It was not submitted.
            SubmissionUnknownError: It may have been, or its id could not be written down; polling settles it.
        """
        if job.after is not None:
            job = msgspec.structs.replace(job, after=resolve(job.after, self._parts))
        parts = plan(job, self._cluster.site).parts
        tokens = [self._token() for _ in parts]
        rows: list[Row] = []
        for part, token in zip(parts, tokens, strict=True):
            after = () if part.after is None else (str(rows[part.after].job_id),)
            try:
                ticket, script = self._cluster.prepare(job, token, part, tokens=tokens, after=after)
                rows.append(self._submit(job, ticket, script, part, tokens[0]))
            except (AifaError, KeyboardInterrupt) as error:
                if rows and isinstance(error, AifaError):
                    ids = ", ".join(str(row.job_id) for row in rows)
                    exist = f"Parts 1 to {len(rows)} of {len(parts)} exist: {ids}."
                    error.hint = f"{error.hint} {exist} `aifa cancel {rows[0].job_id}` cancels them.".strip()
                raise
        return whole(rows)

    def _parts(self, token: str) -> list[Row]:
        return self._store.parts(self._store.find(token, self._site).token)

    def _submit(self, job: Job, ticket: Ticket, script: str, part: Part, first: str) -> Row:
        row = self._store.intend(
            token=ticket.token,
            site=self._site,
            name=job.name,
            folder=ticket.folder,
            now=self._clock(),
            part_of=first if part.of > 1 else "",
            tasks=part.tasks,
            run=job.env.get("MLFLOW_RUN_ID", ""),
        )
        try:
            job_id = self._cluster.submit(ticket, script)
        except (SiteError, NotSentError, SubmissionUnknownError, KeyboardInterrupt) as error:
            state = next(state for kind, state in _OUTCOMES.items() if isinstance(error, kind))
            # If even this cannot be written, the row stays SUBMITTING and is settled when it is old.
            with contextlib.suppress(InputError):
                self._settle(row, state, error.message if isinstance(error, AifaError) else "interrupted here")
            raise
        try:
            return self._submitted(row, job_id)
        except InputError as error:
            raise SubmissionUnknownError(
                f"job {job_id} was submitted to {self._site}, but that could not be written down: {error}",
                token=row.token,
                hint="Do not submit it again: `aifa jobs` finds it once the file can be written.",
            ) from error

    def poll(self) -> bool:
        """Asks about every job that is not over, unless somebody asked just now; returns whether it asked.

        Raises:
            TransportError: The site cannot be reached; nothing changed.
            SiteError: Its answer cannot be read; nothing changed.
        """
        rows = self._store.rows(self._site, active=True)
        if not rows or not self._store.claim_question(self._site, now=self._clock(), floor=self.seconds(rows)):
            return False
        rows = [self._resolve(row) if row.job_id is None else row for row in rows]
        known = [row for row in rows if row.job_id is not None and not row.status.over]
        if known:
            oldest = min(row.created_at for row in known) - datetime.timedelta(days=1)  # clocks and zones differ
            ids = sorted({row.job_id for row in known if row.job_id is not None})
            answer = self._cluster.ask(ids, [row.folder for row in known], since=oldest.strftime("%Y-%m-%dT%H:%M:%S"))
            answer = gather(answer, {row.job_id: row.tasks for row in known if row.job_id is not None})
            now = self._clock()
            self._store.answered(self._site, now=now)
            for row in known:
                assert row.job_id is not None
                status = merge(row.status, answer, row.job_id, row.token, now)
                if status != row.status:
                    self._store.update(row.token, status, now=now)
        return True

    def seconds(self, rows: list[Row]) -> float:
        """The interval that these jobs deserve now."""
        site_seconds = self._cluster.site.scheduler.poll_seconds
        ages = [(self._clock() - row.changed_at).total_seconds() for row in rows]
        return interval(max(0.0, min(ages, default=0.0)), site_seconds)

    def _submitted(self, row: Row, job_id: str) -> Row:
        return self._store.update(row.token, Status(state="PENDING"), now=self._clock(), job_id=job_id)

    def _settle(self, row: Row, state: str, reason: str) -> Row:
        return self._store.update(row.token, Status(state=state, reason=reason), now=self._clock())

    def _resolve(self, row: Row) -> Row:
        """Finds the id of a submission that never got one."""
        if row.status.state == SUBMITTING and self._clock() - row.created_at < _ORPHANED:
            return row  # somebody is at it
        ticket = Ticket(token=row.token, name=f"{row.name}.{row.token}", jobs=row.folder.rpartition("/")[0])
        try:
            job_id = self._cluster.look_up(ticket)
        except SubmissionUnknownError as error:
            return self._settle(row, UNKNOWN, error.message)
        except SiteError as error:
            return self._settle(row, REFUSED, error.message)
        if job_id is None:
            return self._settle(row, NOT_SENT, "it never reached the site")
        logger.info("job %s of %s was submitted after all: %s", row.name, self._site, job_id)
        return self._submitted(row, job_id)
