"""A part on its way: hashed as it passes, and refused at its end when it is not what was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BlockHasher
from aifa_hpc.staging.endpoints.base import Feed, Reading
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.model import Found, PartSum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.staging.progress import Progress


class SourceChangedError(TransferError):
    """The source file is no longer the one that was planned."""

    def __init__(self, path: str, place: str) -> None:
        super().__init__(
            f"{path!r} at {place} changed while it was copied; nothing was published under its name.",
            hint="Run the same command again when nobody writes to it any more.",
        )


class PartFeed(Feed):
    """The engine's feed: what a reading gives, checked against the plan before the destination may close it.

    Args:
        reading: Where the bytes come from.
        file: The file as it was planned.
        length: How many bytes are to come.
        place: The source, for messages.
        progress: Told of every piece that was handed on.
        limit: Waits until so many bytes may go on.
        wanted: What must come, where that is known.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        file: Found,
        length: int,
        place: str,
        progress: Progress,
        limit: Callable[[int], None],
        wanted: PartSum | None = None,
    ) -> None:
        self.length = length
        self._reading, self._file, self._place, self._progress = reading, file, place, progress
        self._wanted, self._limit = wanted, limit
        self._sum: PartSum | None = None
        self.passed = 0

    def __iter__(self) -> Iterator[memoryview]:
        hasher = BlockHasher()
        for view in self._reading:
            hasher.update(view)
            self._limit(len(view))
            yield view
            self.passed += len(view)
            self._progress.advance(len(view))
        if self.passed != self.length or self._reading.pin != self._file.pin:
            raise SourceChangedError(self._file.path, self._place)
        blocks = hasher.finish()
        if self._reading.claimed is not None and self._reading.claimed != blocks:
            raise DamagedError(f"{self._file.path!r} from {self._place} arrived with another SHA-256 than it was sent.")
        found = PartSum(blocks=blocks)
        if self._wanted is not None and blocks and not self._wanted.agrees(found):
            raise SourceChangedError(self._file.path, self._place)
        self._sum = found

    @property
    def sum(self) -> PartSum:
        """Digests of what passed."""
        assert self._sum is not None, "asked for the digests of bytes that have not passed"
        return self._sum
