"""Rows of a table that are deleted beside their data files: one bit for each row of a file, set where it is deleted.

Position deletes are Parquet files of names and positions, deletion vectors are bitmaps in Puffin files (Iceberg table
spec, "Delete Formats"). As bits these are 12 MiB for 100 million rows of files that have deleted ones, however many
files say so; memory holds :data:`_READERS` such files beside them.
"""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.runtime.vectors import byte_count, set_bits, vector_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_READERS = 16
"""Files of deletes that are read at a time: they are small and may be far away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A data file of a table.

    Attributes:
        path: Relative to the data set.
        rows: How many the table says it has, deleted ones included.
        sequence: Of the commit that added it.
    """

    path: str
    rows: int
    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletes:
    """A position delete file, or one vector of a Puffin file.

    Attributes:
        path: Relative to the data set.
        sequence: Of the commit that added it; data files of later commits are not concerned.
        data_file: Location of the only data file that it is about, if it says so.
        vector: First byte and number of bytes of the vector; ``None`` for a position delete file.
    """

    path: str
    sequence: int
    data_file: str | None
    vector: tuple[int, int] | None


def deleted_rows(
    files: Mapping[str, DataFile], deletes: Iterable[Deletes], read: Callable[[str], bytes]
) -> dict[str, bytes]:
    """The bits of all data files that have deleted rows, by their paths.

    Args:
        files: The table's data files by their locations.
        deletes: What deletes rows of them.
        read: Gives all bytes of a file, by its path.

    Raises:
        InputError: A file of deletes is damaged, or deletes rows that its data file does not have.
    """
    reading = _Reading(files, read)
    vectors: dict[str, list[Deletes]] = {}
    positions: list[Deletes] = []
    for one in deletes:
        if one.data_file is not None and not _concerns(one, files.get(one.data_file)):
            continue
        if one.vector is None:
            positions.append(one)
        else:
            vectors.setdefault(one.path, []).append(one)
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(reading.add_vectors, vectors, vectors.values()))
        list(pool.map(reading.add_positions, positions))
    return {path: bytes(found) for path, found in reading.bits.items()}


class _Reading:
    def __init__(self, files: Mapping[str, DataFile], read: Callable[[str], bytes]) -> None:
        self.bits: dict[str, bytearray] = {}
        self._files, self._read = files, read
        self._by_vector: set[str] = set()
        self._lock = threading.Lock()  # bits of one data file may come out of several files

    def add_vectors(self, path: str, vectors: Iterable[Deletes]) -> None:
        data = self._read(path)
        for one in vectors:
            assert one.data_file is not None
            assert one.vector is not None
            file, (first, size) = self._files[one.data_file], one.vector
            try:
                found = vector_bits(data[first : first + size], file.rows)
            except (ValueError, OverflowError, IndexError, struct.error) as error:
                raise InputError(f"{path} deletes rows of {file.path}, and cannot be read: {error}.") from error
            with self._lock:
                self.bits[file.path] = found
                self._by_vector.add(one.data_file)

    def add_positions(self, deletes: Deletes) -> None:
        data = self._read(deletes.path)
        for location, found in _positions(data, deletes.path):
            file = self._files.get(location)
            # A vector says all that is deleted of its data file: positions count no more (spec, "Scan Planning").
            if file is None or not _concerns(deletes, file) or location in self._by_vector:
                continue
            if min(found) < 0 or max(found) >= file.rows:
                raise InputError(f"{deletes.path} deletes rows that {file.path} does not have: it has {file.rows}.")
            with self._lock:
                set_bits(self.bits.setdefault(file.path, bytearray(byte_count(file.rows))), found)


def kept(bits: bytes, first: int, rows: int) -> Any:
    """Which of neighbouring rows of a file are not deleted, as an Arrow array of booleans.

    Args:
        bits: Of the file.
        first: The first of the rows.
        rows: How many.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now
    import pyarrow.compute as pc  # noqa: PLC0415

    return pc.invert(pa.Array.from_buffers(pa.bool_(), rows, [None, pa.py_buffer(bits)], offset=first))


def require_rows(name: str, bits: bytes, rows: int) -> None:
    """Refuses bits that are of another file.

    Raises:
        InputError: The file has not as many rows as the table says.
    """
    if len(bits) != byte_count(rows):
        raise InputError(
            f"{name} has {rows} rows, and the table that deletes some of them says otherwise: it is another file.",
            hint="`aifa stage verify` says what is damaged, and can fetch it again.",
        )


def _positions(data: bytes, name: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Locations of data files, and rows of each that a position delete file deletes."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only here
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if missing := {"file_path", "pos"} - set(file.schema_arrow.names):
            raise InputError(f"{name} is listed as position deletes and has no column {min(missing)!r}.")
        for batch in file.iter_batches(columns=["file_path", "pos"]):
            if batch["file_path"].null_count or batch["pos"].null_count:
                raise InputError(f"{name} is listed as position deletes and has rows without a name or a position.")
            runs = pc.run_end_encode(batch["file_path"].cast(pa.string()))
            first = 0
            for location, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                yield location, batch["pos"].slice(first, end - first).to_pylist()
                first = end
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{name} is no whole Parquet file: {error}.") from error


def _concerns(deletes: Deletes, file: DataFile | None) -> bool:
    """Whether a data file is one whose rows are deleted: there, and not added later."""
    return file is not None and file.sequence <= deletes.sequence
