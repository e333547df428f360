"""Files are given as they arrive, and the manifest ends the wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import MANIFEST, make_entry, make_manifest, write_manifest
from aifa_hpc.runtime import arriving

if TYPE_CHECKING:
    from pathlib import Path


class Copy:
    """A copy that makes one step at each wait; time passes by the seconds that are waited."""

    def __init__(self, root: Path, *steps: str) -> None:
        self.root = root
        self.steps = list(steps)
        self.time = 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if not self.steps:
            return
        name = self.steps.pop(0)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == MANIFEST:
            found = sorted(one.relative_to(self.root).as_posix() for one in self.root.rglob("[a-z]*.parquet"))
            entries = [make_entry(path=one, size=0, blocks=()) for one in found]
            path.write_text("".join(write_manifest(make_manifest(entries))))
        else:
            path.touch()


def test_in_the_order_of_arrival(tmp_path: Path) -> None:
    """Each file once, as it comes; partial files and other names are no data."""
    root = tmp_path / "later"
    copy = Copy(root, "b.parquet", ".c.parquet", "a/a.parquet", "notes.txt", MANIFEST)
    found = arriving(root, sleep=copy.sleep, monotonic=lambda: copy.time)

    assert ["b.parquet", "a/a.parquet"] == [path.relative_to(root).as_posix() for path in found]


def test_each_file_has_one_rank(tmp_path: Path) -> None:
    """Ranks that see the files arrive in different orders read each of them once between them."""
    names = [f"p{number}.parquet" for number in range(40)]
    whole = Copy(tmp_path, *names, MANIFEST)
    for _ in range(41):
        whole.sleep(0)
    found = [[path.name for path in arriving(tmp_path, rank=rank, world=3)] for rank in range(3)]

    assert sorted(names) == sorted(name for mine in found for name in mine)
    assert all(found)


def test_a_copy_that_stops_is_given_up(tmp_path: Path) -> None:
    """Without a new file for the time that is allowed, waiting ends with what to do."""
    copy = Copy(tmp_path, "a.parquet")
    found = arriving(tmp_path, sleep=copy.sleep, monotonic=lambda: copy.time, timeout=60.0)

    assert tmp_path / "a.parquet" == next(found)
    with pytest.raises(InputError, match="no new file in 60 s"):
        next(found)


def test_a_file_that_went_away_is_missed(tmp_path: Path) -> None:
    """What the manifest lists and is not there is named."""
    copy = Copy(tmp_path, "a.parquet", MANIFEST)
    copy.sleep(0)
    copy.sleep(0)
    (tmp_path / "a.parquet").unlink()

    with pytest.raises(InputError, match=r"a\.parquet is in the manifest and not there"):
        list(arriving(tmp_path, sleep=copy.sleep, monotonic=lambda: copy.time))
