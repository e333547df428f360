"""The program as users run it, in a process of its own; for the tests here and for those on clusters."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


def run_aifa(*words: str, env: Mapping[str, str], cwd: Path, timeout: float) -> Ran:
    """Runs ``aifa`` to its end, for so many seconds at most."""
    ran = subprocess.run(
        [sys.executable, "-c", "from aifa_hpc.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
        env=dict(env),
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)
