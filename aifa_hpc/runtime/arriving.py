"""Reading while data still arrives: files are given as they come, and the manifest, which comes last, ends the wait.

A copy made by ``aifa stage`` shows no file before it is whole and verified, so what is there may be read::

    for path in arriving("/scratch/project_465000001/digits"):
        with shards(path, rank=0, world=1).batches() as batches:
            ...

Ranks see files arrive in different orders, and agree all the same on who reads which: a hash of the path decides. That
is even only by chance; later epochs, when all is there, are better read by :func:`aifa_hpc.runtime.shards`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import MANIFEST, read_manifest
from aifa_hpc.runtime.ranks import given_or_here
from aifa_hpc.runtime.shares import owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def arriving(
    folder: str | Path,
    *,
    suffix: str = ".parquet",
    rank: int | None = None,
    world: int | None = None,
    timeout: float = 3600.0,
    interval: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Path]:
    """This rank's files of a data set as they arrive, each once; ends when all that its manifest lists have arrived.

    Args:
        folder: Where they arrive; may not be there yet.
        suffix: End of the names that count.
        rank: By default that of this task.
        world: By default that of this job.
        timeout: Seconds without any new file after which waiting is given up.
        interval: Seconds between two looks; a look lists the folder once.
        sleep: Waits, in seconds.
        monotonic: A clock that never goes back, in seconds.

    Raises:
        InputError: Nothing has arrived for ``timeout`` seconds and the manifest is not there, or a file that it lists
            is gone.
        ParseError: The manifest is damaged.
    """
    root = Path(folder)
    rank, world = given_or_here(rank, world)
    given: set[str] = set()
    last = monotonic()
    while True:
        listed = _listed(root, suffix)  # before the look, so that what it lists was there at the look
        found = {path.relative_to(root).as_posix() for path in root.rglob(f"*{suffix}") if _is_data(root, path)}
        wanted = found if listed is None else listed & found
        for name in sorted(wanted - given):
            given.add(name)
            last = monotonic()
            if owner(name, world=world) == rank:
                yield root / name
        if listed is not None:
            if missing := sorted(listed - given):
                raise InputError(
                    f"{root / missing[0]} is in the manifest and not there (and {len(missing) - 1} more).",
                    hint=f"`aifa stage verify` on {root} says what is missing, and can fetch it again.",
                )
            return
        if monotonic() - last > timeout:
            raise InputError(
                f"{root}: no new file in {timeout:g} s, and no manifest yet: the copy is not going on.",
                hint="Look at `aifa stage status` where the copy was begun; the same command goes on with it.",
            )
        sleep(interval)


def _listed(root: Path, suffix: str) -> set[str] | None:
    try:
        text = (root / MANIFEST).read_text("ascii")
    except FileNotFoundError:
        return None
    return {entry.path for entry in read_manifest(text).entries if entry.path.endswith(suffix)}


def _is_data(root: Path, path: Path) -> bool:
    return not any(name.startswith((".", "_")) for name in path.relative_to(root).parts)
