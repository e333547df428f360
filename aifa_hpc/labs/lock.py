"""Keeps two runs from one destination, without ``flock``: that locks nothing on Lustre, GPFS and some NFS.

A lock is a folder of files ``lock.N``, and the highest N counts. It names host, process and start time, comes into
being whole by a hard link, which fails where the name is taken, and says at the end that it was released. Who finds it
released, or held by a process of this host that is gone, makes ``lock.N+1`` and removes the older ones. The highest is
never removed, so numbers only grow. Somebody slow may still make a number that was removed meanwhile: he looks once
more, finds a higher one, and has lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.staging.ledger import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NAME = "lock."
_TRIES = 100


@contextlib.contextmanager
def hold(
    folder: Path,
    what: str,
    *,
    host: str = "",
    alive: Callable[[int, str], bool] = lambda pid, since: bool(since) and started(pid) == since,
    before: Callable[[int], None] = lambda _: None,
) -> Iterator[int]:
    """Holds a lock while the block runs, and gives its number.

    Args:
        folder: Where its files are; made when it is not there.
        what: What is locked, for messages.
        host: This machine's name.
        alive: Whether a process of this machine is the one that was started then.
        before: Told of the number before it is taken.

    Raises:
        TransferError: Another run has it; says who, since when, and what to do if that is not so.
        InputError: The folder cannot be written to.
    """
    host = host or socket.gethostname()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = _take(folder, what, host, alive, before)
    except OSError as error:
        raise InputError(f"{folder} cannot be locked: {error.strerror}.") from error
    try:
        yield int(mine.name.removeprefix(_NAME))
    finally:
        with contextlib.suppress(OSError):  # then it is stale when this process ends, which is as good
            _write(mine, {"released": _now()})


def _take(folder: Path, what: str, host: str, alive: Callable[[int, str], bool], before: Callable[[int], None]) -> Path:
    record = {"host": host, "pid": os.getpid(), "started": started(os.getpid()), "since": _now()}
    for _ in range(_TRIES):
        number, path = max(_generations(folder), default=(0, folder))
        if number:
            holder = _read(path)
            if holder is None:
                continue  # replaced while it was looked at
            if "released" not in holder and (holder["host"] != host or alive(holder["pid"], holder["started"])):
                raise TransferError(
                    f"{what} is at work already: process {holder['pid']} on {holder['host']}, since {holder['since']}.",
                    hint=f"Wait for it. If that machine is gone for good, remove {path} and run this again.",
                )
        before(number + 1)
        made = folder / f"{_NAME}{number + 1}"
        if not _make(made, record):
            continue
        if max(_generations(folder))[0] > number + 1:
            made.unlink(missing_ok=True)
            continue
        for older, stale in _generations(folder):
            if older <= number:
                stale.unlink(missing_ok=True)
        return made
    raise TransferError(f"{what}: others take its lock all the time.", hint="Run it again a little later.")


def _generations(folder: Path) -> list[tuple[int, Path]]:
    found = [(path.name.removeprefix(_NAME), path) for path in folder.glob(f"{_NAME}*")]
    return [(int(number), path) for number, path in found if number.isdecimal()]


def _make(path: Path, record: dict[str, Any]) -> bool:
    """Makes a file with all that it holds; ``False`` when the name is taken."""
    aside = path.with_name(f".{secrets.token_hex(8)}")
    aside.write_text(json.dumps(record), "utf-8")
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    return True


def _write(path: Path, record: dict[str, Any]) -> None:
    aside = path.with_name(f".{secrets.token_hex(8)}")
    aside.write_text(json.dumps(record), "utf-8")
    aside.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if isinstance(found, dict) and ("released" in found or found.keys() >= {"host", "pid", "started", "since"}):
        return found
    # No run of ours leaves such a file: files appear whole. Nobody is locked out by what a full disk made of one.
    return {"released": ""}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
