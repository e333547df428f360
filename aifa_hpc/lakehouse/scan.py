"""Rows of a table's data file, in memory that neither the file's size nor its row groups' size decides.

pyiceberg knows schemas, filters and deletes, and has Arrow's dataset scanner read: that decodes whole row groups, many
batches ahead, and keeps what it fetched of a file. Here pyiceberg's own functions get another scanner, which reads the
wanted columns some rows at a time; some MiB remain for each column. Nothing of pyiceberg is changed: copies of two
functions find the scanner under ``ds``.
"""

from __future__ import annotations

from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


def scan_batches(scan: ArrowScan, task: FileScanTask) -> Iterator[pa.RecordBatch]:
    """The wanted rows of a data file, deletes applied; raises what pyiceberg and its store raise."""
    import pyiceberg  # noqa: PLC0415 - heavy, and only here
    from pyiceberg.io import pyarrow as reading  # noqa: PLC0415

    if not pyiceberg.__version__.startswith(_KNOWN):
        return iter(scan.to_record_batches([task]))
    scanner = SimpleNamespace(Scanner=SimpleNamespace(from_fragment=_Scanner))
    read = _with(reading._task_to_record_batches, ds=scanner)  # noqa: SLF001
    rows = _with(type(scan)._record_batches_from_scan_tasks_and_deletes, _task_to_record_batches=read)  # noqa: SLF001
    found: Iterator[pa.RecordBatch] = rows(scan, [task], reading._read_all_delete_files(scan._io, [task]))  # noqa: SLF001
    return found


class _Scanner:
    """As much of ``pyarrow.dataset.Scanner`` as pyiceberg uses, for one file."""

    def __init__(self, fragment: Any, *, schema: pa.Schema, filter: Any, columns: Sequence[str]) -> None:  # noqa: A002
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
        for piece in self._fragment.split_by_row_group(self._filter, self._schema):
            for group in piece.row_groups:
                for batch in self._read(group.id):
                    if self._filter is None:
                        yield batch
                    else:
                        yield from pa.Table.from_batches([batch]).filter(self._filter).to_batches()

    def _read(self, group: int) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and in memory by now

        metadata = self._fragment.metadata
        about = metadata.row_group(group)
        chunks = [about.column(number) for number in range(about.num_columns)]
        own = [one for one in chunks if one.path_in_schema.partition(".")[0] in self._columns]
        fetch = sum(one.total_compressed_size for one in own) <= _FETCHED_BYTES
        bytes_of_row = sum(one.total_uncompressed_size for one in own) / max(about.num_rows, 1)
        # Of values that repeat, a file says less than they take in memory: at least 8 bytes each.
        size = int(_BATCH_BYTES / max(bytes_of_row, 8 * len(own), 1))
        file = pq.ParquetFile(
            self._fragment.open(), metadata=metadata, pre_buffer=fetch, buffer_size=0 if fetch else _BUFFER_BYTES
        )
        for batch in file.iter_batches(
            batch_size=max(1, min(size, _BATCH_ROWS)), row_groups=[group], columns=self._columns
        ):
            yield batch.select(self._columns)


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
