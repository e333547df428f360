"""What a site told of itself, beside its profile: rows of a comparison, and how Slurm writes limits.

The site's words come as ``tables[section][name][field]`` from ``slurm.survey``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from aifa_hpc.errors import ParseError
from aifa_hpc.units import Walltime, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aifa_hpc.sites.model import Site

Tables: TypeAlias = "Mapping[str, Mapping[str, Mapping[str, str]]]"
Verdict: TypeAlias = Literal["confirmed", "drift", "new", "notice", "not told", "unverifiable"]


class Gone(enum.Enum):
    """The value of a limit that the site no longer has."""

    GONE = "none"


NOTHING = {"", "NONE", "N/A", "(null)", "UNLIMITED", "INFINITE", "infinite", "None assigned"}
"""How Slurm's programs write that there is no such thing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One fact, as the profile and as the site have it.

    Attributes:
        path: Keys of the fact in the profile.
        profile: What the profile says.
        site: What the site says.
        status: ``confirmed``; ``drift``, they differ; ``new``, the profile does not know it; ``notice``, worth knowing
            and no fault; ``not told``; ``unverifiable``, no site tells such a thing.
        note: Why, or what follows.
        value: What the profile would have to say, as TOML has it; ``GONE`` when it must not say anything; ``None`` when
            no override helps.
    """

    path: tuple[str, ...]
    profile: str
    site: str
    status: Verdict
    note: str = ""
    value: str | int | bool | Gone | None = None

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A site's profile, and what the site told.

    Attributes:
        site: The profile with the user's own settings.
        tables: By section, name and field.
        silent: Why a section told nothing.
    """

    site: Site
    tables: Tables
    silent: Mapping[str, str]

    def section(self, name: str) -> Mapping[str, Mapping[str, str]] | None:
        """What a section told; ``None`` when it is silent."""
        return self.tables.get(name)

    def why(self, *names: str) -> str:
        """Why sections told nothing; empty when they did."""
        return "; ".join(f"{name}: {self.silent[name]}" for name in names if name in self.silent)

    @property
    def associations(self) -> list[Mapping[str, str]]:
        """Ours, those of the account we use first."""
        rows = list((self.section("association") or {}).values())
        return sorted(rows, key=lambda row: row["Account"] != self.site.access.account)

    @property
    def account_qos(self) -> Mapping[str, str]:
        """The QOS that limits a plain job of the account."""
        name = self.site.scheduler.default_qos or next((row["DefaultQOS"] for row in self.associations), "")
        return (self.section("qos") or {}).get(name, {})


def row_of(path: tuple[str, ...], profile: object, site: object, *, note: str = "", open_: bool = False) -> Row:
    """A row of two values; where the site has none, no limit is to be seen.

    Args:
        path: Keys of the fact.
        profile: What the profile says.
        site: What the site says.
        note: Why, or what follows.
        open_: Every place was looked into in which such a limit stands, so that where none is seen there is none.
    """
    if site is None and open_ and profile is not None:
        note = "the site has no such limit"
        return Row(path=path, profile=show(profile), site="none", status="drift", note=note, value=Gone.GONE)
    toml = site if isinstance(site, (str, int)) else str(site)
    if site is None:
        return Row(path=path, profile=show(profile), site="-", status="not told", note=note or "no such limit is seen")
    if profile is None or profile == "":
        return Row(path=path, profile="-", site=str(site), status="new", note=note, value=toml)
    status: Verdict = "confirmed" if profile == site else "drift"
    return Row(path=path, profile=show(profile), site=str(site), status=status, note=note, value=toml)


def show(value: object) -> str:
    """A value in a table."""
    return "-" if value is None or value == "" else str(value)


def time_of(text: str | None) -> Walltime | None:
    """A walltime; ``None`` where there is no limit."""
    try:
        return None if text is None or text in NOTHING else parse_walltime(text)
    except ParseError:
        return None


def number_of(text: str | None) -> int | None:
    """A whole number; ``None`` where there is no limit."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def least_time(*values: Walltime | None) -> Walltime | None:
    """The limit that holds among several; ``None`` where there is none."""
    return min((value for value in values if value is not None), default=None)


def least(*values: int | None) -> int | None:
    """The limit that holds among several; ``None`` where there is none."""
    return min((value for value in values if value is not None), default=None)


def tres_of(text: str) -> dict[str, str]:
    """``cpu=4,node=2`` by name."""
    return dict(word.split("=", 1) for word in text.split(",") if "=" in word)


def version_of(text: str) -> tuple[int, ...]:
    """A version's numbers, to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
