"""Strict decoding of TOML tables: every problem at once, each with its full key, the rule and the nearest legal value.

msgspec stops at the first problem and writes ``$.nodes[...]`` for the keys of a mapping. So it decodes, and only when
it refuses, the value is walked beside its type to say what is wrong where.
"""

from __future__ import annotations

import json
import types
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from aifa_hpc.errors import InputError, ParseError, Problem
from aifa_hpc.units import ByteSize, Memory, Walltime, parse_memory, parse_size, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_PARSERS = {Walltime: parse_walltime, Memory: parse_memory, ByteSize: parse_size}


def decode(value: object, kind: type[T], label: str, *, key: str = "") -> T:
    """Converts a decoded TOML value to a type, with units as text.

    Args:
        value: What ``tomllib`` gave.
        kind: A msgspec struct.
        label: The file, for messages.
        key: Dotted key of ``value`` in the file.

    Raises:
        InputError: It does not fit; ``problems`` holds every reason.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_unit)
    except (msgspec.ValidationError, ParseError) as error:
        problems = tuple(_walk(value, kind, key))
        raise InputError(
            f"{label} cannot be used:" if problems else f"{label} cannot be used: {error}", problems=problems
        ) from error


def show(value: object) -> str:
    """A value as it may stand in TOML."""
    if isinstance(value, (str, bool)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{...}"
    return str(value)


def nearest(word: str, choices: Iterable[str], *, least: float = 0.0) -> str:
    """The choice most like a word; the empty string when there is none.

    Args:
        word: What was written.
        choices: What may be written.
        least: How like it must be, from 0 (anything) to 1 (the same).
    """
    import difflib  # noqa: PLC0415 - only errors pay for it

    return next(iter(difflib.get_close_matches(word, list(choices), 1, least)), "")


def unknown_key(key: str, value: object, choices: Iterable[str]) -> Problem:
    """The problem of a key that a table does not have.

    Args:
        key: Its dotted key.
        value: What it was set to.
        choices: The keys the table has.
    """
    names = list(choices)
    return Problem(
        key=key,
        value=show(value),
        rule=f"unknown key; the keys here are {', '.join(names)}",
        nearest=nearest(key.rpartition(".")[2], names),
    )


def _unit(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, str):
        raise ParseError(f"must be text with a unit, got {show(value)}")
    return _PARSERS[kind](value)


def _walk(value: object, kind: Any, key: str) -> Iterator[Problem]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is not None or type(None) not in arguments:
            kind = next(part for part in arguments if part is not type(None))
            yield from _walk(value, kind, key)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        yield from _walk_table(value, kind, f"{key}." if key else "")
    elif origin is dict and isinstance(value, dict):
        for name, item in value.items():
            yield from _walk(item, arguments[1], f"{key}.{name}")
    elif origin is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, arguments[0], f"{key}[{index}]")
    elif origin is Literal and value not in arguments:
        rule = f"must be one of {', '.join(filter(None, arguments))}"  # an empty one is what stands for none
        yield Problem(key=key, value=show(value), rule=rule, nearest=nearest(str(value), arguments))
    else:
        yield from _walk_leaf(value, kind, key)


def _walk_table(value: dict[str, object], kind: type[msgspec.Struct], prefix: str) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, item in value.items():
        if name in fields:
            yield from _walk(item, fields[name].type, prefix + name)
        else:
            # Right, in the wrong table: that is where it belongs, however like another key here it looks.
            tables = [table for table, field in fields.items() if name in _keys(field.type)]
            problem = unknown_key(prefix + name, item, fields)
            yield replace(problem, nearest=f"{prefix}{tables[0]}.{name}") if tables else problem
    for name, field in fields.items():
        if field.required and name not in value:
            yield Problem(key=prefix + name, value="", rule="is required and missing")


def _keys(kind: Any) -> set[str]:
    """The keys of a table; none of what is no table."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return {field.encode_name for field in msgspec.structs.fields(part)}
    return set()


def _walk_leaf(value: object, kind: Any, key: str) -> Iterator[Problem]:
    try:
        msgspec.convert(value, kind, dec_hook=_unit)
    except ParseError as error:
        yield Problem(key=key, value=show(value), rule=error.message)
    except msgspec.ValidationError as error:
        rule = str(error).replace("`object`", "a table").replace("`array`", "a list").replace("`", "")
        yield Problem(key=key, value=show(value), rule=rule[:1].lower() + rule[1:])
