"""Files of deleted rows name the data files that they belong to: these names are changed when the data moves.

Position deletes are Parquet with a column ``file_path``; deletion vectors are Puffin files whose footer says
``referenced-data-file`` (Iceberg table spec, "Delete Formats"; Puffin spec). Equality deletes hold values only.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_MAGIC = b"PFA1"
_TAIL = 12  # footer's length and flags, four bytes each, and the magic once more
_COMPRESSED = 1  # bit 0 of the flags: the footer is compressed
_REFERENCED = "referenced-data-file"


def move_positions(data: bytes, moved: Callable[[str], str | None], name: str) -> tuple[bytes, str, str, int]:
    """A position delete file whose rows name the data files where they are now.

    Args:
        data: The Parquet file.
        moved: Where a data file is now; ``None`` for one that was not taken along, whose rows are dropped.
        name: What the file is called in an error.

    Returns:
        The new file; the smallest and the largest name in it, empty when no row is left; and its rows.

    Raises:
        InputError: It is no Parquet, or has no column ``file_path``.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        table = file.read()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{name} is no whole Parquet file: {error}.") from error
    if "file_path" not in table.column_names:
        raise InputError(f"{name} is listed as position deletes and has no column 'file_path'.")
    where = table.column_names.index("file_path")
    field = table.schema.field(where)
    old = table.column(where).cast(pa.string())
    known = {path: moved(path) for path in pc.unique(old).to_pylist()}
    new = pa.array([known[path] for path in old.to_pylist()], pa.string())
    table = table.set_column(where, field, new.cast(field.type)).filter(new.is_valid())
    # Sorted by name and position, as the spec demands: another name may have another place in that order.
    if "pos" in table.column_names:
        table = table.sort_by([("file_path", "ascending"), ("pos", "ascending")])
    out = pa.BufferOutputStream()
    codec = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "ZSTD"
    pq.write_table(table, out, compression=codec)
    names = sorted(path for path in known.values() if path is not None)
    return out.getvalue().to_pybytes(), names[0] if names else "", names[-1] if names else "", table.num_rows


def move_vectors(data: bytes, moved: Callable[[str], str | None], name: str) -> bytes:
    """A Puffin file whose footer names the data files where they are now; blobs and their offsets stay.

    A blob whose data file was not taken along stays too, under its old name: nothing refers to it any more.

    Raises:
        InputError: It is no Puffin file, or its footer is compressed.
    """
    size, flags = struct.unpack("<iI", data[-_TAIL:-4]) if len(data) >= 2 * _TAIL else (-1, 0)
    begin = len(data) - _TAIL - size
    if size < 0 or begin < len(_MAGIC) + 4 or {data[:4], data[-4:], data[begin - 4 : begin]} != {_MAGIC}:
        raise InputError(f"{name} is no whole Puffin file.")
    if flags & _COMPRESSED:
        raise InputError(f"{name} has a compressed footer, which cannot be changed here.")
    try:
        footer = json.loads(data[begin : begin + size])
        for blob in footer["blobs"]:
            properties = blob.get("properties") or {}
            if _REFERENCED in properties:
                properties[_REFERENCED] = moved(properties[_REFERENCED]) or properties[_REFERENCED]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the footer of {name} cannot be read: {error}.") from error
    text = json.dumps(footer, ensure_ascii=True, separators=(",", ":")).encode()
    return data[:begin] + text + struct.pack("<iI", len(text), flags) + _MAGIC
