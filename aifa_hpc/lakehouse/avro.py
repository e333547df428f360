"""Iceberg's Avro files (manifest lists and manifests) record by record, with everything this version does not know.

A file is written anew with its own writer's schema and header, so fields of newer format versions pass through. The
sync marker is made of the content: the same records give the same bytes, and a copy that is made twice is the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_OWN = "avro."


@dataclass(frozen=True, kw_only=True, slots=True)
class AvroFile:
    """A file, read.

    Attributes:
        records: In their order.
        schema: The writer's, as JSON text.
        codec: Compression of its blocks.
        header: What else its header says, such as Iceberg's ``schema`` and ``partition-spec``.
    """

    records: tuple[dict[str, Any], ...]
    schema: str
    codec: str
    header: dict[str, str]


def read_avro(data: bytes, name: str) -> AvroFile:
    """Reads a file.

    Args:
        data: All of it.
        name: What it is called in an error.

    Raises:
        InputError: It is no whole Avro file.
    """
    import fastavro  # noqa: PLC0415 - heavy, and only for tables

    try:
        reader = fastavro.reader(io.BytesIO(data))
        found: Iterable[Any] = reader
        records = tuple(found)
    except (ValueError, EOFError, KeyError, IndexError, TypeError, fastavro.schema.SchemaParseException) as error:
        raise InputError(f"{name} is no whole Avro file: {type(error).__name__}: {error}.") from error
    header = {key: value for key, value in reader.metadata.items() if not key.startswith(_OWN)}
    return AvroFile(records=records, schema=reader.metadata["avro.schema"], codec=reader.codec, header=header)


def write_avro(file: AvroFile, records: Sequence[dict[str, Any]]) -> bytes:
    """The file with other records of the same schema."""
    import fastavro  # noqa: PLC0415 - heavy, and only for tables

    out = io.BytesIO()
    marker = hashlib.sha256(repr(records).encode("utf-8", "surrogateescape")).digest()[:16]
    fastavro.writer(out, json.loads(file.schema), records, codec=file.codec, metadata=file.header, sync_marker=marker)
    return out.getvalue()
