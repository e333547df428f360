"""Results that go back into a lab's table: as one commit, once, and only where a table can be written to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.labs.writeback import append_files
from tests.lakehouse.tables import catalog

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.table import Table

    from aifa_hpc.labs.registry import LabData
    from tests.labs.conftest import Place


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """An empty table in a catalog."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/catalog/catalog.db")
    return catalog(tmp_path / "catalog").create_table("d.scores", schema=pa.schema([("n", pa.int64())]))


@pytest.fixture
def data(place: Place, scores: Table) -> LabData:
    """The data set that is this table."""
    return replace(place.data, source="iceberg:lab.d.scores")


def write(path: Path, *numbers: int) -> Path:
    """A Parquet file."""
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"n": numbers}), path)
    return path


def test_the_same_files_are_appended_once(data: LabData, scores: Table, tmp_path: Path) -> None:
    """A folder or its files, in any order, under any names; other files are another append."""
    one, two = write(tmp_path / "out" / "a.parquet", 1, 2), write(tmp_path / "out" / "b.parquet", 3)
    first = append_files(data, [tmp_path / "out"])
    again = append_files(data, [two, one.rename(tmp_path / "moved.parquet")])
    other = append_files(data, [write(tmp_path / "c.parquet", 4)])
    assert ((3, False), (3, True), (1, False)) == tuple((one.rows, one.again) for one in (first, again, other))
    assert first.snapshot_id == again.snapshot_id
    assert [1, 2, 3, 4] == sorted(scores.refresh().scan().to_arrow()["n"].to_pylist())
    assert 2 == len(scores.snapshots())


def test_a_token_is_the_callers(data: LabData, scores: Table, tmp_path: Path) -> None:
    """With two tokens the same rows are two appends, with one they are one, whatever the files hold."""
    file = write(tmp_path / "a.parquet", 1)
    done = [append_files(data, [file], token=token) for token in ("x", "y")]
    write(file, 9)
    assert [False, False, True] == [one.again for one in (*done, append_files(data, [file], token="y"))]
    assert 2 == scores.refresh().scan().count()


@pytest.mark.parametrize("source", ["s3://bucket/x", "iceberg:lab.d.scores@v1", "parquet:/x", "/x/v1.metadata.json"])
def test_what_cannot_be_appended_to_is_refused(data: LabData, source: str, tmp_path: Path) -> None:
    """Only the present state of a table in a catalog can."""
    with pytest.raises(InputError, match="cannot be appended to: it is"):
        append_files(replace(data, source=source), [write(tmp_path / "a.parquet", 1)])


def test_what_is_not_there_or_does_not_fit_is_refused(data: LabData, scores: Table, tmp_path: Path) -> None:
    """And nothing is appended."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no Parquet")
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "other.parquet")
    for name, told in (
        ("gone.parquet", "there is no file"),
        ("empty", "has no Parquet files"),
        ("text.parquet", "cannot be read together"),
        ("other.parquet", "do not fit"),
    ):
        with pytest.raises(InputError, match=told):
            append_files(data, [tmp_path / name])
    assert [] == scores.refresh().snapshots()
