"""Iceberg's Avro files (manifest lists and manifests) record by record, with everything this version does not know.

A file is written anew with its own writer's schema and header, so fields of newer format versions pass through. The
sync marker is made of the content: the same records give the same bytes, and a copy that is made twice is the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_OWN = "avro."
_MORE = 0x80
_SYNC = 16
"""Bytes of the marker that ends the header and each block."""


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


def put_texts(data: bytes, texts: Sequence[tuple[str, str]]) -> bytes | None:
    """The file with other texts in it, at a fraction of what it costs to write its records again.

    What all old texts begin with must occur in the records as often as there are texts, and nowhere else: then every
    one of them was found, and nothing that only looks like one.

    Args:
        data: A file that :func:`read_avro` has read.
        texts: Old and new ones, in the order of the records.

    Returns:
        ``None`` where that is not sure, or the file is compressed by something else than ``deflate``.
    """
    import fastavro  # noqa: PLC0415 - heavy, and only for tables

    blocks: list[Any] = list(fastavro.block_reader(io.BytesIO(data)))
    if not blocks or not texts or any(block.codec not in ("null", "deflate") for block in blocks):
        return None
    plain = b"".join(block.bytes_.getvalue() for block in blocks)
    begin_of_all = os.path.commonprefix([old for old, _ in texts])  # noqa: RUF071 - by letters, as is meant here
    known = begin_of_all.encode("utf-8", "surrogateescape")
    pieces, done, at = [], 0, -1
    for old, new in texts:
        was, now = (_text(text) for text in (old, new))
        at = plain.find(known, at + 1) if known else -1
        begin = at + len(old.encode("utf-8", "surrogateescape")) - len(was)
        if at < 0 or begin < done or not plain.startswith(was, begin):
            return None
        pieces += [plain[done:begin], now]
        done = begin + len(was)
    if plain.find(known, at + 1) >= 0:
        return None
    made = b"".join((*pieces, plain[done:]))
    if blocks[0].codec == "deflate":
        packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        made = packing.compress(made) + packing.flush()
    begin = blocks[0].offset
    count = sum(block.num_records for block in blocks)
    return b"".join((data[:begin], _long(count), _long(len(made)), made, data[begin - _SYNC : begin]))


def _text(text: str) -> bytes:
    """A string as it stands in a record: its length, and its bytes."""
    data = text.encode("utf-8", "surrogateescape")
    return _long(len(data)) + data


def _long(number: int) -> bytes:
    """A number that is not negative, as the specification writes it: doubled, seven bits a byte, the lowest first."""
    number *= 2
    out = bytearray()
    while number >= _MORE:
        out.append(number & (_MORE - 1) | _MORE)
        number >>= 7
    return bytes((*out, number))


def write_avro(file: AvroFile, records: Sequence[dict[str, Any]]) -> bytes:
    """The file with other records of the same schema."""
    import fastavro  # noqa: PLC0415 - heavy, and only for tables

    out = io.BytesIO()
    marker = hashlib.sha256(repr(records).encode("utf-8", "surrogateescape")).digest()[:16]
    fastavro.writer(out, json.loads(file.schema), records, codec=file.codec, metadata=file.header, sync_marker=marker)
    return out.getvalue()
