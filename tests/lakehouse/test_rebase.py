"""A copy that nothing was changed in is read at its new place, after the old one is gone."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table import StaticTable

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.rebase import PLACES, RebasedFileIO, rebased, rebasing
from tests.lakehouse.tables import local
from tests.lakehouse.test_relocate import deleted, elsewhere, evolved, plain, rows_of, vectors, version_1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def moved(location: str, root: Path) -> str:
    """Moves the whole table as it is and returns where its metadata is then."""
    table = local(location).parents[1]
    table.rename(root)
    return f"{root}/metadata/{local(location).name}"


@pytest.mark.parametrize("make", [plain, deleted, evolved, vectors, version_1])
def test_the_same_rows_at_another_place(make: Callable[[Path], str], tmp_path: Path) -> None:
    """By itself, and by pyiceberg's own loader with the properties: deletes, nested types and old schemas included."""
    location = make(tmp_path / "a lab")
    source = StaticTable.from_metadata(location)
    rows = rows_of(source.scan().to_arrow())
    now = moved(location, tmp_path / "the copy")

    assert len(rows) > 300
    assert rows == rows_of(rebased(now).scan().to_arrow())
    properties = rebasing({source.location(): str(tmp_path / "the copy")})
    assert rows == rows_of(StaticTable.from_metadata(now, properties=properties).scan().to_arrow())
    with pytest.raises(FileNotFoundError):
        StaticTable.from_metadata(now).scan().to_arrow()


def test_a_table_that_names_its_own_reader(tmp_path: Path) -> None:
    """A table's properties say how its old place is reached, which is of no use at the new one."""
    location = plain(tmp_path / "lab")
    document = json.loads(local(location).read_text())
    document["properties"] |= {"py-io-impl": "nowhere.FileIO", PLACES: "{}"}
    local(location).write_text(json.dumps(document))

    assert 600 == rebased(moved(location, tmp_path / "copy")).scan().count()


def test_files_outside_of_the_table(tmp_path: Path) -> None:
    """They are refused by name until it is said where they went, each folder or file for itself."""
    location = elsewhere(tmp_path / "lab")
    table = StaticTable.from_metadata(location).location()
    rows = rows_of(StaticTable.from_metadata(location).scan().to_arrow())
    now = moved(location, tmp_path / "copy")
    far = tmp_path / "far 0"
    far.rename(tmp_path / "near")

    with pytest.raises(
        InputError, match=r"far \d/file\.parquet lies in none of the places .*: /.*/d/t\. Add the place"
    ):
        rebased(now).scan().to_arrow()
    places = {table: str(tmp_path / "copy"), str(far): f"{tmp_path}/near/"}
    same = {f"{tmp_path}/far 1/file.parquet": f"{tmp_path}/far 1/file.parquet"}
    assert rows == rows_of(rebased(now, places | same).scan().to_arrow())


@pytest.mark.parametrize(
    ("location", "now"),
    [
        ("s3://lab/birds/data/a.parquet", "/scratch/x/data/a.parquet"),
        ("s3a://lab/birds/data/é #1?.parquet", "/scratch/x/data/é #1?.parquet"),
        ("s3://lab/birds/data/far/b", "/flash/y/b"),
        ("s3://lab/birds", "/scratch/x"),
        ("file:///old/t/m.avro", "s3://new/t/m.avro"),
        ("file:/old/t/m.avro", "s3://new/t/m.avro"),
        ("/old/t/m.avro", "s3://new/t/m.avro"),
        ("/scratch/x/metadata/v1.metadata.json", "/scratch/x/metadata/v1.metadata.json"),
        ("file:///flash/y/b", "file:///flash/y/b"),
        ("s3://lab/birds-2/a", ""),
        ("s3://lab", ""),
        ("gs://lab/birds/a", ""),
        ("/old/t2/m.avro", ""),
    ],
)
def test_where_a_file_is_now(location: str, now: str) -> None:
    """The longest old place decides, by whole names; one spelling of a scheme stands for all; new places stay."""
    places = {"s3://lab/birds/": "/scratch/x/", "s3n://lab/birds/data/far": "/flash/y", "file:///old/t": "s3://new/t"}
    io = RebasedFileIO(rebasing(places))

    if now:
        assert now == io.now(location)
    else:
        with pytest.raises(InputError, match="lies in none of the places"):
            io.now(location)


@given(old=st.text("ab/", min_size=1), new=st.text("cd", min_size=1), rest=st.text("ab /.%"))
def test_what_lies_below_keeps_its_name(old: str, new: str, rest: str) -> None:
    """Whatever the places are called, only the beginning of a location changes."""
    io = RebasedFileIO(rebasing({f"s3://{old}x": f"/{new}"}))

    assert f"/{new}/{rest}".rstrip("/") == io.now(f"s3://{old}x/{rest}").rstrip("/")


def test_it_travels_to_other_processes(tmp_path: Path) -> None:
    """Workers of a loader get a copy by pickle."""
    table = rebased(moved(plain(tmp_path / "lab"), tmp_path / "copy"))
    table.scan().to_arrow()
    io = pickle.loads(pickle.dumps(table.io))

    assert table.io.now(f"{table.location()}/x") == io.now(f"{table.location()}/x") == f"{tmp_path}/copy/x"


def test_a_copy_is_not_written_to() -> None:
    """Neither new files nor removal."""
    io = RebasedFileIO(rebasing({"s3://lab/birds": "/scratch/x"}))

    with pytest.raises(InputError, match="is not written"):
        io.new_output("/scratch/x/a")
    with pytest.raises(InputError, match="/scratch/x/a is not deleted"):
        io.delete("/scratch/x/a")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"a": 1}', '{"a": ""}', '{"": "/a"}', '{"/": "/a"}'])
def test_no_places(text: str | None) -> None:
    """The property is named with what it must be."""
    with pytest.raises(InputError, match=r"aifa\.rebase\.places = "):
        RebasedFileIO({} if text is None else {PLACES: text})


def test_no_such_metadata(tmp_path: Path) -> None:
    """What is missing, what is no metadata, and what lies where nothing can be seen from it."""
    with pytest.raises(InputError, match=r"v1\.metadata\.json is not there"):
        rebased(f"{tmp_path}/t/metadata/v1.metadata.json")
    (tmp_path / "v1.metadata.json").write_text("{}")
    with pytest.raises(InputError, match="format-version None"):
        rebased(f"{tmp_path}/v1.metadata.json")
    (tmp_path / "v1.metadata.json").write_text('{"format-version": 2, "location": "s3://lab/birds"}')
    with pytest.raises(InputError, match="lies in no folder `metadata`"):
        rebased(f"{tmp_path}/v1.metadata.json")
