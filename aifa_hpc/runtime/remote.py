"""Parquet files behind a URL, read by ranges: only the wanted columns, many requests at once, row groups ahead of use.

A reader that goes through such a file as if it were on a disk waits for each piece before it asks for the next. A
footer says beforehand where the columns of each row group lie: they are asked for together, neighbours as one request,
large ones in several.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.runtime.folders import explained, file_system, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TAIL = 64 * 1024
"""Bytes at the end of a file that are asked for at first: most footers are shorter, and are there with one request."""

_GAP = 512 * 1024
"""Bytes between two columns that are rather read than left out: a request to a store costs about as much."""

_PIECE = 8 * 1024 * 1024
"""Bytes of one request, so that a large column comes over several connections."""

_MAGIC = b"PAR1"
_END = 8  # the length of the footer, and the magic


def open_remote(url: str) -> RemoteParquet | ArrowParquet:
    """A file behind a URL, opened.

    Raises:
        InputError: It is gone, or is no Parquet.
        TransferError: It cannot be read now.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415 - heavy, and only here

    fs, path = file_system(url)
    with explained(shown(url)):
        if isinstance(fs, pafs.PyFileSystem):
            return RemoteParquet(fs.handler.fs, path, shown(url))
        return ArrowParquet(fs.open_input_file(path), shown(url))


class ArrowParquet:
    """A file of one of Arrow's own clients, which joins ranges and asks for them at once by itself.

    As much of ``pyarrow.parquet.ParquetFile`` as reading a share needs, for several threads.
    """

    def __init__(self, file: Any, name: str) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and only here

        self._file, self._name = file, name
        self.metadata = pq.read_metadata(file)
        self.schema_arrow = self.metadata.schema.to_arrow_schema()

    def read_row_group(self, number: int, *, columns: Sequence[str]) -> Any:
        """Columns of a row group; errors as :func:`open_remote`."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and in memory by now

        with explained(self._name):
            # A reader for each, because one that fetches beforehand is not for several threads.
            file = pq.ParquetFile(self._file, metadata=self.metadata, pre_buffer=True)
            return file.read_row_group(number, columns=list(columns))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class RemoteParquet:
    """The same for a file system of fsspec's.

    Args:
        fs: The file system.
        path: Of the file.
        name: What it is called in errors.
    """

    def __init__(self, fs: Any, path: str, name: str) -> None:
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only here
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._fs, self._path, self._name = fs, path, name
        tail = fs.cat_file(path, start=-_TAIL)
        length = int.from_bytes(tail[-_END : -len(_MAGIC)], "little") + _END
        if len(tail) < length and tail.endswith(_MAGIC):
            tail = fs.cat_file(path, start=-length)
        self.metadata = pq.read_metadata(pa.BufferReader(tail))
        self.schema_arrow = self.metadata.schema.to_arrow_schema()

    def read_row_group(self, number: int, *, columns: Sequence[str]) -> Any:
        """Columns of a row group; errors as :func:`open_remote`."""
        import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now
        import pyarrow.parquet as pq  # noqa: PLC0415

        group = self.metadata.row_group(number)
        chunks = [group.column(one) for one in range(group.num_columns)]
        spans = [_span(one) for one in chunks if _wanted(one.path_in_schema, columns)]
        with explained(self._name):
            file = pq.ParquetFile(pa.PythonFile(self._fetch(spans), "r"), metadata=self.metadata)
            return file.read_row_group(number, columns=list(columns))

    def close(self) -> None:
        """Nothing is open."""

    def _fetch(self, spans: Iterable[tuple[int, int]]) -> _Held:
        wanted = joined(spans)
        found = self._fs.cat_ranges(
            [self._path] * len(wanted), [start for start, _ in wanted], [stop for _, stop in wanted], on_error="raise"
        )
        for (start, stop), data in zip(wanted, found, strict=True):
            if isinstance(data, BaseException):
                raise data
            if len(data) != stop - start:
                raise InputError(
                    f"{self._name} ends at byte {start + len(data)}: another file has taken its place since its footer"
                    " was read, or it was cut."
                )
        return _Held([start for start, _ in wanted], found)


def joined(spans: Iterable[tuple[int, int]], *, gap: int = _GAP, piece: int = _PIECE) -> list[tuple[int, int]]:
    """Ranges to ask for, such that all spans are in them: neighbours together, long ones in pieces.

    Args:
        spans: First byte and the one behind the last.
        gap: Bytes between two that are rather read than left out.
        piece: Bytes of a range, at most.
    """
    whole: list[list[int]] = []
    for start, stop in sorted(spans):
        if whole and start <= whole[-1][1] + gap:
            whole[-1][1] = max(whole[-1][1], stop)
        else:
            whole.append([start, stop])
    return [(at, min(at + piece, stop)) for start, stop in whole for at in range(start, stop, piece)]


class _Held:
    """Parts of a file that are in memory, as a file to read from."""

    closed = False

    def __init__(self, starts: Sequence[int], parts: Sequence[bytes]) -> None:
        self._starts, self._parts = starts, parts
        self._at = 0
        self._size = max((start + len(part) for start, part in zip(starts, parts, strict=True)), default=0) + _END

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes | memoryview:
        found, left = [], self._size - self._at if size < 0 else size
        while left > 0:
            number = bisect_right(self._starts, self._at) - 1
            inside = self._at - self._starts[number] if number >= 0 else -1
            if not 0 <= inside < len(self._parts[number]):
                break  # not asked for: pyarrow finds it too short and says so
            part = memoryview(self._parts[number])[inside : inside + left]
            found.append(part)
            self._at += len(part)
            left -= len(part)
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> None:
        self.closed = True


def _span(chunk: Any) -> tuple[int, int]:
    """Where a column of a row group lies: its dictionary, if it has one, and its pages behind that."""
    starts = [one for one in (chunk.dictionary_page_offset, chunk.data_page_offset) if one]
    return min(starts), min(starts) + chunk.total_compressed_size


def _wanted(path: str, columns: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in columns)
