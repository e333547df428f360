"""Copies and proofs by location: what ``aifa stage`` and :func:`aifa_hpc.stage` do.

Opens the endpoint that a location means, asks the privacy gate, and lets the staging engine work.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from aifa_hpc.cluster import open_transport
from aifa_hpc.jobs.check import require_open
from aifa_hpc.privacy.gate import clear
from aifa_hpc.sites.load import load_site, site_names, state_dir
from aifa_hpc.staging.engine import Summary, copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.location import Location, parse_location
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.verify import Report, verify

if TYPE_CHECKING:
    from aifa_hpc.staging.endpoints.base import Endpoint


def stage(source: str, destination: str, *, data_class: str | None = None, progress: Progress = silent) -> Summary:
    """Copies a file or folder so that the destination holds the same bytes, proven by hash; run again, it resumes.

    Args:
        source: ``SITE:/path``, ``s3://bucket/prefix``, a local path, or any URL that fsspec reads.
        destination: The same, but no URL.
        data_class: ``open`` or ``internal``; demanded where data leaves this machine.
        progress: Told of everything.

    Raises:
        InputError: A location is none, the source does not exist, or the data may not leave.
        TransferError: It stopped; what was verified stays.
        TransportError: A site cannot be reached.
    """
    names = site_names()
    origin, target = parse_location(source, names), parse_location(destination, names)
    clearance = clear(data_class, outgoing=target.kind != "local")
    with ExitStack() as stack:
        source_end, target_end = _open(origin, stack), _open(target, stack)
        ledger = stack.enter_context(_ledger())
        return copy(source_end, target_end, clearance=clearance, ledger=ledger, progress=progress)


def prove(destination: str, *, progress: Progress = silent) -> Report:
    """Hashes what is at a destination, there, and compares it with the manifest that its copy left.

    What is found damaged is remembered, so that the next copy sends it again.

    Raises:
        InputError: There is no manifest.
        TransportError: The site cannot be reached.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(_ledger())
        return verify(_open(parse_location(destination, site_names()), stack), ledger=ledger, progress=progress)


def _ledger() -> Ledger:
    return Ledger(state_dir() / "staging.sqlite3")


def _open(location: Location, stack: ExitStack) -> Endpoint:
    endpoint: Endpoint
    if location.kind == "local":
        from aifa_hpc.staging.endpoints.local import LocalEndpoint  # noqa: PLC0415 - each kind where it is used

        endpoint = LocalEndpoint(location.path)
    elif location.kind == "site":
        from aifa_hpc.staging.endpoints.ssh import SSHEndpoint  # noqa: PLC0415

        site = load_site(location.site)
        require_open(site)
        transport = stack.enter_context(open_transport(site))
        endpoint = SSHEndpoint(transport, location.path, label=site.name)
    elif location.kind == "url":
        from aifa_hpc.staging.endpoints.url import URLEndpoint  # noqa: PLC0415

        endpoint = URLEndpoint(location.path)
    else:
        from aifa_hpc.staging.endpoints.s3 import S3Endpoint  # noqa: PLC0415

        endpoint = S3Endpoint(location.bucket, location.prefix)
    return stack.enter_context(endpoint)
