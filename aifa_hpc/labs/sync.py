"""Brings a data set of a lab to a destination, keeps its versions apart, and lets old ones go.

What is stopped at any point goes on with the same command: the copy resumes, a version appears in the index when all of
it is there and verified, and nothing is deleted before that. A file is deleted only if an earlier copy from the same
source made it, by the manifest there, and it still is what that copy made; and only if no version needs it that stays.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.labs.area import Area, folder_of, open_area
from aifa_hpc.labs.croissant import croissant
from aifa_hpc.labs.dcat import dcat
from aifa_hpc.labs.lock import hold
from aifa_hpc.labs.versions import POINTER, expired, is_whole, make_version, replaced, version_manifest, with_present
from aifa_hpc.lakehouse.names import is_table, read_wanted
from aifa_hpc.sites.load import state_dir
from aifa_hpc.staging.engine import Summary, copy, make_plan
from aifa_hpc.staging.plan import Plan, Verdict
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.transfers import Places, clear_for, open_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.labs.registry import LabData
    from aifa_hpc.labs.versions import Version
    from aifa_hpc.manifest import Manifest
    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.endpoints.base import Endpoint

CROISSANT = "croissant.json"
DCAT = "dcat.jsonld"


@dataclass(frozen=True, kw_only=True, slots=True)
class Synced:
    """What a sync did.

    Attributes:
        data: The data set.
        folder: Where it is.
        version: The present one.
        changed: It was not the present one before.
        summary: What the copy did.
        versions_removed: Names of the versions that left.
        files_removed: Files that were deleted with them.
        spared: Such files that stay, because they are not as a copy made them.
    """

    data: LabData
    folder: str
    version: Version
    changed: bool
    summary: Summary
    versions_removed: tuple[str, ...] = ()
    files_removed: int = 0
    spared: tuple[str, ...] = ()


def sync(
    data: LabData,
    destination: str,
    *,
    limit: str = "",
    progress: Progress = silent,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Synced:
    """Makes ``DESTINATION/LAB/DATASET`` what the data set is now.

    Args:
        data: Which one; its class decides whether it may leave.
        destination: ``SITE:/path``, ``s3://bucket/prefix`` or a local path.
        limit: How fast, as for :func:`aifa_hpc.transfers.stage`.
        progress: Told of everything.
        now: The time of day.

    Raises:
        InputError: The data may not leave, the source is gone or empty, or a pinned version needs what would be
            replaced; nothing was changed.
        TransferError: It stopped, or another sync is at work there; what was verified stays.
        SiteError: The catalog or the site refuses.
        TransportError: The site cannot be reached.
    """
    with open_places(limit) as places, ExitStack() as stack:
        # Asked first: of data that may not leave, nobody even knocks at the destination.
        target = places.location(folder_of(data, destination))
        clearance = clear_for(target, data.data_class)
        area = open_area(places, data, destination)
        stack.enter_context(_locked(area))
        here = places.source(_whole(data.source), target, area.there, progress)
        run = _Run(places=places, area=area, here=here, clearance=clearance, progress=progress, now=now)
        return run.sync()


def _whole(source: str) -> str:
    """A source that lists all of its files, also those that are there: a version needs to know them.

    Only new ones go over all the same. ``incremental`` would not look at the others. Files that are made of rows would
    have the names of those of the version before, which a run may be reading: each version's have their own.
    """
    if not is_table(source):
        return source
    wanted = read_wanted(source)
    if wanted.mode == "pushdown":
        return str(replace(wanted, apart="yes"))
    return str(replace(wanted, mode="files")) if wanted.mode == "incremental" else source


@contextmanager
def _locked(area: Area) -> Iterator[None]:
    name = hashlib.sha256(area.there.identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with hold(state_dir() / "labs" / name, f"a sync of {area.data} to {area.there}"):
        yield


@dataclass(kw_only=True)
class _Run:
    """One sync at work; ``paths`` are those of the present version."""

    places: Places
    area: Area
    here: Endpoint
    clearance: Clearance
    progress: Progress
    now: Callable[[], datetime]
    paths: frozenset[str] = frozenset()

    def sync(self) -> Synced:
        area = self.area
        if self.here.kind() == "file":
            raise InputError(
                f"{area.data} is a single file: {self.here}.",
                hint="A data set is a folder or a table: name its folder.",
            )
        before = area.versions()
        approve = self.places.approval(area.target, area.there, self.progress)

        def look(plan: Plan) -> None:
            self._require_sense(plan, before)
            approve(plan)

        summary = copy(
            self.here,
            area.there,
            clearance=self.clearance,
            ledger=self.places.ledger,
            every=True,
            approve=look,
            limit=self.places.limit,
            progress=self.progress,
        )
        whole = area.whole()
        assert whole is not None, "a copy without its manifest"
        manifest = version_manifest(whole, self.paths)
        version = make_version(manifest, self.now().isoformat(timespec="seconds"))
        versions = with_present(before, version)
        version = versions[-1]
        area.store_manifest(version, manifest)
        area.store_versions(versions)
        self._describe(version)
        if POINTER not in self.paths and POINTER in {entry.path for entry in whole.entries}:
            # It was a table before, and is rows that were chosen now: by its folder nobody shall read the table.
            self._delete({entry.path for entry in whole.entries} - {POINTER})
        done = Synced(
            data=area.data,
            folder=str(area.there),
            version=version,
            changed=not before or before[-1].name != version.name,
            summary=summary,
        )
        keep = area.data.keep
        # Of what did not change, nothing new can leave: manifests of old versions are not even read.
        settled = not done.changed and len(versions) <= keep and not any(one.leaving for one in versions)
        return done if settled or not keep else self._retain(done, versions)

    def _require_sense(self, plan: Plan, versions: tuple[Version, ...]) -> None:
        """Looks at the plan before the first byte."""
        area = self.area
        if not plan.actions:
            raise InputError(
                f"{self.here} has no files: {area.data} stays as it is at {area.there}.",
                hint="If it is meant to be empty, take it out of the registry.",
            )
        self.paths = frozenset(action.path for action in plan.actions)
        over = [action for action in plan.of(Verdict.SEND) if action.there is not None]
        if not over:
            return
        names = {pin.version: pin.name for pin in area.pins()}
        found = {one.name: (area.manifest(one), names[one.name]) for one in versions if one.name in names}
        pinned = {name: (manifest, pin) for name, (manifest, pin) in found.items() if manifest is not None}
        problems = tuple(replaced(over, pinned))
        if problems:
            raise InputError(
                f"{area.data} has replaced files, and runs need them at {area.there}:",
                problems=problems,
                hint=f"Nothing was changed. Sync to another place, or after `aifa lab unpin {area.data} DEST NAME`.",
            )

    def _describe(self, version: Version) -> None:
        """Publishes what others read of the data set, if it changed."""
        area = self.area
        # As it is there: when its version came back, an earlier sync has written it, at another time.
        digest = hashlib.sha256(area.there.read_bytes(version.manifest) or b"").hexdigest()
        area.store(CROISSANT, croissant(area.data, version, digest=digest))
        area.store(DCAT, dcat(area.data, version, url=self._url(), digest=digest))

    def _url(self) -> str:
        """The folder of the data set as a URL."""
        target = self.area.target
        if target.kind == "site":
            site, _ = self.places.site(target.site)
            return f"sftp://{site.host}{target.path}"
        if target.kind == "s3":
            return str(target)
        return Path(target.path).absolute().as_uri()

    def _retain(self, done: Synced, versions: tuple[Version, ...]) -> Synced:
        """Lets old versions go, but for what runs need.

        First the index says that they leave: from then on nobody can pin them. Then pins are read once more, and what
        was pinned meanwhile stays after all.
        """
        area = self.area
        manifests = {one.name: area.manifest(one) for one in versions}
        leaving = self._expired(versions, manifests)
        if not leaving:
            return done
        area.store_versions(replace(one, leaving=one.leaving or one.name in leaving) for one in versions)
        leaving = self._expired(versions, manifests)
        stay = [replace(one, leaving=False) for one in versions if one.name not in leaving]
        needed = set(self.paths)
        for one in stay:
            manifest = manifests[one.name]
            if manifest is None:
                self.progress.hint(
                    f"nothing is deleted: nobody knows what version {one.name} needs, its manifest is gone."
                )
                area.store_versions(versions)
                return done
            needed |= {entry.path for entry in manifest.entries}
        summary, spared = self._delete(needed)
        area.there.remove([one.manifest for one in versions if one.name in leaving])
        area.store_versions(stay)
        return replace(done, versions_removed=leaving, files_removed=summary, spared=spared)

    def _expired(self, versions: tuple[Version, ...], manifests: dict[str, Manifest | None]) -> tuple[str, ...]:
        there = self.area.digests()
        broken = {name for name, found in manifests.items() if found is None or not is_whole(found, there)}
        pinned = {pin.version for pin in self.area.pins()}
        return expired(versions, self.area.data.keep, pinned, broken)

    def _delete(self, needed: set[str]) -> tuple[int, tuple[str, ...]]:
        """Deletes by a plan of the engine's what no version needs; sends nothing."""
        area = self.area
        _, plan = make_plan(
            self.here,
            area.there,
            clearance=self.clearance,
            ledger=self.places.ledger,
            delete=True,
            reading=False,
        )
        deletes = tuple(found for found in plan.deletes if found.path not in needed)
        spared = tuple(path for path in plan.spared if path not in needed)
        if not deletes:
            return 0, spared
        done = copy(
            self.here,
            area.there,
            clearance=self.clearance,
            ledger=self.places.ledger,
            # What came to the source since then is for the next sync.
            plan=replace(plan, actions=plan.of(Verdict.SKIP), deletes=deletes, spared=spared),
            progress=self.progress,
        )
        return done.files_removed, spared
