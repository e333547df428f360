"""A rank reads its rows from an object store, by ranges, as it reads them from a disk."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.manifest import MANIFEST, make_entry, make_manifest, write_manifest
from aifa_hpc.runtime import shards
from aifa_hpc.runtime.folders import shown
from aifa_hpc.runtime.remote import joined
from aifa_hpc.testing.sshd import free_port
from aifa_hpc.testing.stores import Bucket
from tests.lakehouse.tables import catalog, local
from tests.lakehouse.test_relocate import move, numbers
from tests.object_store import moto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.runtime import Share

ROWS = 1000
SPANS = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 60)).map(lambda one: (one[0], one[0] + one[1])))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """An empty bucket; store and keys are found by the usual variables."""
    with moto() as url:
        names = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}
        for name, value in (names | {"ENDPOINT_URL": url}).items():
            monkeypatch.setenv(f"AWS_{name}", value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        made = Bucket(url, "lab")
        yield made
        made.empty()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def data(first: int, count: int) -> bytes:
    """A file with numbers, a column that is not read, and a nested one."""
    found = range(first, first + count)
    table = pa.table(
        {
            "n": pa.array(found, pa.int64()),
            "note": [f"{value}" * 20 for value in found],
            "nested": [{"pair": [value, -value]} for value in found],
        }
    )
    out = pa.BufferOutputStream()
    pq.write_table(table, out, row_group_size=64)
    return out.getvalue().to_pybytes()


@pytest.fixture
def digits(bucket: Bucket) -> str:
    """A thousand rows in files of uneven sizes, and names that do not count."""
    first = 0
    for number, count in enumerate((1, 350, 0, 649)):
        bucket.put(f"some data/day={number}/part 0.parquet", data(first, count))
        first += count
    bucket.put("some data/_SUCCESS.parquet", b"not data")
    return "s3://lab/some data"


@pytest.fixture(params=["arrow", "fsspec"])
def client(request: pytest.FixtureRequest, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's own client, and s3fs for those who configured it."""
    if request.param == "fsspec":
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": bucket.url})


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("world", [1, 3])
def test_every_row_once(digits: str, world: int) -> None:
    """The ranks together read every row once, in the order of an epoch, columns by name and nested ones whole."""
    found = []
    for rank in range(world):
        with shards(digits, seed=1, rank=rank, world=world).batches(columns=["nested", "n"], size=50) as batches:
            rows = [row for batch in batches for row in batch.to_pylist()]
        assert all(row["nested"]["pair"] == [row["n"], -row["n"]] for row in rows)
        found += [row["n"] for row in rows]

    assert list(range(ROWS)) == sorted(found) != found


@pytest.mark.usefixtures("client")
def test_forked_workers_read_too(digits: str) -> None:
    """Workers of a loader are forked from a process that has connections open, and go their own ways."""
    share = shards(digits, rank=0, world=1)
    first = next(share.batches(size=1000))
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        counts = list(pool.map(count, [share.part(number, 2) for number in range(2)]))

    assert [500, 500] == counts
    assert ROWS == first.num_rows


def count(share: Share) -> int:
    """How many rows a worker reads."""
    with share.batches(columns=["n"]) as batches:
        return sum(batch.num_rows for batch in batches)


def test_reading_goes_on_from_a_checkpoint(digits: str) -> None:
    """From the store as from a disk."""
    share = shards(f"{digits}/", seed=3, epoch=2, rank=1, world=2)
    whole = [value for batch in share.batches(size=10) for value in batch["n"].to_pylist()]
    with share.batches(size=10) as batches:
        before = [value for _ in range(7) for value in next(batches)["n"].to_pylist()]
        state = json.loads(json.dumps(share.state(batches)))
    after = [value for batch in share.batches(size=10, resume=state) for value in batch["n"].to_pylist()]

    assert whole == before + after


def test_what_is_meant(bucket: Bucket, digits: str) -> None:
    """One file, the folder, or only what a manifest lists, found in the folder or named."""
    name = "day=1/part 0.parquet"
    single = shards(f"{digits}/{name}", rank=0, world=1)
    entries = [make_entry(path=name, size=1, blocks=(bytes(32),))]
    bucket.put(f"some data/{MANIFEST}", "".join(write_manifest(make_manifest(entries))).encode())

    assert (350, ("part 0.parquet",)) == (single.rows, single.paths)
    assert (name,) == shards(digits, rank=0, world=1).paths
    assert (name,) == shards(f"{digits}/{MANIFEST}", rank=0, world=1).paths


def test_a_copied_table(bucket: Bucket, tmp_path: Path) -> None:
    """The present snapshot of a table, by its folder and by its metadata."""
    table = catalog(tmp_path / "lab").create_table("d.t", schema=numbers(0, 1).schema)
    table.append(numbers(0, 50))
    table.overwrite(numbers(100, 20))
    root = tmp_path / "copy"
    move(table.metadata_location, root)
    for path in root.rglob("*"):
        if path.is_file():
            bucket.put(f"t/{path.relative_to(root)}", path.read_bytes())
    del table

    for source in ("s3://lab/t", "s3://lab/t/metadata/v1.metadata.json"):
        with shards(source, rank=0, world=1).batches(columns=["n"]) as batches:
            assert list(range(100, 120)) == sorted(n for batch in batches for n in batch["n"].to_pylist())
    assert local(str(root)).is_dir()


@pytest.mark.usefixtures("client")
def test_what_cannot_be_read_is_named(bucket: Bucket, digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, the folder, the scheme, the store: by name, and without what is secret in a URL."""
    share = shards(digits, rank=0, world=1)
    with pytest.raises(InputError, match=r"day=0/part 0\.parquet has no column 'm'"):
        list(share.batches(columns=["m"]))
    bucket.put("some data/day=3/part 0.parquet", data(0, 649)[:20_000])
    with pytest.raises(InputError, match=r"s3://lab/some data/day=3/part 0\.parquet is no whole Parquet file"):
        shards(digits)
    with pytest.raises(InputError, match=r"day=3/part 0\.parquet is no whole Parquet file"):
        list(share.batches())
    bucket.client.delete_object(Bucket="lab", Key="some data/day=3/part 0.parquet")
    with pytest.raises(InputError, match=r"day=3/part 0\.parquet cannot be read: there is no such file"):
        list(share.batches())
    with pytest.raises(InputError, match="s3://lab/nothing has no Parquet files"):
        shards("s3://lab/nothing")
    fsspec.config.conf.pop("s3", None)
    with pytest.raises(InputError, match=r"nope://lab cannot be read here: .*nope"):
        shards("nope://lab")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(TransferError, match=r"s3://lab/some data/.* cannot be read: .*AWS_ENDPOINT_URL"):
        shards(digits)
    assert "https://lab.eu/x.parquet" == shown("https://ada:secret@lab.eu/x.parquet?X-Amz-Signature=secret")


@given(spans=SPANS, gap=st.integers(0, 40), piece=st.integers(1, 50))
def test_ranges(spans: list[tuple[int, int]], gap: int, piece: int) -> None:
    """Every byte is asked for once, in pieces that are not too long, and little that is not wanted."""
    found = joined(spans, gap=gap, piece=piece)
    asked = [byte for start, stop in found for byte in range(start, stop)]
    wanted = {byte for start, stop in spans for byte in range(start, stop)}

    assert sorted(set(asked)) == asked
    assert wanted <= set(asked)
    assert all(0 < stop - start <= piece for start, stop in found)
    assert len(asked) - len(wanted) <= gap * max(len(spans) - 1, 0)
