"""Files of this machine are read without Arrow, all others by what pyiceberg chooses."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pyiceberg.io import PY_IO_IMPL, load_file_io
from pyiceberg.io.pyarrow import PyArrowFileIO

from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.names import read_table_name
from aifa_hpc.lakehouse.near import NearFileIO, full, nearly
from tests.lakehouse.test_relocate import plain

if TYPE_CHECKING:
    from pathlib import Path

_OPEN = """
import sys
from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.names import read_table_name
open_table(read_table_name(sys.argv[1])).metadata()
print(*(name for name in ("pyarrow.dataset", "pandas") if name in sys.modules))
"""


def test_a_table_is_opened_without_arrow(tmp_path: Path) -> None:
    """Nor what that brings along."""
    done = subprocess.run([sys.executable, "-c", _OPEN, plain(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_of_this_machine(scheme: str, tmp_path: Path) -> None:
    """Are there or not, with their lengths and bytes; a name may hold what has a meaning in addresses."""
    (tmp_path / "a#b?c %20").write_bytes(b"12345")
    io = load_file_io(nearly({}))
    file = io.new_input(f"{scheme}{tmp_path}/a#b?c %20")
    with file.open() as stream:
        assert (b"12345", 5, True) == (stream.read(), len(file), file.exists())
    missing = io.new_input(f"{scheme}{tmp_path}/none")
    assert not missing.exists()
    with pytest.raises(FileNotFoundError):
        missing.open()


def test_others_are_read_and_all_are_written_as_before(tmp_path: Path) -> None:
    """By the FileIO that pyiceberg would have taken, with the same properties."""
    io = load_file_io(nearly({"s3.endpoint": "http://127.0.0.1:1"}))
    assert isinstance(io, NearFileIO)
    far = io.far("s3://bucket/key")
    assert isinstance(far, PyArrowFileIO)
    assert {"s3.endpoint": "http://127.0.0.1:1"} == far.properties
    assert type(far.new_input("s3://bucket/key")) is type(io.new_input("s3://bucket/key"))
    with io.new_output(f"{tmp_path}/made").create() as stream:
        stream.write(b"123")
    assert (tmp_path / "made").read_bytes() == b"123"
    io.delete(f"{tmp_path}/made")
    assert not (tmp_path / "made").exists()


def test_rows_are_read_by_arrow(tmp_path: Path) -> None:
    """Its own files are quicker than Python's; another FileIO that was asked for stays."""
    pinned = open_table(read_table_name(plain(tmp_path)))
    assert isinstance(pinned.table.io, NearFileIO)
    chosen = full(pinned.table.io, pinned.table.location())
    assert isinstance(chosen, PyArrowFileIO)
    assert chosen is full(chosen, pinned.table.location())


@pytest.mark.parametrize("given", [{PY_IO_IMPL: "x.Y"}, {"DEFAULT_SCHEME": "hdfs"}])
def test_what_was_configured_stays(given: dict[str, str]) -> None:
    """A FileIO, or what a path without a scheme is."""
    assert given == nearly(given)
