"""A plan as a file: made now, read by a person, carried out later, when what is there still fits.

JSON, one action a line (wrapped here)::

    {"aifa_plan": 1, "source": "shards/", "destination": "lumi:/scratch/project_465000001/digits", "data_class": "open",
     "made": "2026-11-24T08:00:00+00:00", "tool": "0.1.0", "only": "", "name": "",
     "ignored": [], "spared": [], "deletes": [], "actions": [
     {"verdict": "send", "path": "a.parquet",
      "here": {"path": "a.parquet", "size": 11, "pin": "11-1790000000000000000-52", "mtime_ns": 1790000000000000000,
               "executable": false}, "here_blocks": null, "there": null, "there_blocks": null}]}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.sites.strict import decode
from aifa_hpc.staging.model import Found, checked
from aifa_hpc.staging.plan import Action, Plan, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.staging.plan import Blocks

VERSION = 1

_MAKE = "Make one with `aifa stage plan SRC DST -o FILE`."

_Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Size = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanFile:
    """A plan and what it is about.

    Attributes:
        source: Location, as the user wrote it.
        destination: The same.
        data_class: Class of the data, as the user stated it.
        made: When, in UTC, as ISO 8601.
        tool: Version of the program that made it.
        only: The one file of the source, where it is one.
        name: What that shall be called.
        plan: What is to be done.
    """

    source: str
    destination: str
    data_class: str | None
    made: str
    tool: str
    only: str
    name: str
    plan: Plan


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record in which an unknown key is an error."""


class _File(_Strict, frozen=True, kw_only=True):
    path: str
    size: _Size
    pin: str
    mtime_ns: int
    executable: bool

    def found(self) -> Found:
        """As endpoints list it."""
        return Found(
            path=checked(self.path), size=self.size, pin=self.pin, mtime_ns=self.mtime_ns, executable=self.executable
        )


class _Action(_Strict, frozen=True, kw_only=True):
    verdict: Literal["skip", "send"]
    path: str
    here: _File
    here_blocks: tuple[_Hex, ...] | None
    there: _File | None
    there_blocks: tuple[_Hex, ...] | None

    def action(self) -> Action:
        """As the engine carries it out."""
        return Action(
            verdict=Verdict(self.verdict),
            file=self.here.found(),
            path=checked(self.path),
            there=self.there.found() if self.there is not None else None,
            here_blocks=_bytes(self.here_blocks),
            there_blocks=_bytes(self.there_blocks),
        )


class _Document(_Strict, frozen=True, kw_only=True):
    aifa_plan: int
    source: str
    destination: str
    data_class: str | None
    made: str
    tool: str
    only: str
    name: str
    ignored: tuple[str, ...]
    spared: tuple[str, ...]
    deletes: tuple[_File, ...]
    actions: tuple[_Action, ...]


def write_plan(made: PlanFile) -> Iterator[str]:
    """The file's text in pieces; ASCII, so that no locale can spoil it."""
    plan = made.plan
    head: dict[str, Any] = {"aifa_plan": VERSION}
    head |= {key: getattr(made, key) for key in ("source", "destination", "data_class", "made", "tool", "only", "name")}
    head |= {"ignored": plan.ignored, "spared": plan.spared, "deletes": [_record(found) for found in plan.deletes]}
    yield json.dumps(head)[:-1] + ', "actions": ['
    for number, action in enumerate(plan.actions):
        record = {
            "verdict": action.verdict.value,
            "path": action.path,
            "here": _record(action.file),
            "here_blocks": _hex(action.here_blocks),
            "there": _record(action.there) if action.there is not None else None,
            "there_blocks": _hex(action.there_blocks),
        }
        yield (",\n" if number else "\n") + json.dumps(record)
    yield "\n]}\n"


def read_plan(text: str, label: str) -> PlanFile:
    """The inverse of :func:`write_plan`.

    Args:
        text: The file's.
        label: Its name, for messages.

    Raises:
        InputError: It is no plan, of another version, or edited into something that is none; all problems at once.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ParseError(f"{label} is no plan: {error}.", hint=_MAKE) from error
    version = value.get("aifa_plan", VERSION) if isinstance(value, dict) else VERSION
    if version != VERSION:
        raise ParseError(f"{label} is a plan of version {version!r}; this program knows {VERSION}.", hint=_MAKE)
    try:
        document = decode(value, _Document, label)
    except InputError as error:
        raise InputError(error.message, problems=error.problems, hint=_MAKE) from error
    plan = Plan(
        actions=tuple(one.action() for one in document.actions),
        ignored=document.ignored,
        deletes=tuple(one.found() for one in document.deletes),
        spared=document.spared,
    )
    if any(action.verdict is Verdict.SKIP and action.there is None for action in plan.actions):
        raise ParseError(f"{label} is no plan: it skips a file that is not at the destination.")
    return PlanFile(
        source=document.source,
        destination=document.destination,
        data_class=document.data_class,
        made=document.made,
        tool=document.tool,
        only=document.only,
        name=document.name,
        plan=plan,
    )


def _record(found: Found) -> dict[str, Any]:
    """A file as it was listed; what it is proven by is known when it is published."""
    return {key: value for key, value in asdict(found).items() if key != "proof"}


def _hex(blocks: Blocks | None) -> list[str] | None:
    return [block.hex() for block in blocks] if blocks is not None else None


def _bytes(blocks: tuple[str, ...] | None) -> Blocks | None:
    return tuple(map(bytes.fromhex, blocks)) if blocks is not None else None
