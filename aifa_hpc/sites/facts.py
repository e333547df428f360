"""What every table of a site's profile is made of: strict keys, counts, and facts that name their source."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - msgspec reads annotations at run time
from typing import Annotated, Literal, TypeAlias

import msgspec

Status: TypeAlias = Literal["verified", "unverified", "conflict"]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: immutable, and an unknown key in it is an error."""


class Fact(Table, frozen=True, kw_only=True):
    """A table that somebody published.

    Attributes:
        source: Where it is written, for a person to look up.
        checked_on: The day it was last compared with that source.
        status: ``verified``, ``unverified`` (no public text confirms it) or ``conflict`` (sources disagree).
        note: What a reader must know, above all the other side of a conflict.
    """

    source: str
    checked_on: dt.date
    status: Status = "verified"
    note: str = ""
