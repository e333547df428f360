"""What the values of a job file may be: rules that several of its tables share, each with the nearest legal value.

Every value ends in a ``#SBATCH`` line or in a shell word, so each is held to the narrowest form that its field needs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from aifa_hpc.errors import ParseError, Problem
from aifa_hpc.jobs.secrets import without_secrets
from aifa_hpc.sites.strict import show
from aifa_hpc.slurm.hostlist import expand_hostlist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)

WORDS = "letters, digits and . _ : + - only, beginning with a letter or digit"
ABSOLUTE = "must be an absolute path on the site, without control characters"


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table of the job file."""


def refuse(what: str, problems: Iterator[Problem]) -> None:
    """Stops a value from coming to be.

    Raises:
        ParseError: There are problems; it holds all of them.
    """
    found = tuple(map(without_secrets, problems))
    if found:
        raise ParseError(f"the {what} cannot be used:", problems=found)


def not_text(value: object) -> str:
    """Why a value is no text that a program can be given; empty when it is."""
    if not isinstance(value, str):
        return "must be text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must be text that UTF-8 can encode"
    return "cannot hold a NUL byte" if "\0" in value else ""


def is_path(value: object) -> bool:
    """Whether a value is an absolute path that fits in one line."""
    return isinstance(value, str) and value.startswith("/") and not _CONTROL.search(value) and not not_text(value)


def show_list(words: Any) -> str:
    """A list as it may stand in TOML."""
    return "[" + ", ".join(show(word) for word in words) + "]"


def coerce(
    spec: Any, key: str, kind: type, parse: Callable[[str], Any], example: str, *, optional: bool = False
) -> Iterator[Problem]:
    """Puts a unit in the place of its text; a missing value stays missing where it is optional."""
    value = getattr(spec, key)
    try:
        if isinstance(value, (str, kind)):
            # Through text in either case: Slurm's smallest unit of memory is a KiB, so bytes are rounded up once.
            msgspec.structs.force_setattr(spec, key, parse(str(value)))
            return
    except ParseError as error:
        yield Problem(key=key, value=show(value), rule=error.message, nearest=example)
        return
    if value is not None or not optional:
        rule = "must be written as text with its unit"
        yield Problem(key=key, value=show(value), rule=rule, nearest=f'"{example}"')


def check_numbers(spec: Any, least: dict[str, int], *, optional: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """Whole numbers and the least that each may be; the optional ones may be missing."""
    for key, bound in least.items():
        value = getattr(spec, key)
        if value is None and key in optional:
            continue
        if type(value) is not int:
            yield Problem(key=key, value=show(value), rule="must be a whole number", nearest=str(bound))
        elif value < bound:
            yield Problem(key=key, value=show(value), rule=f"must be at least {bound}", nearest=str(bound))


def check_words(spec: Any, keys: tuple[str, ...]) -> Iterator[Problem]:
    """Names that stand in a directive; empty is none."""
    for key in keys:
        value = getattr(spec, key)
        if not isinstance(value, str) or (value and not _WORD.fullmatch(value)):
            yield Problem(key=key, value=show(value), rule=WORDS)


def check_flag(key: str, value: object, *, optional: bool = False) -> Iterator[Problem]:
    """A value that is true or false."""
    if type(value) is not bool and not (optional and value is None):
        yield Problem(key=key, value=show(value), rule="must be true or false", nearest="true")


def check_hosts(spec: Any, keys: tuple[str, ...]) -> Iterator[Problem]:
    """Host lists in Slurm's notation; empty is none."""
    for key in keys:
        value = getattr(spec, key)
        if not isinstance(value, str):
            yield Problem(key=key, value=show(value), rule="must be a host list", nearest='"nid[001-003,7]"')
            continue
        try:
            names = expand_hostlist(value)
        except ParseError as error:
            yield Problem(key=key, value=show(value), rule=error.message)
            continue
        strange = any(not _HOST.fullmatch(name.strip()) for name in names) or (value and not names)
        if strange or re.search(r"\s", value):
            rule = "names letters, digits, . and - only, without spaces"
            yield Problem(key=key, value=show(value), rule=rule, nearest="" if strange else re.sub(r"\s+", "", value))
