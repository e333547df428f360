"""What the README shows of reading on a node runs as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from aifa_hpc.demo.shards import write_shards
from tests.lakehouse.tables import local
from tests.lakehouse.test_relocate import deleted

_README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
_PAGE = _README.partition("## What a rank reads\n")[2].partition("\n## ")[0]


def run(block: int, *arguments: object, place: tuple[str, object] = ("", ""), **env: str) -> list[str]:
    """Runs a Python block of the page, and returns the lines that it says."""
    text = re.findall(r"^```python\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)[block]
    words = [sys.executable, "-c", text.replace(place[0], str(place[1])) if place[0] else text, *map(str, arguments)]
    ran = subprocess.run(words, env=os.environ | env, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout.splitlines()


def test_the_training_script(tmp_path: Path) -> None:
    """Alone it reads all rows in two epochs; two ranks read them between them, and say that a chain is over."""
    write_shards(tmp_path / "data")
    alone = run(0, tmp_path / "data", tmp_path)
    ranks = [
        run(0, tmp_path / "data", tmp_path, RANK=str(rank), WORLD_SIZE="2", AIFA_CHAIN_DONE=str(tmp_path / "done"))
        for rank in range(2)
    ]

    for said in (alone, ranks[0] + ranks[1]):
        assert 2 * 1797 == sum(int(line.split()[2]) for line in said)
    assert (tmp_path / "done").exists()


def test_a_table_as_it_was_copied(tmp_path: Path) -> None:
    """Its deletes are applied: two of the first hundred rows are gone."""
    location = local(deleted(tmp_path / "lab"))
    copy = shutil.move(location.parents[1], tmp_path / "copy")
    place = ("/scratch/project_465000001/birds/metadata/v3.metadata.json", f"{copy}/metadata/{location.name}")

    assert ["98"] == run(1, place=place)


def test_the_commands_exist() -> None:
    """Those of the page are those that are tested elsewhere."""
    assert ["-m aifa_hpc.runtime", "stage copy", "stage copy"] == re.findall(
        r"^\$ (?:python|aifa) (-m aifa_hpc\.runtime|stage copy) \S+", _PAGE, re.MULTILINE
    )
