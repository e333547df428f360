"""Facts of a profile that the user's file overrides: merged key by key, and held to the profile's own form.

In ``sites.toml``, below the site's own settings; ``without`` takes keys away that need not be there::

    [sites.lumi.partitions.dev-g]
    max_time = "03:00:00"
    source = "aifa sites doctor, lumi.csc.fi"
    checked_on = 2026-11-24
    without = ["max_nodes"]

What is not named stays as the profile has it. A value that names no ``source`` is the user's own, and says so wherever
the fact is quoted: the profile's source never vouches for another's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.sites.model import Site
from aifa_hpc.sites.strict import decode, show, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = (
    "scheduler",
    "login",
    "nodes",
    "partitions",
    "qos",
    "reservations",
    "areas",
    "object_stores",
    "modules",
    "container",
    "images",
    "billing",
    "variables",
    "launch",
)
"""Tables of a profile that may be overridden: all that hold facts."""

OWN_SOURCE = "your own, sites.toml"
WITHOUT = "without"


def override(parent: Site, tables: dict[str, Any], label: str, *, key: str) -> Site:
    """A site with some of its facts replaced.

    Args:
        parent: The profile.
        tables: What replaces its facts, by table (one of ``TABLES``).
        label: The file, for messages.
        key: Dotted key of ``tables`` in that file.

    Raises:
        InputError: A key, type or value is wrong, or a new table is not complete; every problem is listed.
    """
    if not tables:
        return parent
    base = msgspec.to_builtins(parent, enc_hook=str)
    problems = list(_without_problems(base, tables, key))
    if problems:
        raise InputError(f"{label} cannot be used:", problems=problems)
    return decode(_merged(base, tables), Site, label, key=key)


def own_keys(tables: dict[str, Any], path: tuple[str, ...] = ()) -> frozenset[tuple[str, ...]]:
    """The keys of all facts that some tables set or take away."""
    found: set[tuple[str, ...]] = set()
    for name, value in tables.items():
        if isinstance(value, dict):
            found |= own_keys(value, (*path, name))
        elif name == WITHOUT:
            found |= {(*path, gone) for gone in value}
        else:
            found.add((*path, name))
    return frozenset(found)


def _without_problems(base: dict[str, Any], changes: dict[str, Any], key: str) -> Iterator[Problem]:
    """Keys that cannot be taken away because they are none."""
    names = changes.get(WITHOUT, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield Problem(key=f"{key}.{WITHOUT}", value=show(names), rule="must be a list of keys")
    else:
        yield from (unknown_key(f"{key}.{WITHOUT}.{name}", "", base) for name in names if name not in base)
    for name, value in changes.items():
        if isinstance(value, dict):
            old = base.get(name)
            yield from _without_problems(old if isinstance(old, dict) else {}, value, f"{key}.{name}")


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {name: value for name, value in base.items() if name not in changes.get(WITHOUT, ())}
    for name, value in changes.items():
        old = base.get(name)
        if name != WITHOUT:
            merged[name] = _merged(old if isinstance(old, dict) else {}, value) if isinstance(value, dict) else value
    own = any(not isinstance(value, dict) for value in changes.values())
    if own and "source" in base and "source" not in changes:
        merged["source"] = OWN_SOURCE
    return merged
