"""Deletion vectors: roaring bitmaps of the rows of a data file that are deleted, as one bit for each row.

As the Puffin spec ("deletion-vector-v1") and the Roaring format specification ("Extension for 64-bit implementations")
describe them. The bits lie as those of Arrow's booleans do, lowest first.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAGIC = b"\xd1\xd3\x39\x64"
_ARRAY = 4096  # containers of more values than these are bitmaps
_CONTAINER = 8192  # bytes: bits for 65,536 rows
_NO_RUNS, _RUNS = 12346, 12347
_BEHIND = "it deletes rows that the file does not have"
_OFFSETS = 4  # bitmaps with runs have offsets from so many containers on


def vector_bits(blob: bytes, rows: int) -> bytearray:
    """The bits of a deletion vector.

    Args:
        blob: As it lies in its Puffin file.
        rows: Of its data file.

    Raises:
        ValueError: It is none, is damaged, or deletes rows that the file does not have; so do ``struct.error`` and
            ``OverflowError`` say.
    """
    length, magic = struct.unpack_from(">I4s", blob)
    (checked,) = struct.unpack_from(">I", blob, len(blob) - 4)
    if magic != _MAGIC or length + 8 != len(blob) or zlib.crc32(blob[4:-4]) != checked:
        raise ValueError("it is no whole deletion vector")
    bits = bytearray(byte_count(rows))
    (bitmaps,) = struct.unpack_from("<q", blob, 8)
    at = 16
    for _ in range(bitmaps):
        (high,) = struct.unpack_from("<I", blob, at)
        at = _add_bitmap(bits, high << 16, blob, at + 4)
    if rows % 8 and bits[-1] >> rows % 8:
        raise ValueError(_BEHIND)
    return bits


def _add_bitmap(bits: bytearray, first: int, blob: bytes, at: int) -> int:
    """Sets the bits of a 32-bit bitmap, whose first container would be number ``first``; where the next one begins."""
    (cookie,) = struct.unpack_from("<I", blob, at)
    at += 4
    if cookie & 0xFFFF == _RUNS:
        count = (cookie >> 16) + 1
        runs = int.from_bytes(blob[at : at + byte_count(count)], "little")
        at += byte_count(count)
    elif cookie == _NO_RUNS:
        ((count,), runs) = struct.unpack_from("<I", blob, at), 0
        at += 4
    else:
        raise ValueError("a bitmap does not begin like one")
    about = struct.unpack_from(f"<{2 * count}H", blob, at)
    at += 4 * count
    if cookie == _NO_RUNS or count >= _OFFSETS:
        at += 4 * count
    for number in range(count):
        low, values = about[2 * number], about[2 * number + 1] + 1
        found, at = _container(blob, at, values=values, runs=bool(runs >> number & 1))
        begin = (first + low) * _CONTAINER
        if begin + len(found) > len(bits):
            raise ValueError(_BEHIND)
        bits[begin : begin + len(found)] = found
    return at


def _container(blob: bytes, at: int, *, values: int, runs: bool) -> tuple[bytes, int]:
    """The bits of up to 65,536 rows, without zeros at their end, and where the next container begins."""
    if runs:
        (count,) = struct.unpack_from("<H", blob, at)
        pairs = struct.unpack_from(f"<{2 * count}H", blob, at + 2)
        whole = 0
        for start, more in zip(pairs[::2], pairs[1::2], strict=True):
            whole |= ((2 << more) - 1) << start
        return whole.to_bytes(_CONTAINER, "little").rstrip(b"\0"), at + 2 + 4 * count
    if values > _ARRAY:
        (bitmap,) = struct.unpack_from(f"{_CONTAINER}s", blob, at)
        return bitmap.rstrip(b"\0"), at + _CONTAINER
    made = bytearray(_CONTAINER)
    set_bits(made, struct.unpack_from(f"<{values}H", blob, at))
    return bytes(made.rstrip(b"\0")), at + 2 * values


def set_bits(bits: bytearray, positions: Iterable[int]) -> None:
    """Sets some."""
    for position in positions:
        bits[position >> 3] |= 1 << (position & 7)


def byte_count(bits: int) -> int:
    """Bytes that hold so many."""
    return (bits + 7) // 8
