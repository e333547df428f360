"""Syncs of a data set: idempotent, version by version, and never at the cost of a run that needs an old one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.labs.area import Area, look, pin, unpin
from aifa_hpc.labs.lock import hold
from aifa_hpc.labs.sync import sync
from aifa_hpc.manifest import read_manifest
from aifa_hpc.runtime import shards
from aifa_hpc.staging.progress import Progress
from tests.lakehouse.tables import catalog, local
from tests.lakehouse.test_relocate import deleted, evolved, vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyiceberg.table import Table

    from tests.labs.conftest import Place

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def versions(place: Place) -> list[str]:
    """Names of the versions that are there, the present one last."""
    return [one.name for one in place.area(Area.versions)]  # type: ignore[attr-defined]


def test_the_second_sync_writes_nothing(place: Place) -> None:
    """Not a byte over, and no file there is another, metadata and index included."""
    place.put(a="one", b="two")
    first = place.sync()
    before = place.state()
    second = place.sync()
    assert ((True, 6), (False, 0)) == (
        (first.changed, first.summary.bytes_sent),
        (second.changed, second.summary.bytes_sent),
    )
    assert before == place.state()
    assert first.version == second.version


def test_each_version_has_a_manifest_of_its_own(place: Place) -> None:
    """What the source no longer has stays with the version that had it."""
    place.put(a="one", b="two")
    first = place.sync()
    (place.source / "a.parquet").unlink()
    place.put(c="three")
    second = place.sync()
    found = {
        one.name: [entry.path for entry in read_manifest((place.folder / one.manifest).read_text()).entries]
        for one in (first.version, second.version)
    }
    assert [["a.parquet", "b.parquet"], ["b.parquet", "c.parquet"]] == list(found.values())
    assert list(found) == versions(place)
    assert ["a.parquet", "b.parquet", "c.parquet"] == place.names()


def test_what_comes_back_is_the_version_it_was(place: Place) -> None:
    """The same files have the same name, and are the present version again."""
    place.put(a="one")
    first = place.sync()
    place.put(b="two")
    second = place.sync()
    (place.source / "b.parquet").unlink()
    third = place.sync()
    assert (first.version, True) == (third.version, third.changed)
    assert [second.version.name, first.version.name] == versions(place)


def grow(place: Place, rounds: int) -> list[str]:
    """Versions that have one file each, all at the destination; returns their names."""
    names = []
    for number in range(rounds):
        for old in place.source.iterdir():
            old.unlink()
        place.put(**{f"p{number}": f"part {number}"})
        names.append(place.sync().version.name)
    return names


def test_retention_keeps_the_last_and_what_is_pinned(place: Place) -> None:
    """Files and manifests of other versions go; a foreign file in the folder stays."""
    names = grow(place, 4)
    (place.folder / "notes.txt").write_text("mine")
    place.area(lambda area: pin(area, "run-7", names[0], NOW))
    done = place.sync(keep=2)
    assert ((names[1],), 1) == (done.versions_removed, done.files_removed)
    assert [names[0], names[2], names[3]] == versions(place)
    assert ["notes.txt", "p0.parquet", "p2.parquet", "p3.parquet"] == place.names()
    assert not (place.folder / f".{names[1]}.aifa-manifest.jsonl").exists()

    place.area(lambda area: unpin(area, "run-7"))
    assert (names[0],) == place.sync(keep=2).versions_removed
    before = place.state()
    assert () == place.sync(keep=2).versions_removed
    assert before == place.state()


def test_a_file_that_was_changed_there_is_not_deleted(place: Place) -> None:
    """It is no longer what the manifest says we made."""
    grow(place, 2)
    (place.folder / "p0.parquet").write_text("changed by hand")
    done = place.sync(keep=1)
    assert (0, ("p0.parquet",)) == (done.files_removed, done.spared)
    assert "p0.parquet" in place.names()


class Cut(Progress):
    """Ends a sync at the first file that was deleted."""

    def removed(self, path: str) -> None:
        """Called after each."""
        raise KeyboardInterrupt(path)


def test_a_deletion_that_was_cut_short_is_finished(place: Place) -> None:
    """The version that was leaving is said to be, cannot be pinned, and is gone after the next sync."""
    place.put(a="one", b="two")
    first = place.sync().version.name
    for name in ("a", "b"):
        (place.source / f"{name}.parquet").unlink()
    place.put(c="three")
    with pytest.raises(KeyboardInterrupt):
        sync(replace(place.data, keep=1), str(place.root), progress=Cut())
    states = [(seen.version.name, seen.state) for seen in place.area(look)]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="has no version"):
        place.area(lambda area: pin(area, "run-7", first, NOW))
    cut = place.names()
    done = place.sync(keep=1)
    assert [(first, "leaving"), (done.version.name, "present")] == states
    assert ["b.parquet", "c.parquet"] == cut
    assert ((first,), ["c.parquet"]) == (done.versions_removed, place.names())


def test_a_pin_that_comes_while_a_version_is_leaving(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the mark in the index and the deletion, pins are read again: either the pin is refused, or it counts."""
    names = grow(place, 2)
    refused = []
    store = Area.store_versions

    def meanwhile(area: Area, found: object) -> None:
        store(area, found)  # type: ignore[arg-type]
        if not refused:
            with pytest.raises(InputError) as caught:
                pin(area, "late", names[0], NOW)
            refused.append(str(caught.value))
            # And one that was written before the mark, but after pins were first looked at.
            area.store("pins/early.json", f'{{"version": "{names[0]}", "made": "2026-11-24"}}'.encode())

    place.put(extra="x")
    place.sync()
    with monkeypatch.context() as patch:
        calls = []

        def only_marks(area: Area, found: object) -> None:
            known = list(found)  # type: ignore[call-overload]
            calls.append(known)
            (meanwhile if any(one.leaving for one in known) else store)(area, known)

        patch.setattr(Area, "store_versions", only_marks)
        done = place.sync(keep=2)
    assert "has no version" in refused[0]
    assert () == done.versions_removed
    assert "p0.parquet" in place.names()
    assert names[0] in versions(place)


def test_a_pinned_version_is_not_overwritten(place: Place) -> None:
    """A file that is replaced at the source, in place, would take the version away: refused before the first byte."""
    place.put(a="one", b="two")
    first = place.sync().version.name
    place.area(lambda area: pin(area, "run-7", "", NOW))
    place.put(a="eno", c="new")
    before = place.state()
    with pytest.raises(InputError, match=f"a.parquet: version {first}, which is pinned as 'run-7'"):
        place.sync()
    assert before == place.state()
    place.area(lambda area: unpin(area, "run-7"))
    assert place.sync().changed


def test_a_pinned_version_is_repaired(place: Place) -> None:
    """What was damaged there is sent again, pin or not."""
    place.put(a="one")
    place.sync()
    place.area(lambda area: pin(area, "run-7", "", NOW))
    (place.folder / "a.parquet").write_text("damaged")
    assert 3 == place.sync().summary.bytes_sent
    assert "one" == (place.folder / "a.parquet").read_text()


def test_nothing_is_deleted_when_nobody_knows_what_a_pin_needs(place: Place) -> None:
    """A purge took the manifest of a pinned version: retention waits."""
    names = grow(place, 3)
    place.area(lambda area: pin(area, "run-7", names[0], NOW))
    (place.folder / f".{names[0]}.aifa-manifest.jsonl").unlink()
    assert () == place.sync(keep=1).versions_removed
    assert ["p0.parquet", "p1.parquet", "p2.parquet"] == place.names()


def test_a_pin_that_cannot_be_read_stops_it(place: Place) -> None:
    """It may be any run's."""
    grow(place, 2)
    (place.root / "birds" / "train.lab" / "pins").mkdir()
    (place.root / "birds" / "train.lab" / "pins" / "x.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        place.sync(keep=1)
    assert ["p0.parquet", "p1.parquet"] == place.names()


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [("a/b", "", "cannot be the name"), ("run", "0123", "has no version '0123'"), ("old", "", "pins version")],
)
def test_pins_that_cannot_be(place: Place, name: str, version: str, told: str) -> None:
    """Refused with what may be had."""
    names = grow(place, 2)
    place.area(lambda area: pin(area, "old", names[0], NOW))
    with pytest.raises(InputError, match=told):
        place.area(lambda area: pin(area, name, version, NOW))
    with pytest.raises(InputError, match="Did you mean 'old'"):
        place.area(lambda area: unpin(area, "odl"))


def test_only_one_sync_is_at_work(place: Place, tmp_path: Path) -> None:
    """The second one is told, and changes nothing."""
    place.put(a="one")
    place.sync()
    (folder,) = (tmp_path / "state" / "labs").iterdir()
    place.put(b="two")
    before = place.state()
    with hold(folder, "a sync"), pytest.raises(TransferError, match="is at work already"):
        place.sync()
    assert before == place.state()


def test_an_empty_source_takes_nothing_away(place: Place) -> None:
    """A mount that is not there must not become an empty version."""
    grow(place, 1)
    (place.source / "p0.parquet").unlink()
    with pytest.raises(InputError, match="has no files"):
        place.sync(keep=1)
    assert ["p0.parquet"] == place.names()


def test_sensitive_data_does_not_leave(place: Place) -> None:
    """Refused with the reason, before the destination is asked anything."""
    place.put(a="one")
    with pytest.raises(InputError, match="sensitive data is not sent: shared supercomputers hold no personal"):
        sync(replace(place.data, data_class="sensitive"), "lumi:/scratch/project_465000001")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """An Iceberg table with a snapshot."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/lab/catalog.db")
    made = catalog(tmp_path / "lab").create_table("d.t", schema=pa.schema([("n", pa.int64())]))
    made.append(pa.table({"n": range(100)}))
    return made


@pytest.mark.parametrize("mode", ["", "?mode=incremental"])
def test_a_table_goes_on_by_what_is_new(place: Place, table: Table, mode: str) -> None:
    """Each snapshot is a version that engines read; a pinned one stays readable, others go with retention."""
    source = f"iceberg:lab.d.t{mode}"
    first = place.sync(source=source).version.name
    unchanged = place.sync(source=source)
    place.area(lambda area: pin(area, "run-7", first, NOW))
    old = {path.name for path in place.folder.glob("data/*")}
    table.overwrite(pa.table({"n": range(500, 550)}))
    second = place.sync(source=source)
    table.overwrite(pa.table({"n": range(7)}))
    third = place.sync(source=source, keep=1)
    local(table.location()).rename(place.root / "gone")

    assert (0, False) == (unchanged.summary.bytes_sent, unchanged.changed)
    assert (second.version.name,) == third.versions_removed
    assert 0 < third.files_removed
    assert list(range(7)) == read(place.folder)
    assert list(range(100)) == read(place.folder / "metadata" / "v1.metadata.json")
    assert old < {path.name for path in place.folder.glob("data/*")}
    assert [first, third.version.name] == versions(place)


def read(folder: Path) -> list[int]:
    """The rows of a table, in order."""
    return sorted(StaticTable.from_metadata(str(folder)).scan().to_arrow()["n"].to_pylist())


CHOSEN = "iceberg:lab.d.t?where=n%20%3C%2050&mode=pushdown"


def chosen(place: Place, version: str = "") -> list[int]:
    """Rows of a version by its manifest, or of the folder."""
    share = shards(place.folder / f".{version}.aifa-manifest.jsonl" if version else place.folder, rank=0, world=1)
    with share.batches() as batches:
        return sorted(number for batch in batches for number in batch["n"].to_pylist())


def test_rows_that_were_chosen_have_files_for_each_version(place: Place, table: Table) -> None:
    """Each snapshot's are a version beside the others; by the folder alone the present ones are read."""
    first = place.sync(source=CHOSEN)
    again = place.sync(source=CHOSEN)
    place.area(lambda area: pin(area, "run-7", "", NOW))
    table.overwrite(pa.table({"n": range(7)}))
    second = place.sync(source=CHOSEN, keep=1)
    both = chosen(place, first.version.name), chosen(place)
    place.area(lambda area: unpin(area, "run-7"))
    third = place.sync(source=CHOSEN, keep=1)

    assert (0, False) == (again.summary.bytes_sent, again.changed)
    assert ((), True) == (second.versions_removed, second.changed)
    assert (list(range(50)), list(range(7))) == both
    assert ((first.version.name,), 1, 0) == (third.versions_removed, third.files_removed, third.summary.bytes_sent)
    assert list(range(7)) == chosen(place) == sorted(pq.read_table(place.folder)["n"].to_pylist())


def test_another_choice_is_another_version(place: Place, table: Table) -> None:
    """Of the same snapshot; what it was is a version again when the registry says so, without a byte."""
    first = place.sync(source=CHOSEN)
    other = place.sync(source=CHOSEN.replace("50", "60"))
    others = chosen(place)
    back = place.sync(source=CHOSEN)

    assert (list(range(60)), list(range(50))) == (others, chosen(place))
    assert (first.version, True, 0) == (back.version, back.changed, back.summary.bytes_sent)
    assert list(range(60)) == chosen(place, other.version.name)


def test_rows_that_were_made_again_are_the_same_version(place: Place, table: Table, tmp_path: Path) -> None:
    """Another machine, or one that cleaned up, sends nothing."""
    place.sync(source=CHOSEN)
    shutil.rmtree(tmp_path / "state" / "made")
    before = place.state()
    again = place.sync(source=CHOSEN)
    assert (0, False) == (again.summary.bytes_sent, again.changed)
    assert before == place.state()


@pytest.mark.parametrize("make", [deleted, vectors, evolved])
def test_a_version_of_a_table_is_read_by_its_manifest(
    place: Place, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    """As its pinned run does: deleted rows are none of it, and columns have the snapshot's names."""
    made = make(tmp_path / "tables")
    done = place.sync(source=made)
    share = shards(place.folder / done.version.manifest, rank=0, world=1)
    with share.batches(columns=["a group"]) as batches:
        found = sorted(group for batch in batches for group in batch["a group"].to_pylist())
    theirs = StaticTable.from_metadata(made).scan().to_arrow()["a group"].to_pylist()
    assert sorted(theirs) == found


def test_a_table_that_becomes_rows_and_a_table_again(place: Place, table: Table) -> None:
    """By the folder alone it is what the last sync made of it; a pinned run reads on."""
    whole = "iceberg:lab.d.t"
    first = place.sync(source=whole)
    place.area(lambda area: pin(area, "run-7", "", NOW))
    rows = place.sync(source=CHOSEN)
    found = [chosen(place), chosen(place, first.version.name)]
    again = place.sync(source=CHOSEN)
    back = place.sync(source=whole)

    assert [list(range(50)), list(range(100))] == found
    assert (0, False, True) == (again.summary.bytes_sent, again.changed, rows.changed)
    assert (first.version, list(range(100))) == (back.version, chosen(place))
    assert list(range(50)) == chosen(place, rows.version.name)


def test_rows_of_another_table_are_not_mixed_in(place: Place, table: Table, tmp_path: Path) -> None:
    """When the registry names another one, each version is read by its manifest."""
    first = place.sync(source=CHOSEN)
    other = catalog(tmp_path / "lab").create_table("d.u", schema=table.schema())
    other.append(pa.table({"n": range(20, 30)}))
    second = place.sync(source=CHOSEN.replace("d.t", "d.u"))
    found = [chosen(place, one.version.name) for one in (first, second)]

    assert [list(range(50)), list(range(20, 30))] == found
    with pytest.raises(InputError, match="chosen of several sources"):
        chosen(place)
