"""Tables as sources of ``aifa stage``: a user's commands, from a real catalog to a folder that engines read."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from aifa_hpc.lakehouse.rebase import rebased
from tests.lakehouse.tables import catalog, commit_deletes, data_files, local, position_delete

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from tests.cli.conftest import Aifa


README = Path(__file__).parents[2] / "README.md"
PLACE = "lumi:/scratch/project_465000001"


def rows(first: int, count: int) -> pa.Table:
    """Rows with a column that is not wanted and one to choose by."""
    found = range(first, first + count)
    return pa.table({"n": found, "label": [number % 10 for number in found], "blob": ["x" * 50 for _ in found]})


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Two snapshots in a catalog that is configured as users do it, the first one tagged."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/lab/catalog.db")
    made = catalog(tmp_path / "lab").create_table("d.t", schema=rows(0, 1).schema)
    made.append(rows(0, 500))
    first = made.current_snapshot()
    assert first is not None
    made.manage_snapshots().create_tag(first.snapshot_id, "v1").commit()
    made.append(rows(500, 100))
    return made


def read(folder: Path) -> list[int]:
    """The rows of a copy, in order."""
    return sorted(StaticTable.from_metadata(str(folder)).scan().to_arrow()["n"].to_pylist())


def copied(aifa: Aifa, *words: str) -> dict[str, int]:
    """Runs a copy that must work."""
    ran = aifa("stage", "copy", *words, "--json")
    assert ran.code == 0, ran.err
    found: dict[str, int] = json.loads(ran.out)
    return found


def test_a_table_arrives_readable(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """At a tag, then as it is now: the second copy sends what is new, and the first snapshot stays readable."""
    copied(aifa, "iceberg:lab.d.t@v1", f"{tmp_path}/copy")
    first = read(tmp_path / "copy")
    second = copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy")
    again = copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy")
    verified = aifa("stage", "verify", f"{tmp_path}/copy")
    local(table.location()).rename(tmp_path / "gone")

    assert list(range(500)) == first
    assert list(range(600)) == read(tmp_path / "copy")
    old = StaticTable.from_metadata(f"{tmp_path}/copy/metadata/v1.metadata.json")
    assert 500 == old.scan().count()
    assert 0 == again["bytes_sent"] < second["bytes_sent"]
    assert second["bytes_skipped"] > 0
    assert 0 == verified.code, verified.err


def test_only_what_is_new(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """Incremental copies list what the destination's manifest lacks; nothing at all when nothing is new."""
    copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy")
    table.append(rows(600, 10))
    table.delete("n = 3")
    new = copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy", "--mode", "incremental")
    again = copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy", "--mode", "incremental")

    assert sorted({*range(610)} - {3}) == read(tmp_path / "copy")
    assert list(range(600)) == sorted(
        StaticTable.from_metadata(f"{tmp_path}/copy/metadata/v1.metadata.json").scan().to_arrow()["n"].to_pylist()
    )
    assert 0 == new["bytes_skipped"]
    assert 0 == again["bytes_sent"]
    assert 0 == aifa("stage", "verify", f"{tmp_path}/copy").code


def test_rows_and_columns(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """Just what is asked for is moved, as Parquet that anything reads, deletes applied."""
    (first,) = (file.file_path for file in data_files(table) if file.record_count == 500)
    metadata = commit_deletes(table, [position_delete(table, {first: [3, 13]})])
    words = (metadata, f"{tmp_path}/few", "--columns", "n,label", "--where", "label = 3 and n < 400")
    found = copied(aifa, *words)
    again = copied(aifa, *words)
    read_back = ds.dataset(tmp_path / "few", format="parquet", exclude_invalid_files=True).to_table()

    assert [number for number in range(20, 400) if number % 10 == 3] == sorted(read_back["n"].to_pylist())
    assert ["n", "label"] == read_back.column_names
    assert 0 == again["bytes_sent"] < found["bytes_sent"]


def test_a_copy_as_it_is(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """Without relocation every byte is the source's, and is read by rebasing."""
    copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy", "--no-relocate")
    (metadata,) = (tmp_path / "copy" / "metadata").glob("*.metadata.json")
    original = local(table.metadata_location).read_bytes()
    shutil.rmtree(tmp_path / "lab")

    assert original == metadata.read_bytes()
    assert 600 == rebased(str(metadata)).scan().count()


def test_damage_is_repaired_from_the_table(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """Data and made metadata alike."""
    copied(aifa, "iceberg:lab.d.t", f"{tmp_path}/copy")
    del table
    for path in ("metadata/v1.metadata.json", "metadata/version-hint.text"):
        (tmp_path / "copy" / path).write_text("spoiled")
    next((tmp_path / "copy" / "data").glob("*.parquet")).unlink()
    mended = aifa("stage", "verify", f"{tmp_path}/copy", "--repair")

    assert 0 == mended.code, mended.err
    assert list(range(600)) == read(tmp_path / "copy")


def test_folders_of_parquet(aifa: Aifa, tmp_path: Path) -> None:
    """Files are left out by partition and by statistics; or only rows and columns are moved."""
    for day in (1, 2, 3):
        folder = tmp_path / "plain" / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(rows(day * 100, 100), folder / "part.parquet")
    words = (f"{tmp_path}/plain", f"{tmp_path}/files", "--where", "day >= 2 and n < 300")
    copied(aifa, *words)
    copied(aifa, f"{tmp_path}/plain", f"{tmp_path}/few", "--where", "n >= 350", "--columns", "day,n")
    few = ds.dataset(tmp_path / "few", format="parquet", exclude_invalid_files=True).to_table()

    assert ["day=2/part.parquet"] == [f"{p.relative_to(tmp_path / 'files')}" for p in tmp_path.glob("files/*/*")]
    assert (tmp_path / "plain/day=2/part.parquet").read_bytes() == (tmp_path / "files/day=2/part.parquet").read_bytes()
    assert (50, ["day", "n"], [3]) == (few.num_rows, few.column_names, few["day"].unique().to_pylist())


def test_plans_of_tables_are_pinned(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """A plan names the snapshot: what is committed meanwhile is not in it."""
    made = aifa("stage", "plan", "iceberg:lab.d.t", f"{tmp_path}/copy", "-o", f"{tmp_path}/plan.json")
    table.append(rows(600, 5))
    done = aifa("stage", "apply", f"{tmp_path}/plan.json")

    assert (0, 0) == (made.code, done.code), made.err + done.err
    assert list(range(600)) == read(tmp_path / "copy")


def test_the_page_of_the_readme(
    aifa: Aifa, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its commands and its Python as they stand there, with other names of table and place."""
    page = README.read_text("utf-8").partition("## Tables from a lab")[2].partition("\n## ")[0]
    (console,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    (python,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for old, new in (("lab.birds.train", "lab.d.t"), ("lab.birds.scores", "lab.d.t"), (PLACE, str(tmp_path))):
        console, python = console.replace(old, new), python.replace(old, new)
    for line in console.splitlines():
        ran = aifa(*shlex.split(line)[2:])
        assert 0 == ran.code, f"{line}: {ran.err}"
    few = ds.dataset(tmp_path / "few", format="parquet", exclude_invalid_files=True).to_table()
    pq.write_table(rows(600, 7), tmp_path / "scores.parquet")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(compile(python, "README.md", "exec"), {})

    assert list(range(600)) == read(tmp_path / "birds")
    assert (["n", "label"], 60) == (few.column_names, few.num_rows)
    assert "7\n7\n" == capsys.readouterr().out
    table.refresh()
    assert 607 == table.scan().count()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("iceberg:lab.d.t@17",), "there is no snapshot 17"),
        (("iceberg:lab.d.t", "--columns", "lable"), "Did you mean 'label'?"),
        (("iceberg:lab.d.t", "--where", "lable = 3"), "lable"),
        (("iceberg:lab.d.t", "--columns", "n", "--mode", "files"), "Use --mode pushdown"),
        (("iceberg:lap.d.t",), "PYICEBERG_CATALOG__NAME__URI"),
    ],
)
def test_what_cannot_be_had(aifa: Aifa, table: Table, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """It is said before anything is made at the destination."""
    ran = aifa("stage", "copy", words[0], f"{tmp_path}/copy", *words[1:])
    assert (2, True) == (ran.code, said in ran.err), ran.err
    assert not (tmp_path / "copy").exists()
    del table


def test_a_data_file_that_is_gone(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """It is named with table and snapshot, and what was published before stays readable."""
    copied(aifa, "iceberg:lab.d.t@v1", f"{tmp_path}/copy")
    (new,) = {file.file_path for file in data_files(table)} - {
        task.file.file_path for task in table.scan(snapshot_id=table.snapshots()[0].snapshot_id).plan_files()
    }
    local(new).unlink()
    ran = aifa("stage", "copy", "iceberg:lab.d.t", f"{tmp_path}/copy")

    assert 0 != ran.code
    assert new.rpartition("/")[2] in ran.err
    assert f"iceberg:lab.d.t@{table.current_snapshot().snapshot_id}" in ran.err  # type: ignore[union-attr]
    assert list(range(500)) == read(tmp_path / "copy")


def test_a_table_that_cannot_be_moved(aifa: Aifa, table: Table, tmp_path: Path) -> None:
    """Deletes of a kind that is not moved, a manifest that is cut: by table, snapshot and file; the rest stays."""
    copied(aifa, "iceberg:lab.d.t@v1", f"{tmp_path}/copy")
    (first,) = (file.file_path for file in data_files(table) if file.record_count == 500)
    entry = position_delete(table, {first: [3]}) | {"file_format": "ORC"}
    metadata = commit_deletes(table, [entry])
    kind = aifa("stage", "copy", metadata, f"{tmp_path}/copy")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    manifest = snapshot.manifests(table.io)[0].manifest_path
    local(manifest).write_bytes(b"cut")
    cut = aifa("stage", "copy", "iceberg:lab.d.t", f"{tmp_path}/copy")
    outside = aifa("stage", "copy", "iceberg:lab.d.t@17", f"{tmp_path}/copy")

    assert (2, 2, 2) == (kind.code, cut.code, outside.code)
    assert re.search(rf"{re.escape(metadata)}@\d+: position deletes as ORC .*deletes\.parquet", kind.err), kind.err
    assert f"iceberg:lab.d.t@{snapshot.snapshot_id}: {manifest} is no whole Avro file" in cut.err
    assert list(range(500)) == read(tmp_path / "copy")
