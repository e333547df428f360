"""The program for nodes without a network: it agrees with what copies publish, in full and by sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.manifest import BLOCK, MANIFEST
from aifa_hpc.staging import checker
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.testing.endpoints import HOSTILE_NAMES, some_bytes
from tests.staging.conftest import make_tree
from tests.staging.test_endpoint_ssh import OLD_PYTHON

if TYPE_CHECKING:
    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.ledger import Ledger

FILES = {"big": some_bytes(2 * BLOCK + 9), "empty": b"", **{name: name.encode() for name in HOSTILE_NAMES}}
PYTHONS = [path for path in (sys.executable, OLD_PYTHON) if path]


@pytest.fixture
def dst(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> Path:
    """A folder that was copied to."""
    make_tree(tmp_path / "src", FILES)
    copy(LocalEndpoint(tmp_path / "src"), LocalEndpoint(tmp_path / "dst"), clearance=clearance, ledger=ledger)
    return tmp_path / "dst"


@pytest.mark.parametrize("python", PYTHONS)
def test_it_runs_alone(dst: Path, python: str, tmp_path: Path) -> None:
    """As one file, in a Python that has nothing but itself; every byte is hashed."""
    alone = tmp_path / "check.py"
    alone.write_bytes(Path(checker.__file__).read_bytes())
    ran = subprocess.run(
        (python, "-I", "-S", str(alone), str(dst / MANIFEST)), capture_output=True, text=True, check=False
    )
    size = sum(map(len, FILES.values()))
    assert (0, f"{dst / MANIFEST}: {len(FILES)} files, {size} bytes hashed, 0 bad\n") == (ran.returncode, ran.stdout)


def test_damage_is_found_with_its_place(dst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte, a short file, a missing one."""
    with (dst / "big").open("r+b") as file:
        file.seek(BLOCK + 5)
        file.write(b"!!")
    (dst / "-rf").write_bytes(b"short")
    (dst / "it's").unlink()
    assert 1 == checker.main([str(dst / MANIFEST)])
    told = capsys.readouterr().err.splitlines()
    assert [True, True, True] == [
        any(path in line and what in line for line in told)
        for path, what in (("big", f"byte {BLOCK}"), ("-rf", "has 5 bytes"), ("it's", "cannot be looked at"))
    ]


def test_a_sample_hashes_so_many_blocks_and_sees_every_size(dst: Path) -> None:
    """Another seed chooses others."""
    blocks = len(FILES) - 1 + 2
    seen = {checker.check(str(dst / MANIFEST), 3, seed, 1)[1] for seed in range(20)}
    assert len(seen) > 1
    assert (len(FILES), sum(map(len, FILES.values())), {}) == checker.check(str(dst / MANIFEST), blocks + 5, 0, 2)
    (dst / "big").write_bytes(b"")
    assert {str(dst / "big")} == set(checker.check(str(dst / MANIFEST), 0, 0, 1)[2])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-40],
        lambda text: text.replace('"size": 5', '"size": 6'),
        lambda text: text.replace("-rf", "../"),
        lambda text: text.replace('"aifa_manifest": 2', '"aifa_manifest": 3'),
        lambda _: "nonsense",
        lambda _: "[]\n",
    ],
)
def test_a_manifest_that_was_cut_or_edited_is_refused(dst: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Exit code 2: it says nothing of the data."""
    text = (dst / MANIFEST).read_text("ascii")
    (dst / MANIFEST).write_text(change(text), "ascii")
    assert 2 == checker.main([str(dst / MANIFEST)])
