"""What staging tests share: ledgers, clearances and trees of files."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from aifa_hpc.manifest import is_ours
from aifa_hpc.privacy.gate import Clearance, clear
from aifa_hpc.staging.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_WHILE_NS = 60 * 10**9

# A busy machine is no failure of what is tested.
settings.register_profile("aifa", deadline=None)
settings.load_profile("aifa")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new one."""
    with Ledger(tmp_path / "state" / "staging.sqlite") as made:
        yield made


@pytest.fixture
def clearance() -> Clearance:
    """Leave for open data."""
    return clear("open", outgoing=True)


def make_tree(root: Path, files: dict[str, bytes]) -> None:
    """Writes files below a folder, as of a while ago: a copy believes nothing it knows of files that are too young."""
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        os.utime(root / path, ns=(written := time.time_ns() - _WHILE_NS, written))


def tree(root: Path) -> dict[str, bytes]:
    """All files below a folder but manifests; partial files too, so that a test sees what was left."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not (is_ours(path.name) and path.suffix == ".jsonl")
    }
