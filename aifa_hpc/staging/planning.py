"""Looks at both sides of a copy and makes its plan; and looks again, whether a plan that was made still fits."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, ParseError, Problem
from aifa_hpc.manifest import read_manifest
from aifa_hpc.staging.compare import compare
from aifa_hpc.staging.left import Looked, asked_now, look, noting
from aifa_hpc.staging.plan import (
    Plan,
    Verdict,
    is_as_made,
    known_here,
    known_there,
    make_plan,
    no_longer_there,
)
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aifa_hpc.manifest import Entry, Manifest
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.left import Left
    from aifa_hpc.staging.model import Found
    from aifa_hpc.staging.plan import Action
    from aifa_hpc.staging.progress import Progress
    from aifa_hpc.staging.route import Route

_log = logging.getLogger(__name__)

_STAT_BATCH = 1000
"""Files asked about in one round trip."""


def survey(
    route: Route, *, left: Left | None = None, delete: bool = False, repair: Mapping[str, Entry] | None = None
) -> tuple[Looked, Manifest | None]:
    """Looks at the source, or at the files of it that are meant; and the manifest there, if one is needed.

    Args:
        route: From where to where.
        left: What the last copy left, if that is believed.
        delete: As for :func:`plan_copy`.
        repair: The same.

    Raises:
        TransferError: One of the sides cannot be read.
    """
    if route.only or repair is not None:
        wanted = [route.only] if route.only else sorted(repair or ())
        asked = asked_now(route.source)
        return Looked(files=list(stat(route.source, wanted)), asked=asked), published_at(route)
    if left is not None and left.leftover and delete:
        left = None  # what is to go may lie in a folder that did not change since
    looked = look(route, left)
    if looked.left is not None:
        return looked, None
    manifest = published_at(route)
    known = sum(_folder(entry.path) in looked.same for entry in manifest.entries) if manifest is not None else 0
    if known < sum(one.files for one in looked.same.values()):
        looked = look(route, None)  # somebody has taken the manifest away, or it is damaged: it must be made again
    return replace(looked, left=None), manifest


def plan_copy(
    route: Route,
    looked: Looked,
    *,
    manifest: Manifest | None,
    ledger: Ledger,
    progress: Progress,
    recheck: bool = False,
    delete: bool = False,
    repair: Mapping[str, Entry] | None = None,
    reading: bool = True,
) -> Plan:
    """Looks at the destination and decides; compares by hash what sizes alone do not settle.

    Args:
        route: From where to where.
        looked: What is at the source.
        manifest: What an earlier copy published at the destination.
        ledger: What earlier runs knew.
        progress: Told of comparisons.
        recheck: Do not believe what ledger and manifest say of the destination.
        delete: Plan to delete what an earlier copy from this source made and the source no longer has.
        repair: What files must hold, by path at the destination; no others are meant.
        reading: Compare by reading both sides; otherwise a file that may differ is sent.

    Raises:
        InputError: Something is in the way, or ``delete`` is asked of a single file or an empty source.
        TransferError: One of the sides cannot be read.
    """
    source, destination = route.source, route.destination
    names = {route.only: route.name} if route.only else {}
    files = looked.files
    wanted = [names.get(file.path, file.path) for file in files if file.size >= 0 and not route.fresh]
    there = {found.path: found for found in stat(destination, wanted)}
    here_known = known_here(files, ledger.content(source.identity, [file.path for file in files]))
    for file in files if repair is not None else ():
        # Not believed: what is sent must have these digests, or is not published.
        entry = repair.get(names.get(file.path, file.path)) if repair is not None else None
        if entry is not None and entry.size == file.size:
            here_known[file.path] = entry.all_blocks
    plan = make_plan(
        files,
        names=names,
        there=there,
        here_known=here_known,
        there_known={} if recheck else known_there(there, ledger.content(destination.identity, there), manifest),
    )
    plan = replace(
        plan,
        same_files=sum(one.files for one in looked.same.values()),
        same_bytes=sum(one.size for one in looked.same.values()),
    )
    doubtful = plan.of(Verdict.COMPARE)
    if doubtful and not reading:
        actions = (
            replace(one, verdict=Verdict.SEND) if one.verdict is Verdict.COMPARE else one for one in plan.actions
        )
        plan = replace(plan, actions=tuple(actions))
    elif doubtful:
        progress.checking(len(doubtful))
        compared = compare(doubtful, source, destination, noting(looked, source, ledger))
        plan = replace(plan, actions=tuple(compared.get(action.path, action) for action in plan.actions))
    return _with_deletes(plan, route, manifest, looked) if delete else plan


def published_at(route: Route) -> Manifest | None:
    """The manifest that an earlier copy left at the destination, if there was one."""
    return None if route.fresh else published(route.destination, route.manifest)


def published(place: Endpoint, name: str) -> Manifest | None:
    """The manifest that an earlier copy left; one that cannot be read is as good as none."""
    found = place.stat([name])[0]
    if found is None or found.size < 0:
        return None
    pin, manifest = place.manifests.get(name, ("", None))
    if manifest is None or pin != found.pin or not place.pins_tell:
        manifest = read_published(place.read_found(found), str(place))
        if manifest is not None:
            place.manifests[name] = found.pin, manifest
    return manifest


def note_published(place: Endpoint, name: str, found: Found | None, data: bytes | None) -> Manifest | None:
    """The manifest that was read at a glance; one that is too long for that is read now."""
    if found is None or data is None:
        return published(place, name) if found is not None else None
    manifest = read_published(data, str(place))
    if manifest is not None:
        place.manifests[name] = found.pin, manifest
    return manifest


def read_published(data: bytes, place: str) -> Manifest | None:
    """The manifest in these bytes; one that cannot be read is as good as none."""
    try:
        return read_manifest(data.decode("ascii")) if data else None
    except (ParseError, UnicodeDecodeError) as error:
        _log.warning("the manifest at %s is not used: %s", place, error)
        return None


def stat(place: Endpoint, paths: Sequence[str]) -> Iterator[Found]:
    """What is there of these paths."""
    for at in range(0, len(paths), _STAT_BATCH):
        yield from (found for found in place.stat(paths[at : at + _STAT_BATCH]) if found is not None)


def require_reality(plan: Plan, route: Route, ledger: Ledger) -> Plan:
    """The plan, without what it did in an earlier run that was interrupted.

    Raises:
        InputError: A file is not as the plan has it; ``problems`` names each, and what changed.
    """
    here = {found.path: found for found in stat(route.source, [action.file.path for action in plan.actions])}
    wanted = [action.path for action in plan.actions] + [found.path for found in plan.deletes]
    there = {found.path: found for found in stat(route.destination, wanted)}
    noted_here, noted_there = ledger.content(route.source.identity), ledger.content(route.destination.identity)
    actions, problems = [], []
    for action in plan.actions:
        if change := _change(action.file, here.get(action.file.path)):
            problems.append(Problem(key=str(route.source), value=repr(action.file.path), rule=change))
            continue
        found, expected = there.get(action.path), action.there
        done = _done(action, found, noted_here, noted_there)
        actions.append(done or action)
        if done is None and (change := _change(expected, found)):
            problems.append(Problem(key=str(route.destination), value=repr(action.path), rule=change))
    for doomed in plan.deletes:
        found = there.get(doomed.path)
        if found is not None and (change := _change(doomed, found)):
            problems.append(Problem(key=str(route.destination), value=repr(doomed.path), rule=change))
    if problems:
        raise InputError(
            "the plan no longer fits what is there:",
            problems=problems,
            hint="Nothing was done. Make a new plan and look at it again.",
        )
    return replace(plan, actions=tuple(actions))


def _done(
    action: Action,
    found: Found | None,
    noted_here: dict[str, tuple[str, tuple[bytes, ...]]],
    noted_there: dict[str, tuple[str, tuple[bytes, ...]]],
) -> Action | None:
    """The action as a skip, when an earlier run published this very file."""
    if action.verdict is not Verdict.SEND or found is None or found.size != action.file.size:
        return None
    pin, blocks = noted_there.get(action.path, ("", ()))
    if pin != found.pin or noted_here.get(action.file.path) != (action.file.pin, blocks):
        return None
    return replace(action, verdict=Verdict.SKIP, there=found, here_blocks=blocks, there_blocks=blocks)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _change(planned: Found | None, found: Found | None) -> str:
    """What changed since the plan was made, as a sentence; empty for nothing."""
    if planned is None:
        return "" if found is None else "was not there when the plan was made"
    if found is None:
        return "is gone"
    if found.size != planned.size:
        return f"had {show_size(planned.size)} and has {show_size(max(found.size, 0))} now"
    return "" if found.pin == planned.pin else "was written to or replaced; its size is the same"


def _with_deletes(plan: Plan, route: Route, manifest: Manifest | None, looked: Looked) -> Plan:
    if route.only:
        raise InputError(f"{route.place} is a single file: there is nothing to delete beside it.")
    if not plan.files:
        raise InputError(
            f"{route.source} has no files: nothing is deleted at {route.destination}.",
            hint="If that is meant, remove the folder there by hand.",
        )
    entries: dict[str, Entry] = no_longer_there(manifest, route.source.identity, looked.files, looked.same)
    found = {one.path: one for one in stat(route.destination, list(entries))}
    doomed = tuple(found[path] for path in sorted(found) if is_as_made(found[path], entries[path]))
    spared = tuple(path for path in sorted(found) if not is_as_made(found[path], entries[path]))
    return replace(plan, deletes=doomed, spared=spared)
