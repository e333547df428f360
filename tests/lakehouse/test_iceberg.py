"""A table is opened at the snapshot that was meant, and only the files that a query needs are chosen."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType

from aifa_hpc.errors import InputError, SiteError
from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.names import read_table_name
from tests.lakehouse.tables import catalog, local

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.table import Table


def part(day: int, first: int) -> pa.Table:
    """A hundred rows of one day."""
    return pa.table({"n": range(first, first + 100), "day": [day] * 100})


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Three snapshots of a table partitioned by day, the first one tagged; its catalog is configured as users do it."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/catalog.db")
    made = catalog(tmp_path).create_table("d.t", schema=part(0, 0).schema)
    with made.update_spec() as spec:
        spec.add_field("day", IdentityTransform())
    made.append(pa.concat_tables([part(1, 0), part(2, 100)]))
    first = made.current_snapshot()
    assert first is not None
    made.manage_snapshots().create_tag(first.snapshot_id, "v1").commit()
    made.append(part(3, 200))
    made.append(part(3, 300))
    return made


def test_when(table: Table) -> None:
    """By tag, by branch, by number, by time, and now: each the snapshot that it names."""
    ids = [one.snapshot_id for one in table.snapshots()]
    second = datetime.datetime.fromtimestamp(table.snapshots()[1].timestamp_ms / 1000, datetime.UTC)
    names = {"": ids[2], "@v1": ids[0], "@main": ids[2], f"@{ids[1]}": ids[1], f"@{second.isoformat()}": ids[1]}

    for when, expected in names.items():
        assert expected == open_table(read_table_name(f"iceberg:lab.d.t{when}")).snapshot_id
        assert expected == open_table(read_table_name(f"{table.metadata_location}{when}")).snapshot_id


def test_only_the_files_that_may_match(table: Table) -> None:
    """Partitions and the statistics of files leave out what cannot hold a row that is asked for."""
    pinned = open_table(read_table_name("iceberg:lab.d.t"))
    whole = pinned.select()
    days = pinned.select(where="day = 3")
    rows = pinned.select(where="n >= 350 and day > 0", columns=["n"])

    assert (4, 400, 0) == (len(whole.files), whole.rows, whole.avoided)
    assert (2, 200, whole.bytes) == (len(days.files), days.rows, days.all_bytes)
    assert (1, 100) == (len(rows.files), rows.rows)
    assert whole.bytes - rows.bytes == rows.avoided
    assert 2 == len(open_table(read_table_name("iceberg:lab.d.t@v1")).select().files)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iceberg:lab.d.nothing", "the catalog has no such table"),
        ("iceberg:lab.e.t", "the catalog has no such table"),
        ("iceberg:lap.d.t", "PYICEBERG_CATALOG__NAME__URI"),
        ("iceberg:lab.d.t@17", "there is no snapshot 17: it never was, or it has expired"),
        ("iceberg:lab.d.t@v2", "It has main, v1"),
        ("iceberg:lab.d.t@1999-01-01", "had no snapshot at 1999-01-01"),
        ("/nowhere/x.metadata.json", "the file is gone"),
    ],
)
def test_what_cannot_be_opened_is_named(table: Table, name: str, said: str) -> None:
    """Catalog, table, snapshot: what is wrong and what there is instead."""
    with pytest.raises(InputError, match=said):
        open_table(read_table_name(name))


def test_a_query_that_cannot_be(table: Table) -> None:
    """A column that does not exist and a filter that is none are refused before anything is moved."""
    pinned = open_table(read_table_name("iceberg:lab.d.t"))
    with pytest.raises(InputError, match=r"no column 'dey'.* Did you mean 'day'"):
        pinned.select(columns=["dey"])
    with pytest.raises(InputError, match=r"'dey = 1': iceberg:lab.*no column 'dey'.* Did you mean 'day'"):
        pinned.select(where="dey = 1")
    with pytest.raises(InputError, match="the filter 'day ==' cannot be read from character 1"):
        pinned.select(where="day ==")


def test_names_of_columns_are_those_of_the_snapshot(table: Table) -> None:
    """In filters as in columns; the present snapshot has the table's present names, and so has its copy."""
    with table.update_schema() as schema:
        schema.rename_column("n", "number")
        schema.add_column("late", LongType())
    now = open_table(read_table_name("iceberg:lab.d.t"))
    then = open_table(read_table_name("iceberg:lab.d.t@v1"))
    found = [
        one.rows(where=where, columns=columns).schema.names
        for one, where, columns in ((now, "number < 5", ()), (now, "", ("late",)), (then, "n < 5", ()))
    ]

    assert [["number", "day", "late"], ["late"], ["n", "day"]] == found
    assert 1 == len(then.select(where="n >= 100").files)
    for pinned, where in ((now, "n < 5"), (then, "number < 5")):
        with pytest.raises(InputError, match="no column"):
            pinned.select(where=where)


def test_files_that_went_away(table: Table) -> None:
    """A manifest that is gone from under its snapshot is named, with what may have happened."""
    pinned = open_table(read_table_name("iceberg:lab.d.t"))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    local(snapshot.manifest_list).unlink()
    with pytest.raises(InputError, match=r"snap-.*the file is gone|the file is gone.*snap-"):
        pinned.select()
    with pytest.raises(InputError, match="may have expired"):
        pinned.read(snapshot.manifest_list)


def test_a_catalog_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database that cannot be opened is the site's trouble and not the user's."""
    monkeypatch.setenv("PYICEBERG_CATALOG__GONE__URI", f"sqlite:///{tmp_path}/no/such/folder/catalog.db")
    with pytest.raises(SiteError, match=r"iceberg:gone\.d\.t: OperationalError"):
        open_table(read_table_name("iceberg:gone.d.t"))


def test_rows_come_before_all_of_a_file_is_read(table: Table) -> None:
    """A large file needs not fit into memory: its first rows are there, though its last ones cannot be read."""
    (path,) = (local(task.file.file_path) for task in table.scan("day = 1").plan_files())
    rows = pq.read_table(path)
    pq.write_table(rows, path, row_group_size=1, use_dictionary=False, data_page_version="1.0")
    last = pq.read_metadata(path).row_group(99).column(0)
    data = bytearray(path.read_bytes())
    data[last.data_page_offset : last.data_page_offset + last.total_compressed_size] = (
        b"\xff" * last.total_compressed_size
    )
    path.write_bytes(data)
    found = open_table(read_table_name("iceberg:lab.d.t")).rows(where="day = 1", columns=["n"])
    batches = found.batches(found.tasks[0])

    assert 0 == next(batches)["n"][0].as_py()
    with pytest.raises((InputError, SiteError), match=path.name):
        list(batches)
