"""Copies, plans and proofs by location: what ``aifa stage`` and :func:`aifa_hpc.stage` do.

Opens the endpoint that a location means, asks the privacy gate, and lets the staging engine work.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aifa_hpc.cluster import open_transport
from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import require_open
from aifa_hpc.manifest import Manifest, read_manifest
from aifa_hpc.privacy.gate import clear
from aifa_hpc.sites.load import load_site, site_names, state_dir
from aifa_hpc.staging.demand import place_of
from aifa_hpc.staging.engine import Summary, copy, make_plan
from aifa_hpc.staging.ledger import Ledger, Remembered, Unfinished
from aifa_hpc.staging.location import Location, parse_location
from aifa_hpc.staging.planfile import PlanFile
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.repair import repair
from aifa_hpc.staging.route import find_manifest, make_route
from aifa_hpc.staging.strays import Stray, find_strays, remove_strays
from aifa_hpc.staging.verify import Level, Report, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.resume import Trust


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What a check found, and what was done about it.

    Attributes:
        report: What the check found.
        repairs: What was fetched again, one copy for each source.
    """

    report: Report
    repairs: tuple[Summary, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """All is there as it was published, now."""
        return self.report.ok or bool(self.repairs)


def stage(
    source: str,
    destination: str,
    *,
    data_class: str | None = None,
    trust: Trust = "verified",
    delete: bool = False,
    reuse: str = "",
    progress: Progress = silent,
) -> Summary:
    """Copies a file or folder so that the destination holds the same bytes, proven by hash; run again, it resumes.

    Args:
        source: ``SITE:/path``, ``s3://bucket/prefix``, a local path, or any URL that fsspec reads.
        destination: The same, but no URL.
        data_class: ``open`` or ``internal``; demanded where data leaves this machine and its site has no default.
        trust: ``verified`` hashes again what an interrupted run had sent, ``durable`` believes its acknowledgements.
        delete: At last, delete what an earlier copy from this source made and the source no longer has.
        reuse: Another folder at the destination's machine whose files may lend parts; the same kind of location.
        progress: Told of everything.

    Raises:
        InputError: A location is none, the source does not exist, or the data may not leave.
        TransferError: It stopped; what was verified stays.
        TransportError: A site cannot be reached.
    """
    with _ends(source, destination, data_class) as (ends, clearance, ledger, stack):
        lenders = _lenders(reuse, destination, ledger, stack) if reuse else {}
        return copy(
            *ends, clearance=clearance, ledger=ledger, trust=trust, delete=delete, reuse=lenders, progress=progress
        )


def plan(
    source: str,
    destination: str,
    *,
    data_class: str | None = None,
    delete: bool = False,
    progress: Progress = silent,
) -> PlanFile:
    """What :func:`stage` would do, as a plan to be looked at and handed to :func:`apply`; nothing is sent.

    Args and errors are those of :func:`stage`.
    """
    with _ends(source, destination, data_class) as (ends, clearance, ledger, _):
        route, made = make_plan(*ends, clearance=clearance, ledger=ledger, delete=delete, progress=progress)
    return PlanFile(
        source=source,
        destination=destination,
        data_class=clearance.data_class,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        tool=importlib.metadata.version("aifa_hpc"),
        only=route.only,
        name=route.name,
        plan=made,
    )


def apply(made: PlanFile, *, trust: Trust = "verified", progress: Progress = silent) -> Summary:
    """Carries out a plan, if what is there is still what it was made for; run again, it resumes.

    Raises:
        InputError: A file is not as the plan has it; all of them are told, and nothing was done.
        TransferError: It stopped; what was verified stays.
    """
    with _ends(made.source, made.destination, made.data_class) as (ends, clearance, ledger, _):
        route = make_route(*ends)
        if (route.only, route.name) != (made.only, made.name):
            raise InputError(
                f"the plan is for {made.name or 'a folder'!r}, and {made.source} to {made.destination} is now "
                f"{route.name or 'a folder'!r}.",
                hint="Nothing was done. Make a new plan.",
            )
        return copy(*ends, clearance=clearance, ledger=ledger, plan=made.plan, trust=trust, progress=progress)


def prove(
    destination: str,
    *,
    level: Level = "full",
    sample: int = 100,
    seed: int = 0,
    mend: bool = False,
    source: str = "",
    data_class: str | None = None,
    progress: Progress = silent,
) -> Proof:
    """Checks what is at a destination, there, against the manifest that its copies left.

    What is found damaged is remembered, so that the next copy sends it again.

    Args:
        destination: Where a copy went, or its manifest there.
        level: ``full``, ``known`` or ``sample``, see :func:`aifa_hpc.staging.verify.verify`.
        sample: Blocks that a sample hashes.
        seed: Which ones.
        mend: Fetch what is missing or damaged from where it came.
        source: Fetch it from there.
        data_class: As for :func:`stage`, where data is fetched.
        progress: Told of everything.

    Raises:
        InputError: There is no manifest, or the data may not leave.
        TransferError: A source no longer has what was published.
        TransportError: The site cannot be reached.
    """
    names = site_names()
    target = parse_location(place_of(destination), names)
    with ExitStack() as stack:
        clearance = _clear(target, data_class) if mend else None
        ledger = stack.enter_context(_ledger())
        end = _open(target, stack)
        report = verify(end, ledger=ledger, level=level, sample=sample, seed=seed, progress=progress)
        if report.ok or clearance is None:
            return Proof(report=report)
        repairs = repair(
            end,
            report,
            open_source=lambda text: _open(parse_location(text, names), stack),
            clearance=clearance,
            ledger=ledger,
            source=source,
            progress=progress,
        )
        return Proof(report=report, repairs=tuple(repairs))


def strays(destination: str, *, older: float, remove: bool = False) -> list[Stray]:
    """What copies that nobody finished have left below a folder; removes it when asked.

    Args:
        destination: The folder.
        older: Seconds; what is younger stays.
        remove: Remove what is ours and old enough.

    Raises:
        InputError: It is no folder.
        TransferError: It cannot be listed or removed, or a copy into it is running.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(_ledger())
        end = _open(parse_location(destination, site_names()), stack)
        found = find_strays(end, ledger=ledger, older=older, now=datetime.now(UTC))
        if remove:
            remove_strays(end, found, ledger=ledger)
        return found


def copies() -> tuple[list[Remembered], list[tuple[str, str, Unfinished]]]:
    """The copies that this machine remembers, and the partial files that were not published."""
    with _ledger() as ledger:
        return ledger.copies(), ledger.all_unfinished()


@contextmanager
def _ends(
    source: str, destination: str, data_class: str | None
) -> Iterator[tuple[tuple[Endpoint, Endpoint], Clearance, Ledger, ExitStack]]:
    names = site_names()
    origin, target = parse_location(source, names), parse_location(destination, names)
    clearance = _clear(target, data_class)
    with ExitStack() as stack:
        ends = _open(origin, stack), _open(target, stack)
        yield ends, clearance, stack.enter_context(_ledger()), stack


def _clear(target: Location, data_class: str | None) -> Clearance:
    """Leave to transfer there, by the class that was stated or is the site's default."""
    usual = load_site(target.site).access.default_class if target.kind == "site" and data_class is None else ""
    return clear(data_class or usual or None, outgoing=target.kind != "local")


def _lenders(reuse: str, destination: str, ledger: Ledger, stack: ExitStack) -> dict[str, Manifest]:
    """The manifest of another folder on the destination's machine, by the folder's absolute path there."""
    names = site_names()
    place, target = parse_location(reuse, names), parse_location(destination, names)
    if (place.kind, place.site) != (target.kind, target.site) or place.kind not in {"local", "site"}:
        raise InputError(
            f"parts cannot be taken from {reuse}: it is not a folder on the machine of {destination}.",
            hint="Name a folder there that an earlier copy went to.",
        )
    found = find_manifest(_open(place, stack), ledger.manifests)
    folder = str(found.folder).removeprefix(f"{place.site}:" if place.site else "")
    return {folder: read_manifest(found.data.decode("ascii"))}


def _ledger() -> Ledger:
    return Ledger(state_dir() / "staging.sqlite3")


def _open(location: Location, stack: ExitStack) -> Endpoint:
    endpoint: Endpoint
    if location.kind == "local":
        from aifa_hpc.staging.endpoints.local import LocalEndpoint  # noqa: PLC0415 - each kind where it is used

        endpoint = LocalEndpoint(location.path)
    elif location.kind == "site":
        from aifa_hpc.staging.endpoints.far import open_far  # noqa: PLC0415

        site = load_site(location.site)
        require_open(site)
        transport = stack.enter_context(open_transport(site))
        endpoint = open_far(transport, location.path, label=site.name)
    elif location.kind == "url":
        from aifa_hpc.staging.endpoints.url import URLEndpoint  # noqa: PLC0415

        endpoint = URLEndpoint(location.path)
    else:
        from aifa_hpc.staging.endpoints.s3 import S3Endpoint  # noqa: PLC0415

        endpoint = S3Endpoint(location.bucket, location.prefix)
    return stack.enter_context(endpoint)
