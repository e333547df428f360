"""The runtime needs nothing to be imported, and goes to a node as one file."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.runtime.pack import write_runtime

if TYPE_CHECKING:
    from pathlib import Path

LOADED = """
import sys
before = set(sys.modules)
import aifa_hpc.runtime
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(aifa_hpc.__file__, *sorted(loaded - sys.stdlib_module_names))
"""


def bare(*words: str, **env: str) -> str:
    """What a Python says that has no packages beside those it is told of."""
    ran = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=True)
    return ran.stdout


def test_only_the_standard_library_is_imported() -> None:
    """A script that asks for its rank waits for no package."""
    assert ["aifa_hpc"] == bare("-c", LOADED).split()[1:]


def test_one_file_is_enough(tmp_path: Path) -> None:
    """Written by the module itself, imported without any packages of this environment."""
    path = tmp_path / "runtime.zip"
    assert f"{path}\n" == bare("-m", "aifa_hpc.runtime", str(path))
    said = bare("-SP", "-c", LOADED, PYTHONPATH=str(path)).split()

    assert [f"{path}/aifa_hpc/__init__.py", "aifa_hpc"] == said
    assert [path] == list(tmp_path.iterdir())


def test_the_same_file_twice(tmp_path: Path) -> None:
    """Nothing in it depends on when it was written, so that a second copy of it to a site sends nothing."""
    first, second = (write_runtime(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))

    assert first == second


def test_how_it_is_called() -> None:
    """Without a file of that kind nothing is written."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        bare("-m", "aifa_hpc.runtime", "runtime.tar")

    assert "usage: python -m aifa_hpc.runtime FILE.zip" in caught.value.stderr
