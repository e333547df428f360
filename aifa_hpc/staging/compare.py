"""Settles what sizes leave open: hashes both sides of a file where they lie, each side at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aifa_hpc.manifest import blocks_of
from aifa_hpc.staging import geometry
from aifa_hpc.staging.model import Part
from aifa_hpc.staging.plan import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.model import Found
    from aifa_hpc.staging.plan import Action, Blocks

    Note = Callable[[Found, Blocks], None]


def compare(actions: Sequence[Action], source: Endpoint, destination: Endpoint, note: Note) -> dict[str, Action]:
    """Carries comparisons out.

    Args:
        actions: With the verdict ``COMPARE``.
        source: Where the files are.
        destination: Where files of the same size are.
        note: Told what the source's files hold.

    Returns:
        The settled actions by path at the destination.
    """
    if destination.checks_md5 or source.checks_md5:
        return _by_md5(actions, source, destination, note)
    return _by_sha256(actions, source, destination, note)


def hashed(place: Endpoint, files: dict[str, Found]) -> dict[str, Blocks]:
    """Block digests of files, by path, hashed where they lie."""
    wanted = [(path, [Part(index=0, offset=0, length=file.size)]) for path, file in files.items()]
    return {path: found[0].blocks for (path, _), found in zip(wanted, place.sums(wanted), strict=True)}


def _by_sha256(actions: Sequence[Action], source: Endpoint, destination: Endpoint, note: Note) -> dict[str, Action]:
    here = {action.file.path: action.file for action in actions if action.here_blocks is None}
    there = {action.path: action.there for action in actions if action.there_blocks is None and action.there}
    with ThreadPoolExecutor(2) as pool:
        here_job, there_job = pool.submit(hashed, source, here), pool.submit(hashed, destination, there)
        here_found, there_found = here_job.result(), there_job.result()
    compared = {}
    for action in actions:
        here_blocks = action.here_blocks if action.here_blocks is not None else here_found[action.file.path]
        there_blocks = action.there_blocks if action.there_blocks is not None else there_found[action.path]
        if len(here_blocks) == blocks_of(action.file.size):
            note(action.file, here_blocks)
        compared[action.path] = settled(action, here_blocks, there_blocks)
    return compared


def _by_md5(actions: Sequence[Action], source: Endpoint, destination: Endpoint, note: Note) -> dict[str, Action]:
    """Hashes one side only: the store on the other says what it holds."""
    store_is_there = destination.checks_md5
    hashing, store = (source, destination) if store_is_there else (destination, source)
    wanted = [
        (
            action.file.path if store_is_there else action.path,
            geometry.cut(action.file.size, geometry.part_size(action.file.size, store.limits)),
        )
        for action in actions
    ]
    compared = {}
    for action, sums in zip(actions, hashing.sums(wanted, md5=True), strict=True):
        blocks = tuple(block for found in sums for block in found.blocks)
        kept = action.there if store_is_there else action.file
        same = kept is not None and store.matches(kept, sums)
        if same or store_is_there:
            note(action.file, blocks)
        compared[action.path] = (
            settled(action, blocks, blocks if same else ())
            if store_is_there
            else settled(action, blocks if same else (), blocks)
        )
    return compared
