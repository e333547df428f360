"""How a file is cut into parts: a pure function of its size, the endpoints' limits and this version."""

from __future__ import annotations

from dataclasses import dataclass

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.model import Part, PartSum
from aifa_hpc.units import show_size

VERSION = 1
"""Raised when the same size would be cut differently; journalled parts of another version are not continued."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an endpoint takes.

    Attributes:
        part: Smallest sensible part in bytes, a multiple of the block.
        parts: Most parts of a file.
        largest: Largest part in bytes.
    """

    part: int = BLOCK
    parts: int = 2**16
    largest: int = 2**40

    def __post_init__(self) -> None:
        if self.part < BLOCK or self.part % BLOCK or self.parts < 1 or self.largest < self.part:
            raise ValueError(f"parts are whole blocks of {BLOCK} bytes, and at least one is allowed: {self}")


def stricter(one: Limits, other: Limits) -> Limits:
    """Limits that satisfy both."""
    part = max(one.part, other.part)
    return Limits(part=part, parts=min(one.parts, other.parts), largest=max(part, min(one.largest, other.largest)))


def part_size(size: int, limits: Limits) -> int:
    """The size of all parts but the last: doubled until there are few enough.

    Raises:
        InputError: The file is longer than the endpoint can hold.
    """
    part = limits.part
    while -(-size // part) > limits.parts:
        part *= 2
    if part > limits.largest:
        most = show_size(limits.largest * limits.parts)
        raise InputError(f"a file of {show_size(size)} is too long for its destination, which takes at most {most}.")
    return part


def cut(size: int, part: int) -> tuple[Part, ...]:
    """The parts of a file; an empty file has one, of nothing."""
    count = max(1, -(-size // part))
    return tuple(
        Part(index=index, offset=index * part, length=min(part, size - index * part)) for index in range(count)
    )


def group(blocks: tuple[bytes, ...], part: int) -> tuple[PartSum, ...]:
    """A file's block digests by parts of that size."""
    step = part // BLOCK
    return tuple(PartSum(blocks=blocks[at : at + step]) for at in range(0, max(1, len(blocks)), step))
