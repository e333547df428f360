"""What the README shows to those who come from submitit runs as it stands there, on the site of this computer."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

from aifa_hpc.executor.call import Call
from aifa_hpc.executor.executor import Executor

_README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
_PAGE = _README.partition("## Coming from submitit\n")[2].partition("\n## ")[0]
_OURS = [
    block for block in re.findall(r"^```python\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE) if "aifa_hpc" in block
]


def run(block: str, *words: str, home: Path) -> list[str]:
    """Runs a block with folders of its own, and returns the lines that it says."""
    env = os.environ | {"AIFA_STATE_DIR": str(home / "state"), "AIFA_CONFIG_DIR": str(home / "config")}
    command = [sys.executable, "-c", block, *words]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout.splitlines()


def test_functions_and_how_another_script_finds_one(tmp_path: Path) -> None:
    """Single, as an array, and as a batch with one that fails; then by its token."""
    code, found = _OURS
    said = run(code, home=tmp_path)
    number, value, token = said[0].split()
    ended = sorted(line for line in said if line.startswith("ended"))
    assert ("1", "6") == (number, value)
    assert [f"ended: {half}" for half in ("0.0", "0.5", "1.0", "1.5")] == ended
    assert "mixed: 5.0 4 ValueError('a seed is positive')" in said
    assert "seed 3" in said
    assert ["found: 6"] == run(found, token, home=tmp_path)


def test_names_of_the_table_exist() -> None:
    """Options of executors and methods of calls, as the right column has them."""
    ours = " ".join(row.split("|")[2] for row in re.findall(r"^\|.*\|$", _PAGE, re.MULTILINE))
    options = set(re.findall(r"executor\((\w+)=", _PAGE))
    assert {"launch", "python", "resources"} <= options
    assert set() == options - {*inspect.signature(Executor).parameters}
    assert set() == {name for name in re.findall(r"call\.(\w+)", ours) if not hasattr(Call, name)}
    assert set() == {
        name for name in ("result", "exception", "done", "wait", "cancel", "state") if not hasattr(Call, name)
    }
