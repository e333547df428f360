"""Which rows a rank reads: every row of a data set exactly once, as evenly as rows can be dealt, the same on every run.

Row groups are put in an order that depends on seed and epoch only, and the line of all their rows is cut into as many
pieces as there are ranks. So ranks differ by one row at most, whatever the sizes of files, and at most one row group
at each cut is read by two. No rank talks to another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """A row group of a Parquet file.

    Attributes:
        path: The file, relative to the data set.
        group: Number within the file.
        rows: How many it has.
    """

    path: str
    group: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Neighbouring rows of one row group: ``start`` to ``stop``, without ``stop``."""

    path: str
    group: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def shuffled(groups: Iterable[RowGroup], *, seed: int | None, epoch: int) -> list[RowGroup]:
    """The row groups in the order of an epoch; without a seed in the order of their paths.

    The order is that of SHA-256 over seed, epoch, path and number, so that it is the same in every version of Python.
    """
    listed = sorted(groups, key=lambda one: (one.path, one.group))
    if seed is None:
        return listed

    def lot(one: RowGroup) -> bytes:
        text = f"{seed} {epoch} {one.group} {one.path}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return sorted(listed, key=lot)


def cut(line: Sequence[Rows], *, number: int, of: int) -> tuple[Rows, ...]:
    """Piece ``number`` of ``of`` from a line of rows; all pieces together are the line.

    Raises:
        InputError: There is no such piece.
    """
    if not 0 <= number < of:
        raise InputError(f"there is no piece {number} of {of}: pieces go from 0 to one less.")
    total = sum(map(len, line))
    return between(line, total * number // of, total * (number + 1) // of)


def owner(path: str, *, world: int) -> int:
    """The rank that reads a file whose number among all files is not known yet: by a hash of its path."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % world


def between(line: Iterable[Rows], first: int, last: int) -> tuple[Rows, ...]:
    """The rows from ``first`` to ``last``, without ``last``, counted along a line of rows."""
    found = []
    passed = 0
    for rows in line:
        start, stop = max(first - passed, 0), min(last - passed, len(rows))
        if start < stop:
            found.append(Rows(path=rows.path, group=rows.group, start=rows.start + start, stop=rows.start + stop))
        passed += len(rows)
    return tuple(found)


def line_of(groups: Iterable[RowGroup]) -> tuple[Rows, ...]:
    """All rows of row groups, one after the other."""
    return tuple(Rows(path=one.path, group=one.group, start=0, stop=one.rows) for one in groups if one.rows)
