"""A relocated snapshot has the source's rows for engines that know nothing of the source, after the source is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, LongType

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.avro import read_avro, write_avro
from aifa_hpc.lakehouse.relocate import HINT, Moved, read_metadata, relocate
from aifa_hpc.runtime import shards
from tests.lakehouse.tables import catalog, commit_deletes, data_files, deletion_vectors, local, position_delete

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pyiceberg.table import Table

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def duck() -> duckdb.DuckDBPyConnection:
    """DuckDB with its Iceberg extension from a package, so that it fetches nothing."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for module in (duckdb_extension_avro, duckdb_extension_iceberg):
        (path,) = Path(module.__file__).parent.rglob("*.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    return connection


def numbers(first: int, count: int) -> pa.Table:
    """Rows with a nested column and a name with a space."""
    found = range(first, first + count)
    return pa.table(
        {
            "n": pa.array(found, pa.int64()),
            "a group": [f"g {value % 3}" for value in found],
            "nested": [{"pair": [value, -value], "text": f"é{value}"} for value in found],
        }
    )


def plain(folder: Path) -> str:
    """Two appends."""
    table = catalog(folder).create_table("d.t", schema=numbers(0, 1).schema)
    table.append(numbers(0, 500))
    table.append(numbers(500, 100))
    return table.metadata_location


def deleted(folder: Path) -> str:
    """Position deletes over two data files."""
    table = _loaded(folder, plain)
    first, second = (file.file_path for file in data_files(table))
    return commit_deletes(table, [position_delete(table, {first: [0, 1, 99], second: [0, 50]})])


def evolved(folder: Path) -> str:
    """Columns added and renamed, other partitions later, rows deleted by rewriting, and a column after all rows."""
    cat = catalog(folder)
    table = cat.create_table("d.t", schema=numbers(0, 1).schema)
    table.append(numbers(0, 300))
    with table.update_spec() as spec:
        spec.add_field("a group", IdentityTransform(), "by group")
    with table.update_schema() as schema:
        schema.add_column("extra", DoubleType())
        schema.rename_column("n", "number")
    table.append(
        pa.table(
            {
                "number": pa.array(range(300, 400), pa.int64()),
                "a group": [f"g {value % 2}/é?" for value in range(100)],
                "nested": [{"pair": [1, 2], "text": f"{value}"} for value in range(100)],
                "extra": [value / 4 for value in range(100)],
            }
        )
    )
    with table.update_spec() as spec:
        spec.remove_field("by group")
        spec.add_field("extra", IdentityTransform(), "by extra")
    table.append(table.scan(limit=50).to_arrow())
    table.delete("number < 10")
    with table.update_schema() as schema:
        schema.add_column("late", LongType())
    return table.metadata_location


def vectors(folder: Path) -> str:
    """Format version 3: deletion vectors of two data files in one Puffin file."""
    cat = catalog(folder)
    table = cat.create_table("d.t", schema=numbers(0, 1).schema, properties={"format-version": "2"})
    table.append(numbers(0, 500))
    table.append(numbers(500, 100))
    path = local(table.metadata_location)
    document = json.loads(path.read_text()) | {"format-version": 3, "next-row-id": 600}
    for snapshot in document["snapshots"]:
        snapshot |= {"first-row-id": 0, "added-rows": 600}
    path.write_text(json.dumps(document))
    table = cat.load_table("d.t")
    first, second = (file.file_path for file in data_files(table))
    return commit_deletes(table, deletion_vectors(table, {first: [0, 7, 99], second: list(range(0, 500, 2))}))


def version_1(folder: Path) -> str:
    """Format version 1."""
    table = catalog(folder).create_table("d.t", schema=numbers(0, 1).schema, properties={"format-version": "1"})
    table.append(numbers(0, 500))
    return table.metadata_location


def elsewhere(folder: Path) -> str:
    """Data files that do not lie below the table, two of the same name."""
    table = _loaded(folder, plain)
    import pyarrow.parquet as pq  # noqa: PLC0415

    for number in range(2):
        path = folder.parent / f"far {number}" / "file.parquet"
        path.parent.mkdir()
        pq.write_table(numbers(1000 + 10 * number, 10), path)
        table.add_files([str(path)])
    return table.metadata_location


def _loaded(folder: Path, make: Callable[[Path], str]) -> Table:
    make(folder)
    return catalog(folder).load_table("d.t")


def move(
    location: str,
    root: Path,
    *,
    snapshot: int | None = None,
    only: Collection[str] | None = None,
    have: Mapping[str, int] | None = None,
    version: int = 1,
) -> Moved:
    """Makes the copy."""
    metadata = read_metadata(local(location).read_bytes(), location)

    def put(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)

    moved = relocate(
        metadata,
        snapshot or metadata["current-snapshot-id"],
        str(root),
        lambda name: local(name).read_bytes(),
        put,
        only=only,
        have=lambda: have or {},
        version=lambda _: version,
    )
    for path, origin in moved.copied.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(local(origin), root / path)
        assert moved.sizes[path] == (root / path).stat().st_size
    return moved


def rows_of(table: pa.Table) -> Rows:
    """Rows in an order of their own, comparable."""
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)


@pytest.mark.parametrize("make", [plain, deleted, evolved, vectors, version_1, elsewhere])
def test_same_rows_for_every_engine(
    make: Callable[[Path], str], tmp_path: Path, duck: duckdb.DuckDBPyConnection
) -> None:
    """By metadata file and by folder, pyiceberg and DuckDB read of the copy what DuckDB read of the source."""
    location = make(tmp_path / "a lab")
    source = rows_of(duck.execute("SELECT * FROM iceberg_scan(?)", [location]).to_arrow_table())
    root = tmp_path / "the copy"
    move(location, root)
    shutil.rmtree(tmp_path / "a lab")

    assert len(source) > 300
    assert source == rows_of(StaticTable.from_metadata(str(root)).scan().to_arrow())
    assert source == rows_of(duck.execute("SELECT * FROM iceberg_scan(?)", [str(root)]).to_arrow_table())
    assert source == rows_of(
        duck.execute("SELECT * FROM iceberg_scan(?)", [f"{root}/metadata/v1.metadata.json"]).to_arrow_table()
    )
    assert "a lab" not in "".join(path.read_text("latin-1") for path in root.rglob("*.json"))


def test_the_same_twice(tmp_path: Path) -> None:
    """The same snapshot at the same place is the same bytes, and the hint comes last."""
    location = evolved(tmp_path / "lab")
    first = move(location, tmp_path / "copy")
    kept = {path: (tmp_path / "copy" / path).read_bytes() for path in first.made}
    second = move(location, tmp_path / "copy")

    assert first == second
    assert kept == {path: (tmp_path / "copy" / path).read_bytes() for path in second.made}
    assert f"metadata/{HINT}" == list(first.made)[-1]


def test_an_earlier_snapshot_has_its_own_schema(tmp_path: Path) -> None:
    """Time travel: the rows and the columns that the table had then."""
    location = evolved(tmp_path / "lab")
    metadata = read_metadata(local(location).read_bytes(), location)
    move(location, tmp_path / "copy", snapshot=metadata["snapshots"][0]["snapshot-id"])
    copy = StaticTable.from_metadata(str(tmp_path / "copy")).scan().to_arrow()

    assert (300, ["n", "a group", "nested"]) == (copy.num_rows, copy.column_names)


@pytest.mark.parametrize(("make", "left"), [(deleted, {97, 498}), (vectors, {97, 250})])
def test_only_some_files(make: Callable[[Path], str], left: set[int], tmp_path: Path) -> None:
    """Deletes of files that are not taken along are left behind too."""
    location = make(tmp_path / "lab")
    files = [task.file.file_path for task in StaticTable.from_metadata(location).scan().plan_files()]
    counts = set()
    for number, path in enumerate(files):
        moved = move(location, tmp_path / f"{number}", only={path})
        assert [path] == list(moved.copied.values())
        counts.add(StaticTable.from_metadata(str(tmp_path / f"{number}")).scan().count())

    assert left == counts


@pytest.mark.parametrize("make", [plain, deleted, evolved, vectors, version_1, elsewhere])
def test_only_what_was_added_since(
    make: Callable[[Path], str], tmp_path: Path, duck: duckdb.DuckDBPyConnection
) -> None:
    """With what an earlier copy left, only new files move, and both copies have the rows of their snapshots."""
    location = make(tmp_path / "lab")
    root = tmp_path / "copy"
    first = move(location, root)
    before = rows_of(StaticTable.from_metadata(str(root)).scan().to_arrow())
    added = catalog(tmp_path / "lab").load_table("d.t")
    have = first.made | first.sizes
    if make is not vectors:  # pyiceberg does not write version 3
        added.append(added.scan(limit=7).to_arrow())
    second = move(added.metadata_location, root, have=have, version=2)

    assert len(second.copied) <= 1 + (make is evolved)
    assert not second.made.keys() & {path for path in have if path.endswith("-m.avro")}
    source = rows_of(duck.execute("SELECT * FROM iceberg_scan(?)", [added.metadata_location]).to_arrow_table())
    assert source == rows_of(StaticTable.from_metadata(str(root)).scan().to_arrow())
    assert source == rows_of(duck.execute("SELECT * FROM iceberg_scan(?)", [str(root)]).to_arrow_table())
    assert before == rows_of(StaticTable.from_metadata(f"{root}/metadata/v1.metadata.json").scan().to_arrow())


def test_what_cannot_be_moved_is_named(tmp_path: Path) -> None:
    """An expired snapshot, a damaged manifest, a newer format, an encrypted table: each by name."""
    location = plain(tmp_path / "lab")
    document = json.loads(local(location).read_text())
    current = document["current-snapshot-id"]

    def run(changed: dict[str, Any], snapshot: int = current) -> None:
        relocate(changed, snapshot, "/copy", lambda name: local(name).read_bytes(), lambda _path, _data: None)

    with pytest.raises(InputError, match="has no snapshot 17: it never had one, or it has expired") as caught:
        run(document, 17)
    assert str(current) in str(caught.value)
    with pytest.raises(InputError, match="the table is encrypted"):
        run(document | {"encryption-keys": [{"key-id": "1"}]})
    with pytest.raises(InputError, match="format-version 4; known here are 1, 2, 3"):
        read_metadata(json.dumps(document | {"format-version": 4}).encode(), location)
    with pytest.raises(InputError, match="is no metadata of an Iceberg table"):
        read_metadata(b"PAR1", location)
    local(document["snapshots"][-1]["manifest-list"]).write_bytes(b"cut")
    with pytest.raises(InputError, match="is no whole Avro file"):
        run(document)


def test_a_file_that_would_leave_its_table(tmp_path: Path) -> None:
    """A manifest may name any place; what is made of a name never lies outside of the copy, nor is it read there."""
    location = plain(tmp_path / "lab")
    place = json.loads(local(location).read_text())["location"]
    table = StaticTable.from_metadata(location)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    manifest = snapshot.manifests(table.io)[0].manifest_path
    file = read_avro(local(manifest).read_bytes(), manifest)
    evil = f"{place}/data/../../../evil.parquet"
    records = [entry | {"data_file": entry["data_file"] | {"file_path": evil}} for entry in file.records]
    local(manifest).write_bytes(write_avro(file, records))

    with pytest.raises(InputError, match=r"data/\.\./\.\./\.\./evil\.parquet"):
        move(location, tmp_path / "copy")
    with pytest.raises(InputError, match=r"data/\.\./\.\./\.\./evil\.parquet"):
        shards(local(location))
    assert not list(tmp_path.rglob("evil*"))
