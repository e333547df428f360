"""Folders of Parquet files that are not alike, and types that no table has."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.names import want
from aifa_hpc.lakehouse.parquet import open_folder
from aifa_hpc.transfers import stage

if TYPE_CHECKING:
    from pathlib import Path

HOUR = datetime.timedelta(hours=1)
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ODD = pa.table(
    {
        "n": range(50),
        "kind": pa.array(["a", "b", None, "c", "d"] * 10).dictionary_encode(),
        "wide": pa.array(["x", "y"] * 25, pa.large_string()),
        "small": pa.array(range(50), pa.uint8()),
        "seconds": pa.array([(BEGIN + number * HOUR).replace(tzinfo=None) for number in range(50)], pa.timestamp("s")),
        "zoned": pa.array([BEGIN + number * HOUR for number in range(50)], pa.timestamp("us", "Europe/Helsinki")),
        "day": pa.array([BEGIN.date()] * 50, pa.date64()),
        "time": pa.array([datetime.time(number % 24) for number in range(50)], pa.time32("ms")),
        "nothing": pa.nulls(50),
        "long": pa.array([datetime.timedelta(seconds=number) for number in range(50)], pa.duration("us")),
        "a.dot": range(50),
        "qu\"o'te\n": range(50),
    }
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and state of its own."""
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"AIFA_{name}_DIR", str(tmp_path / name.lower()))
    made = tmp_path / "in"
    made.mkdir()
    return made


def chosen(folder: Path, **wanted: Any) -> pa.Table:
    """The rows and columns that arrive."""
    out = folder.parent / "out"
    stage(want(str(folder), mode="pushdown", **wanted), str(out), data_class="open")
    return pq.read_table(out / "part-00000.parquet")


@pytest.mark.parametrize(
    "where",
    [
        "kind = 'a'", "kind is null", "wide like 'x%'", "small > 40", "seconds > '2026-01-02T00:00:00'",
        "zoned > '2026-01-02T00:00:00+00:00'", "zoned > '2026-01-02T00:00:00+02:00'", "day = '2026-01-01'",
        "time < '05:00:00'", "n in (1, 2)", "not (n > 3 or kind = 'a')",
    ],
)  # fmt: skip
def test_types_that_only_arrow_has(folder: Path, where: str) -> None:
    """Beside columns that no filter can ask; DuckDB is the judge, in UTC."""
    pq.write_table(ODD, folder / "x.parquet", row_group_size=7)
    duck = duckdb.connect()
    duck.execute("SET TimeZone='UTC'")
    theirs = duck.execute(f"SELECT n FROM read_parquet('{folder}/x.parquet') WHERE {where} ORDER BY n").fetchall()

    assert [row[0] for row in theirs] == sorted(chosen(folder, where=where)["n"].to_pylist())


@pytest.mark.parametrize("where", ["long > 3", "a.dot = 3", "nothing is null", "n = 3.5", "m = 3"])
def test_filters_that_cannot_be(folder: Path, where: str) -> None:
    """They are named, with their folder."""
    pq.write_table(ODD, folder / "x.parquet")
    with pytest.raises(InputError) as caught:
        chosen(folder, where=where)
    assert str(folder) in str(caught.value)
    assert where.split(maxsplit=1)[0] in str(caught.value)


def test_every_column_arrives_by_its_name(folder: Path) -> None:
    """Whatever is in the name."""
    pq.write_table(ODD, folder / "x.parquet")
    assert ODD.column_names == chosen(folder).column_names
    for number, name in enumerate(("a.dot", "qu\"o'te\n")):
        out = folder.parent / f"out-{number}"
        stage(want(str(folder), columns=(name,)), str(out), data_class="open")
        assert [name] == pq.read_schema(out / "part-00000.parquet").names


def test_columns_that_later_files_have(folder: Path) -> None:
    """No column is lost because the first file has none of it, and whole numbers get as wide as they must."""
    pq.write_table(pa.table({"n": pa.array([1, 2], pa.int32())}), folder / "1.parquet")
    pq.write_table(pa.table({"n": pa.array([2**40], pa.int64()), "late": ["x"]}), folder / "2.parquet")
    found = chosen(folder)

    assert {"n": [1, 2, 2**40], "late": [None, None, "x"]} == found.to_pydict()
    assert pa.int64() == found.schema.field("n").type


def test_partitions_that_files_repeat(folder: Path) -> None:
    """What the folder's name and its files say of one column does not go together."""
    for day in (1, 2):
        (folder / f"day={day}").mkdir()
        pq.write_table(pa.table({"n": [day], "day": [f"day {day}"]}), folder / f"day={day}" / "x.parquet")
    with pytest.raises(InputError, match="Field day has incompatible types"):
        chosen(folder, where="day = 2")


def test_columns_that_have_nothing_in_common(folder: Path) -> None:
    """The file is named before anything is made."""
    pq.write_table(pa.table({"n": [1]}), folder / "1.parquet")
    pq.write_table(pa.table({"n": ["x"]}), folder / "2.parquet")
    with pytest.raises(InputError, match=r"2\.parquet does not go with the files before it: .*Field n"):
        chosen(folder)
    assert not (folder.parent / "out").exists()


def test_what_is_no_folder(folder: Path) -> None:
    """A file, nothing, and a folder without Parquet."""
    pq.write_table(pa.table({"n": [1]}), folder / "1.parquet")
    for path, said in ((folder / "1.parquet", "is a single file"), (folder / "2", "is not there")):
        with pytest.raises(InputError, match=said):
            chosen(path)
    (folder / "1.parquet").rename(folder / "1.data")
    with pytest.raises(InputError, match="has no Parquet file"):
        chosen(folder)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("x is nan", [2, 2]),
        ("x != 2.5", [2, 2]),
        ("x = 2.5", [0, 1, 0, 1]),
        ("x > 3", []),
        ("y > 3 and x = 2.5", []),
        ("day = 3 and x is nan", [2]),
        ("day = 5 and x is nan", []),
    ],
)
def test_a_value_and_nan_in_one_row_group_are_two(where: str, rows: list[int], tmp_path: Path) -> None:
    """Statistics know of one value only: rows of NaN are found all the same, with and without their column."""
    data = pa.table({"i": [0, 1, 2], "x": [2.5, 2.5, float("nan")], "y": [1.0, 1.0, 1.0]})
    for day in (3, 4):
        (tmp_path / f"day={day}").mkdir()
        pq.write_table(data, tmp_path / f"day={day}" / "a.parquet")
    found = open_folder("t", str(tmp_path), [f"day={day}/a.parquet" for day in (3, 4)])
    expression = found.expression(where)
    selection, chosen = found.select(where)
    assert "day" not in where or len(selection.files) == (where[6] == "3")
    for columns in (["i"], ["x", "i"]):
        batches = [batch for one in chosen for batch in found.read(one, columns, expression)]
        assert [row["i"] for batch in batches for row in batch.to_pylist()] == rows
        assert all(batch.schema.names == columns for batch in batches)
