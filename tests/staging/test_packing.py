"""Data go packed where that is measured to pay, and never become more than they were."""

from __future__ import annotations

import contextlib
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.staging.packing import EVERY, HIDDEN, MEASURED, SELDOM, BadPackError, Packing, unpack

PIECE = 2**20
SHRINKS = memoryview(b"12.5,beech,2024-05-01\n" * (PIECE // 22))
RANDOM = memoryview(os.urandom(PIECE))


class Link:
    """Takes so many seconds for a piece, by a clock of which packing a sample takes what it is told."""

    def __init__(self, seconds: float, sample: float = 0.001) -> None:
        self.now = 0.0
        self.seconds, self.sample = seconds, sample
        self.packing = Packing(self.clock)
        self.sent = 0
        self.looks = 0

    def clock(self) -> float:
        """Each look takes as long as packing a sample."""
        self.looks += 1
        self.now += self.sample
        return self.now

    def write(self, data: bytes | memoryview) -> None:
        """Waits."""
        self.now += self.seconds * len(data) / PIECE
        self.sent += len(data)

    def carry(self, view: memoryview, pieces: int) -> int:
        """How many of these pieces were packed."""
        packed = 0
        for _ in range(pieces):
            data = self.packing.pack(view)
            self.packing.send(self.write, view if data is None else data)
            packed += data is not None
        return packed


FIRST = (HIDDEN + MEASURED) // PIECE
"""Pieces that are sent before anything is known."""


def test_a_slow_link_has_data_packed() -> None:
    """From when it is known to be slow; what was saved is told."""
    link = Link(seconds=10.0)
    packed = link.carry(SHRINKS, 20)
    assert 20 - FIRST - EVERY <= packed <= 20 - FIRST
    assert 20 * len(SHRINKS) == link.sent + link.packing.saved


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    """Parquet, and whatever was packed before."""
    assert 0 == Link(seconds=10.0).carry(RANDOM, 20)


def test_what_never_shrinks_is_seldom_looked_at() -> None:
    """A sample costs as much as to hash four pieces; what shrinks after all is seen all the same."""
    link = Link(seconds=10.0)
    link.carry(RANDOM, 10 * SELDOM)
    samples = link.looks // 2 - 10 * SELDOM  # writes are timed too
    assert samples <= 14
    assert link.carry(SHRINKS, 2 * SELDOM) >= SELDOM


def test_a_link_that_is_quicker_than_packing_is_not_slowed() -> None:
    """Sixteen samples make a piece: packing takes 16 s, the link 10."""
    assert 0 == Link(seconds=10.0, sample=1.0).carry(SHRINKS, 20)


def test_a_link_that_becomes_quick_is_seen() -> None:
    """Within as many bytes as are measured."""
    link = Link(seconds=10.0)
    assert link.carry(SHRINKS, 20)
    link.seconds, link.sample = 0.0, 1.0
    link.carry(RANDOM, 200)
    assert 0 == link.carry(SHRINKS, 20)


@given(st.binary(max_size=5000))
def test_what_was_packed_comes_out(data: bytes) -> None:
    """And only with enough room."""
    assert data == unpack(zlib.compress(data), len(data) + 1)


def test_a_bomb_is_refused() -> None:
    """No more than a piece is made of what would be sixty-four."""
    with pytest.raises(BadPackError, match="longer than 1048576"):
        unpack(zlib.compress(bytes(64 * PIECE)), PIECE)


@given(st.binary(max_size=500) | st.binary(max_size=500).map(zlib.compress))
def test_nonsense_is_refused(data: bytes) -> None:
    """With one error, or it is a pack after all."""
    with contextlib.suppress(BadPackError):
        plain = unpack(data, PIECE)
        assert zlib.decompress(data) == plain


def test_a_pack_may_be_as_long_as_a_piece() -> None:
    """To the byte."""
    assert bytes(SHRINKS) == unpack(zlib.compress(SHRINKS), len(SHRINKS))
