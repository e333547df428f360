"""Files of chosen rows, made by several processes, killed ones among them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aifa_hpc.lakehouse.rewrite import Input, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = pa.table({"n": range(1000)})


def make(folder: Path, read: object = lambda _: ROWS.to_batches()) -> list[Path]:
    """The files of one input."""
    return rewrite([Input(size=2**30, key="x")], ROWS.schema, read, folder, about={})  # type: ignore[arg-type]


def test_two_at_once_make_whole_files(tmp_path: Path) -> None:
    """Syncs of one question to two sites: the second one begins and ends while the first one writes."""
    seen = []

    def read(_: str) -> Iterator[pa.RecordBatch]:
        yield from ROWS.slice(0, 500).to_batches()
        seen.append(pq.read_table(make(tmp_path)))
        yield from ROWS.slice(500).to_batches()

    (path,) = make(tmp_path, read)
    assert [ROWS, ROWS] == [seen[0].cast(ROWS.schema), pq.read_table(path).cast(ROWS.schema)]
    assert [path] == list(tmp_path.iterdir())


def test_what_was_not_finished_goes(tmp_path: Path) -> None:
    """At once where it failed; after a day where its process was killed."""

    def fail(_: str) -> Iterator[pa.RecordBatch]:
        yield from ROWS.to_batches()
        raise OSError("the store is gone")

    old, young = tmp_path / "part-00000.0123.partial", tmp_path / "part-00000.4567.partial"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    with pytest.raises(OSError, match="gone"):
        make(tmp_path, fail)
    assert [young] == list(tmp_path.iterdir())
    (made,) = make(tmp_path)
    assert 1000 == pq.read_metadata(made).num_rows
