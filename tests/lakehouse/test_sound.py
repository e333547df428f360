"""Tables that say of their files what cannot be, or what is not theirs to say."""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import fastavro
import pyarrow as pa
import pytest

from aifa_hpc.errors import AifaError, InputError
from aifa_hpc.lakehouse.names import want
from aifa_hpc.lakehouse.sound import require_counts, require_near
from aifa_hpc.runtime import shards
from aifa_hpc.transfers import stage
from tests.lakehouse.tables import catalog, get, local

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyiceberg.table import Table


@pytest.mark.parametrize(
    ("metadata", "location"),
    [
        ("s3://lab/t/metadata/1.metadata.json", "/home/me/.ssh/id_ed25519"),
        ("s3://lab/t/metadata/1.metadata.json", "file:///home/me/.ssh/id_ed25519"),
        ("gs://lab/t/metadata/1.metadata.json", "file:/home/me/secret"),
        ("s3://lab/t/metadata/1.metadata.json", "data/a.parquet"),
        ("/lab/t/metadata/1.metadata.json", "/lab/t/data/../../../etc/passwd"),
        ("s3://lab/t/metadata/1.metadata.json", "s3://lab/t/../u/a.parquet"),
    ],
)
def test_files_that_are_not_a_tables(metadata: str, location: str) -> None:
    """A table of a store reaches no file of this machine, and none climbs."""
    with pytest.raises(InputError, match=location.replace(".", r"\.")):
        require_near(metadata, location)


@pytest.mark.parametrize(
    ("metadata", "location"),
    [
        ("s3://lab/t/metadata/1.metadata.json", "s3a://other/t/a..b.parquet"),
        ("/lab/t/metadata/1.metadata.json", "file:///elsewhere/a.parquet"),
        ("/lab/t/metadata/1.metadata.json", "s3://lab/a.parquet"),
    ],
)
def test_files_that_may_be(metadata: str, location: str) -> None:
    """Tables may keep files elsewhere."""
    require_near(metadata, location)


@pytest.mark.parametrize(("size", "rows"), [(-1, 0), (0, -1), (2**62, 0), (0, 2**62)])
def test_counts_that_cannot_be(size: int, rows: int) -> None:
    """Of bytes and of rows."""
    require_counts("a", 0, 2**50)
    with pytest.raises(InputError, match="of a that it has"):
        require_counts("a", size, rows)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table with one file, and a copy of it as it was."""
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"AIFA_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/catalog.db")
    made = catalog(tmp_path).create_table("d.t", schema=pa.schema([("n", pa.int64())]))
    made.append(pa.table({"n": range(100)}))
    stage("iceberg:lab.d.t", str(tmp_path / "files"), data_class="open")
    stage(want("iceberg:lab.d.t", mode="pushdown"), str(tmp_path / "pushdown"), data_class="open")
    made.append(pa.table({"n": range(100, 200)}))
    return made


def change(table: Table, update: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Says something else of the files of the present snapshot."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    for manifest in snapshot.manifests(table.io):
        reader = fastavro.reader(io.BytesIO(get(table, manifest.manifest_path)))
        entries: list[Any] = list(reader)
        for entry in entries:
            entry["data_file"] |= update(entry["data_file"])
        header = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
        out = io.BytesIO()
        fastavro.writer(out, json.loads(reader.metadata["avro.schema"]), entries, codec="deflate", metadata=header)
        local(manifest.manifest_path).write_bytes(out.getvalue())


def climbing(table: Table) -> str:
    """Its files lie above its folder."""
    change(table, lambda file: {"file_path": file["file_path"].replace("/data/", "/data/../../../")})
    return r"climbs out"


def negative(table: Table) -> str:
    """Files of less than nothing."""
    change(table, lambda file: {"file_size_in_bytes": -5})
    return "-5 bytes"


def enormous(table: Table) -> str:
    """Files that no disk can hold."""
    change(table, lambda file: {"file_size_in_bytes": 2**62})
    return f"{2**62} bytes"


def cut(table: Table) -> str:
    """Half a manifest."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    manifest = snapshot.manifests(table.io)[0].manifest_path
    local(manifest).write_bytes(get(table, manifest)[:100])
    return manifest


def gone(table: Table) -> str:
    """A file that somebody deleted."""
    (path,) = [task.file.file_path for task in table.scan("n >= 100").plan_files()]
    local(path).unlink()
    return path


@pytest.mark.parametrize(
    ("spoil", "mode"),
    [
        (climbing, "files"),
        (climbing, "pushdown"),
        (negative, "files"),
        (enormous, "files"),
        (cut, "files"),
        (cut, "pushdown"),
        (gone, "files"),
        (gone, "pushdown"),
    ],
)
def test_table_snapshot_and_file_are_named(
    table: Table, tmp_path: Path, spoil: Callable[[Table], str], mode: Any
) -> None:
    """And what was published before stays as it was."""
    said = spoil(table)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    with pytest.raises(AifaError) as caught:
        stage(want("iceberg:lab.d.t", mode=mode), str(tmp_path / mode), data_class="open")

    assert f"iceberg:lab.d.t@{snapshot.snapshot_id}" in str(caught.value)
    assert said.removeprefix("file://") in str(caught.value)
    with shards(tmp_path / mode, rank=0, world=1).batches() as batches:
        assert list(range(100)) == sorted(number for batch in batches for number in batch["n"].to_pylist())


def test_damaged_metadata_is_told_without_its_values(table: Table, tmp_path: Path) -> None:
    """Also where pyiceberg has an error of its own for it."""
    path = tmp_path / "x.metadata.json"
    for text, said in (
        ('{"format-version": 2, "properties": {"s3.secret-access-key": "secret"}}', "location: Field required"),
        ("<html>", "is no metadata of an Iceberg table"),
        ("\x00\xff", "is no metadata of an Iceberg table"),
        ("[]", "has format-version None"),
        ('{"format-version": 7}', "has format-version 7; known here are 1, 2, 3"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            stage(str(path), str(tmp_path / "copy"), data_class="open")
        assert str(path) in str(caught.value)
        assert "secret" not in str(caught.value)
    del table


@pytest.mark.parametrize("name", ["v2.metadata.json", "v2.gz.metadata.json", "v2.metadata.json.gz"])
def test_metadata_may_be_compressed(table: Table, tmp_path: Path, name: str) -> None:
    """Under both of the names that engines give it."""
    plain = local(table.metadata_location)
    path = plain.with_name(name)
    path.write_bytes(gzip.compress(plain.read_bytes()) if "gz" in name else plain.read_bytes())
    stage(str(path), str(tmp_path / "copy"), data_class="open")
    assert 200 == shards(tmp_path / "copy", rank=0, world=1).total


@pytest.mark.parametrize("named", ["catalog", "metadata"])
def test_a_table_names_no_program(table: Table, tmp_path: Path, named: str) -> None:
    """That is the reader's choice: what the table says would be imported and called."""
    path = local(table.metadata_location)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"properties": {"py-io-impl": "no.such.module"}}))
    source = "iceberg:lab.d.t" if named == "catalog" else path
    stage(str(source), str(tmp_path / "copy"), data_class="open")
    assert 200 == shards(tmp_path / "copy", rank=0, world=1).total
