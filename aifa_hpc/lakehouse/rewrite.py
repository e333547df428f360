"""Writes chosen rows and columns as few, large Parquet files, so that only these are moved.

Lustre and GPFS like large files and large reads (LUMI and JUPITER both count files against a quota), so files reach
about :data:`FILE_BYTES` of what was read and row groups :data:`GROUP_BYTES` of Arrow memory: large enough for one
streaming read each, small enough to be dealt to ranks.

Each file is made of inputs that are known beforehand, and gets its name when it is whole: what a killed run had made is
not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

FILE_BYTES = 2**30
GROUP_BYTES = 64 * 2**20

_AHEAD = 4
_SMALL = 32 * 2**20
"""Inputs of at most so many bytes are read several at a time: what is in memory stays below some row groups."""

_KEPT_SECONDS = 7 * 24 * 3600.0
"""What interrupted runs had made is kept that long."""

_PARTIAL = ".partial"
_ABANDONED_SECONDS = 24 * 3600.0
"""Nobody writes any more to an unfinished file that did not grow that long."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Input(Generic[T]):
    """A file that rows are read from.

    Attributes:
        size: Bytes that will be read of it, about.
        key: What :func:`rewrite`'s ``read`` takes.
    """

    size: int
    key: T


def rewrite(
    inputs: Sequence[Input[T]],
    schema: pa.Schema,
    read: Callable[[T], Iterable[pa.RecordBatch]],
    folder: Path,
    *,
    about: dict[str, Any],
    told: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Makes the files, or finds them made.

    Args:
        inputs: In an order that is the same for the same question.
        schema: Of the result.
        read: Gives the rows of an input that are wanted.
        folder: Where files are made; named after the question (see :func:`spool`).
        about: Written into each file's metadata: where it came from.
        told: Told how far it is.

    Returns:
        Files in order, in ``folder``; at least one, even without any row.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and only for tables

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in folder.glob(f"*{_PARTIAL}"):
        if _is_older(old, _ABANDONED_SECONDS):
            old.unlink(missing_ok=True)
    groups = list(_groups(inputs))
    made = []
    for number, group in enumerate(groups):
        path = folder / f"part-{number:05d}.parquet"
        nothing = path.with_suffix(".empty")
        if not path.exists() and not nothing.exists():
            told(f"reading {show_size(sum(one.size for one in group))} for file {number + 1} of {len(groups)}")
            # Its own name: syncs to two sites may ask the same at the same time.
            partial = path.with_suffix(f".{secrets.token_hex(4)}{_PARTIAL}")
            try:
                with pq.ParquetWriter(partial, _with(schema, about), compression="zstd") as writer:
                    rows = 0
                    for table in _row_groups(_ahead(group, read), schema):
                        writer.write_table(table, row_group_size=max(table.num_rows, 1))
                        rows += table.num_rows
                        del table  # not kept while the next one is gathered
                if rows or not number:
                    partial.replace(path)
                else:
                    nothing.touch()
            finally:
                partial.unlink(missing_ok=True)
        if path.exists():
            made.append(path)
    return made


def spool(base: Path, question: object) -> Path:
    """The folder for the files of a question; what others left there long ago is removed.

    Args:
        base: Where such folders are.
        question: All that decides what is made; JSON.
    """
    name = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    if base.is_dir():
        for old in base.iterdir():
            if old.name != name and _is_older(old, _KEPT_SECONDS):
                shutil.rmtree(old, ignore_errors=True)
    found = base / name
    if found.is_dir():
        os.utime(found)
    return found


def _is_older(path: Path, seconds: float) -> bool:
    """Whether it was not changed for so long; what somebody else removed meanwhile was not."""
    try:
        return time.time() - path.stat().st_mtime > seconds
    except FileNotFoundError:
        return False


def _groups(inputs: Sequence[Input[T]]) -> Iterator[list[Input[T]]]:
    group: list[Input[T]] = []
    size = 0
    for one in inputs:
        if group and size + one.size > FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(one)
        size += one.size
    yield group


def _ahead(group: Sequence[Input[T]], read: Callable[[T], Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Rows of inputs in their order; small ones are read several at a time, because each costs ways to its store."""
    coming: deque[Callable[[], Iterable[pa.RecordBatch]]] = deque()
    pool = ThreadPoolExecutor(_AHEAD)
    try:
        for one in group:
            small = one.size <= _SMALL
            coming.append(pool.submit(lambda key: list(read(key)), one.key).result if small else partial(read, one.key))
            if len(coming) == _AHEAD:
                yield from coming.popleft()()
        for rows in coming:
            yield from rows()
    finally:
        pool.shutdown(cancel_futures=True)


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables

    held: list[pa.Table] = []
    size = 0
    for batch in batches:
        if batch.num_rows:
            held.append(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
            size += held[-1].nbytes
        if size >= GROUP_BYTES:
            group = [pa.concat_tables(held)]
            held, size = [], 0
            yield group.pop()  # and not a name that holds it while the next one is gathered
    if held:
        yield pa.concat_tables(held)


def _with(schema: pa.Schema, about: dict[str, Any]) -> pa.Schema:
    return schema.with_metadata({"aifa": json.dumps(about, sort_keys=True)})
