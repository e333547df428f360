"""A real data set as an Iceberg table in an object store, staged to clusters and read there, where no catalog is.

The handwritten digits that scikit-learn ships (1,797 images), with what happens to tables in their life: several
snapshots, a column that got another name and one that came later, another partitioning, rows deleted by rewriting and
rows deleted beside their file. At the site DuckDB and pyiceberg are the judges, and the training of the main job reads
its ranks' rows.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType
from sklearn.datasets import load_digits

from aifa_hpc.demo.main_job import ACCURACY, ROWS, RUNTIME, TRAIN
from aifa_hpc.runtime.pack import write_runtime
from aifa_hpc.testing.stores import Bucket, RcloneStore
from integration.conftest import SHAPES, SITES, User, make_user
from integration.engines import install
from tests.lakehouse.tables import commit_deletes, data_files, position_delete
from tests.object_store import moto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyiceberg.table import Table

pytestmark = pytest.mark.cluster

ENV = {
    "AWS_ACCESS_KEY_ID": "aifa-test",
    "AWS_SECRET_ACCESS_KEY": "aifa-test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
STORES = {"lumi": "moto", "jupiter": "rclone"}
WRONG = 40
FIRST = 900
# Rows, and sums that no lost, doubled or mixed up row would leave as they are.
JUDGE = """
import json, sys
from pathlib import Path
import duckdb, duckdb_extension_avro, duckdb_extension_iceberg
from pyiceberg.table import StaticTable

connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for module in (duckdb_extension_avro, duckdb_extension_iceberg):
    (path,) = Path(module.__file__).parent.rglob("*.duckdb_extension")
    connection.execute(f"LOAD '{path}'")
for source in sys.argv[1:]:
    theirs = StaticTable.from_metadata(source).scan().to_arrow()
    duck = connection.execute("SELECT * FROM iceberg_scan(?)", [source]).to_arrow_table()
    found = []
    for rows in (theirs, duck):
        sums = connection.execute(
            "SELECT count(*), sum(number), sum(label * number), sum(list_sum(pixels) * number), count(ink) FROM rows"
        ).fetchone()
        found.append([rows.column_names, *map(int, sums)])
    print(json.dumps(found))
"""
# What four ranks read, one after the other, with nothing but the runtime.
READER = """
import json, sys
from aifa_hpc.runtime import shards

found = []
for rank in range(4):
    share = shards(sys.argv[1], seed=3, rank=rank, world=4)
    with share.batches(columns=["number"], size=50) as batches:
        found.append([n for batch in batches for n in batch["number"].to_pylist()])
print(json.dumps([[len(one) for one in found], sorted(sum(found, []))]))
"""


@dataclass(frozen=True)
class Lab:
    """A data lab: a catalog on this machine, and its tables in an object store.

    Attributes:
        table: The digits, in the store that they are written to.
        written: That store's bucket.
        mirror: Folder that another store serves as the same bucket; ``None`` where it is read as it was written.
    """

    table: Table
    written: Bucket
    mirror: Path | None

    def publish(self) -> None:
        """Brings what was written to where it is read."""
        for key in self.written.keys() if self.mirror else ():
            assert self.mirror is not None
            path = self.mirror / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.written.get(key) or b"")


def digits(first: int, last: int, label: str) -> pa.Table:
    """Some of the images, numbered."""
    data = load_digits()
    pixels = data.data[first:last]
    return pa.table(
        {
            "number": pa.array(range(first, last), pa.int64()),
            label: pa.array(data.target[first:last], pa.int64()),
            "pixels": pa.array(list(pixels), pa.list_(pa.float64())),
        }
    )


@pytest.fixture(params=SITES)
def user(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> User:
    """A user of each cluster."""
    return make_user(tmp_path, request.param, "openssh", mfa=False)


@pytest.fixture
def lab(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The table, read from another store for each cluster, with a catalog that is configured as users do it.

    rclone serves a folder: what it shows is put there, because its server hangs on some of pyiceberg's uploads.
    """
    with contextlib.ExitStack() as stack:
        for name, value in ENV.items():
            monkeypatch.setenv(name, value)
        written = Bucket(stack.enter_context(moto()), f"lab-{user.machine}")  # all of a process's share their memory
        settings = {"uri": f"sqlite:///{tmp_path}/catalog.db", "s3.endpoint": written.url, "s3.region": "us-east-1"}
        catalog = SqlCatalog("lab", **settings, warehouse=f"s3://{written.name}/warehouse")
        catalog.create_namespace("uci")
        url, mirror = written.url, None
        if STORES[user.machine] == "rclone":
            store = stack.enter_context(RcloneStore.started(tmp_path / "store"))
            url, mirror = store.url, store.folder / "buckets" / written.name
        monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", settings["uri"])
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        found = Lab(lived(catalog), written, mirror)
        found.publish()
        yield found


def lived(catalog: SqlCatalog) -> Table:
    """The table after its life; tagged ``clean`` where it is just the digits."""
    table = catalog.create_table("uci.digits", schema=digits(0, 1, "digit").schema)
    wrong = digits(0, WRONG, "digit").set_column(0, "number", pa.array(range(10_000, 10_000 + WRONG), pa.int64()))
    table.append(pa.concat_tables([digits(0, FIRST, "digit"), wrong]))
    with table.update_schema() as schema:
        schema.rename_column("digit", "label")
        schema.add_column("ink", DoubleType())
    with table.update_spec() as spec:
        spec.add_field("label", IdentityTransform())
    later = digits(FIRST, ROWS, "label")
    ink = np.stack(later["pixels"].to_numpy()).mean(axis=1)
    table.append(later.append_column("ink", pa.array(ink)))
    table.delete("number >= 10000")
    clean = table.current_snapshot()
    assert clean is not None
    table.manage_snapshots().create_tag(clean.snapshot_id, "clean").commit()
    return table


def sums(table: pa.Table) -> list[Any]:
    """What the judges say of rows."""
    number, label = table["number"].to_numpy(), table["label"].to_numpy()
    ink = np.array([sum(row) for row in table["pixels"].to_pylist()])
    valid = len(table) - table["ink"].null_count
    return [
        table.column_names,
        len(table),
        int(number.sum()),
        int((label * number).sum()),
        int((ink * number).sum()),
        valid,
    ]


def test_a_table_from_an_object_store_to_a_training(user: User, lab: Lab) -> None:
    """Copied at a tag and trained on; then only what is new; each snapshot as it is at the source, for two judges."""
    place = f"{user.folder}/digits"
    first = stage(user, "iceberg:lab.uci.digits@clean", place)
    trained = train(user, place)
    changed, removed = with_deletes(lab.table)
    lab.publish()
    second = stage(user, changed, place, "--mode", "incremental")
    again = stage(user, changed, place, "--mode", "incremental")

    assert (ROWS, 4) == (trained["rows"], trained["ranks"])
    assert trained["accuracy"] >= ACCURACY
    assert 0 == again["bytes_sent"] < second["bytes_sent"] < first["bytes_sent"] / 2
    source = sums(lab.table.scan(snapshot_id=lab.table.refs()["clean"].snapshot_id).to_arrow())
    old, new = judged(user, f"{place}/metadata/v1.metadata.json", place)
    assert [source, source] == old
    assert [ROWS - removed] * 2 == [found[1] for found in new]
    counts, numbers = read_by_ranks(user, place)
    assert max(counts) - min(counts) <= 1
    left = StaticTable.from_metadata(changed, lab.table.io.properties).scan(selected_fields=("number",)).to_arrow()
    assert sorted(left["number"].to_pylist()) == numbers


def with_deletes(table: Table) -> tuple[str, int]:
    """Deletes two rows of each file beside it, as other engines do; the metadata, and how many rows."""
    entries = []
    for file in data_files(table):
        if file.spec_id == table.spec().spec_id:
            entry = position_delete(table, {file.file_path: [0, 1]}, name=f"deletes-{len(entries)}")
            entries.append(entry | {"partition": {"label": file.partition[0]}})
    return commit_deletes(table, entries), 2 * len(entries)


def stage(user: User, source: str, place: str, *words: str) -> dict[str, int]:
    """Copies a table to the site."""
    ran = user.aifa("stage", "copy", source, f"{user.site}:{place}", "--class", "open", "--json", *words)
    assert 0 == ran.code, ran.err
    found: dict[str, int] = ran.json
    return found


def train(user: User, place: str) -> dict[str, Any]:
    """The main job's training on two nodes of the site, on the table that is there."""
    folder = user.home / "job"
    folder.mkdir()
    write_runtime(folder / RUNTIME)
    (folder / TRAIN.name).write_bytes(TRAIN.read_bytes())
    ran = user.aifa("stage", "copy", "job/", f"{user.site}:{user.folder}/job/", "--class", "open")
    assert 0 == ran.code, ran.err
    result = f"{user.folder}/job/result.json"
    words = ("python3", f"{user.folder}/job/{TRAIN.name}", "--data", place, "--result", result)
    shape = SHAPES[user.machine] | {"nodes": 2, "tasks_per_node": 2}
    path = user.job(*words, kind="srun", name="train", **shape)
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - the helper returns text
        file.write(f"\n[env]\nPYTHONPATH = {json.dumps(f'{user.folder}/job/{RUNTIME}')}\n")
    ran = user.aifa("submit", path, "--site", user.site, "--wait", "--json")
    assert 0 == ran.code, ran.err
    found: dict[str, Any] = json.loads(user.ssh(f"cat '{result}'"))
    return found


def read_by_ranks(user: User, place: str) -> tuple[list[int], list[int]]:
    """What a training's ranks read of the copy at the site: rows of each, and all numbers, sorted."""
    said = user.ssh(f"PYTHONPATH='{user.folder}/job/{RUNTIME}' python3 - '{place}'", stdin=READER)
    counts, numbers = json.loads(said)
    return counts, numbers


def judged(user: User, *places: str) -> list[list[list[Any]]]:
    """What pyiceberg and DuckDB read of each at the site, which reaches neither the catalog nor the store."""
    env = install(user, "duckdb", "duckdb-extension-avro", "duckdb-extension-iceberg", "pyiceberg")
    words = " ".join(f"'{place}'" for place in places)
    said = user.ssh(f"PYTHONPATH='{env['PYTHONPATH']}' python3 - {words}", stdin=JUDGE)
    return [json.loads(line) for line in said.splitlines()]
