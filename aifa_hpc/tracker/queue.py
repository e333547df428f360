"""Many jobs for one site, submitted as fast as the site allows: what it does not take yet waits here.

``put`` writes all jobs down (state ``QUEUED``) and feeds the site at once; whoever polls feeds it again. One command
carries all that has room. The scripts stay in the store until their outcome is known, so the queue survives the
process, and sending a job again is safe whatever became of the command before (``slurm.submission``).

Room is what the site's published limits leave beside the user's jobs that are remembered here (on LUMI 210 waiting or
running in a partition; every task of an array counts). Where the site itself says that a limit of submitted jobs is
reached, because of an association's ``MaxSubmit`` or of jobs that are not remembered here, feeding stops until the next
poll. An array with more tasks than fit becomes chunks, which together stay one job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, NotSentError, OutcomeUnknownError, SiteError
from aifa_hpc.jobs.check import partition_of
from aifa_hpc.jobs.feature_check import submit_limit
from aifa_hpc.jobs.plan import plan, read_indices
from aifa_hpc.slurm.submission import BATCH, Outcome, Ticket
from aifa_hpc.tracker.events import NOT_SENT, QUEUED, REFUSED, SUBMITTING, UNKNOWN, Status
from aifa_hpc.tracker.groups import is_left_behind, whole

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.errors import AifaError
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.tracker.store import Row, Store
    from aifa_hpc.tracker.submitter import Submitter

_SHARE = 4
"""Chunks of an array are a quarter of what fits, so that a site is topped up before all of it has ended."""

_WAITS = "waits here until {site} has room for it"
_STATES = {"submitted": "PENDING", "refused": REFUSED, "unsent": NOT_SENT, "full": QUEUED, "unknown": UNKNOWN}


class Queue:
    """The waiting jobs of one site.

    Args:
        cluster: The site.
        store: Where jobs are remembered.
        submitter: Writes intents down, and submits chains.
        clock: Gives the time, aware.
        token: Makes a token.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        submitter: Submitter,
        *,
        clock: Callable[[], datetime.datetime],
        token: Callable[[], str],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._submitter = submitter
        self._clock = clock
        self._token = token
        self._site = cluster.site.name

    def put(self, jobs: Sequence[Job]) -> list[Row]:
        """Takes jobs and submits what the site has room for; the states of the rows tell what became of each.

        Raises:
            InputError: Some of them are not legal there; nothing was sent or remembered.
            NotSentError: The site cannot be reached; nothing was submitted, and nothing waits.
            SiteError: The site has no place for job folders; likewise.
        """
        if chained := [job.name for job in jobs if job.chain is not None]:
            raise InputError(
                f"the links of a chain wait for each other at the site, so {chained[0]!r} cannot wait here.",
                hint="Submit each chain by itself.",
            )
        firsts = self._write_down([self._submitter.resolved(job) for job in jobs])
        try:
            self.feed()
        except OutcomeUnknownError:
            pass  # the rows say so, and the next poll sends them again
        except (NotSentError, SiteError) as error:
            for first in firsts:
                for row in self._store.parts(first):
                    self._close(row.token, NOT_SENT if isinstance(error, NotSentError) else REFUSED, error)
            raise
        return [whole(self._store.parts(first)) for first in firsts]

    def _write_down(self, jobs: Sequence[Job]) -> list[str]:
        """All of them or none; the tokens of their first parts."""
        prepared = []
        problems: list[InputError] = []
        for job in jobs:
            limit = submit_limit(job, self._cluster.site, partition_of(job, self._cluster.site))
            parts = plan(job, self._cluster.site, most=limit and max(1, limit[0] // _SHARE)).parts
            tokens = [self._token() for _ in parts]
            try:
                for part, token in zip(parts, tokens, strict=True):
                    after = "" if part.after is None else tokens[part.after]
                    ticket, script = self._cluster.prepare(job, token, part, tokens=tokens, queue=True)
                    prepared.append((job, ticket, script, part, tokens[0], after))
            except InputError as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise InputError("\n".join(map(str, problems)), hint="Nothing was sent.")
        with self._store.together():
            for job, ticket, script, part, first, after in prepared:
                row = self._submitter.intend(job, ticket, part, first, status=self._waits())
                self._store.keep_script(row.token, script, after)
        return list(dict.fromkeys(first for *_, first, _ in prepared))

    def feed(self) -> None:
        """Submits what there is room for.

        Raises:
            NotSentError: The site cannot be reached; all waits on.
            SiteError: It has no place for job folders; all waits on.
            OutcomeUnknownError: Silence; what was under way is sent again by the next call.
        """
        while batch := self._take():
            try:
                outcomes = self._cluster.submit_many(
                    [_ticket(row) for row in batch], [self._store.script(row.token) for row in batch], queue=True
                )
            except OutcomeUnknownError as error:
                reason = f"its answer was lost ({error.message}); it is sent again, which submits nothing twice"
                self._set(batch, Status(state=UNKNOWN, reason=reason))
                raise
            except KeyboardInterrupt:
                self._set(batch, Status(state=UNKNOWN, reason="interrupted here; it is sent again by the next poll"))
                raise
            except (NotSentError, SiteError) as error:
                self._put_back(batch, error)
                raise
            with self._store.together():
                for row, outcome in zip(batch, outcomes, strict=True):
                    self.finish(row, outcome)
            if any(outcome.kind in {"full", "unknown"} for outcome in outcomes):
                return

    def drop(self, row: Row) -> bool:
        """Forgets a job that waits; whether it still did."""
        with self._store.together():
            if self._store.get(row.token).status.state != QUEUED:
                return False
            self._store.drop_script(row.token)
            status = Status(state="CANCELLED", reason="cancelled here before it was submitted")
            self._store.update(row.token, status, now=self._clock())
        return True

    def _take(self) -> list[Row]:
        """The next jobs that have room, in order; they are ours from here on."""
        now = self._clock()
        batch: list[Row] = []
        with self._store.together():
            waiting = self._store.waiting(self._site)
            room = _Room(self._cluster, self._store.rows(self._site, active=True)) if waiting else None
            for row, after in waiting:
                assert room is not None
                if batch and _ticket(row).jobs != _ticket(batch[0]).jobs:
                    break  # one command works in one folder
                state = row.status.state
                again = state == UNKNOWN or (state == SUBMITTING and is_left_behind([row], now))
                if again or (state == QUEUED and self._is_due(after) and room.take(row)):
                    batch.append(row)
                if len(batch) == BATCH:
                    break
            self._set(batch, Status(state=SUBMITTING, reason="under way"))
        return batch

    def _is_due(self, after: str) -> bool:
        return not after or self._store.get(after).status.over

    def finish(self, row: Row, outcome: Outcome) -> Row:
        """Writes down what became of a job whose script is kept."""
        state = _STATES[outcome.kind]
        status = Status(state=state, reason=outcome.words if outcome.kind != "submitted" else "")
        if outcome.kind == "full":
            status = self._waits(outcome.words)
        elif outcome.kind != "unknown":
            self._store.drop_script(row.token)
        return self._write(row, status, outcome.job_id or None)

    def _put_back(self, batch: Sequence[Row], error: AifaError) -> None:
        """Nothing of this command was submitted; what an earlier one became of is as unknown as before."""
        begun = [row for row in batch if row.status.state != QUEUED]
        self._set(begun, Status(state=UNKNOWN, reason=f"its answer was lost, and the next try failed: {error.message}"))
        waited = [row for row in batch if row.status.state == QUEUED]
        self._set(waited, Status(state=QUEUED, reason=f"waits here; the last try failed: {error.message}"))

    def _close(self, token: str, state: str, error: AifaError) -> None:
        with self._store.together():  # another process may have taken it meanwhile
            if self._store.get(token).status.state == QUEUED:
                self._store.drop_script(token)
                self._store.update(token, Status(state=state, reason=error.message), now=self._clock())

    def _set(self, batch: Iterable[Row], status: Status) -> None:
        with self._store.together():
            for row in batch:
                self._write(row, status)

    def _write(self, row: Row, status: Status, job_id: str | None = None) -> Row:
        """Writes a status, unless another process has found the job meanwhile: while this one's machine slept."""
        with self._store.together():
            found = self._store.get(row.token)
            if found.job_id is not None and job_id is None:
                return found
            return self._store.change(found, status, now=self._clock(), job_id=job_id)

    def _waits(self, words: str = "") -> Status:
        return Status(state=QUEUED, reason=_WAITS.format(site=self._site) + (f": {words}" if words else ""))


class _Room:
    """What the site's limits leave: for each partition, and for its default QOS over all of them."""

    def __init__(self, cluster: Cluster, rows: Iterable[Row]) -> None:
        site = cluster.site
        qos = site.qos.get(site.scheduler.default_qos or "")
        self._all = qos.max_submitted if qos is not None else None
        self._most = {name: partition.max_submitted for name, partition in site.partitions.items()}
        self._used: dict[str, int] = {}
        for row in rows:
            if row.status.state != QUEUED:
                self._used[row.partition] = self._used.get(row.partition, 0) + _size(row)

    def take(self, row: Row) -> bool:
        """Whether there is room; it is then taken."""
        size, used = _size(row), self._used.get(row.partition, 0)
        most = self._most.get(row.partition)
        if most is not None and used + size > most:
            return False
        if self._all is not None and sum(self._used.values()) + size > self._all:
            return False
        self._used[row.partition] = used + size
        return True


def _size(row: Row) -> int:
    return len(read_indices(row.tasks)) if row.tasks else 1


def _ticket(row: Row) -> Ticket:
    return Ticket(token=row.token, name=f"{row.name}.{row.token}", jobs=row.folder.rpartition("/")[0])
