"""Copies what is at one endpoint to another: plan, compare, carry, publish, and last the manifest.

What happens when it is stopped at any point: every file at the destination is either complete, verified and under its
name, or a partial file that nobody takes for one. The same command again hashes what is there and sends the rest: at
most what was under way on each lane is sent twice.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import AifaError, InputError, NotSentError, TransferError, TransportError
from aifa_hpc.privacy.gate import Clearance
from aifa_hpc.staging.carry import Copying
from aifa_hpc.staging.ledger import Remembered
from aifa_hpc.staging.left import Looked, asked_now, read_left
from aifa_hpc.staging.planning import plan_copy, published, require_reality, survey
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.route import make_route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aifa_hpc.manifest import Entry, Manifest
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.plan import Plan
    from aifa_hpc.staging.resume import Trust
    from aifa_hpc.staging.route import Route

_TELL_SECONDS = 1.0
"""Between two notes of how far a copy is; each is a commit of the ledger's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a copy did.

    Attributes:
        files: Files at the source.
        files_sent: Files that were published.
        bytes_total: Bytes of all files.
        bytes_sent: Bytes that went over.
        bytes_reused: Bytes that did not: an interrupted run had sent them, or other files there held them.
        bytes_borrowed: Those of ``bytes_reused`` that other files there held.
        bytes_skipped: Bytes of files that were there already.
        bytes_packed: Those of ``bytes_sent`` that did not have to pass a link, as data were packed on their way.
        bytes_repaired: Those of ``bytes_sent`` that took the place of damaged or missing ones.
        parts_resumed: Parts that an interrupted run had sent.
        files_removed: Files that were deleted.
        spared: Files that were to be deleted, and stay because they are not as a copy made them.
        seconds: How long it took.
        manifest: Where the manifest was published, as a path below the destination's folder.
        tree: The manifest's hash of everything.
        level: What the files are proven by: one of :data:`aifa_hpc.manifest.LEVELS`.
        ignored: What is no file (sockets, devices, pipes) and was left.
    """

    files: int
    files_sent: int
    bytes_total: int
    bytes_sent: int
    bytes_reused: int
    bytes_skipped: int
    parts_resumed: int
    bytes_borrowed: int = 0
    bytes_packed: int = 0
    bytes_repaired: int = 0
    files_removed: int = 0
    spared: tuple[str, ...] = ()
    seconds: float
    manifest: str
    tree: str
    level: str
    ignored: tuple[str, ...] = ()


def make_plan(
    source: Endpoint,
    destination: Endpoint,
    *,
    clearance: Clearance,
    ledger: Ledger,
    progress: Progress = silent,
    recheck: bool = False,
    delete: bool = False,
    reading: bool = True,
) -> tuple[Route, Plan]:
    """What :func:`copy` would do, without doing it.

    Args and errors are those of :func:`copy`; ``reading`` is as for :func:`staging.planning.plan_copy`.
    """
    _require(clearance, destination)
    with _explained(source, destination):
        route = make_route(source, destination)
        looked, old = survey(route)
        return route, plan_copy(
            route,
            looked,
            manifest=old,
            ledger=ledger,
            progress=progress,
            recheck=recheck,
            delete=delete,
            reading=reading,
        )


def copy(
    source: Endpoint,
    destination: Endpoint,
    *,
    clearance: Clearance,
    ledger: Ledger,
    plan: Plan | None = None,
    progress: Progress = silent,
    trust: Trust = "verified",
    recheck: bool = False,
    delete: bool = False,
    repair: Mapping[str, Entry] | None = None,
    every: bool = False,
    reuse: Mapping[str, Manifest] | None = None,
    lanes: int | None = None,
    limit: Callable[[int], None] = lambda _: None,
    approve: Callable[[Plan], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Summary:
    """Copies a file or a folder's files, so that the destination holds the same bytes, proven by hash.

    Files that are there already are left, others are replaced whole. Links are followed. Empty folders are not made.
    ``staging.location`` says what DST means for a single file.

    Args:
        source: A file or a folder.
        destination: What it shall be, or the folder it goes into.
        clearance: Leave to transfer, from the privacy gate.
        ledger: What earlier runs knew.
        plan: What :func:`make_plan` said; made now by default.
        progress: Told of everything.
        trust: Whether parts of earlier runs are hashed again at the destination (``verified``) or the ledger's word
            is enough (``durable``).
        recheck: Hash files at the destination even where ledger or manifest know what they hold.
        delete: At last, delete what an earlier copy from this source made and the source no longer has.
        repair: Copy only these files, by path at the destination, and only if they still are what was published.
        every: Look at every file and have an action for it in the plan, where the last copy's folders did not change.
        reuse: Manifests of other folders of the destination's machine whose files may lend parts, by absolute path.
        lanes: Parallel streams; the slower endpoint's own number by default.
        limit: Waits until so many bytes may go on; not asked for what stays on this machine.
        approve: Told of the plan before the first byte; what it raises ends the copy.
        clock: Seconds that only grow.
        now: The time of day.

    Raises:
        InputError: The source does not exist, the clearance does not cover data that leaves this machine, or the plan
            no longer fits what is there.
        TransferError: Something could not be read, sent or published; names the file, the place and the next step.
    """
    _require(clearance, destination)
    begun, saved = clock(), source.saved + destination.saved
    with _explained(source, destination):
        route = make_route(source, destination)
        with ledger.hold(route.place), _remembered(route, ledger, now) as remember:
            believing = plan is None and repair is None and not (recheck or every or route.only or route.fresh)
            left = read_left(ledger.left.get(route.place, source.identity)) if believing else None
            if left is None:
                route.expect(lanes)
            if plan is not None:
                looked = Looked(files=[], asked=asked_now(source))
                old = published(route.destination, route.manifest)
                plan = require_reality(plan, route, ledger)
            else:
                looked, old = survey(route, left=left, delete=delete, repair=repair)
                plan = plan_copy(
                    route,
                    looked,
                    manifest=old,
                    ledger=ledger,
                    progress=progress,
                    recheck=recheck,
                    delete=delete,
                    repair=repair,
                )
                _require_all(repair or {}, plan, route)
            remember(files=plan.files, bytes=plan.bytes)
            approve(plan)
            at = clock()

            def done(size: int) -> None:
                nonlocal at
                if clock() - at >= _TELL_SECONDS:
                    at = clock()
                    remember(done=size)

            work = Copying(
                route,
                old=old,
                ledger=ledger,
                progress=progress,
                done=done,
                trust=trust,
                reuse=reuse or {},
                expected=repair or {},
                limit=(lambda _: None) if source.local and destination.local else limit,
                looked=looked,
            )
            tree = work.carry_out(plan, lanes, now())
    counts = work.counts
    return Summary(
        files=plan.files,
        files_sent=counts.files_sent,
        bytes_total=plan.bytes,
        bytes_sent=counts.bytes_sent,
        bytes_reused=counts.bytes_resumed + counts.bytes_borrowed,
        bytes_skipped=counts.bytes_skipped,
        parts_resumed=counts.parts_resumed,
        bytes_borrowed=counts.bytes_borrowed,
        bytes_packed=source.saved + destination.saved - saved,
        bytes_repaired=counts.bytes_sent if repair is not None else 0,
        files_removed=counts.files_removed,
        spared=plan.spared,
        seconds=clock() - begun,
        manifest=route.manifest,
        tree=tree,
        level=work.level,
        ignored=plan.ignored,
    )


def _require(clearance: Clearance, destination: Endpoint) -> None:
    if not isinstance(clearance, Clearance):
        raise TypeError("a copy needs a Clearance from aifa_hpc.privacy.gate.clear")
    if not destination.local and not clearance.outgoing:
        raise InputError(
            f"this clearance is for data that comes back, and {destination} is not on this machine.",
            hint="State the class of the data: `--class open|internal`.",
        )


def _require_all(repair: Mapping[str, Entry], plan: Plan, route: Route) -> None:
    """Everything that is to be repaired must be at the source."""
    lost = sorted(repair.keys() - {action.path for action in plan.actions})
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise TransferError(
            f"{lost[0]!r}{more} cannot be fetched again: {route.source_text} no longer has it.",
            hint="Bring it back there, or copy the data set again as it is now.",
        )


@contextlib.contextmanager
def _explained(source: Endpoint, destination: Endpoint) -> Iterator[None]:
    try:
        yield
    except NotSentError:
        raise  # nothing was begun
    except TransportError as error:
        raise TransferError(
            f"the copy from {source} to {destination} was interrupted: {error.message.rstrip('.')}.",
            hint="Run the same command again: what arrived is kept and is not sent twice.",
        ) from error


def _reason(error: AifaError) -> str:
    """Why it ended; all reasons, where there are several."""
    problems = error.problems if isinstance(error, InputError) else ()
    return "\n".join((error.message, *(f"  - {problem}" for problem in problems)))


@contextlib.contextmanager
def _remembered(route: Route, ledger: Ledger, now: Callable[[], datetime]) -> Iterator[Callable[..., None]]:
    """Puts the copy on record, for people: that it began, what it is to do, how far it is, and how it ended."""
    known = Remembered(
        place=route.place, source=route.source_text, destination=route.destination_text, begun=now().timestamp()
    )

    def remember(**changes: Any) -> None:
        nonlocal known
        known = replace(known, **changes)
        ledger.note_copy(known)

    before = next((one for one in ledger.copies() if (one.place, one.source) == (known.place, known.source)), None)
    ledger.note_copy(known)
    try:
        yield remember
    except AifaError as error:
        if isinstance(error, InputError) and before is not None and not known.files:
            ledger.note_copy(before)  # nothing was done: what the last one did stays known
            raise
        with contextlib.suppress(TransferError):  # the first error is the one to tell
            ledger.note_copy(replace(known, ended=now().timestamp(), problem=_reason(error)))
        raise
    ledger.note_copy(replace(known, ended=now().timestamp(), done=known.bytes))
