"""Completes the calls of one job: told of each change of it, brings the outcomes back that are there.

It asks nothing of its own while a job waits or runs: the connection's one question for all jobs tells when something
has happened. The outcomes of all calls of a job come with one command.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from aifa_hpc.errors import (
    AifaError,
    HostKeyError,
    InputError,
    JobFailedError,
    SiteError,
    TransferError,
    TransportError,
)
from aifa_hpc.executor.flows import Wanted, drop, fetch
from aifa_hpc.executor.large import fetch_large
from aifa_hpc.executor.outcome import error_of, read_outcome, value_of
from aifa_hpc.transport.refusals import PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from aifa_hpc.executor.call import Call
    from aifa_hpc.executor.flows import Handed
    from aifa_hpc.executor.host import Host, Part
    from aifa_hpc.executor.outcome import Outcome

End: TypeAlias = "Mapping[int, Outcome] | BaseException"
"""How a call ended: the outcomes of all its ranks, or why there is no result."""

logger = logging.getLogger(__name__)

_LOOKS = 4
"""So often an outcome is looked for after a job ended well: a shared file system may show a file late."""

_LOOK_SECONDS = 1.0
_OUTAGE_SECONDS = (5.0, 10.0, 20.0, 60.0, 300.0)
"""Between tries to fetch outcomes from a site that does not answer."""

_EARLY = frozenset({"SUBMITTING", "PENDING", "CONFIGURING"})
_LATE = frozenset({"COMPLETING", "LAGGING"})


class Following:
    """The calls of one job that are not done.

    Args:
        host: The connection.
        token: Of the job.
        calls: They have their places.
        array: Each call is a task.
        whole: There are no other calls in the job's bundle.
    """

    def __init__(self, host: Host, token: str, calls: Sequence[Call], *, array: bool, whole: bool) -> None:
        self._host, self._token, self._array, self._whole = host, token, array, whole
        self._calls = tuple(calls)
        self._looks = 0
        self._failures = 0
        self._dropped = False
        if whole:
            for call in self._calls:
                call.add_done_callback(self._see_cancelled)

    def begin(self) -> None:
        """Follows until all calls are done.

        Raises:
            InputError: The connection is closed.
        """
        self._host.watch(self._token, self.tell)

    def _see_cancelled(self, call: Future[Any]) -> None:
        """Removes the bundle when the last call is cancelled: nobody may be there any more when the job has ended."""
        if call.cancelled() and all(other.done() for other in self._calls):
            self._drop()

    def tell(self, news: Part | AifaError) -> None:
        """Is told of a change, in a thread of the connection's."""
        if isinstance(news, AifaError):
            self._give_up(news)
            return
        try:
            again = self._look(news)
        except (HostKeyError, PersonNeededError) as error:
            self._give_up(error)
        except (TransportError, SiteError, TransferError) as error:
            seconds = _OUTAGE_SECONDS[min(self._failures, len(_OUTAGE_SECONDS) - 1)]
            self._failures += 1
            logger.warning(
                "results of job %s cannot be fetched now, and are again in %g s: %s", news.job_id, seconds, error
            )
            self._later(seconds)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            self._give_up(error)
        else:
            self._failures = 0
            if again:
                self._later(_LOOK_SECONDS)

    def _look(self, news: Part) -> bool:
        """Completes what can be; returns whether to look once more although the job does not change."""
        status = news.status
        for call in self._calls:
            call.see(status.state)
        started = status.state not in _EARLY
        if not status.over and not (started and (self._array or status.state in _LATE)):
            return False
        left = [call for call in self._calls if not call.done()]
        ends = self._ends(left)
        left = [call for call in left if call not in ends]
        again = False
        if status.over:
            self._looks += 1
            again = bool(left) and status.ok and self._looks < _LOOKS
        if (status.over and not again) or (self._whole and not left):
            self._drop()  # before anybody is told, who may then close the connection
        for call, end in ends.items():
            _end(call, end)
        if status.over and not again:
            self._tell_end(left)
        return again

    def _ends(self, calls: Sequence[Call]) -> dict[Call, End]:
        """What there is of these calls; those that have nothing yet are left out."""
        if not calls:
            return {}
        wanted = [Wanted(folder=call.folder, index=call.index) for call in calls]
        found = zip(calls, self._host.cluster.drive(fetch(wanted)), strict=True)
        return {call: end for call, handed in found if (end := self._read(call, handed)) is not None}

    def _read(self, call: Call, handed: Handed) -> End | None:
        if handed.foreign:
            message = f"the result of job {call.id} is not yours alone, so it is not loaded: {handed.foreign[0]}"
            return SiteError(message, hint="Whoever can write a pickle can run code where it is loaded.")
        files = dict(handed.ranks)
        for path in handed.large:
            files[int(path.rpartition(".")[2])] = fetch_large(self._host.cluster, path)
        if not files:
            return None
        outcomes = {rank: read_outcome(data) for rank, data in sorted(files.items())}
        failed = next((outcome for outcome in outcomes.values() if not outcome.ok), None)
        if failed is not None:
            return error_of(failed, f"job {call.id}")
        return outcomes if len(outcomes) >= max(outcome.ranks for outcome in outcomes.values()) else None

    def _tell_end(self, left: Sequence[Call]) -> None:
        """The job is over, and what has no outcome gets none."""
        if left:
            why, parts = self._why(), {part.folder: part for part in self._host.parts(self._token)}
            for call in left:
                _fail(call, _no_result(call, parts[call.folder], why))

    def _drop(self) -> None:
        if not self._dropped:
            self._dropped = True
            with suppress(AifaError):  # it is small, and harms nobody
                self._host.cluster.drive(drop([self._calls[0].folder]))

    def _why(self) -> str:
        with suppress(AifaError):
            found = next((one for one in self._host.job(self._token).explain().findings if one.weight != "note"), None)
            if found is not None:
                return f" {found.text[0].upper()}{found.text[1:]}: {found.evidence}."
        return ""

    def _later(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._begin_again)
        timer.daemon = True
        timer.start()

    def _begin_again(self) -> None:
        try:
            self.begin()
        except AifaError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        for call in self._calls:
            if isinstance(error, InputError):
                hint = f"The job goes on: executor.attach({call.token!r}) of another connection brings its result."
                _fail(call, InputError(f"job {call.id} is not followed any more: {error.message}", hint=hint))
            else:
                _fail(call, error)


def _no_result(call: Call, part: Part, why: str) -> JobFailedError:
    status = part.status
    text = f"job {call.id} ({part.name}) ended as {status.state}" + (f", exit {status.exit}" if status.exit else "")
    return JobFailedError(f"{text}, and left no result.{why}", hint=f"`aifa explain {call.id}` says more.")


def _end(call: Call, end: End) -> None:
    if isinstance(end, BaseException):
        _fail(call, end)
        return
    try:
        values = [value_of(outcome, f"job {call.id}") for outcome in end.values()]
    except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
        _fail(call, error)
    else:
        with suppress(Exception):  # it was cancelled at this moment
            call.finish(values)


def _fail(call: Call, error: BaseException) -> None:
    if not call.done():
        with suppress(Exception):  # it was cancelled at this moment
            call.set_exception(error)
