"""Submits jobs exactly once: the intent is written down, then the site is told, then the outcome is written down."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.errors import AifaError, InputError, NotSentError, SiteError, SubmissionUnknownError
from aifa_hpc.jobs.plan import plan
from aifa_hpc.tracker.events import NOT_SENT, REFUSED, UNKNOWN, Status
from aifa_hpc.tracker.groups import resolve, whole
from aifa_hpc.tracker.wanted import wanted

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.jobs.plan import Part
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.slurm.submission import Ticket
    from aifa_hpc.tracker.store import Row, Store

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, 0 or 1: people read tokens to each other
_TOKEN_LENGTH = 12  # 60 bits

_OUTCOMES: dict[type[BaseException], str] = {
    SiteError: REFUSED,
    NotSentError: NOT_SENT,
    SubmissionUnknownError: UNKNOWN,
    KeyboardInterrupt: UNKNOWN,
}


def new_token() -> str:
    """A token nobody guesses and nobody else has."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_TOKEN_LENGTH))


class Submitter:
    """Submits the jobs of one site.

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
        clock: Callable[[], datetime.datetime],
        token: Callable[[], str],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._token = token
        self._site = cluster.site.name

    def submit(self, job: Job) -> Row:
        """Submits the parts of a job in order; all of them are written down before the first one is.

        Raises:
            InputError: The job is not legal there; nothing was sent or remembered.
            SiteError: The site refused it.
            NotSentError: It was not submitted.
            SubmissionUnknownError: It may have been, or its id could not be written down; polling settles it.
        """
        job = self.resolved(job)
        parts = plan(job, self._cluster.site).parts
        tokens = [self._token() for _ in parts]
        ticket, script = self._cluster.prepare(job, tokens[0], parts[0], tokens=tokens)
        with self._store.together():  # of what is killed on the way, the rest is known to be missing
            intended = [
                self.intend(job, replace(ticket, token=token), part, tokens[0])
                for part, token in zip(parts, tokens, strict=True)
            ]
        rows: list[Row] = []
        begun = 0
        try:
            for row, part in zip(intended, parts, strict=True):
                if rows:
                    after = () if part.after is None else (str(rows[part.after].job_id),)
                    ticket, script = self._cluster.prepare(job, row.token, part, tokens=tokens, after=after)
                begun += 1
                rows.append(self._submit(row, ticket, script))
        except (AifaError, KeyboardInterrupt) as error:
            self._give_up(intended[begun:])
            if rows and isinstance(error, AifaError):
                ids = ", ".join(str(row.job_id) for row in rows)
                exist = f"Parts 1 to {len(rows)} of {len(parts)} exist: {ids}."
                error.hint = f"{error.hint} {exist} `aifa cancel {rows[0].job_id}` cancels them.".strip()
            raise
        return whole(rows)

    def _give_up(self, rows: Sequence[Row]) -> None:
        """Says of parts that were not begun that they never will be; unsaid, they are settled when they are old."""
        status = Status(state=NOT_SENT, reason="a part before it was not submitted")
        with contextlib.suppress(InputError), self._store.together():
            for row in rows:
                self._store.update(row.token, status, now=self._clock())

    def resolved(self, job: Job) -> Job:
        """The job with ids in the place of the tokens it waits for."""
        if job.after is None:
            return job
        return msgspec.structs.replace(job, after=resolve(job.after, self._parts))

    def intend(self, job: Job, ticket: Ticket, part: Part, first: str, *, status: Status | None = None) -> Row:
        """Writes the intent down.

        Args:
            job: The job.
            ticket: Of this submission.
            part: Which of the job's submissions it is.
            first: Token of the first one.
            status: Its status, when it is not about to be submitted.
        """
        return self._store.intend(
            token=ticket.token,
            site=self._site,
            name=job.name,
            folder=ticket.folder,
            now=self._clock(),
            part_of=first if part.of > 1 else "",
            tasks=part.tasks,
            status=status,
            **wanted(job, self._cluster.site, part),
        )

    def _parts(self, token: str) -> list[Row]:
        return self._store.parts(self._store.find(token, self._site).token)

    def _submit(self, row: Row, ticket: Ticket, script: str) -> Row:
        try:
            job_id = self._cluster.submit(ticket, script)
        except (SiteError, NotSentError, SubmissionUnknownError, KeyboardInterrupt) as error:
            state = next(state for kind, state in _OUTCOMES.items() if isinstance(error, kind))
            reason = error.message if isinstance(error, AifaError) else "interrupted here"
            # If even this cannot be written, the row stays SUBMITTING and is settled when it is old.
            with contextlib.suppress(InputError):
                self._store.update(row.token, Status(state=state, reason=reason), now=self._clock())
            raise
        try:
            return self._store.update(row.token, Status(state="PENDING"), now=self._clock(), job_id=job_id)
        except InputError as error:
            raise SubmissionUnknownError(
                f"job {job_id} was submitted to {self._site}, but that could not be written down: {error}",
                token=row.token,
                hint="Do not submit it again: `aifa jobs` finds it once the file can be written.",
            ) from error
