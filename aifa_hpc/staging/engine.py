"""Copies what is at one endpoint to another: plan, compare, carry, publish, and last the manifest.

What happens when it is stopped at any point: every file at the destination is either complete, verified and under its
name, or a partial file that nobody takes for one. The same command again hashes what is there and sends the rest: at
most what was under way on each lane is sent twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, NotSentError, TransferError, TransportError
from aifa_hpc.privacy.gate import Clearance
from aifa_hpc.staging.carry import Copying
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.route import make_route

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.resume import Trust


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a copy did.

    Attributes:
        files: Files at the source.
        files_sent: Files that were published.
        bytes_total: Bytes of all files.
        bytes_sent: Bytes that went over.
        bytes_reused: Bytes that had arrived in an earlier run and were continued from.
        bytes_skipped: Bytes of files that were there already.
        parts_resumed: Parts that ``bytes_reused`` counts.
        seconds: How long it took.
        manifest: Where the manifest was published, as a path below the destination's folder.
        tree: The manifest's hash of everything.
        ignored: What is no file (sockets, devices, pipes) and was left.
    """

    files: int
    files_sent: int
    bytes_total: int
    bytes_sent: int
    bytes_reused: int
    bytes_skipped: int
    parts_resumed: int
    seconds: float
    manifest: str
    tree: str
    ignored: tuple[str, ...] = ()


def copy(
    source: Endpoint,
    destination: Endpoint,
    *,
    clearance: Clearance,
    ledger: Ledger,
    progress: Progress = silent,
    trust: Trust = "verified",
    recheck: bool = False,
    lanes: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Copies a file or a folder's files, so that the destination holds the same bytes, proven by hash.

    Files that are there already are left, others are replaced whole; nothing is deleted. Links are followed. Empty
    folders are not made. ``staging.location`` says what DST means for a single file.

    Args:
        source: A file or a folder.
        destination: What it shall be, or the folder it goes into.
        clearance: Leave to transfer, from the privacy gate.
        ledger: What earlier runs knew.
        progress: Told of everything.
        trust: Whether parts of earlier runs are hashed again at the destination (``verified``) or the ledger's word
            is enough (``durable``).
        recheck: Hash files at the destination even where ledger or manifest know what they hold.
        lanes: Parallel streams; the slower endpoint's own number by default.
        clock: Seconds that only grow.

    Raises:
        InputError: The source does not exist, or the clearance does not cover data that leaves this machine.
        TransferError: Something could not be read, sent or published; names the file, the place and the next step.
    """
    if not isinstance(clearance, Clearance):
        raise TypeError("a copy needs a Clearance from aifa_hpc.privacy.gate.clear")
    if not destination.local and not clearance.outgoing:
        raise InputError(
            f"this clearance is for data that comes back, and {destination} is not on this machine.",
            hint="State the class of the data: `--class open|internal`.",
        )
    begun = clock()
    try:
        route = make_route(source, destination)
        with ledger.hold(route.place):
            work = Copying(route, ledger=ledger, progress=progress, trust=trust, recheck=recheck)
            plan = work.plan()
            manifest = work.carry_out(plan, lanes)
    except NotSentError:
        raise  # nothing was begun
    except TransportError as error:
        raise TransferError(
            f"the copy from {source} to {destination} was interrupted: {error.message.rstrip('.')}.",
            hint="Run the same command again: what arrived is kept and is not sent twice.",
        ) from error
    return Summary(
        files=len(plan.actions),
        files_sent=work.files_sent,
        bytes_total=plan.bytes,
        bytes_sent=work.bytes_sent,
        bytes_reused=work.bytes_reused,
        bytes_skipped=work.bytes_skipped,
        parts_resumed=work.parts_resumed,
        seconds=clock() - begun,
        manifest=route.manifest,
        tree=manifest.tree,
        ignored=plan.ignored,
    )
