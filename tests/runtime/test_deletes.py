"""Rows that are deleted beside their files are read by no rank, and ranks share evenly what is left."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table import StaticTable
from pyroaring import BitMap

from aifa_hpc.errors import InputError
from aifa_hpc.runtime import shards
from aifa_hpc.runtime.deletes import DataFile, Deletes, deleted_rows
from aifa_hpc.runtime.vectors import vector_bits
from tests.lakehouse.tables import catalog, commit_deletes, data_files, local, position_delete
from tests.lakehouse.test_relocate import deleted, duck, move, numbers, plain, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import duckdb

    from aifa_hpc.runtime.batches import Batches

__all__ = ["duck"]

RANKS = 3
FILE = {"there": DataFile(path="data/a.parquet", rows=10, sequence=2)}


def vector(*bitmaps: tuple[int, Iterable[int]], optimize: bool = False) -> bytes:
    """A deletion vector of 32-bit bitmaps by their high halves, as another program writes them."""
    body = struct.pack("<q", len(bitmaps))
    for high, values in bitmaps:
        found = BitMap(values)
        if optimize:
            found.run_optimize()
        body += struct.pack("<I", high) + found.serialize()
    body = b"\xd1\xd3\x39\x64" + body
    return struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body))


def set_in(bits: bytes | bytearray) -> list[int]:
    """Which bits are set."""
    return [number for number in range(8 * len(bits)) if bits[number >> 3] >> (number & 7) & 1]


RUNS = st.lists(st.tuples(st.integers(0, 199_000), st.integers(1, 999)), max_size=20)
STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 15)), max_size=2)  # many single rows of a container


@given(runs=RUNS, steps=STEPS, optimize=st.booleans())
def test_vectors(runs: list[tuple[int, int]], steps: list[tuple[int, int]], optimize: bool) -> None:
    """Containers of each kind have the rows that went into them."""
    rows = {row for first, count in runs for row in range(first, first + count)}
    rows |= {row for part, step in steps for row in range(part << 16, part + 1 << 16, step)}

    assert sorted(rows) == set_in(vector_bits(vector((0, rows), optimize=optimize), 200_000))


def test_a_vector_of_a_file_with_more_rows_than_a_bitmap_has() -> None:
    """Rows from 2^32 on are those of the second bitmap."""
    rows = 2**32 + 9
    bits = vector_bits(vector((0, [1]), (1, [0, 8])), rows)

    assert (rows + 7) // 8 == len(bits)
    assert (2, 0b1, 0b1) == (bits[0], bits[2**29], bits[2**29 + 1])


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (vector((0, [10])), "it deletes rows that the file does not have"),
        (vector((0, [70_000])), "it deletes rows that the file does not have"),
        (vector((1, [1])), "it deletes rows that the file does not have"),
        (vector((0, [1]))[:-1] + b"x", "it is no whole deletion vector"),
        (vector((0, [1]))[:20], "it is no whole deletion vector"),
        (b"", "requires a buffer"),
    ],
)
def test_a_vector_that_is_none(blob: bytes, why: str) -> None:
    """Damaged, cut, or of another file: named, and no row is read as if it were not deleted."""
    one = Deletes(path="data/v.puffin", sequence=2, data_file="there", vector=(0, len(blob)))

    with pytest.raises(InputError, match=rf"data/v\.puffin deletes rows of data/a\.parquet, .*{why}"):
        deleted_rows(FILE, [one], lambda _: blob)


def positions(*rows: tuple[str | None, int | None], names: tuple[str, str] = ("file_path", "pos")) -> bytes:
    """A position delete file."""
    out = pa.BufferOutputStream()
    columns = [pa.array([row[0] for row in rows], pa.string()), pa.array([row[1] for row in rows], pa.int64())]
    pq.write_table(pa.table(columns, names=list(names)), out)
    return out.getvalue().to_pybytes()


def one_file(sequence: int = 2, **changed: Any) -> Deletes:
    """What is known of it."""
    return Deletes(**{"path": "data/d.parquet", "sequence": sequence, "data_file": None, "vector": None} | changed)


def test_which_files_are_concerned() -> None:
    """Several files add up, in any order of rows; not those of older commits, of other files, or beside a vector."""
    data = {"d1": positions(("there", 7), ("other", 3), ("there", 1)), "d2": positions(("there", 1), ("there", 9))}

    def bits(*deletes: Deletes) -> list[int]:
        return set_in(deleted_rows(FILE, deletes, lambda path: data[path]).get("data/a.parquet", b""))

    assert [1, 7, 9] == bits(one_file(path="d1"), one_file(path="d2", sequence=3))
    assert [1, 7] == bits(one_file(path="d1"), one_file(path="d2", sequence=1))
    assert [1, 7] == bits(one_file(path="d1", data_file="there"), one_file(path="never read", data_file="other"))
    data["v"] = vector((0, [0]))
    assert [0] == bits(one_file(path="d1"), one_file(path="v", data_file="there", vector=(0, len(data["v"]))))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (positions(("there", 10)), "deletes rows that data/a.parquet does not have: it has 10"),
        (positions(("there", -1)), "deletes rows that data/a.parquet does not have"),
        (positions(("there", None)), "rows without a name or a position"),
        (positions(("there", 1), names=("file_path", "position")), "has no column 'pos'"),
        (b"PAR1", "is no whole Parquet file"),
    ],
)
def test_a_position_delete_file_that_is_none(data: bytes, why: str) -> None:
    """It is named, and no row is read as if it were not deleted."""
    with pytest.raises(InputError, match=rf"data/d\.parquet .*{why}"):
        deleted_rows(FILE, [one_file()], lambda _: data)


def grouped(folder: Path) -> str:
    """Row groups of 16 rows; deletes that overlap, across their borders, of a whole row group and of all of a file."""
    table = catalog(folder).create_table(
        "d.t", schema=numbers(0, 1).schema, properties={"write.parquet.row-group-limit": "16"}
    )
    for first in (0, 200, 300):
        table.append(numbers(first, 100))
    last, _, first = (file.file_path for file in data_files(table))
    entries = [
        position_delete(table, {first: [*range(10, 40), 99]}, name="a"),
        position_delete(table, {first: [15, 16, 77], last: list(range(100))}, name="b"),
    ]
    return commit_deletes(table, entries)


def read(batches: Batches) -> list[int]:
    """The numbers of a rank."""
    with batches:
        return [n for batch in batches for n in batch["n"].to_pylist()]


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("make", [deleted, vectors, grouped])
def test_ranks_read_what_is_left(
    make: Callable[[Path], str], seed: int | None, tmp_path: Path, duck: duckdb.DuckDBPyConnection
) -> None:
    """All ranks together have the rows of pyiceberg and DuckDB, each as many to one, and go on from any row."""
    location = make(tmp_path / "lab")
    source = sorted(StaticTable.from_metadata(location).scan().to_arrow()["n"].to_pylist())
    judge = duck.execute("SELECT n FROM iceberg_scan(?) ORDER BY n", [location]).fetchall()
    move(location, tmp_path / "copy")
    found = []
    for rank in range(RANKS):
        share = shards(tmp_path / "copy", seed=seed, rank=rank, world=RANKS)
        own = read(share.batches(columns=["n"], size=7))
        for start in (0, 1, share.rows // 2, share.rows):
            state = share._identity() | {"position": start}
            assert own[start:] == read(share.batches(columns=["n"], size=5, resume=state))
        assert own == [n for part in range(2) for n in read(share.part(part, 2).batches(columns=["n"]))]
        assert (share.rows, len(source)) == (len(own), share.total)
        assert share.rows in (len(source) // RANKS, len(source) // RANKS + 1)
        found += own

    assert [(n,) for n in source] == judge
    assert source == sorted(found)


def test_another_file_in_the_place_of_one_with_deletes(tmp_path: Path) -> None:
    """Positions would be those of other rows: it is refused."""
    location = grouped(tmp_path / "lab")
    tasks = StaticTable.from_metadata(location).scan().plan_files()
    path = next(local(task.file.file_path) for task in tasks if task.delete_files)
    pq.write_table(numbers(0, 50), path)

    with pytest.raises(InputError, match=r"\.parquet has 50 rows, and the table .* says otherwise"):
        shards(local(location))


def test_equality_deletes_are_refused(tmp_path: Path) -> None:
    """Deletes by value cannot be applied by a rank that has some of the rows: said, with what to do."""
    plain(tmp_path / "lab")
    table = catalog(tmp_path / "lab").load_table("d.t")
    entry = position_delete(table, {data_files(table)[0].file_path: [0]})
    location = commit_deletes(table, [entry | {"content": 2, "equality_ids": [1]}])

    with pytest.raises(InputError, match=r"deleted by their values, in .*deletes\.parquet.*rewrite_data_files"):
        shards(local(location))


def test_manifests_of_something_else(tmp_path: Path) -> None:
    """Avro that lists no manifests."""
    location = plain(tmp_path / "lab")
    document = json.loads(local(location).read_text())
    listed = local(document["snapshots"][-1]["manifest-list"])
    manifest = next(one for one in listed.parent.glob("*-m0.avro"))
    listed.write_bytes(manifest.read_bytes())

    with pytest.raises(InputError, match=r"the manifests of .* are none: KeyError: 'manifest_path'"):
        shards(local(location))
