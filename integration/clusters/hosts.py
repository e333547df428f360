"""Slurm host lists, read and written: only what the profiles and slurm.conf need.

A second implementation on purpose: the tools that test the library do not rest on the library's own parser.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TERM = re.compile(r"(?P<prefix>[^\[\],]+)(?:\[(?P<ranges>[\d,-]+)\])?(?:,|$)")
_NAME = re.compile(r"(?P<prefix>.*?)(?P<digits>\d+)")


def expand(hosts: str) -> list[str]:
    """All names of a host list with at most one bracket per term.

    Raises:
        ValueError: The text has another form.
    """
    names: list[str] = []
    position = 0
    while position < len(hosts):
        match = _TERM.match(hosts, position)
        if match is None:
            raise ValueError(f"cannot read the host list {hosts!r} from {hosts[position:]!r} on")
        names += _names(match["prefix"], match["ranges"])
        position = match.end()
    return names


def _names(prefix: str, ranges: str | None) -> Iterator[str]:
    if ranges is None:
        yield prefix
        return
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{prefix}{number:0{len(first)}}"


def compress(names: Iterable[str]) -> str:
    """A host list of these names in their order; neighbours are joined to ranges."""
    split = []
    for name in names:
        match = _NAME.fullmatch(name)
        split.append((match["prefix"], match["digits"]) if match else (name, ""))
    terms = []
    for (prefix, width), group in groupby(split, key=lambda pair: (pair[0], len(pair[1]))):
        members = list(group)
        if width == 0:
            terms += [prefix for _ in members]
            continue
        runs = _runs(int(digits) for _, digits in members)
        text = ",".join(f"{a:0{width}}" if a == b else f"{a:0{width}}-{b:0{width}}" for a, b in runs)
        terms.append(f"{prefix}{text}" if len(members) == 1 else f"{prefix}[{text}]")
    return ",".join(terms)


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
