"""Facts of a profile that the user's file overrides: merged key by key, and held to the profile's own form.

In ``sites.toml``, below the site's own settings::

    [sites.lumi.partitions.dev-g]
    max_time = "03:00:00"
    source = "aifa sites doctor, lumi.csc.fi"
    checked_on = 2026-11-24

What is not named stays as the profile has it. A value that names no ``source`` is the user's own, and says so wherever
the fact is quoted: the profile's source never vouches for another's number.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aifa_hpc.sites.model import Site
from aifa_hpc.sites.strict import decode

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
    return decode(_merged(msgspec.to_builtins(parent, enc_hook=str), tables), Site, label, key=key)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        old = base.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    own = any(not isinstance(value, dict) for value in changes.values())
    if own and "source" in base and "source" not in changes:
        merged["source"] = OWN_SOURCE
    return merged
