"""Message boundaries of an SSH connection, in whatever pieces its bytes come."""

from __future__ import annotations

import itertools
import random

import pytest

from aifa_hpc.testing.sshwire import Boundaries

VERSION = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"


def packet(kind: int, size: int, tag: bytes = b"") -> bytes:
    """A packet of that kind; what is in it does not matter."""
    body = bytes([4, kind]) + b"x" * size
    return len(body).to_bytes(4, "big") + body + tag


MESSAGES = [
    VERSION,
    packet(20, 1500),
    packet(30, 40),
    packet(21, 10),
    packet(99, 30, b"t" * 16),
    packet(21, 30, b"t" * 16),  # encrypted: what looks like NEWKEYS there is none
    packet(99, 3, b"t" * 16),
]
ENDS = list(itertools.accumulate(map(len, MESSAGES)))


@pytest.mark.parametrize("seed", range(5))
def test_boundaries_are_found_whatever_the_pieces(seed: int) -> None:
    """Single bytes, odd pieces, all at once: the same offsets."""
    data, boundaries, found, at = b"".join(MESSAGES), Boundaries(), [], 0
    chooser = random.Random(seed)
    while at < len(data):
        piece = data[at : at + chooser.choice((1, 3, 50, 4000))]
        found += [at + end for end in boundaries.ends(piece)]
        at += len(piece)
    assert ENDS == found


def test_a_hidden_length_is_told() -> None:
    """Under a cipher that encrypts lengths there is nothing to be found."""
    boundaries = Boundaries()
    boundaries.ends(b"".join(MESSAGES[:4]))
    with pytest.raises(ValueError, match="AES-GCM"):
        boundaries.ends(b"\xf0" * 40)
