"""Caches go to the node's own space, but never from where the user put them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aifa_hpc.runtime import local_caches


def test_only_what_the_user_left_open(tmp_path: Path) -> None:
    """A variable that is set stays; the others name folders of this process alone."""
    env = {"TRITON_CACHE_DIR": "/mine"}
    done = local_caches(tmp_path, environ=env)

    assert "/mine" == env["TRITON_CACHE_DIR"]
    assert "TRITON_CACHE_DIR" not in done
    assert done.items() <= env.items()
    assert all(Path(path).is_dir() for path in done.values())
    assert {0o700} == {Path(path).parent.stat().st_mode & 0o777 for path in done.values()}
    assert {} == local_caches(tmp_path, environ=env)


def test_nothing_is_left(tmp_path: Path) -> None:
    """What was made is gone with the process, although a fork of it ended before."""
    script = (
        "import os, sys; from aifa_hpc.runtime import local_caches; local_caches(sys.argv[1])\n"
        "if os.fork() == 0: sys.exit(0)\n"
        "os.wait(); print(*os.listdir(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("aifa-caches-")
    assert [] == list(tmp_path.iterdir())
