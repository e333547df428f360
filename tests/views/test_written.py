"""Files that appear whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.views.written import write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_is_its_owners_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    """A report names accounts; who has opened it to others before wants it so."""
    path = tmp_path / "report.html"
    write_whole(path, "one")
    assert ("one", 0o600) == (path.read_text(), path.stat().st_mode & 0o777)
    path.chmod(0o644)
    write_whole(path, "two")
    assert ("two", 0o644) == (path.read_text(), path.stat().st_mode & 0o777)
    assert [path] == [*tmp_path.iterdir()]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A folder in its place, or a folder that is not there; the error names the file."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "none" / "report.html"):
        with pytest.raises(InputError, match=f"{path.name} cannot be written"):
            write_whole(path, "text")
    assert [tmp_path / "folder"] == [*tmp_path.iterdir()]
