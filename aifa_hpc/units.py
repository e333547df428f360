"""Walltime, memory and sizes as types; ``parse_x`` and ``format_x`` are inverse.

Slurm's own spellings are read: walltimes in sbatch(1) ``--time``, memory in sbatch(1) ``--mem`` (binary units, ``M``
when bare), elapsed times in sacct(1). Sizes of files are given as people write them (``5 GB``, ``16MiB``).
"""

from __future__ import annotations

import re
from typing import ClassVar, Self

from aifa_hpc.errors import ParseError

_WALLTIME_FORMS = 'M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, for example "00:30:00" or "1-12:00:00"'
_MEMORY_FORMS = 'a whole number and K, M, G or T, for example "480G"'
_SIZE_FORMS = 'a number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, for example "16 MiB"'

# Eighteen digits fit in 64 bits, with which Slurm and file systems count; Python refuses to read more than 4300.
_WALLTIME = re.compile(r"(?:(?P<days>\d{1,18})-)?(?P<rest>\d{1,18}(?::\d{1,18}){0,2})(?P<fraction>\.\d+)?", re.ASCII)
_MEMORY = re.compile(r"(?P<number>\d{1,18})(?:(?P<unit>[KMGT])B?)?", re.IGNORECASE | re.ASCII)
_SIZE = re.compile(r"(?P<whole>\d{1,18})(?:\.(?P<part>\d{1,18}))?\s*(?P<unit>[kKMGT]i?B|B|)", re.ASCII)

_MEMORY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE_UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "kiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


class _Amount:
    """A whole number of something, at least 0; amounts of different things never compare.

    Not a dataclass: msgspec decodes dataclasses from tables, where these are written as text and go through
    ``dec_hook``.
    """

    __slots__ = ("_count",)
    _count: int
    _what: ClassVar[str]

    def __init__(self, count: int) -> None:
        if count < 0:
            raise ParseError(f"{self._what} cannot be negative, got {count}")
        object.__setattr__(self, "_count", count)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return self._count == other._count if isinstance(other, type(self)) else NotImplemented

    def __lt__(self, other: Self) -> bool:
        return self._count < other._count if isinstance(other, type(self)) else NotImplemented

    def __le__(self, other: Self) -> bool:
        return self._count <= other._count if isinstance(other, type(self)) else NotImplemented

    def __gt__(self, other: Self) -> bool:
        return self._count > other._count if isinstance(other, type(self)) else NotImplemented

    def __ge__(self, other: Self) -> bool:
        return self._count >= other._count if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._count))

    def __reduce__(self) -> tuple[type[Self], tuple[int]]:
        return type(self), (self._count,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._count})"


class Walltime(_Amount):
    """A length of time on a clock, in whole seconds."""

    __slots__ = ()
    _what = "a walltime"

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)

    def __str__(self) -> str:
        return format_walltime(self)

    @property
    def seconds(self) -> int:
        """Whole seconds."""
        return self._count

    @property
    def minutes(self) -> int:
        """Whole minutes, rounded up as Slurm does with ``--time``."""
        return -(-self.seconds // 60)

    @property
    def hours(self) -> float:
        """Hours, for bills."""
        return self.seconds / 3600


class Memory(_Amount):
    """An amount of memory in bytes, written in Slurm's binary units."""

    __slots__ = ()
    _what = "memory"

    def __init__(self, bytes: int) -> None:  # noqa: A002 - named as the attribute it sets
        super().__init__(bytes)

    def __str__(self) -> str:
        return format_memory(self)

    @property
    def bytes(self) -> int:
        """Bytes."""
        return self._count

    @property
    def mib(self) -> int:
        """Whole MiB, rounded up."""
        return -(-self.bytes // 2**20)


class ByteSize(_Amount):
    """A number of bytes in a file or a link's budget."""

    __slots__ = ()
    _what = "a size"

    def __init__(self, bytes: int) -> None:  # noqa: A002 - named as the attribute it sets
        super().__init__(bytes)

    def __str__(self) -> str:
        return format_size(self)

    @property
    def bytes(self) -> int:
        """Bytes."""
        return self._count


def parse_walltime(text: str) -> Walltime:
    """Reads Slurm's time formats; fractions of a second, as sacct prints them (``00:01.500``), are cut.

    Raises:
        ParseError: The text is none of them.
    """
    match = _WALLTIME.fullmatch(text.strip())
    if match is None or (match["fraction"] and ":" not in match["rest"]):  # "1.5" would be minutes, not seconds
        raise ParseError(f"{text!r} is not a walltime: write {_WALLTIME_FORMS}")
    parts = [int(part) for part in match["rest"].split(":")]
    if match["days"] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return Walltime(int(match["days"]) * 86400 + hours * 3600 + minutes * 60 + seconds)
    if len(parts) == 3:  # noqa: PLR2004 - hours, minutes, seconds
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    return Walltime(hours * 3600 + minutes * 60 + seconds)


def format_walltime(value: Walltime) -> str:
    """``HH:MM:SS``, with ``D-`` in front from a day on."""
    days, rest = divmod(value.seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def parse_memory(text: str) -> Memory:
    """Reads ``--mem`` values: binary units, MiB when bare.

    Raises:
        ParseError: The text is not an amount of memory.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise ParseError(f"{text!r} is not an amount of memory: write {_MEMORY_FORMS}")
    return Memory(int(match["number"]) * _MEMORY_UNITS[(match["unit"] or "M").upper()])


def format_memory(value: Memory) -> str:
    """The largest unit that loses nothing; Slurm's smallest is K."""
    for unit in ("T", "G", "M"):
        if value.bytes and value.bytes % _MEMORY_UNITS[unit] == 0:
            return f"{value.bytes // _MEMORY_UNITS[unit]}{unit}"
    return f"{-(-value.bytes // 2**10)}K"


def parse_size(text: str) -> ByteSize:
    """Reads a size as people write it; bare numbers are bytes, and a part of a byte is rounded.

    Raises:
        ParseError: The text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ParseError(f"{text!r} is not a size: write {_SIZE_FORMS}")
    # In whole numbers, because a float keeps only 53 bits.
    part = match["part"] or ""
    scale = 10 ** len(part)
    return ByteSize((int(match["whole"] + part) * _SIZE_UNITS[match["unit"]] + scale // 2) // scale)


def format_size(value: ByteSize) -> str:
    """Exact in the largest binary unit that divides it, else plain bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value.bytes and value.bytes % _SIZE_UNITS[unit] == 0:
            return f"{value.bytes // _SIZE_UNITS[unit]} {unit}"
    return f"{value.bytes} B"


def show_size(count: float) -> str:
    """Bytes for a person: three digits and a binary unit; not meant to be read back."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 999.5 or unit == "TiB":  # noqa: PLR2004 - what rounds to 1000 takes the next unit
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.3g} {unit}"  # noqa: PLR2004 - as above
