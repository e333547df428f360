"""A rank reads its rows from real Parquet files: all of them, ahead, and on from a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.manifest import MANIFEST, make_entry, make_manifest, write_manifest
from aifa_hpc.runtime import shards

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A thousand rows in files and row groups of uneven sizes, and names that do not count."""
    first = 0
    for number, count in enumerate((1, 350, 0, 649)):
        table = pa.table({"n": range(first, first + count), "half": [value / 2 for value in range(count)]})
        path = tmp_path / f"day={number}" / "part 0.parquet"
        path.parent.mkdir()
        pq.write_table(table, path, row_group_size=100)
        first += count
    (tmp_path / "_SUCCESS.parquet").write_text("not data")
    (tmp_path / ".hidden.parquet").write_text("not data")
    return tmp_path


@pytest.mark.parametrize("world", [1, 3, 8])
def test_every_row_once(folder: Path, world: int) -> None:
    """The ranks together read every row once, each about as many, in batches that are full but for the last."""
    found: list[int] = []
    for rank in range(world):
        share = shards(folder, seed=1, rank=rank, world=world)
        sizes = []
        with share.batches(columns=["n"], size=32) as batches:
            for batch in batches:
                sizes.append(batch.num_rows)
                found += batch["n"].to_pylist()
        assert sum(sizes) == share.rows
        assert {32} >= set(sizes[:-1])
        assert ROWS // world <= share.rows <= ROWS // world + 1

    assert list(range(ROWS)) == sorted(found)


def test_reading_goes_on_from_a_checkpoint(folder: Path) -> None:
    """A state that went through JSON continues behind the rows that were given, however much had been read ahead."""
    share = shards(folder, seed=3, epoch=2, rank=1, world=2)
    whole = [value for batch in share.batches(size=10) for value in batch["n"].to_pylist()]
    with share.batches(size=10, ahead=5) as batches:
        before = [value for _ in range(7) for value in next(batches)["n"].to_pylist()]
        state = json.loads(json.dumps(share.state(batches)))
    after = [value for batch in share.batches(size=10, resume=state) for value in batch["n"].to_pylist()]

    assert whole == before + after


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 4}, {"world": 3}, {"rank": 0}])
def test_a_state_of_other_rows_is_refused(folder: Path, change: dict[str, int]) -> None:
    """A position among other rows would skip some and repeat others."""
    fields = {"seed": 3, "epoch": 0, "rank": 1, "world": 2}
    share = shards(folder, **fields)
    with share.batches() as batches:
        state = share.state(batches)

    with pytest.raises(InputError, match=next(iter(change))):
        shards(folder, **(fields | change)).batches(resume=state)
    with pytest.raises(InputError, match=r"position = 501 .* from 0 to 500"):
        share.batches(resume=state | {"position": 501})


def test_a_reader_that_is_left_early_ends_its_thread(folder: Path) -> None:
    """No thread goes on reading for nobody."""
    before = threading.active_count()
    with shards(folder, rank=0, world=1).batches(size=1) as batches:
        next(batches)

    assert before == threading.active_count()
    assert [] == list(batches)


def test_a_program_may_end_amid_reading(folder: Path) -> None:
    """Readers that nobody closed, one of them inside a generator, do not keep Python from its end."""
    script = """
import sys
from aifa_hpc.runtime import shards

def read():
    with shards(sys.argv[1]).batches(size=1) as batches:
        yield from batches

kept, other = read(), shards(sys.argv[1]).batches(size=1)
print(next(kept).num_rows, next(other).num_rows)
"""
    ran = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True, timeout=60)

    assert "1 1\n" == ran.stdout


def test_only_what_the_manifest_lists(folder: Path) -> None:
    """A file that is not part of the copy is not part of the data."""
    name = "day=1/part 0.parquet"
    entries = [make_entry(path=name, size=1, blocks=(bytes(32),)), make_entry(path="notes.txt", size=0, blocks=())]
    (folder / MANIFEST).write_text("".join(write_manifest(make_manifest(entries))))

    assert (name,) == shards(folder, rank=0, world=1).paths
    assert (name,) == shards(folder / MANIFEST, rank=0, world=1).paths
    (folder / MANIFEST).write_text("{}\n")
    with pytest.raises(ParseError, match="line 1 of the manifest"):
        shards(folder)


def test_a_single_file(folder: Path) -> None:
    """As it is given while a copy still goes on: there is no manifest yet."""
    share = shards(folder / "day=1" / "part 0.parquet", rank=0, world=1)

    assert (350, ("part 0.parquet",)) == (share.rows, share.paths)


@pytest.mark.parametrize("world", [1, 3, 8])
def test_shares_know_where_they_begin(folder: Path, world: int) -> None:
    """Rows can be numbered over all ranks, whatever their number."""
    found = [shards(folder, rank=rank, world=world) for rank in range(world)]

    assert [sum(share.rows for share in found[:rank]) for rank in range(world)] == [share.first for share in found]


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    """The file, the column, the folder: by name, with what there is instead, and where the batch is asked for."""
    share = shards(folder, rank=0, world=1)
    with pytest.raises(InputError, match="no column 'm'") as caught:
        list(share.batches(columns=["m"]))
    assert "n, half" in str(caught.value)
    (folder / "day=3" / "part 0.parquet").unlink()
    with pytest.raises(InputError, match=r"day=3/part 0\.parquet cannot be read: No such file"):
        list(share.batches())
    (folder / "day=3" / "part 0.parquet").write_text("cut")
    with pytest.raises(InputError, match=r"day=3/part 0\.parquet is no whole Parquet file"):
        shards(folder)
    with pytest.raises(InputError, match="neither a folder nor a manifest"):
        shards(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="has no Parquet files"):
        shards(folder / "empty")


def test_sizes_must_be_positive(folder: Path) -> None:
    """A batch has a row at least."""
    with pytest.raises(InputError, match="size = 0"):
        shards(folder, rank=0, world=1).batches(size=0)
