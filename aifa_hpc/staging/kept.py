"""Manifests that were published, kept on this machine too: a site that purges files may purge the manifest with them.

On disk::

    $AIFA_STATE_DIR/
    ├── staging.sqlite3
    └── manifests/                   0700
        └── 3f0c9a5e77d1b2a4.jsonl   0600, by the hash of the place
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from aifa_hpc.errors import TransferError

if TYPE_CHECKING:
    from pathlib import Path


class Kept:
    """The folder of kept manifests.

    Args:
        folder: Where; made when the first one is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, place: str, data: bytes) -> None:
        """Keeps the manifest of a place, in place of an older one.

        Raises:
            TransferError: It cannot be written.
        """
        path = self._path(place)
        aside = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(data)
            aside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise TransferError(
                f"the manifest cannot be kept in {self._folder}: {error.strerror}.",
                hint="Free some space on this machine and run the same command again; what arrived is kept.",
            ) from error

    def get(self, place: str) -> bytes | None:
        """The manifest that was last published at a place; one that cannot be read is as good as none."""
        try:
            return self._path(place).read_bytes()
        except OSError:
            return None

    def _path(self, place: str) -> Path:
        return self._folder / f"{hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.jsonl"
