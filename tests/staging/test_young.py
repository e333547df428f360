"""A file that may be written to once more without getting another time is never known by its time."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.left import read_left
from aifa_hpc.staging.model import Found
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.ledger import Ledger

SECOND = 10**9
NOW = 1_790_000_000 * SECOND


@pytest.mark.parametrize(
    ("mtime_ns", "young"),
    [
        (NOW, True),
        (NOW - 2 * SECOND, True),
        (NOW - 3 * SECOND, False),
        (NOW - 10**7 - 1, True),
        (NOW - SECOND // 2, False),
        (NOW + 3600 * SECOND, True),
        (NOW + 3600 * SECOND + 1, True),
    ],
)
def test_whole_seconds_stay_longer_than_ticks(mtime_ns: int, *, young: bool) -> None:
    """And a time that is still to come says nothing at all."""
    assert young == Found(path="f", size=1, pin="", mtime_ns=mtime_ns).is_young(NOW)


def rewrite(path: Path, data: bytes, mtime_ns: int) -> None:
    """In place; the time is what a file system of coarse times gives."""
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_write_in_the_second_of_the_copy_is_found_by_the_next(
    tmp_path: Path, ledger: Ledger, clearance: Clearance, *, seen_before: bool
) -> None:
    """Same size, same inode, same time: what was copied, or only compared, is read again."""
    make_tree(tmp_path / "src", {"a/old": b"o", "b/step": b"1"})
    soon = (time.time_ns() // SECOND + 3600) * SECOND  # still so however long this test takes
    if seen_before:
        shutil.copytree(tmp_path / "src", tmp_path / "dst")
    sent = []
    for data in (b"1", b"2", b"2", b"3"):
        rewrite(tmp_path / "src/b/step", data, soon)
        done = copy(
            LocalEndpoint(tmp_path / "src"), LocalEndpoint(tmp_path / "dst"), clearance=clearance, ledger=ledger
        )
        sent.append(done.files_sent)
        assert tree(tmp_path / "src") == tree(tmp_path / "dst")
    assert [0 if seen_before else 2, 1, 0, 1] == sent

    here, there = LocalEndpoint(tmp_path / "src").identity, LocalEndpoint(tmp_path / "dst").identity
    left = read_left(ledger.left.get(f"{there}/", here))
    assert left is not None
    assert {"a"} == set(left.folders)
    assert {"a/old"} == ledger.content(here, ["a/old", "b/step"]).keys()
