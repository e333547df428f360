"""Arrow batches of a rank's rows, read ahead by a thread, resumable from the row where training stopped.

Row groups behind a URL are fetched several at a time, because each costs a way there and back. Needs pyarrow, which is
imported when reading begins.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aifa_hpc.errors import InputError
from aifa_hpc.runtime.deletes import kept
from aifa_hpc.runtime.folders import is_url
from aifa_hpc.runtime.remote import open_remote
from aifa_hpc.runtime.shares import between

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from aifa_hpc.runtime.folders import Root
    from aifa_hpc.runtime.shares import Rows

_LOOK_SECONDS = 0.1
"""How often the reading thread looks whether anybody still wants what it has read."""

_FETCHED = 8
"""Row groups behind a URL that are fetched at a time; memory holds as many."""

_FOOTERS = 64
"""Footers of such files that are kept: in the order of an epoch row groups of one file do not follow each other."""


class Batches:
    """An iterator of ``pyarrow.RecordBatch``; close it, or leave its ``with``, when it is not read to its end.

    Args:
        root: Folder of the data set, or its URL.
        line: The rows, in their order.
        columns: Names; all by default.
        names: Of a table, its columns' names by the ids that its files have them under; else files' names count.
        deleted: Of a table, which rows of its files are deleted; ``line`` does not count these.
        size: Rows of a batch; the last one may be shorter.
        ahead: Batches that are read before they are asked for. Memory holds these and one row group; of
            files behind a URL eight row groups.
        start: Rows to leave out at the beginning, because they were read before.
    """

    def __init__(
        self,
        root: Root,
        line: Sequence[Rows],
        *,
        columns: Sequence[str] | None = None,
        names: Mapping[int, str] | None = None,
        deleted: Mapping[str, bytes] | None = None,
        size: int = 1024,
        ahead: int = 2,
        start: int = 0,
    ) -> None:
        if size < 1 or ahead < 1:
            raise InputError(f"size = {size} and ahead = {ahead} must be at least 1.")
        self.position = start
        """Rows given so far, from the beginning of this rank's share: what a checkpoint remembers."""
        self._root = root
        self._line = between(line, start, sum(map(len, line)))
        self._columns = None if columns is None else list(columns)
        self._names = names
        self._deleted = deleted or {}
        self._size = size
        self._ready: queue.Queue[Any] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="aifa-batches")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        item = self._ready.get()
        if item is None or isinstance(item, BaseException):
            self.close()
            if item is not None:
                raise item
            raise StopIteration
        self.position += item.num_rows
        return item

    def close(self) -> None:
        """Ends reading; what was read ahead is dropped."""
        self._ended = True
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for batch in self._batches():
                if not self._give(batch):
                    return
            self._give(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the batch is asked for
            self._give(error)

    def _give(self, item: Any) -> bool:
        # No daemon: Python stops those at its end where they are, and closing a reader that is left over would wait.
        while not self._stop.is_set() and threading.main_thread().is_alive():
            try:
                self._ready.put(item, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def _batches(self) -> Iterator[Any]:
        """Tables of row groups to batches of the same size, across the borders of row groups and files."""
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only here

        waiting = None
        for table in self._tables():
            waiting = table if waiting is None else pa.concat_tables([waiting, table])
            whole = waiting.num_rows - waiting.num_rows % self._size
            for first in range(0, whole, self._size):
                yield _one(waiting.slice(first, self._size))
            waiting = waiting.slice(whole)
        if waiting is not None and waiting.num_rows:
            yield _one(waiting)

    def _tables(self) -> Iterator[Any]:
        first = None
        for rows, table in self._fetched() if is_url(self._root) else self._read():
            first = first or (rows.path, table.schema)
            _require_same(rows.path, table.schema, *first)
            yield table.slice(rows.start, len(rows))

    def _read(self) -> Iterator[tuple[Rows, Any]]:
        """Row groups one after the other; what the system reads ahead of a file is used."""
        path, file = "", None
        try:
            for rows in self._line:
                if rows.path != path:
                    if file is not None:
                        file.close()
                    path, file = rows.path, open_parquet(self._root, rows.path)
                yield rows, self._group(file, rows)
        finally:
            if file is not None:
                file.close()

    def _fetched(self) -> Iterator[tuple[Rows, Any]]:
        """Row groups in their order, several of them on their way."""
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only for data behind a URL

        opened = functools.lru_cache(_FOOTERS)(functools.partial(open_parquet, self._root))
        coming: deque[tuple[Rows, Future[Any]]] = deque()
        pool = ThreadPoolExecutor(_FETCHED)
        try:
            for rows in self._line:
                coming.append((rows, pool.submit(lambda one: self._group(opened(one.path), one), rows)))
                if len(coming) == _FETCHED:
                    before, future = coming.popleft()
                    yield before, future.result()
            for before, future in coming:
                yield before, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _group(self, file: Any, rows: Rows) -> Any:
        """The wanted columns of a row group, under the names that they are wanted by, without its deleted rows."""
        own = self._columns_of(file, rows.path)
        table = file.read_row_group(rows.group, columns=list(own.values())).select(list(own.values()))
        if bits := self._deleted.get(rows.path):
            first = sum(file.metadata.row_group(before).num_rows for before in range(rows.group))
            table = table.filter(kept(bits, first, table.num_rows))
        return table.rename_columns(list(own))

    def _columns_of(self, file: Any, path: str) -> dict[str, str]:
        """The columns to read of a file: what they are called to what they are called in it."""
        known = {}
        for field in file.schema_arrow:
            number = (field.metadata or {}).get(b"PARQUET:field_id")
            if self._names is None or number is None:
                known[field.name] = field.name
            elif int(number) in self._names:
                known[self._names[int(number)]] = field.name
        if self._columns is None:
            return known
        missing = [name for name in self._columns if name not in known]
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(map(repr, missing))}.", hint=f"It has {', '.join(known)}."
            )
        return {name: known[name] for name in self._columns}


def _require_same(path: str, schema: Any, first_path: str, first: Any) -> None:
    """Files whose columns differ are not mixed; a table's older files lack what was added since."""
    if schema.equals(first):
        return
    of, other = [dict(zip(one.names, map(str, one.types), strict=True)) for one in (schema, first)]
    names = [name for name in {**of, **other} if of.get(name) != other.get(name)] or schema.names
    raise InputError(
        f"{path} and {first_path} differ in their columns {', '.join(map(repr, names))}: rows of one batch are alike.",
        hint="Read columns that all files have alike, or let `aifa stage copy ... --mode pushdown` write them as one.",
    )


def open_parquet(root: Root, path: str) -> Any:
    """A file of a data set, opened.

    Raises:
        InputError: It is gone, may not be read, or is no Parquet.
        TransferError: A file behind a URL cannot be read now.
    """
    if is_url(root):
        return open_remote(f"{root}/{path}")
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only here
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pq.ParquetFile(Path(root) / path)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # Arrow sets no strerror
        raise InputError(
            f"{root}/{path} cannot be read: {why}.",
            hint="`aifa stage verify` says what is missing or damaged, and can fetch it again.",
        ) from error
    except pa.ArrowInvalid as error:
        raise InputError(f"{root}/{path} is no whole Parquet file: {error}.") from error


def _one(table: Any) -> Any:
    """A table as a single batch."""
    return table.combine_chunks().to_batches()[0]
