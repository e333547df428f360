"""Small file systems for what is copied to: one that can be made smaller, and one whose quota can be used up."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_IMAGE_BYTES = 2**30
_ALL = "0/5"
"""btrfs's name of the quota of everything in a file system (btrfs-quota(5), "hierarchical quota group concepts")."""


class Quota(Protocol):
    """A quota that is used up after so many bytes more, as long as the block lasts."""

    def __call__(self, room: int) -> AbstractContextManager[None]:
        """Begins that."""


@contextlib.contextmanager
def small(folder: Path) -> Iterator[Path | None]:
    """A tmpfs there, where this machine lets us have one; where it is mounted."""
    with _mounted(folder, "-t", "tmpfs", "-o", "size=1g", "tmpfs") as done:
        yield folder if done else None


@contextlib.contextmanager
def with_quota(folder: Path) -> Iterator[Quota | None]:
    """A file system there that refuses with EDQUOT, root as well, where this machine lets us have one.

    That is btrfs, in a file: kernels for small machines come without the quotas of ext4, XFS and tmpfs.
    """
    if shutil.which("mkfs.btrfs") is None:
        yield None
        return
    image = folder.with_name(f"{folder.name}.btrfs")
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    _run("mkfs.btrfs", "--quiet", str(image))
    with _mounted(folder, "-o", "loop", str(image)) as done:
        if not done:
            yield None
            return
        _run("btrfs", "quota", "enable", str(folder))

        @contextlib.contextmanager
        def limited(room: int) -> Iterator[None]:
            _run("btrfs", "filesystem", "sync", str(folder))  # until then, what was removed counts
            shown = _run("btrfs", "qgroup", "show", "--raw", str(folder)).splitlines()
            [used] = [int(line.split()[1]) for line in shown if line.split()[:1] == [_ALL]]
            _run("btrfs", "qgroup", "limit", str(used + room), _ALL, str(folder))
            try:
                yield
            finally:
                _run("btrfs", "qgroup", "limit", "none", _ALL, str(folder))

        yield limited


@contextlib.contextmanager
def _mounted(folder: Path, *words: str) -> Iterator[bool]:
    """Whether it could be mounted there."""
    argv = ("mount", *words, str(folder))
    if os.geteuid() != 0 or subprocess.run(argv, check=False, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """A server's process that has lost its client still works there for a while.

    Raises:
        RuntimeError: It does so for half a minute.
    """
    deadline = time.monotonic() + 30
    while (ran := subprocess.run(("umount", str(folder)), check=False, capture_output=True, text=True)).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{ran.stderr.strip()}, by processes {_working_in(folder)}")
        time.sleep(0.2)


def _working_in(folder: Path) -> list[str]:
    """Who holds a file or is at home there: process ids and names."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            links = [process / "cwd", *(process / "fd").iterdir()]
            if any(link.readlink().is_relative_to(folder) for link in links):
                found.append(f"{process.name} {(process / 'comm').read_text().strip()}")
    return found


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
