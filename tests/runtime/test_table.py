"""Of a copied Iceberg table the present snapshot is read, and nothing else that lies in its folder."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table import StaticTable
from pyiceberg.types import LongType

from aifa_hpc.errors import InputError
from aifa_hpc.runtime import shards
from aifa_hpc.runtime.avro import read_records
from tests.lakehouse.tables import catalog, local
from tests.lakehouse.test_relocate import elsewhere, evolved, move, numbers, plain, version_1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "n", "type": ["null", "long"]},
        {"name": "text", "type": "string"},
        {"name": "raw", "type": {"type": "fixed", "name": "f", "size": 2}},
        {"name": "again", "type": ["null", "f"]},
        {"name": "kind", "type": {"type": "enum", "name": "e", "symbols": ["a", "b"]}},
        {"name": "items", "type": {"type": "array", "items": "double"}},
        {"name": "flags", "type": {"type": "map", "values": "boolean"}},
    ],
}
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "text": st.text(),
            "raw": st.binary(min_size=2, max_size=2),
            "again": st.none() | st.binary(min_size=2, max_size=2),
            "kind": st.sampled_from("ab"),
            "items": st.lists(st.floats(allow_nan=False)),
            "flags": st.dictionaries(st.text(), st.booleans()),
        }
    )
)


@given(records=RECORDS, codec=st.sampled_from(["null", "deflate"]), cut=st.integers(1, 100))
def test_avro(records: list[dict[str, Any]], codec: str, cut: int) -> None:
    """What another program wrote is read, and what was cut off is refused."""
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, records, codec=codec, sync_interval=100)
    data = out.getvalue()

    assert records == read_records(data, "it")
    with pytest.raises(InputError, match="it is no whole Avro file"):
        read_records(data[: -min(cut, 15)], "it")


def read(source: Path | str) -> list[int]:
    """The numbers of all ranks."""
    found = []
    for rank in range(3):
        with shards(source, seed=1, rank=rank, world=3).batches(columns=["n"]) as batches:
            found += [n for batch in batches for n in batch["n"].to_pylist()]
    return sorted(found)


@pytest.mark.parametrize("make", [plain, version_1])
def test_a_table_at_another_place(make: Callable[[Path], str], tmp_path: Path) -> None:
    """Relocated, and as it was: the same rows as the source."""
    location = make(tmp_path / "a lab")
    rows = sorted(StaticTable.from_metadata(location).scan().to_arrow()["n"].to_pylist())
    move(location, tmp_path / "relocated")
    same = shutil.copytree(local(location).parents[1], tmp_path / "as it was")
    shutil.rmtree(tmp_path / "a lab")

    assert rows == read(tmp_path / "relocated")
    assert rows == read(same / "metadata" / local(location).name)
    with pytest.raises(InputError, match=r"without a version-hint\.text: which of its \d metadata files is meant"):
        read(same)


def test_only_the_present_snapshot(tmp_path: Path) -> None:
    """Files that a later commit replaced lie there still, and are data no more."""
    table = catalog(tmp_path / "lab").create_table("d.t", schema=numbers(0, 1).schema)
    table.append(numbers(0, 50))
    table.overwrite(numbers(100, 20))

    assert list(range(100, 120)) == read(local(table.metadata_location))


def test_columns_that_changed(tmp_path: Path) -> None:
    """Columns are found by their ids under the names of today; one that no file has yet is named."""
    location = evolved(tmp_path / "lab")
    move(location, tmp_path / "copy")
    share = shards(tmp_path / "copy", rank=0, world=1)
    wanted = ["number", "a group"]
    read = [row for batch in share.batches(columns=wanted) for row in batch.to_pylist()]

    source = StaticTable.from_metadata(location).scan(selected_fields=tuple(wanted)).to_arrow().to_pylist()
    assert sorted(source, key=repr) == sorted(read, key=repr)
    with pytest.raises(InputError, match=r"has no column 'late'\. It has number, a group"):
        list(share.batches(columns=["late"]))


def test_files_that_differ_are_not_mixed(tmp_path: Path) -> None:
    """Rows of one batch are alike: what all files have can be read, the rest is named with its files."""
    table = catalog(tmp_path / "lab").create_table("d.t", schema=numbers(0, 1).schema)
    table.append(numbers(0, 50))
    with table.update_schema() as schema:
        schema.add_column("extra", LongType())
    table.append(numbers(50, 50).append_column("extra", numbers(0, 50)["n"]))
    source = local(table.metadata_location)

    assert list(range(100)) == read(source)
    with pytest.raises(InputError, match="differ in their columns 'extra': rows of one batch are alike"):
        list(shards(source, rank=0, world=1).batches())


def test_what_is_wrong_with_a_table_is_named(tmp_path: Path) -> None:
    """Files elsewhere, no snapshot, no metadata, a manifest that is gone."""
    with pytest.raises(InputError, match=r"file\.parquet does not lie below .*/d/t"):
        shards(local(elsewhere(tmp_path / "lab")))
    table = catalog(tmp_path / "new").create_table("d.t", schema=numbers(0, 1).schema)
    with pytest.raises(InputError, match="nothing was ever written"):
        shards(local(table.metadata_location))
    table.append(numbers(0, 5))
    for path in (tmp_path / "new").rglob("*-m0.avro"):
        path.unlink()
    with pytest.raises(InputError, match=r"-m0\.avro cannot be read: No such file"):
        shards(local(table.metadata_location))
    local(table.metadata_location).write_text("[]")
    with pytest.raises(InputError, match="is no metadata of an Iceberg table"):
        shards(local(table.metadata_location))
