"""Tables as people write them, and what of a table is wanted.

``iceberg:CATALOG.NAMESPACE.TABLE[@WHEN]``, a file ``.metadata.json`` with ``[@WHEN]``, or ``parquet:LOCATION`` for a
folder of Parquet files. WHEN is a tag or branch, the number of a snapshot, or a time (``2026-11-01`` or
``2026-11-01T12:00:00+01:00``; without a zone it is UTC). Without WHEN it is the table's present snapshot.

What is wanted of it may follow, so that one text says it all, in a manifest as well as in a plan::

    iceberg:lab.scans.train@v3?columns=image,label&where=label%20%3D%203&mode=pushdown
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote, unquote

from aifa_hpc.errors import InputError

ICEBERG = "iceberg:"
PARQUET = "parquet:"

Mode: TypeAlias = Literal["files", "pushdown", "incremental"]
MODES: tuple[Mode, ...] = get_args(Mode)

_METADATA = re.compile(r"(?P<location>.+\.metadata\.json(?:\.gz)?|.+\.gz\.metadata\.json)(?:@(?P<when>[^@/]*))?")
_SITE = re.compile(r"[^/:]+:/(?!/)")
_KEYS = ("apart", "columns", "mode", "relocate", "where")
_APART = re.compile(r"yes|[0-9a-f]{12}", re.ASCII)
_FORM = "Write iceberg:CATALOG.NAMESPACE.TABLE, with @TAG, @SNAPSHOT or @TIME, or a file .metadata.json."


@dataclass(frozen=True, kw_only=True, slots=True)
class TableName:
    """A table, and maybe when.

    Attributes:
        catalog: As pyiceberg's configuration names it; empty for a metadata file.
        table: Namespaces and name, with dots; or the metadata file's location.
        when: As it was written; empty for now.
    """

    catalog: str
    table: str
    when: str = ""

    def __str__(self) -> str:
        name = f"{ICEBERG}{self.catalog}.{self.table}" if self.catalog else self.table
        return f"{name}@{self.when}" if self.when else name

    def at(self, snapshot_id: int) -> TableName:
        """The same table at one snapshot."""
        return replace(self, when=str(snapshot_id))


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What of a table is wanted; ``str()`` gives a text that reads the same.

    Attributes:
        table: An Iceberg table, or the location of a folder of Parquet files.
        columns: Names; all by default.
        where: A row filter; all rows by default.
        mode: ``files``: whole files that may hold such rows, byte for byte. ``pushdown``: new Parquet files of just
            these rows and columns. ``incremental``: files that are not at the destination yet, by its manifest.
        relocate: Metadata of an Iceberg table is rewritten for its new place; without, every file stays as it is.
        apart: ``yes``: the names of files that ``pushdown`` makes end in a hash of what is in them, so that those of
            another snapshot, filter or columns come beside them and not in their place. Once they are made: that hash.
    """

    table: TableName | str
    columns: tuple[str, ...] = ()
    where: str = ""
    mode: Mode = "files"
    relocate: bool = True
    apart: str = ""

    def __str__(self) -> str:
        words = []
        if self.columns:
            words.append(f"columns={','.join(quote(name, safe='') for name in self.columns)}")
        if self.where:
            words.append(f"where={quote(self.where, safe='')}")
        if self.mode != "files":
            words.append(f"mode={self.mode}")
        if not self.relocate:
            words.append("relocate=no")
        if self.apart:
            words.append(f"apart={self.apart}")
        table = (
            PARQUET + self.table.replace("%", "%25").replace("?", "%3F")
            if isinstance(self.table, str)
            else str(self.table)
        )
        return f"{table}?{'&'.join(words)}" if words else table

    def require_sense(self) -> None:
        """Refuses what cannot be had together.

        Raises:
            InputError: Columns without ``pushdown``, or what only an Iceberg table can do.
        """
        if self.columns and self.mode != "pushdown":
            raise InputError(
                f"whole files have all columns: {', '.join(self.columns)} alone cannot be had with mode {self.mode!r}.",
                hint="Use --mode pushdown, or leave --columns out.",
            )
        if self.apart and (self.mode != "pushdown" or _APART.fullmatch(self.apart) is None):
            raise InputError(
                f"apart={self.apart} with mode {self.mode!r}: only files of mode pushdown have names of their own.",
                hint="Write mode=pushdown&apart=yes, or leave it out.",
            )
        if isinstance(self.table, str) and (self.mode == "incremental" or not self.relocate):
            what = "mode 'incremental'" if self.mode == "incremental" else "--no-relocate"
            raise InputError(f"{what} is for Iceberg tables, and {self.table} is a folder of Parquet files.")


def is_table(text: str) -> bool:
    """Whether a text is meant as a table, and not as a file or folder."""
    if text.startswith((ICEBERG, PARQUET)):
        return True
    return _METADATA.fullmatch(_split(text)[0]) is not None and _SITE.match(text) is None


def want(
    text: str, *, columns: tuple[str, ...] = (), where: str = "", mode: Mode | None = None, relocate: bool = True
) -> str:
    """A source with what is wanted of it, as one text.

    Args:
        text: A table; or, where anything is wanted of it, a folder of Parquet files.
        columns: Names; all by default.
        where: A row filter.
        mode: ``pushdown`` by default where columns are named, else what the text says.
        relocate: See :class:`Wanted`.

    Raises:
        InputError: As :func:`read_wanted`.
    """
    if "" in columns:
        raise InputError(f"{text}: a column without a name cannot be had.", hint="Leave it out.")
    if not (columns or where or mode or not relocate):
        return text
    known = read_wanted(text) if is_table(text) else Wanted(table=text)
    wanted = replace(
        known,
        columns=columns or known.columns,
        where=where or known.where,
        mode=mode or ("pushdown" if columns else known.mode),
        relocate=relocate and known.relocate,
    )
    wanted.require_sense()
    return str(wanted)


def read_wanted(text: str) -> Wanted:
    """Reads a table and what is wanted of it.

    Raises:
        InputError: It is none, has an unknown key or mode, or asks for what cannot be had together.
    """
    name, query = _split(text)
    found: dict[str, str] = {}
    for word in query.split("&") if query else ():
        key, _, value = word.partition("=")
        if key not in _KEYS or key in found:
            raise InputError(
                f"{text!r}: {key!r} {'is there twice' if key in found else 'says nothing about a table'}.",
                hint=f"Known are {', '.join(_KEYS)}.",
            )
        found[key] = value
    mode = found.get("mode", "files")
    if mode not in MODES:
        raise InputError(f"{text!r}: there is no mode {mode!r}.", hint=f"Modes are {', '.join(MODES)}.")
    wanted = Wanted(
        table=unquote(name.removeprefix(PARQUET)) if name.startswith(PARQUET) else read_table_name(name),
        columns=tuple(unquote(column) for column in found.get("columns", "").split(",") if column),
        where=unquote(found.get("where", "")),
        mode=mode,
        relocate=found.get("relocate", "yes") != "no",
        apart=found.get("apart", ""),
    )
    wanted.require_sense()
    return wanted


def read_table_name(text: str) -> TableName:
    """Reads a table's name.

    Raises:
        InputError: It is none.
    """
    match = _METADATA.fullmatch(text)
    if match is not None and not text.startswith(ICEBERG):
        return TableName(catalog="", table=match["location"], when=_when(text, match["when"]))
    name, at, when = text.removeprefix(ICEBERG).partition("@")
    catalog, _, table = name.partition(".")
    if not text.startswith(ICEBERG) or not catalog or not all(table.split(".")) or "." not in table:
        raise InputError(f"{text!r} is not the name of a table.", hint=_FORM)
    return TableName(catalog=catalog, table=table, when=_when(text, when if at else None))


def read_time(text: str) -> datetime.datetime | None:
    """A time, aware; ``None`` for what is none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _split(text: str) -> tuple[str, str]:
    """The table, and what is wanted of it; a file may have a ``?`` in its name, a table's has none."""
    name, mark, query = text.rpartition("?")
    asked = mark and all(word.partition("=")[0] in _KEYS for word in query.split("&"))
    return (name, query) if asked or (text.startswith((ICEBERG, PARQUET)) and mark) else (text, "")


def _when(text: str, when: str | None) -> str:
    if when == "":
        raise InputError(f"{text!r} ends with '@'.", hint="Write a tag, a branch, a snapshot or a time behind it.")
    return when or ""
