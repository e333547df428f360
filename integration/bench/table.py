"""Staging of Iceberg tables against copying their folders: side by side in one run, ours read back.

    AIFA_BENCH_PEERS=... python -m integration.bench.table [--rows changed,columns,plan,memory] [--rounds 3]

``changed``: one file of a 1,000-file table was written anew since the last copy; ours takes the new snapshot, rsync and
``aws s3 sync`` look at the whole folder. Over SSH ours runs in this process over a connection that is open, as rsync's
is; to S3 (moto's) it is the command, as ``aws`` is, and each finds the two changes since its own last run. ``columns``:
3 of 60 columns of a table in S3, over a way there and back of 20 ms, against its whole files. ``plan``: how long
``aifa stage plan`` takes for a table of 100,000 files, with a filter and without, and the most memory that it had.
``memory``: the most memory of a pushdown of half the rows of a large file, beside that of a plan, which reads no rows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable
from pyiceberg.transforms import IdentityTransform

from aifa_hpc.lakehouse.avro import read_avro, write_avro
from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.names import read_table_name
from aifa_hpc.lakehouse.source import open_source
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.testing.link import Link
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.testing.stores import Bucket, RcloneStore
from integration.bench.peers import far, program, run
from integration.bench.seaweed import KEYS
from integration.bench.staging import Machine, Row
from tests.object_store import moto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.table import Table

MIB = 2**20
FILES, ROWS_OF_ONE = 1000, 4000
COLUMNS, WANTED = 60, ("c07", "c23", "c42")
MANY, IN_A_MANIFEST = 100_000, 1000
DELAY = 0.01
"""Seconds one way."""


def aifa(*words: str) -> None:
    """Runs the program, a process of its own; what it remembers is that of this run."""
    run((str(Path(sys.executable).with_name("aifa")), "stage", *words, "--class", "open"))


def catalog(folder: Path, warehouse: str) -> SqlCatalog:
    """A catalog beside the tables."""
    made = SqlCatalog("bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=warehouse)
    made.create_namespace_if_not_exists("d")
    return made


def partitioned(folder: Path) -> Table:
    """A table of 1,000 files of some 64 KiB."""
    random = np.random.default_rng(1)
    rows = pa.table(
        {
            "part": pa.array(np.repeat(np.arange(FILES, dtype=np.int64), ROWS_OF_ONE)),
            "value": pa.array(random.random(FILES * ROWS_OF_ONE)),
        }
    )
    table = catalog(folder, str(folder)).create_table("d.changed", schema=rows.schema)
    with table.update_spec() as spec:
        spec.add_field("part", IdentityTransform())
    table.append(rows)
    return table


def change_one(table: Table) -> None:
    """Writes one file anew, as one commit."""
    rows = table.scan("part = 17").to_arrow()
    table.overwrite(rows.set_column(1, "value", pa.array(np.random.default_rng().random(len(rows)))), "part = 17")


class Changed:
    """Two snapshots of a table, and copies of the first one that are brought up to the second."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine = folder, machine
        self.table = partitioned(folder)
        self.source = Path(self.table.location().removeprefix("file://"))
        self.ours_at, self.theirs_at = folder / "ours", folder / "theirs"
        self.ours()
        shutil.copytree(self.ours_at, folder / "ours before")
        run(("rsync", "-a", f"{self.source}/", f"{folder}/theirs before/"))
        change_one(self.table)

    def ours(self) -> None:
        """The engine over SSH, in this process."""
        pinned = open_table(read_table_name(self.table.metadata_location))
        text = f"{self.table.metadata_location}@{pinned.snapshot_id}"
        with SSHEndpoint(self.machine.transport, str(self.ours_at), label="bench") as there:
            source = open_source(pinned, text=text, root=str(self.ours_at), there=there, new_only=True)
            with source, Ledger(self.folder / "ledger.sqlite") as ledger:
                copy(source, there, clearance=clear("open", outgoing=True), ledger=ledger)

    def prepare(self) -> None:
        """Both copies as they were before the change."""
        for at in (self.ours_at, self.theirs_at):
            shutil.rmtree(at, ignore_errors=True)
            run(("cp", "-a", f"{at} before", str(at)))
        os.sync()

    def check(self) -> None:
        """Ours has the rows of the second snapshot, or is as it was."""
        wanted = {one.scan().to_arrow()["value"].to_numpy().sum() for one in (self.table, self._before())}
        found = StaticTable.from_metadata(str(self.ours_at)).scan().to_arrow()["value"].to_numpy().sum()
        if not any(np.isclose(found, one) for one in wanted):
            raise RuntimeError("the copy has other rows than the table")

    def _before(self) -> StaticTable:
        return StaticTable.from_metadata(f"{self.folder}/ours before")


def changed_rows(folder: Path, rounds: int) -> Iterator[str]:
    """One file of 1,000."""
    with Sshd.started(folder / "sshd", "Subsystem sftp internal-sftp") as sshd:
        for name, port in (("0 ms", contextlib.nullcontext(sshd.port)), ("40 ms", far(sshd.port, 0.02))):
            with port as number:
                machine = Machine(folder, sshd, number, name)
                own = folder / f"table {name}"
                own.mkdir()
                made = Changed(own, machine)
                rsync = machine.peers.tools(folder=True)["rsync"]
                tools: dict[str, Callable[[], None]] = {
                    "ours": made.ours,
                    "rsync": lambda rsync=rsync, made=made: rsync(made.source, made.theirs_at, True),  # type: ignore[misc]
                }
                row = Row(
                    name=f"1 of 1,000 files changed, SSH, {name}",
                    tools=tools,
                    prepare=made.prepare,
                    check=made.check,
                    goals={},
                )
                row.measure(rounds)
                machine.close()
                yield row.show()
    yield from changed_s3(made, rounds)


def changed_s3(made: Changed, rounds: int) -> Iterator[str]:
    """The same to S3, as moto serves it: commands, each a process; each finds what changed since its own last run."""
    with moto() as url:
        os.environ.update(KEYS | {"AWS_ENDPOINT_URL": url})
        Bucket(url, "bench")

        def ours() -> None:
            aifa("copy", made.table.metadata_location, "s3://bench/ours/", "--mode", "incremental")

        tools: dict[str, Callable[[], None]] = {"ours": ours}
        if aws := program("aws"):
            words = ("s3", "sync", "--only-show-errors", str(made.source), "s3://bench/theirs")
            tools["aws"] = lambda: run((aws, "--endpoint-url", url, *words))
        row = Row(
            name=f"{len(tools)} of 1,000 files changed, S3",
            tools=tools,
            prepare=lambda: change_one(made.table),
            check=lambda: None,
            goals={},
        )
        row.measure(rounds)
    yield row.show()


def columns_rows(folder: Path, rounds: int) -> Iterator[str]:
    """3 of 60 columns, out of S3."""
    random = np.random.default_rng(1)
    with RcloneStore.started(folder / "store") as store, Link(store.port, delay=DELAY) as link:
        os.environ.update(store.env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{link.port}"})
        place = store.folder / "buckets" / "bench"
        place.mkdir(parents=True)
        names = [f"c{number:02}" for number in range(COLUMNS)]
        schema = pa.schema([(name, pa.float64()) for name in names])
        table = catalog(folder, str(place)).create_table("d.wide", schema=schema)
        for _ in range(4):
            table.append(pa.table({name: random.random(50_000) for name in names}))
        moved = served(Path(table.metadata_location.removeprefix("file://")), place, "s3://bench")
        seconds: dict[str, list[float]] = {"whole": [], "columns": []}
        passed: dict[str, int] = {}
        for number in range(rounds + 1):
            for name, words in (("whole", ()), ("columns", ("--columns", ",".join(WANTED)))):
                shutil.rmtree(folder / name, ignore_errors=True)
                with tempfile.TemporaryDirectory(dir=folder) as state:
                    os.environ["AIFA_STATE_DIR"] = state
                    before, begin = link.passed, time.perf_counter()
                    aifa("copy", moved, str(folder / name), *words)
                    if number:
                        seconds[name].append(time.perf_counter() - begin)
                    passed[name] = link.passed - before
        whole, some = (sorted(seconds[name])[rounds // 2] for name in ("whole", "columns"))
        yield (
            f"3 of 60 columns out of S3, 20 ms         {some:.2f} s and {passed['columns'] / MIB:.1f} MiB, whole files"
            f" {whole:.2f} s and {passed['whole'] / MIB:.1f} MiB: {whole / some:.2f} x the speed,"
            f" {passed['whole'] / passed['columns']:.1f} x fewer bytes"
        )


def served(metadata: Path, place: Path, url: str) -> str:
    """A table that lies where it is served from, with metadata that names it as it is served; its location."""
    text = str(place)
    for path in (place / "d").rglob("metadata/*"):
        data = path.read_bytes()
        if path.suffix == ".avro":
            file = read_avro(data, path.name)
            records = json_like(file.records, text, url)
            path.write_bytes(write_avro(file, records))
    # Lengths of manifests changed with the names in them.
    for path in (place / "d").rglob("metadata/snap-*.avro"):
        file = read_avro(path.read_bytes(), path.name)
        kept = [
            one | {"manifest_length": (path.parent / one["manifest_path"].rpartition("/")[2]).stat().st_size}
            for one in file.records
        ]
        path.write_bytes(write_avro(file, kept))
    metadata.write_text(metadata.read_text().replace(f"file://{text}", url).replace(text, url))
    return f"{url}/{metadata.relative_to(place)}"


def json_like(value: Any, old: str, new: str) -> Any:
    """A value with an old place replaced in all its texts."""
    if isinstance(value, str):
        return value.replace(f"file://{old}", new).replace(old, new)
    if isinstance(value, dict):
        return {key: json_like(one, old, new) for key, one in value.items()}
    return [json_like(one, old, new) for one in value] if isinstance(value, list | tuple) else value


def plan_rows(folder: Path, rounds: int) -> Iterator[str]:
    """100,000 files: time and memory of a plan."""
    del rounds
    location = many(folder)
    for name, words in (("all", ()), ("a tenth, by a filter", ("--where", "n < 10000"))):
        begin = time.perf_counter()
        run((sys.executable, "-c", _MEASURED, str(folder / f"peak {name}"), "stage", "plan", location,
             str(folder / "nowhere"), "-o", str(folder / f"{name}.json"), "--class", "open", *words))  # fmt: skip
        took = time.perf_counter() - begin
        peak = int((folder / f"peak {name}").read_text()) / 1024
        yield f"plan of 100,000 files, {name:<22} {took:.1f} s, at most {peak:.0f} MiB of memory"


def memory_rows(folder: Path, rounds: int) -> Iterator[str]:
    """Half the rows of a file of some 512 MiB: of few columns, and of many."""
    del rounds
    for columns, rows in ((4, 16 * MIB), (120, MIB // 2)):
        own = folder / f"{columns} columns"
        own.mkdir()
        random = np.random.default_rng(1)
        data = pa.table({f"c{number}": random.random(rows) for number in range(columns)})
        one_file = {"write.target-file-size-bytes": str(2**40)}
        table = catalog(own, str(own)).create_table("d.large", schema=data.schema, properties=one_file)
        table.append(data)
        peaks = []
        for words in (("plan", "-o", f"{own}/plan.json"), ("copy", "--mode", "pushdown", "--where", "c0 < 0.5")):
            run((sys.executable, "-c", _MEASURED, f"{own}/peak", "stage", words[0], table.metadata_location,
                 f"{own}/copy", "--class", "open", *words[1:]))  # fmt: skip
            peaks.append(int((own / "peak").read_text()) / 1024)
        yield (
            f"pushdown of {data.nbytes / MIB:.0f} MiB, {columns:>3} columns   at most {peaks[1]:.0f} MiB of memory,"
            f" {peaks[1] - peaks[0]:.0f} more than a plan"
        )


_MEASURED = """
import sys
from pathlib import Path
from aifa_hpc.cli import main
_, peak, *sys.argv[1:] = sys.argv
try:
    main()
finally:
    # Not ru_maxrss: a program inherits that from the one that started it.
    Path(peak).write_text(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def many(folder: Path) -> str:
    """Metadata of a table of 100,000 files, which are not there: a plan does not look at them."""
    table = catalog(folder, str(folder)).create_table("d.many", schema=pa.schema([("n", pa.int64())]))
    table.append(pa.table({"n": [0]}))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    listing = Path(snapshot.manifest_list.removeprefix("file://"))
    listed = read_avro(listing.read_bytes(), listing.name)
    first = Path(listed.records[0]["manifest_path"].removeprefix("file://"))
    manifest = read_avro(first.read_bytes(), first.name)
    entries = []
    for group in range(MANY // IN_A_MANIFEST):
        records = []
        for number in range(group * IN_A_MANIFEST, (group + 1) * IN_A_MANIFEST):
            bound = [{"key": 1, "value": number.to_bytes(8, "little")}]
            own = {
                "file_path": f"{table.location()}/data/{number:06}.parquet",
                "lower_bounds": bound,
                "upper_bounds": bound,
            }
            records.append(manifest.records[0] | {"data_file": manifest.records[0]["data_file"] | own})
        path = first.with_name(f"many-{group}.avro")
        path.write_bytes(write_avro(manifest, records))
        counts = {"added_files_count": IN_A_MANIFEST, "added_rows_count": IN_A_MANIFEST}
        entries.append(
            listed.records[0] | counts | {"manifest_path": str(path), "manifest_length": path.stat().st_size}
        )
    listing.write_bytes(write_avro(replace(listed, records=()), entries))
    return table.metadata_location


ROWS = {"changed": changed_rows, "columns": columns_rows, "plan": plan_rows, "memory": memory_rows}


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for wanted in options.rows.split(","):
        with tempfile.TemporaryDirectory(prefix="aifa-table-") as name:
            os.environ["AIFA_STATE_DIR"] = f"{name}/state"
            for line in ROWS[wanted](Path(name), options.rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
