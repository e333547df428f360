"""Rows of a file some at a time are those that pyiceberg's own scan gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable

from aifa_hpc.lakehouse import scan as scanning
from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.names import read_table_name
from tests.lakehouse.test_relocate import deleted, evolved, plain
from tests.runtime.test_deletes import grouped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_another_pyiceberg_reads_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, in batches of its own; the version that is installed for tests is one of those that are known."""
    pinned = open_table(read_table_name(plain(tmp_path)))
    rows = pinned.rows(where="", columns=())
    monkeypatch.setattr(scanning, "_BATCH_ROWS", 7)
    ours = [batch for task in rows.tasks for batch in rows.batches(task)]
    monkeypatch.setattr("pyiceberg.__version__", "0.99.0")
    theirs = [batch for task in rows.tasks for batch in rows.batches(task)]
    assert max(batch.num_rows for batch in ours) == 7 < max(batch.num_rows for batch in theirs)
    assert pa.Table.from_batches(ours) == pa.Table.from_batches(theirs)


@pytest.mark.parametrize("fetched", [0, 2**26])  # bytes: by a stream of each column, and all columns at once
@pytest.mark.parametrize("make", [plain, deleted, evolved, grouped])
def test_the_same_rows_in_small_batches(
    make: Callable[[Path], str], fetched: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With deletes, other schemas, a filter on a column that is not wanted, and batches smaller than row groups."""
    location = make(tmp_path)
    monkeypatch.setattr(scanning, "_BATCH_ROWS", 7)
    monkeypatch.setattr(scanning, "_FETCHED_BYTES", fetched)
    number = "number" if make is evolved else "n"
    pinned = open_table(read_table_name(location))
    for where in ("", f"{number} >= 20 and {number} < 250"):
        for columns in ((), ("nested",)):
            rows = pinned.rows(where=where, columns=columns)
            found = [batch for task in rows.tasks for batch in rows.batches(task)]
            theirs = StaticTable.from_metadata(location).scan(
                row_filter=where or "true", snapshot_id=pinned.snapshot_id, selected_fields=columns or ("*",)
            )
            assert max(batch.num_rows for batch in found) <= 7
            ours = pa.Table.from_batches(found).to_pylist()
            assert sorted(map(str, theirs.to_arrow().to_pylist())) == sorted(map(str, ours))
