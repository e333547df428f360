"""Bytes that a test sends to an endpoint, and their digests by another way than the endpoint's own."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.base import Feed
from aifa_hpc.staging.model import PartSum

if TYPE_CHECKING:
    from collections.abc import Iterator


class GivenFeed(Feed):
    """Bytes to send; fails after ``fail_after`` of them, when that is given."""

    def __init__(self, data: bytes, *, piece: int = 2**20, fail_after: int | None = None) -> None:
        self._data, self._piece, self._fail_after = data, piece, fail_after
        self.length = len(data)

    def __iter__(self) -> Iterator[memoryview]:
        for at in range(0, len(self._data), self._piece):
            if self._fail_after is not None and at >= self._fail_after:
                raise TransferError("the source is broken")
            yield memoryview(self._data)[at : at + self._piece]

    @property
    def sum(self) -> PartSum:
        """Digests of all of it."""
        return sum_of(self._data)


class LyingFeed(GivenFeed):
    """Claims to have sent something else."""

    @property
    def sum(self) -> PartSum:
        """Digests of other bytes."""
        return sum_of(self._data + b"!")


def sum_of(data: bytes, *, md5: bool = True) -> PartSum:
    """The digests of bytes, by hashlib."""
    blocks = tuple(hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK))
    return PartSum(blocks=blocks, md5=hashlib.md5(data, usedforsecurity=False).digest() if md5 else b"")


def some_bytes(count: int, seed: int = 1) -> bytes:
    """Bytes that do not repeat; the same each time."""
    return random.Random(seed).randbytes(count)  # noqa: S311 - test data
