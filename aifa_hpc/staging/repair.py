"""Makes a destination again what its manifest says: fetches what is missing or damaged from where it came.

Only bad parts go over: good ones are taken from the damaged file. What arrives must have the digests that were
published, so a source that has changed since is an error and replaces nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import manifest_name
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.route import find_manifest
from aifa_hpc.staging.store import store_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.engine import Summary
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.verify import Report


def repair(
    destination: Endpoint,
    report: Report,
    *,
    open_source: Callable[[str], Endpoint],
    clearance: Clearance,
    ledger: Ledger,
    source: str = "",
    limit: Callable[[int], None] = lambda _: None,
    progress: Progress = silent,
) -> list[Summary]:
    """Fetches what a check found damaged, one data set after the other.

    Args:
        destination: What was checked.
        report: What was found.
        open_source: Opens a location.
        clearance: Leave to transfer.
        ledger: Told by the check what damaged files hold; knows which copies this user made.
        source: Fetch from there, whatever the manifest says.
        limit: Waits until so many bytes may go on.
        progress: Told of everything.

    Raises:
        InputError: The manifest names a source from which nothing was copied there by us. Whoever can write to a shared
            folder can write a manifest; it does not decide what leaves this machine.
        TransferError: The source no longer has what was published.
    """
    damaged = {path for path, _ in report.damaged}
    known = {copy.source for copy in ledger.copies() if copy.place.startswith(f"{destination.identity}")}
    summaries = []
    found = find_manifest(destination, ledger.manifests)
    if found.lost:
        # First: it stood there when the files did, and the next run must find what is still to be fetched.
        store_bytes(found.folder, manifest_name(found.name), found.data)
    for number, data_set in enumerate(report.manifest.sets):
        wanted = {entry.path: entry for entry in report.manifest.of(number) if entry.path in damaged}
        if not wanted:
            continue
        if not source and data_set.source not in known and not destination.local:
            raise InputError(
                f"the manifest at {destination} says that {len(wanted)} damaged files came from {data_set.source!r}, "
                f"and no copy from there is on record here.",
                hint="If that is right, say so with `--from SRC`.",
            )
        with open_source(source or data_set.source) as origin:
            summaries.append(
                copy(
                    origin,
                    destination,
                    clearance=clearance,
                    ledger=ledger,
                    repair=wanted,
                    limit=limit,
                    progress=progress,
                )
            )
    return summaries
