"""A sync of chosen rows that is killed before every one of its renames and deletions.

The process kills itself (``SIGKILL``) at the moment before the file system is changed: the n-th time, for n from 1 on,
until nothing is left to do. After every death the version that a run reads is whole, and the folder shows the rows of
one version and no mixture.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aifa_hpc.runtime import shards
from tests.lakehouse.tables import catalog

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LABS = """
[labs.lab.data.t]
class = "open"
location = "iceberg:lab.d.t"
columns = ["n"]
where = "n >= 0"
keep = 1
"""
CHANGES = ("os.rename", "os.link", "os.remove")
PROGRAM = f"""
import os, signal, sys
left = int(sys.argv.pop(1))

def count(event, args):
    global left
    if event in {CHANGES} and os.environ["HERE"] in os.fsdecode(args[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
from aifa_hpc.cli import main
main()
"""
OLD, NEW = list(range(100)), list(range(500, 700))


def read(source: Path) -> list[int]:
    """The rows of a folder, or of a version by its manifest."""
    with shards(source, rank=0, world=1).batches(columns=["n"]) as batches:
        return sorted(number for batch in batches for number in batch["n"].to_pylist())


def test_killed_at_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one snapshot to the next one, then from a pinned version to none."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/lab/catalog.db")
    env = os.environ | {
        "AIFA_STATE_DIR": str(tmp_path / "state"),
        "AIFA_CONFIG_DIR": str(tmp_path / "config"),
        "HERE": str(tmp_path),
    }
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "labs.toml").write_text(LABS)
    table = catalog(tmp_path / "lab").create_table("d.t", schema=pa.schema([("n", pa.int64()), ("other", pa.string())]))

    def run(*words: str, kill: int = 0) -> dict[str, Any] | None:
        argv = [sys.executable, "-c", PROGRAM, str(kill), "lab", *words, "--json"]
        ran = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        if ran.returncode == -signal.SIGKILL:
            return None
        assert 0 == ran.returncode, ran.stderr
        return next(found for line in ran.stdout.splitlines() if "data" in (found := json.loads(line)))

    def until_done() -> tuple[int, dict[str, Any]]:
        kills = 0
        while (done := run("sync", "lab/t", place, kill=1 + kills // 2)) is None:
            kills += 1  # each moment twice: what a killed sync left is met by one that is killed there, too
            assert OLD == read(folder / pinned["manifest"].rpartition("/")[2])
            assert read(folder) in (OLD, NEW)
        return kills, done

    place, folder = str(tmp_path / "there"), tmp_path / "there" / "lab" / "t"
    table.append(pa.table({"n": OLD, "other": ["x"] * len(OLD)}))
    first = run("sync", "lab/t", place)
    pinned = run("pin", "lab/t", place, "--as", "run-7")
    assert first is not None
    assert pinned is not None
    table.overwrite(pa.table({"n": NEW, "other": ["y"] * len(NEW)}))
    kills, second = until_done()
    both = read(folder / pinned["manifest"].rpartition("/")[2]), read(folder)
    run("unpin", "lab/t", place, "run-7")
    last = None
    deaths = 0
    while last is None:
        last = run("sync", "lab/t", place, kill=1 + deaths)
        deaths += last is None
        assert NEW == read(folder)
    index = folder.parent / "t.lab" / "index.json"
    print(f"killed {kills} times on the way to another version, {deaths} times on the way to one less")

    assert (OLD, NEW) == both
    assert kills > 6
    assert deaths > 0
    assert second["version"] != first["version"] == pinned["version"]
    assert [second["version"]] == [one["name"] for one in json.loads(index.read_text())["versions"]]
    assert [NEW] == [read(path) for path in folder.glob("*.parquet")]
