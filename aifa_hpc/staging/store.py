"""Small files that are made here, stored like any other: aside, verified, then under their name."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aifa_hpc.manifest import BlockHasher
from aifa_hpc.staging.endpoints.base import Endpoint, Feed
from aifa_hpc.staging.model import PartSum, Target
from aifa_hpc.staging.together import Small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.staging.model import Found

_PIECE = 2**20


class BytesFeed(Feed):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)
        hasher = BlockHasher()
        hasher.update(memoryview(data))
        self._sum = PartSum(blocks=hasher.finish())

    def __iter__(self) -> Iterator[memoryview]:
        view = memoryview(self._data)
        for at in range(0, len(view), _PIECE):
            yield view[at : at + _PIECE]

    @property
    def sum(self) -> PartSum:
        """Digests of what passed."""
        return self._sum


def store_bytes(endpoint: Endpoint, path: str, data: bytes) -> Found | None:
    """Publishes a file with that content, in place of any that was there; what that is now.

    Raises:
        TransferError: It could not be written.
    """
    with endpoint.lane() as lane:
        return lane.store(_target(path, data), BytesFeed(data)).wait()


def small_of(path: str, data: bytes) -> Small:
    """A file with that content."""
    return Small(target=_target(path, data), data=data, sum=BytesFeed(data).sum)


def _target(path: str, data: bytes) -> Target:
    return Target(path=path, size=len(data), mtime_ns=None, executable=False, token=f"0-{secrets.token_hex(8)}")
