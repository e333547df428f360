"""Rows of a file some at a time are those that pyiceberg's own scan gives."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@pytest.mark.parametrize("together", [0, 2**26])  # bytes of columns: one by one, and all of them
@pytest.mark.parametrize("fetched", [0, 2**26])  # bytes: by a stream of each column, and all columns at once
@pytest.mark.parametrize("make", [plain, deleted, evolved, grouped])
def test_the_same_rows_in_small_batches(
    make: Callable[[Path], str], fetched: int, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With deletes, other schemas, a filter on a column that is not wanted, and batches smaller than row groups."""
    location = make(tmp_path)
    monkeypatch.setattr(scanning, "_BATCH_ROWS", 7)
    monkeypatch.setattr(scanning, "_FETCHED_BYTES", fetched)
    monkeypatch.setattr(scanning, "_OPEN_BYTES", together)
    number = "number" if make is evolved else "n"
    pinned = open_table(read_table_name(location))
    for where in ("", f"{number} >= 20 and {number} < 250"):
        for columns in ((), ("nested",)):
            rows = pinned.rows(where=where, columns=columns, scratch=tmp_path)
            found = [batch for task in rows.tasks for batch in rows.batches(task)]
            theirs = StaticTable.from_metadata(location).scan(
                row_filter=where or "true", selected_fields=columns or ("*",)
            )
            assert max(batch.num_rows for batch in found) <= 7
            ours = pa.Table.from_batches(found).to_pylist()
            assert sorted(map(str, theirs.to_arrow().to_pylist())) == sorted(map(str, ours))


@given(
    st.integers(0, 12).flatmap(
        lambda rows: st.lists(st.lists(st.integers(0, rows)), min_size=1, max_size=3).map(lambda cuts: (rows, cuts))
    )
)
def test_columns_that_were_cut_differently_are_joined(drawn: tuple[int, list[list[int]]]) -> None:
    """Whatever the batches of each, empty ones too."""
    rows, cuts = drawn
    columns = {
        f"c{number}": pa.array([f"{number} {row}" for row in range(rows)], pa.string()) for number in range(len(cuts))
    }
    parts = []
    for (name, column), places in zip(columns.items(), cuts, strict=True):
        ends = [0, *sorted(places), rows]
        parts.append(iter([pa.record_batch({name: column[one:two]}) for one, two in pairwise(ends)]))
    found = pa.Table.from_batches(
        scanning.side_by_side(parts), schema=pa.schema([(name, pa.string()) for name in columns])
    )
    assert pa.table(columns) == found


def test_columns_of_different_lengths_are_refused() -> None:
    """They cannot be of one row group."""
    parts = [iter([pa.record_batch({name: list(range(rows))})]) for name, rows in (("a", 2), ("b", 3))]
    with pytest.raises(ValueError, match="different numbers of rows"):
        list(scanning.side_by_side(parts))
