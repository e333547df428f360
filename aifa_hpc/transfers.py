"""Copies, plans and proofs by location: what ``aifa stage`` and :func:`aifa_hpc.stage` do.

Opens the endpoint that a location means, asks the privacy gate, and lets the staging engine work.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aifa_hpc.command import drive
from aifa_hpc.errors import InputError, SiteError, TransportError
from aifa_hpc.jobs.check import require_open
from aifa_hpc.lakehouse.names import is_table, read_wanted
from aifa_hpc.manifest import Manifest, read_manifest
from aifa_hpc.privacy.gate import clear
from aifa_hpc.sites.load import load_site, site_names, state_dir
from aifa_hpc.staging.advice import hints, objections, project_of
from aifa_hpc.staging.demand import place_of
from aifa_hpc.staging.engine import Summary, copy, make_plan
from aifa_hpc.staging.ledger import Ledger, Remembered, Unfinished
from aifa_hpc.staging.limit import Limit, parse_limit
from aifa_hpc.staging.location import Location, parse_location
from aifa_hpc.staging.plan import Plan, Verdict
from aifa_hpc.staging.planfile import PlanFile
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.repair import repair
from aifa_hpc.staging.room import Told, ask_room
from aifa_hpc.staging.route import find_manifest, make_route
from aifa_hpc.staging.strays import Stray, find_strays, remove_strays
from aifa_hpc.staging.verify import Level, Report, verify
from aifa_hpc.tracker.budget import open_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.sites.model import Site
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.resume import Trust
    from aifa_hpc.transport.base import Transport

_log = logging.getLogger(__name__)


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
    limit: str = "",
    progress: Progress = silent,
) -> Summary:
    """Copies a file or folder so that the destination holds the same bytes, proven by hash; run again, it resumes.

    Args:
        source: ``SITE:/path``, ``s3://bucket/prefix``, a local path, any URL that fsspec reads, or a table with what is
            wanted of it (:mod:`aifa_hpc.lakehouse.names`).
        destination: The same, but no URL.
        data_class: ``open`` or ``internal``; demanded where data leaves this machine and its site has no default.
        trust: ``verified`` hashes again what an interrupted run had sent, ``durable`` believes its acknowledgements.
        delete: At last, delete what an earlier copy from this source made and the source no longer has.
        reuse: Another folder at the destination's machine whose files may lend parts; the same kind of location.
        limit: How fast, as ``20M`` or ``08:00,20M 18:00,off``; with all other copies of this user (``staging.limit``).
        progress: Told of everything.

    Raises:
        InputError: A location is none, the source does not exist, or the data may not leave.
        TransferError: It stopped; what was verified stays.
        TransportError: A site cannot be reached.
    """
    with open_places(limit) as places:
        target = places.location(destination)
        clearance = clear_for(target, data_class)
        there = places.open(target)
        here = places.source(source, target, there, progress)
        return copy(
            here,
            there,
            clearance=clearance,
            ledger=places.ledger,
            trust=trust,
            delete=delete,
            limit=places.limit,
            reuse=places.lenders(reuse, target) if reuse else {},
            approve=places.approval(target, there, progress),
            progress=progress,
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
    with open_places() as places:
        target = places.location(destination)
        clearance = clear_for(target, data_class)
        there = places.open(target)
        here = places.source(source, target, there, progress)
        route, made = make_plan(
            here, there, clearance=clearance, ledger=places.ledger, delete=delete, progress=progress
        )
        places.approval(target, there, progress)(made)
    return PlanFile(
        source=str(here) if is_table(source) else source,
        destination=destination,
        data_class=clearance.data_class,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        tool=importlib.metadata.version("aifa_hpc"),
        only=route.only,
        name=route.name,
        plan=made,
    )


def apply(made: PlanFile, *, trust: Trust = "verified", limit: str = "", progress: Progress = silent) -> Summary:
    """Carries out a plan, if what is there is still what it was made for; run again, it resumes.

    Raises:
        InputError: A file is not as the plan has it; all of them are told, and nothing was done.
        TransferError: It stopped; what was verified stays.
    """
    with open_places(limit) as places:
        target = places.location(made.destination)
        clearance = clear_for(target, made.data_class)
        there = places.open(target)
        here = places.source(made.source, target, there, progress)
        route = make_route(here, there)
        if (route.only, route.name) != (made.only, made.name):
            raise InputError(
                f"the plan is for {made.name or 'a folder'!r}, and {made.source} to {made.destination} is now "
                f"{route.name or 'a folder'!r}.",
                hint="Nothing was done. Make a new plan.",
            )
        return copy(
            here,
            there,
            clearance=clearance,
            ledger=places.ledger,
            plan=made.plan,
            trust=trust,
            limit=places.limit,
            approve=places.approval(target, there, progress),
            progress=progress,
        )


def prove(
    destination: str,
    *,
    level: Level = "full",
    sample: int = 100,
    seed: int = 0,
    mend: bool = False,
    source: str = "",
    data_class: str | None = None,
    limit: str = "",
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
        limit: How fast, as for :func:`stage`.
        progress: Told of everything.

    Raises:
        InputError: There is no manifest, or the data may not leave.
        TransferError: A source no longer has what was published.
        TransportError: The site cannot be reached.
    """
    with open_places(limit) as places:
        target = places.location(place_of(destination))
        clearance = clear_for(target, data_class) if mend else None
        end = places.open(target)
        report = verify(end, ledger=places.ledger, level=level, sample=sample, seed=seed, progress=progress)
        if report.ok or clearance is None:
            return Proof(report=report)
        repairs = repair(
            end,
            report,
            open_source=lambda text: places.source(text, target, end, progress),
            clearance=clearance,
            ledger=places.ledger,
            source=source,
            limit=places.limit,
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
    with open_places() as places:
        end = places.open(places.location(destination))
        found = find_strays(end, ledger=places.ledger, older=older, now=datetime.now(UTC))
        if remove:
            remove_strays(end, found, ledger=places.ledger)
        return found


def copies() -> tuple[list[Remembered], list[tuple[str, str, Unfinished]]]:
    """The copies that this machine remembers, and the partial files that were not published."""
    with Ledger(state_dir() / "staging.sqlite3") as ledger:
        return ledger.copies(), ledger.all_unfinished()


class Places:
    """What a call has opened, closed with its stack; a site is logged in to once."""

    def __init__(self, stack: ExitStack, limit: str) -> None:
        self._stack = stack
        self.limit: Callable[[int], None] = lambda _: None
        if limit:
            self.limit = stack.enter_context(Limit(state_dir() / "limit.sqlite3", parse_limit(limit))).take
        self._sites: dict[str, tuple[Site, Transport]] = {}
        self.names = site_names()
        self.ledger = stack.enter_context(Ledger(state_dir() / "staging.sqlite3"))

    def location(self, text: str) -> Location:
        """What a text names."""
        return parse_location(text, self.names)

    def site(self, name: str) -> tuple[Site, Transport]:
        """A site and the way to it."""
        if name not in self._sites:
            site = load_site(name)
            require_open(site)
            self._sites[name] = site, self._stack.enter_context(open_site(site))
        return self._sites[name]

    def lend(self, site: Site, transport: Transport) -> None:
        """Uses a way to a site that somebody else has, and closes it."""
        self._sites[site.name] = site, transport

    def open(self, location: Location) -> Endpoint:
        """The endpoint that a location means."""
        endpoint: Endpoint
        if location.kind == "local":
            from aifa_hpc.staging.endpoints.local import LocalEndpoint  # noqa: PLC0415 - each kind where it is used

            endpoint = LocalEndpoint(location.path)
        elif location.kind == "site":
            from aifa_hpc.staging.endpoints.far import open_far  # noqa: PLC0415

            site, transport = self.site(location.site)
            endpoint = open_far(transport, location.path, label=site.name)
        elif location.kind == "url":
            from aifa_hpc.staging.endpoints.url import URLEndpoint  # noqa: PLC0415

            endpoint = URLEndpoint(location.path)
        else:
            from aifa_hpc.staging.endpoints.s3 import S3Endpoint  # noqa: PLC0415

            endpoint = S3Endpoint(location.bucket, location.prefix)
        return self._stack.enter_context(endpoint)

    def source(self, text: str, target: Location, there: Endpoint, progress: Progress) -> Endpoint:
        """What is copied from: a place, or a table, whose metadata is made for the destination."""
        if not is_table(text):
            return self.open(self.location(text))
        from aifa_hpc.lakehouse.select import open_wanted  # noqa: PLC0415 - each kind where it is used

        source = open_wanted(
            read_wanted(text),
            root=_root(target),
            there=there,
            base=state_dir() / "made",
            plain=self._plain,
            told=progress.hint,
        )
        return self._stack.enter_context(source)

    def _plain(self, text: str) -> tuple[Endpoint, str, Any]:
        """A folder of Parquet files: as a source, and as a path of a file system of fsspec's."""
        location = self.location(text)
        if location.kind == "site":
            raise InputError(
                f"rows and columns cannot be chosen of {text}: nothing reads Parquet there.",
                hint="Copy it whole, or choose where it comes from.",
            )
        endpoint = self.open(location)
        if location.kind == "local":
            return endpoint, str(Path(location.path).absolute()), None
        import fsspec  # noqa: PLC0415 - heavy, and only for tables

        return (endpoint, *reversed(fsspec.core.url_to_fs(text.rstrip("/"))))

    def approval(self, target: Location, end: Endpoint, progress: Progress) -> Callable[[Plan], None]:
        """Looks at a plan with what the site's facts and the site itself say of the place."""

        def approve(plan: Plan) -> None:
            if target.kind != "site" or not plan.of(Verdict.SEND):
                return
            site, transport = self.site(target.site)
            path = target.path.rstrip("/") or "/"
            try:
                told = drive(ask_room(path, project_of(site, path)), transport.run)
            except (SiteError, TransportError) as error:
                _log.info("%s does not say how much room there is: %s", site.name, error)
                told = Told(resolved="", rooms=())
            held = self.ledger.held(end.identity, {one.path: one.file.size for one in plan.of(Verdict.SEND)})
            problems = tuple(objections(site, path, plan, told, held=held))
            if problems:
                raise InputError(f"the copy to {target} cannot work:", problems=problems, hint="Nothing was sent.")
            for hint in hints(site, path, plan, told, datetime.now(UTC)):
                progress.hint(hint)

        return approve

    def lenders(self, reuse: str, target: Location) -> dict[str, Manifest]:
        """The manifest of another folder on the destination's machine, by the folder's absolute path there."""
        place = self.location(reuse)
        if (place.kind, place.site) != (target.kind, target.site) or place.kind not in {"local", "site"}:
            raise InputError(
                f"parts cannot be taken from {reuse}: it is not a folder on the machine of {target}.",
                hint="Name a folder there that an earlier copy went to.",
            )
        found = find_manifest(self.open(place), self.ledger.manifests)
        folder = str(found.folder).removeprefix(f"{place.site}:" if place.site else "")
        return {folder: read_manifest(found.data.decode("ascii"))}


@contextmanager
def open_places(limit: str = "") -> Iterator[Places]:
    """Opens nothing yet but the ledger, and what keeps the limit."""
    with ExitStack() as stack:
        yield Places(stack, limit)


def _root(target: Location) -> str:
    """A destination as programs on its machine name it."""
    if target.kind == "local":
        return os.path.normpath(Path(target.path).absolute())
    return (target.path if target.kind == "site" else f"{target}").rstrip("/") or "/"


def clear_for(target: Location, data_class: str | None) -> Clearance:
    """Leave to transfer there, by the class that was stated or is the site's default."""
    usual = load_site(target.site).access.default_class if target.kind == "site" and data_class is None else ""
    return clear(data_class or usual or None, outgoing=target.kind != "local")
