"""What goes to the node, and what the node makes of it."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from aifa_hpc.errors import InputError, JobFailedError
from aifa_hpc.executor import bundle
from aifa_hpc.executor.bundle import Work, pack
from aifa_hpc.executor.outcome import RemoteTraceback, error_of, read_outcome, value_of

RUNNER = Path(bundle.__file__).with_name("runner.py")


def test_a_bundle_brings_cloudpickle_with_its_licence() -> None:
    """Nothing must be installed on the node, and copies carry the licence."""
    names = zipfile.ZipFile(io.BytesIO(pack([Work(function=len, args=("ab",))]))).namelist()
    wanted = {"__main__.py", "about.json", "calls/0", "functions/0", "cloudpickle/__init__.py", "cloudpickle/LICENSE"}
    assert set() == wanted - {*names}


def test_a_function_of_many_calls_is_packed_once() -> None:
    """A thousand calls of one function do not carry it a thousand times."""
    names = zipfile.ZipFile(io.BytesIO(pack([Work(function=len, args=(str(n),)) for n in range(9)]))).namelist()
    assert (1, 9) == (sum("functions/" in name for name in names), sum("calls/" in name for name in names))


def test_what_cannot_be_pickled_is_named() -> None:
    """With what to do."""
    with pytest.raises(InputError, match=r"call of len cannot be pickled.*inside the function"):
        pack([Work(function=len, args=(threading.Lock(),))])


def test_data_does_not_go_along() -> None:
    """It is told to go by the way that is for data."""
    import random  # noqa: PLC0415 - for bytes that do not compress

    with pytest.raises(InputError, match="aifa stage copy"):
        pack([Work(function=len, args=(random.Random(1).randbytes(bundle.MOST_BYTES),))])


def test_the_runner_is_understood_by_python_3_6() -> None:
    """An old interpreter must get so far as to say that it is old."""
    ast.parse(RUNNER.read_text("utf-8"), feature_version=(3, 6))


def run(path: Path, **env: str) -> tuple[int, str]:
    """Runs a bundle as a job does, in its folder."""
    environment = {"PATH": "/usr/bin:/bin"} | env
    ran = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, cwd=path.parent, env=environment
    )
    return ran.returncode, ran.stderr


def test_another_python_refuses_before_the_function_is_loaded(tmp_path: Path) -> None:
    """The function is not even a pickle here; the message names both versions and what to do."""
    path = tmp_path / "calls.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.json", json.dumps({"python": [3, 6]}))
        archive.writestr("__main__.py", RUNNER.read_bytes())
    code, said = run(path)
    error = error_of(read_outcome((tmp_path / "result-0.0").read_bytes()), "job 1")
    assert (1, True) == (code, "was pickled by 3.6" in said)
    assert "Give the executor a `python` of the same minor version" in str(error)


def test_the_outcome_of_a_rank_of_a_task(tmp_path: Path) -> None:
    """Named by both, whole, and private."""
    (tmp_path / "calls.pyz").write_bytes(pack([Work(function=len), Work(function=len, args=("abc",))]))
    env = {"AIFA_ARRAY_TASK_ID": "1", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
    assert (0, "") == run(tmp_path / "calls.pyz", **env)
    (path,) = tmp_path.glob("result-*")
    outcome = read_outcome(path.read_bytes())
    assert ("result-1.2", 0o600, 4, 3) == (
        path.name,
        path.stat().st_mode & 0o777,
        outcome.ranks,
        value_of(outcome, "job 1"),
    )


def test_an_exit_of_the_function_is_an_outcome_too(tmp_path: Path) -> None:
    """``sys.exit`` inside does not end in silence."""
    (tmp_path / "calls.pyz").write_bytes(pack([Work(function=sys.exit, args=(3,))]))
    assert 1 == run(tmp_path / "calls.pyz")[0]
    error = error_of(read_outcome((tmp_path / "result-0.0").read_bytes()), "job 1")
    assert (JobFailedError, True, RemoteTraceback) == (
        type(error),
        "SystemExit: 3" in str(error),
        type(error.__cause__),
    )


@pytest.mark.parametrize("data", [b"", b"{}\n", b"no json", b'{"ok": true}\nabc'])
def test_a_damaged_outcome_is_told(data: bytes) -> None:
    """And is no result."""
    with pytest.raises(JobFailedError, match="damaged"):
        read_outcome(data)


def test_a_value_that_cannot_be_loaded_here_is_told() -> None:
    """Its package is on the node only."""
    outcome = read_outcome(b'{"ok": true, "ranks": 1}\ncnot_here\nX\n.')
    with pytest.raises(JobFailedError, match=r"cannot be loaded here: ModuleNotFoundError"):
        value_of(outcome, "job 1")
