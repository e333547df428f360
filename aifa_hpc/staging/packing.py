# ruff: noqa: UP035, UP045 - Python 3.6 has no other way to say it
"""Whether data of a conversation goes packed, decided every few pieces by what is measured: Python 3.6, as its agent.

zlib is what every Python has; its quickest level packs CSV at some 128 MiB/s of a core to a third. That pays where the
link is slower than the packing and the data shrink: a sample of the next piece tells both, so that Parquet and a quick
link never pay for it. How fast the link is, is told by how long writes to it wait; what its buffers swallow at once is
left out. Both ends use this, each for what it sends; digests are those of the plain bytes.
"""

import time
import zlib
from typing import Any, Callable, Optional

LEVEL = 1
WORTH = 1.25
"""Below that ratio it is not worth the other side's work."""

SAMPLE = 64 * 1024
EVERY = 4
"""Pieces, of 1 MiB, for which a decision holds, at first."""

SELDOM = 64
"""Pieces for which it holds when it was the same "no" again and again: a sample of what does not shrink costs 2 ms."""

HIDDEN = 3 * 2**20
"""An SSH channel's window (2 MiB) and the pipes before it, which take bytes at no link's pace."""

MEASURED = 2**20
"""Bytes that must have been measured; of sixteen times as many, the older count half."""


class BadPackError(ValueError):
    """What arrived is not a packed piece, or one that is longer than pieces are."""


class Packing:
    """Of one end of a conversation; used by one thread at a time.

    Args:
        clock: Seconds that only grow.

    Attributes:
        saved: Bytes that did not need to be sent.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._hidden = 0
        self._sent = 0.0
        self._waited = 0.0
        self._left = 0
        self._every = EVERY
        self._on = False
        self.saved = 0

    def pack(self, view: memoryview) -> "Optional[bytes]":
        """A piece as it is to be sent; ``None`` for as it is."""
        if not self._left and self._sent >= MEASURED and len(view) >= SAMPLE:
            self._on = self._pays(view)
            self._every = EVERY if self._on else min(SELDOM, 2 * self._every)
            self._left = self._every
        self._left = max(0, self._left - 1)
        if not self._on:
            return None
        data = zlib.compress(view, LEVEL)
        if len(data) * WORTH > len(view):
            return None
        self.saved += len(view) - len(data)
        return data

    def send(self, write: Callable[[Any], Any], data: Any) -> None:
        """Writes and measures how long that waits."""
        begun = self._clock()
        write(data)
        waited = self._clock() - begun
        if self._hidden < HIDDEN:
            self._hidden += len(data)
            return
        self._sent += len(data)
        self._waited += waited
        if self._sent > 16 * MEASURED:
            self._sent /= 2
            self._waited /= 2

    def _pays(self, view: memoryview) -> bool:
        """The link is slower than packing, and the data shrink."""
        middle = (len(view) - SAMPLE) // 2
        begun = self._clock()
        data = zlib.compress(view[middle : middle + SAMPLE], LEVEL)
        took = self._clock() - begun
        return len(data) * WORTH <= SAMPLE and took * self._sent < self._waited * SAMPLE


def unpack(data: Any, most: int) -> bytes:
    """A piece that was packed, of at most so many bytes: however it was packed, no more than that is made of it.

    Raises:
        BadPackError: It is longer, or not packed.
    """
    inflating = zlib.decompressobj()
    try:
        plain = inflating.decompress(data, most + 1)  # so that a piece of all bytes has an end
    except zlib.error as error:
        raise BadPackError(str(error)) from error
    if len(plain) > most or not inflating.eof:
        raise BadPackError(f"it is longer than {most} bytes, or cut")
    return plain
