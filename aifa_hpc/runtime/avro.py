"""Avro files with the standard library: Iceberg lists its files in them, and images for training have no reader.

Read as the Avro 1.11 specification describes them ("Object Container Files", "Binary encoding"); blocks may be
compressed by ``deflate``, or by ``zstandard``, which pyarrow reads.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAGIC = b"Obj\x01"
_SYNC = 16
_MORE = 0x80


def read_records(data: bytes, name: str) -> list[Any]:
    """All records of a file.

    Args:
        data: All of it.
        name: What it is called in an error.

    Raises:
        InputError: It is no whole Avro file, or compressed by something else.
    """
    try:
        return list(_records(io.BytesIO(data), name))
    except (ValueError, KeyError, IndexError, EOFError, TypeError, struct.error, zlib.error) as error:
        raise InputError(f"{name} is no whole Avro file: {type(error).__name__}: {error}.") from error


def _records(stream: io.BytesIO, name: str) -> Iterator[Any]:
    if _take(stream, len(_MAGIC)) != _MAGIC:
        raise ValueError("it does not begin like one")
    header = _map(stream, _bytes)
    sync = _take(stream, _SYNC)
    codec = header.get("avro.codec", b"null").decode()
    read = _reader(json.loads(header["avro.schema"]), {})
    while stream.tell() < len(stream.getbuffer()):
        count, block = _long(stream), io.BytesIO(_plain(_bytes(stream), codec, name))
        for _ in range(count):
            yield read(block)
        if _take(stream, _SYNC) != sync:
            raise ValueError("a block does not end where it should")


def _plain(data: bytes, codec: str, name: str) -> bytes:
    if codec == "null":
        return data
    if codec == "deflate":
        return zlib.decompress(data, -zlib.MAX_WBITS)
    if codec == "zstandard":
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only here

        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            whole: bytes = stream.read()
            return whole
    raise InputError(f"{name} is compressed by {codec!r}; read here are null, deflate and zstandard.")


def _reader(schema: Any, named: dict[str, Callable[[io.BytesIO], Any]]) -> Callable[[io.BytesIO], Any]:
    """What reads a value of a schema; a name stands for what was defined under it before."""
    if isinstance(schema, list):
        kinds = [_reader(one, named) for one in schema]
        return lambda stream: kinds[_long(stream)](stream)
    if not isinstance(schema, dict):
        return _SIMPLE.get(schema) or named[schema]
    kind = schema["type"]
    if kind in ("array", "map"):
        inner = _reader(schema["items" if kind == "array" else "values"], named)
        return lambda stream: list(_blocks(stream, inner)) if kind == "array" else _map(stream, inner)
    if kind not in ("record", "fixed", "enum"):
        return _reader(kind, named)
    fields = [(field["name"], _reader(field["type"], named)) for field in schema.get("fields", ())]

    def read(stream: io.BytesIO) -> Any:
        if kind == "record":
            return {key: one(stream) for key, one in fields}
        return _take(stream, schema["size"]) if kind == "fixed" else schema["symbols"][_long(stream)]

    named[schema["name"]] = read
    return read


def _take(stream: io.BytesIO, size: int) -> bytes:
    found = stream.read(size) if size >= 0 else b""
    if len(found) != size:
        raise EOFError("it ends too early")
    return found


def _long(stream: io.BytesIO) -> int:
    shift = value = 0
    while True:
        (byte,) = _take(stream, 1)
        value |= (byte & ~_MORE) << shift
        shift += 7
        if not byte & _MORE:
            return (value >> 1) ^ -(value & 1)


def _bytes(stream: io.BytesIO) -> bytes:
    return _take(stream, _long(stream))


def _blocks(stream: io.BytesIO, item: Callable[[io.BytesIO], Any]) -> Iterator[Any]:
    while count := _long(stream):
        if count < 0:  # its length in bytes follows, for those who skip it
            _long(stream)
        for _ in range(abs(count)):
            yield item(stream)


def _map(stream: io.BytesIO, value: Callable[[io.BytesIO], Any]) -> dict[str, Any]:
    return dict(_blocks(stream, lambda inner: (_bytes(inner).decode(), value(inner))))


_SIMPLE: dict[str, Callable[[io.BytesIO], Any]] = {
    "null": lambda _: None,
    "boolean": lambda stream: _take(stream, 1) != b"\0",
    "int": _long,
    "long": _long,
    "float": lambda stream: struct.unpack("<f", _take(stream, 4))[0],
    "double": lambda stream: struct.unpack("<d", _take(stream, 8))[0],
    "bytes": _bytes,
    "string": lambda stream: _bytes(stream).decode(),
}
