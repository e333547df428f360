"""Slurm's host lists: ``nid[001-003,7]`` to names and back.

The notation is that of slurm.conf(5) ``NodeName`` and of ``scontrol show hostnames``: comma separated names, each with
any number of brackets holding numbers and ranges. Zeros in front of a range's first number are kept.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_HOSTS = 65_536
"""Most names a list may hold; Slurm's own limit (``MAX_RANGE`` in its hostlist.c) is 64 k as well."""

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
_NUMBERED = re.compile(r"(.*?)(\d{1,18})", re.ASCII | re.DOTALL)
_ILLEGAL = re.compile(r"[\[\],\s]")


def expand_hostlist(text: str, *, limit: int = MAX_HOSTS) -> list[str]:
    """The names of a host list, in its order; brackets further right count faster.

    Args:
        text: Host list; empty is no host.
        limit: Most names; nothing longer is ever built.

    Raises:
        ParseError: The brackets do not pair, hold something else than ranges, or stand for more than ``limit`` names.
    """
    names: list[str] = []
    for item in _split(text):
        parts = _parts(item, limit)
        count = 1
        for part in parts:
            count *= len(part)
        if len(names) + count > limit:
            raise ParseError(f"host list {_shown(text)} stands for more than {limit} names")
        names += map("".join, itertools.product(*parts))
    return names


def compress_hostlist(names: Iterable[str]) -> str:
    """The host list that expands to exactly these names, in this order; runs of numbers become ranges.

    Raises:
        ParseError: A name is empty or holds a bracket, a comma or white space.
    """
    groups: list[tuple[str, list[tuple[str, str]]]] = []  # prefix, [(first, last)] as written
    for name in names:
        if not name or _ILLEGAL.search(name):
            raise ParseError(
                f"{_shown(name)} is not a host name: it must not be empty or hold brackets, commas or spaces"
            )
        match = _NUMBERED.fullmatch(name)
        if match is None:
            groups.append((name, []))
            continue
        prefix, number = match.groups()
        if not groups or groups[-1][0] != prefix or not groups[-1][1]:
            groups.append((prefix, []))
        ranges = groups[-1][1]
        if ranges and number == str(int(ranges[-1][1]) + 1).zfill(len(ranges[-1][0])):
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ",".join(prefix + _brackets(ranges) for prefix, ranges in groups)


def _brackets(ranges: list[tuple[str, str]]) -> str:
    words = [first if first == last else f"{first}-{last}" for first, last in ranges]
    if len(words) == 1 and "-" not in words[0]:
        return words[0]
    return f"[{','.join(words)}]" if words else ""


def _split(text: str) -> list[str]:
    """Cuts at the commas that stand outside brackets."""
    items, depth, start = [], 0, 0
    for place, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[start:place])
            start = place + 1
        if depth not in (0, 1):
            raise ParseError(f"host list {_shown(text)} has brackets that do not pair")
    if depth:
        raise ParseError(f"host list {_shown(text)} has brackets that do not pair")
    return [item.strip() for item in (*items, text[start:]) if item.strip()]


def _parts(item: str, limit: int) -> list[list[str]]:
    """What stands at each place of one item: a literal, or the numbers of a bracket."""
    parts: list[list[str]] = []
    while item:
        literal, opened, rest = item.partition("[")
        if literal:
            parts.append([literal])
        if opened:
            inside, _, rest = rest.partition("]")
            parts.append(_numbers(inside, limit))
        item = rest
    return parts


def _numbers(inside: str, limit: int) -> list[str]:
    numbers: list[str] = []
    for word in inside.split(","):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise ParseError(f"[{_shown(inside)}] is not a list of numbers and ranges, such as [001-003,7]")
        first, last = match[1], match[2] or match[1]
        count = int(last) - int(first) + 1
        if count < 1:
            raise ParseError(f"[{_shown(inside)}] counts down from {first} to {last}; write {last}-{first}")
        if len(numbers) + count > limit:
            raise ParseError(f"[{_shown(inside)}] stands for more than {limit} names")
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers


def _shown(text: str, width: int = 80) -> str:
    return repr(text if len(text) <= width else text[:width] + "...")
