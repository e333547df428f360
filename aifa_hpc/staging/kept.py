"""What is known of places in a file each: manifests, as a site that purges files may purge them too, and what is left.

On disk::

    $AIFA_STATE_DIR/
    ├── staging.sqlite3
    ├── manifests/                                   0700
    │   └── 3f0c9a5e77d1b2a4.jsonl                   0600, by the hash of the place
    └── left/                                        see ``staging.left``
        └── 3f0c9a5e77d1b2a4-81b2d7e0c4f3a955.json   by the hashes of the place and of where its files came from
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
    """A folder of kept files.

    Args:
        folder: Where; made when the first one is kept.
        suffix: Of their names.
        what: What they are, for messages.
    """

    def __init__(self, folder: Path, suffix: str, what: str) -> None:
        self._folder, self._suffix, self._what = folder, suffix, what

    def keep(self, place: str, data: bytes, source: str = "") -> None:
        """Keeps what is known of a place, or of what came there from a source, instead of what was known before.

        Raises:
            TransferError: It cannot be written.
        """
        path = self._path(place, source)
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
                f"{self._what} cannot be kept in {self._folder}: {error.strerror}.",
                hint="Free some space on this machine and run the same command again; what arrived is kept.",
            ) from error

    def get(self, place: str, source: str = "") -> bytes | None:
        """What was last kept; what cannot be read is as good as nothing."""
        try:
            return self._path(place, source).read_bytes()
        except OSError:
            return None

    def forget(self, place: str) -> None:
        """Nothing of what came to a place is kept any more, whatever its source.

        Raises:
            TransferError: It cannot be removed.
        """
        try:
            for path in self._folder.glob(f"{_short(place)}-*{self._suffix}"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise TransferError(f"{self._what} cannot be removed from {self._folder}: {error.strerror}.") from error

    def _path(self, place: str, source: str) -> Path:
        name = f"{_short(place)}-{_short(source)}" if source else _short(place)
        return self._folder / f"{name}{self._suffix}"


def _short(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
