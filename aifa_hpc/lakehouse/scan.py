"""Rows of a table's data file, in memory that neither the file's size nor its row groups' size decides.

pyiceberg knows schemas, filters and deletes, and has Arrow's dataset scanner read: that decodes whole row groups, many
batches ahead, and keeps what it fetched of a file. Here pyiceberg's own functions get another scanner, which reads the
wanted columns some rows at a time. That still takes some MiB for each column, its dictionary and a page in two forms:
so of many columns some are read at a time, and what they hold waits in files until the others are there, too. Nothing
of pyiceberg is changed: copies of two functions find the scanner under ``ds``.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

from aifa_hpc.lakehouse.groups import row_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from pyiceberg.io.pyarrow import ArrowScan
    from pyiceberg.table import FileScanTask

_KNOWN = "0.12."
"""Versions of pyiceberg whose insides are known here. With any other its own scan reads, which takes more memory."""
_BATCH_BYTES = 16 * 2**20
_BATCH_ROWS = 131_072
_FETCHED_BYTES = 64 * 2**20
"""Wanted columns of a row group of at most so many bytes are fetched at once: from a store that is one way there."""
_BUFFER_BYTES = 2**18
_COLUMN_BYTES = 5 * 2**20
"""Reading a column takes about that, or as much as there is of it: measured with pages of 1 MiB, dictionaries of 2."""
_OPEN_BYTES = 64 * 2**20
"""What columns that are read at a time may take."""


def scan_batches(scan: ArrowScan, task: FileScanTask, *, scratch: Path | None = None) -> Iterator[pa.RecordBatch]:
    """The wanted rows of a data file, deletes applied; raises what pyiceberg and its store raise.

    Args:
        scan: What is wanted.
        task: The file.
        scratch: Where files without a name may be; the system's place for them by default, which may be memory.
    """
    import pyiceberg  # noqa: PLC0415 - heavy, and only here
    from pyiceberg.io import pyarrow as reading  # noqa: PLC0415

    if not pyiceberg.__version__.startswith(_KNOWN):
        return iter(scan.to_record_batches([task]))
    scanner = SimpleNamespace(Scanner=SimpleNamespace(from_fragment=partial(_Scanner, scratch)))
    read = _with(reading._task_to_record_batches, ds=scanner)  # noqa: SLF001
    rows = _with(type(scan)._record_batches_from_scan_tasks_and_deletes, _task_to_record_batches=read)  # noqa: SLF001
    found: Iterator[pa.RecordBatch] = rows(scan, [task], reading._read_all_delete_files(scan._io, [task]))  # noqa: SLF001
    return found


class _Scanner:
    """As much of ``pyarrow.dataset.Scanner`` as pyiceberg uses, for one file."""

    def __init__(
        self,
        scratch: Path | None,
        fragment: Any,
        *,
        schema: pa.Schema,
        filter: Any,  # noqa: A002 - pyarrow calls it so
        columns: Sequence[str],
    ) -> None:
        self._scratch = scratch
        self._fragment, self._schema, self._filter, self._columns = fragment, schema, filter, list(columns)

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Rows in their order."""
        import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now
        import pyarrow.dataset as ds  # noqa: PLC0415

        if not isinstance(self._fragment, ds.ParquetFileFragment):
            whole = ds.Scanner.from_fragment(
                self._fragment, schema=self._schema, filter=self._filter, columns=self._columns
            )
            yield from whole.to_batches()
            return
        for number in row_groups(self._fragment, self._filter, self._schema):
            for batch in self._read(number):
                if self._filter is None:
                    yield batch
                else:
                    yield from pa.Table.from_batches([batch]).filter(self._filter).to_batches()

    def _read(self, group: int) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and in memory by now

        about = self._fragment.metadata.row_group(group)
        chunks: dict[str, list[Any]] = {}
        for number in range(about.num_columns):
            one = about.column(number)
            chunks.setdefault(one.path_in_schema.partition(".")[0], []).append(one)
        own = [one for name in self._columns for one in chunks.get(name, ())]
        bytes_of_row = sum(one.total_uncompressed_size for one in own) / max(about.num_rows, 1)
        # Of values that repeat, a file says less than they take in memory: at least 8 bytes each.
        size = max(1, min(int(_BATCH_BYTES / max(bytes_of_row, 8 * len(own), 1)), _BATCH_ROWS))

        def decode(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
            fetch = sum(one.total_compressed_size for name in names for one in chunks.get(name, ())) <= _FETCHED_BYTES
            buffer = 0 if fetch else _BUFFER_BYTES
            # Not closed: of a file that pyiceberg has opened it is that file itself.
            stream = self._fragment.open()
            file = pq.ParquetFile(stream, metadata=self._fragment.metadata, pre_buffer=fetch, buffer_size=buffer)
            for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=names):
                yield batch.select(names)

        takes = {
            name: sum(min(one.total_uncompressed_size, _COLUMN_BYTES) for one in chunks.get(name, ()))
            for name in self._columns
        }
        some = list(_shared_out(takes, _OPEN_BYTES))
        if len(some) == 1:
            yield from decode(self._columns)
            return
        with ExitStack() as stack:
            aside = [
                _put_aside(decode(names), stack.enter_context(tempfile.TemporaryFile(dir=self._scratch)))
                for names in some
            ]
            for batch in side_by_side(aside):
                yield batch.select(self._columns)


def _shared_out(takes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Columns in their order, together as many as take no more than so many bytes; at least one at a time."""
    names: list[str] = []
    size = 0
    for name, own in takes.items():
        if names and size + own > most:
            yield names
            names, size = [], 0
        names.append(name)
        size += own
    yield names


def _put_aside(batches: Iterable[pa.RecordBatch], file: IO[bytes]) -> Iterator[pa.RecordBatch]:
    """The batches, from a file that was written by now."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now

    writer = None
    for batch in batches:
        writer = writer or pa.ipc.new_stream(file, batch.schema)
        writer.write_batch(batch)
    if writer is None:
        return iter(())
    writer.close()
    file.seek(0)
    return iter(pa.ipc.open_stream(file))


def side_by_side(parts: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Batches of all columns from batches of some each, which may be cut differently.

    Raises:
        ValueError: They do not have the same number of rows.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now

    held: list[pa.RecordBatch | None] = [None] * len(parts)
    while True:
        for number, part in enumerate(parts):
            if not held[number]:
                held[number] = next(filter(None, part), None)
        found = [one for one in held if one is not None]
        if not found:
            return
        if len(found) < len(parts):
            raise ValueError("columns of one row group have different numbers of rows")
        rows = min(one.num_rows for one in found)
        cut = [one.slice(0, rows) for one in found]
        yield pa.RecordBatch.from_arrays(
            [column for one in cut for column in one.columns],
            schema=pa.schema([field for one in cut for field in one.schema]),
        )
        held = [one.slice(rows) for one in found]


def _with(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """A copy of a function to which some names of its module mean something else."""
    assert isinstance(function, FunctionType)
    made = FunctionType(
        function.__code__,
        function.__globals__ | names,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made
