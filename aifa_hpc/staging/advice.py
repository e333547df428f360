"""What a site's facts say about a copy before its first byte: what cannot work, and what would work better."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from aifa_hpc.errors import Problem
from aifa_hpc.staging.plan import Verdict
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aifa_hpc.sites.model import Area, Site
    from aifa_hpc.staging.plan import Action, Plan
    from aifa_hpc.staging.room import Told

_LARGE = 2**30
"""Files from here on gain by being striped over several targets."""

_SMALL_MEAN = 2**20
_MANY = 10_000
"""Above so many files of so little, reading is bound by metadata (LUMI AI guide, 03-file-formats)."""


def area_of(site: Site, path: str) -> tuple[str, Area] | None:
    """The area of a site that a path lies in; the most special one."""
    found = [(name, area) for name, area in site.areas.items() if _pattern(area.path).match(path)]
    return max(found, key=lambda pair: len(pair[1].path), default=None)


def project_of(site: Site, path: str) -> str:
    """The account in a path, else the one that jobs are billed to; empty for none."""
    found = area_of(site, path)
    match = _pattern(found[1].path).match(path) if found is not None else None
    return (match["account"] if match is not None else "") or site.access.account


def objections(site: Site, path: str, plan: Plan, told: Told, *, held: int = 0) -> Iterator[Problem]:
    """Why a copy to a path cannot work.

    Args:
        site: Where.
        path: The folder that is written to, absolute.
        plan: What is to be done.
        told: What the site told of the folder.
        held: Bytes of the plan that an interrupted copy has brought there already.
    """
    yield from _unseen(site, path, told)
    size, files = needs(plan)
    size = max(0, size - held)
    found = area_of(site, path)
    # What was granted to this very project comes before what is usual.
    if found is not None and all(room.source == "df" for room in told.rooms):
        name, area = found
        if area.files is not None and files > area.files:
            rule = f"{name} of {site.name} takes {area.files} files in all, unless more was granted: pack them"
            yield Problem(key="files", value=str(files), rule=rule, nearest=str(area.files), source=area.source)
        if area.bytes is not None and size > area.bytes.bytes:
            rule = f"{name} of {site.name} takes {area.bytes} in all, unless more was granted"
            yield Problem(key="bytes", value=show_size(size), rule=rule, nearest=str(area.bytes), source=area.source)
    for room in told.rooms:
        if room.files is not None and files > room.files:
            rule = f"{path} has room for {max(room.files, 0)} more files: pack them, delete some, or ask for more"
            yield Problem(key="files", value=str(files), rule=rule, nearest=str(max(room.files, 0)), source=room.source)
        if room.bytes is not None and size > room.bytes:
            left = show_size(max(room.bytes, 0))
            rule = f"{path} has room for {left} more: delete something, or ask for more"
            yield Problem(key="bytes", value=show_size(size), rule=rule, nearest=left, source=room.source)


def hints(site: Site, path: str, plan: Plan, told: Told, now: datetime) -> Iterator[str]:
    """What a person should know about a copy to a path; each a sentence. Args as for :func:`objections`."""
    found = area_of(site, path)
    sending = plan.of(Verdict.SEND)
    size, files = needs(plan)
    if found is not None:
        name, area = found
        if area.purge_days is not None:
            day = (now + timedelta(days=area.purge_days)).date()
            doubt = " (sources differ on it)" if area.status == "conflict" else ""
            yield (
                f"{name} of {site.name} may delete files {area.purge_days} days after they were last used{doubt}: "
                f"from {day}, `aifa stage ensure` brings back what is gone"
            )
        yield from _striping(area, path, sending)
        if not area.fast:
            yield from _faster(site, size)
    if files > _MANY and size < files * _SMALL_MEAN:
        yield f"{files} files of {show_size(size / files)} on average: packed into few large ones they are read faster"
    if told.storage_hours is not None and size:
        days = told.storage_hours / (size / 1e12) / 24
        if days < 365:  # noqa: PLR2004 - a year
            yield (
                f"the project has {told.storage_hours:.0f} TB-hours of storage left: this copy alone would use them up "
                f"in {max(days, 0):.0f} days"
            )


def needs(plan: Plan) -> tuple[int, int]:
    """Bytes and files that a plan adds: files in place of others are there twice for a while."""
    sending = plan.of(Verdict.SEND)
    made = {action.path for action in sending if action.there is None}
    folders = {folder for path in made for folder in _above(path)}
    known = {folder for action in plan.actions if action.there is not None for folder in _above(action.path)}
    return sum(action.file.size for action in sending), len(made) + len(folders - known)


def _unseen(site: Site, path: str, told: Told) -> Iterator[Problem]:
    roots = site.path_roots
    found = area_of(site, path)
    if roots and not _below(path, roots):
        rule = f"compute nodes of {site.name} see files below {', '.join(roots)} only"
        yield Problem(key="destination", value=path, rule=rule, source=_source(site))
    elif found is not None and not found[1].compute:
        rule = f"compute nodes of {site.name} do not see {found[0]}"
        yield Problem(key="destination", value=path, rule=rule, source=found[1].source)
    elif roots and told.resolved and not _below(told.resolved, roots):
        rule = (
            f"a link in it leads to {told.resolved}, and compute nodes of {site.name} see files below "
            f"{', '.join(roots)} only"
        )
        yield Problem(key="destination", value=path, rule=rule, source=_source(site))


def _striping(area: Area, path: str, sending: tuple[Action, ...]) -> Iterator[str]:
    """Files times stripes close to the number of targets; small files on one (LUMI AI guide, 04-data-storage)."""
    large = [action.file.size for action in sending if action.file.size >= _LARGE]
    if area.lustre_targets is None or not large:
        return
    stripes = max(1, area.lustre_targets // len(large))
    if stripes > 1:
        yield (
            f"{len(large)} large files: `lfs setstripe -c {stripes} -S 4m {path}` before the first copy spreads each "
            f"over {stripes} storage targets"
        )


def _faster(site: Site, size: int) -> Iterator[str]:
    for name, area in site.areas.items():
        if area.fast and size >= _LARGE:
            yield f"for training, {name} of {site.name} ({area.path}) is the better place: {area.fast}"


def _pattern(path: str) -> re.Pattern[str]:
    """``/scratch/{account}`` matches what lies at or below it."""
    before, _, after = (re.sub(r"\{(?:account|project)\}", "\0", path.rstrip("/"))).partition("\0")
    account = r"(?P<account>[^/]+)" if "\0" in re.sub(r"\{(?:account|project)\}", "\0", path) else "(?P<account>)"
    rest = [re.escape(part).replace(r"\{user\}", "[^/]+") for part in (before, after)]
    return re.compile(f"{rest[0]}{account}{rest[1]}" + r"(?:/|\Z)")


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{root.rstrip('/')}/") for root in roots)


def _source(site: Site) -> str:
    return next((area.source for area in site.areas.values()), site.scheduler.source)
