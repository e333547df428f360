"""Tables as people write them: ``iceberg:CATALOG.NAMESPACE.TABLE[@WHEN]``, or a ``.metadata.json`` with ``[@WHEN]``.

WHEN is a tag or branch, the number of a snapshot, or a time (``2026-11-01`` or ``2026-11-01T12:00:00+01:00``; without a
zone it is UTC). Without WHEN it is the table's present snapshot.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from aifa_hpc.errors import InputError

SCHEME = "iceberg:"

_METADATA = re.compile(r"(?P<location>.+\.metadata\.json(?:\.gz)?|.+\.gz\.metadata\.json)(?:@(?P<when>[^@/]*))?")


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
        name = f"{SCHEME}{self.catalog}.{self.table}" if self.catalog else self.table
        return f"{name}@{self.when}" if self.when else name


def is_table(text: str) -> bool:
    """Whether a text is meant as a table, and not as a file or folder."""
    return text.startswith(SCHEME) or _METADATA.fullmatch(text) is not None


def read_table_name(text: str) -> TableName:
    """Reads a table's name.

    Raises:
        InputError: It is none.
    """
    match = _METADATA.fullmatch(text)
    if match is not None and not text.startswith(SCHEME):
        return TableName(catalog="", table=match["location"], when=_when(text, match["when"]))
    name, at, when = text.removeprefix(SCHEME).partition("@")
    catalog, _, table = name.partition(".")
    if not text.startswith(SCHEME) or not catalog or not all(table.split(".")) or "." not in table:
        raise InputError(
            f"{text!r} is not the name of a table.",
            hint="Write iceberg:CATALOG.NAMESPACE.TABLE, with @TAG, @SNAPSHOT or @TIME, or a file .metadata.json.",
        )
    return TableName(catalog=catalog, table=table, when=_when(text, when if at else None))


def read_time(text: str) -> datetime.datetime | None:
    """A time, aware; ``None`` for what is none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _when(text: str, when: str | None) -> str:
    if when == "":
        raise InputError(f"{text!r} ends with '@'.", hint="Write a tag, a branch, a snapshot or a time behind it.")
    return when or ""
