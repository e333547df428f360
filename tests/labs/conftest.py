"""A lab on this machine: folders and tables that it publishes, and what is at a destination."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.labs.area import Area, open_area
from aifa_hpc.labs.registry import LabData
from aifa_hpc.labs.sync import Synced, sync
from aifa_hpc.transfers import open_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A data set, and the folder it is synced to."""

    data: LabData
    source: Path
    root: Path

    def put(self, **files: str) -> None:
        """Writes files of the data set, ``a`` as ``a.parquet``; nobody looks into them."""
        for name, text in files.items():
            (self.source / f"{name}.parquet").write_text(text)

    def sync(self, **changes: object) -> Synced:
        """Syncs it."""
        return sync(replace(self.data, **changes), str(self.root))  # type: ignore[arg-type]

    def area(self, use: Callable[[Area], object]) -> object:
        """Does something with what is there."""
        with open_places() as places:
            return use(open_area(places, self.data, str(self.root)))

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.root / "birds" / "train"

    def state(self) -> dict[str, tuple[int, int]]:
        """Every file below the destination, with what changes when it is written anew."""
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def names(self) -> list[str]:
        """The data files that are there."""
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder as data set."""
    monkeypatch.setenv("AIFA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path / "config"))
    source = tmp_path / "lab"
    source.mkdir()
    data = LabData(
        lab="birds", name="train", source=str(source), data_class="open", publisher="Birds of the North",
        title="Bird sounds", description="Sounds of birds.", licence="CC-BY-4.0", policy="https://lab.example/policy",
        contact="data@lab.example",
    )  # fmt: skip
    return Place(data, source, tmp_path / "there")
