"""Writes what a site told into the user's ``sites.toml``: one marked block a site, the rest of the file untouched.

::

    # >>> aifa sites doctor: lumi (written by --write; remove the block to go back to the profile)
    [told.lumi.partitions.dev-g]
    max_time = "03:00:00"
    source = "aifa sites doctor, lumi.csc.fi"
    checked_on = 2026-11-24
    # <<< aifa sites doctor: lumi

A block that is there is replaced by itself and what is new, so what was settled once stays settled. What the user wrote
by hand, below ``[sites.lumi]``, goes over it.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.sites.overrides import WITHOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def with_block(text: str, site: str, tables: Mapping[str, Any]) -> str:
    """The text of ``sites.toml`` with a site's block set.

    Args:
        text: As it is.
        site: Name of the site.
        tables: Facts to override, by table and key; they go over those that the block has already.

    Raises:
        InputError: The block that is there is no TOML.
    """
    begin, end = _marks(site)
    found = re.search(f"^{re.escape(begin)}.*?^{re.escape(end)}\n?", text, re.MULTILINE | re.DOTALL)
    merged: dict[str, Any] = {}
    if found:
        try:
            merged = tomllib.loads(found[0]).get("told", {}).get(site, {})
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"the block {begin!r} is not valid TOML: {error}", hint="Mend or remove it.") from error
    _merge(merged, tables)
    block = "".join([f"{begin}\n", *_lines(("told", site), merged), f"{end}\n"])
    if found:
        return text[: found.start()] + block + text[found.end() :]
    gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
    return text + gap + block


def write_block(path: Path, site: str, tables: Mapping[str, Any], check: Callable[[str], object]) -> None:
    """Sets a site's block in a file, atomically; the file keeps its mode, and a new one is for the user alone.

    Args:
        path: ``sites.toml``; a link is followed.
        site: Name of the site.
        tables: Facts to override.
        check: Raises when the new text cannot be used; nothing is written then.

    Raises:
        InputError: The file cannot be read or written, or the new text cannot be used.
    """
    path = path.resolve()
    try:
        text = path.read_text("utf-8") if path.exists() else ""
        new = with_block(text, site, tables)
        _require_usable(new, path, site, check)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".sites.", delete=False
        ) as file:
            try:
                file.write(new)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be rewritten: {error}") from error


def _require_usable(text: str, path: Path, site: str, check: Callable[[str], object]) -> None:
    try:
        check(text)
    except InputError as error:
        raise InputError(
            f"{path} stays as it was: with what {site} says it could not be used: {error}",
            hint="Correct it there, or remove the block of that site.",
        ) from error


def _marks(site: str) -> tuple[str, str]:
    return (
        f"# >>> aifa sites doctor: {site} (written by --write; remove the block to go back to the profile)",
        f"# <<< aifa sites doctor: {site}",
    )


def _merge(into: dict[str, Any], tables: Mapping[str, Any]) -> None:
    gone = dict.fromkeys((*into.pop(WITHOUT, ()), *tables.get(WITHOUT, ())))
    for key, value in tables.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        elif key != WITHOUT:
            into[key] = value
            gone.pop(key, None)
    for key in gone:
        into.pop(key, None)
    if gone:
        into[WITHOUT] = list(gone)


def _lines(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if plain:
        yield f"[{'.'.join(map(_key, path))}]\n"
        yield from (f"{_key(key)} = {_value(value)}\n" for key, value in plain.items())
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _lines((*path, key), value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    # JSON's texts are TOML's, but for DEL, which TOML wants escaped (toml.io, v1.0.0, String).
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
