"""A folder of stub programs on PATH: they prove the shell of the flows, not Slurm."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.command import Command, Completed


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A login node of one folder.

    Attributes:
        root: Its folder; job folders go to ``root / "jobs"``.
        interpreter: What stands for ``sh`` on it.
        env: Variables of its login shell.
    """

    root: Path
    interpreter: str
    env: dict[str, str]

    def program(self, name: str, script: str) -> None:
        """Installs a program; ``$ROOT`` is the machine's folder."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, command: Command) -> Completed:
        """Runs a command as the machine's shell would."""
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        transport = LocalTransport({"PATH": path, "ROOT": str(self.root)} | self.env)
        if command.argv[0] == "sh":
            command = replace(command, argv=(self.interpreter, *command.argv[1:]))
        return transport.run(command)

    def calls(self, name: str) -> list[str]:
        """What a program wrote into its log, line by line."""
        path = self.root / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["dash", "bash"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A machine whose Slurm knows no job and takes every script."""
    (tmp_path / "bin").mkdir()
    found = Machine(root=tmp_path, interpreter=request.param, env={})
    found.program("sbatch", 'echo "$*" >> "$ROOT/sbatch.log"; cat > "$ROOT/submitted"; echo 4711')
    found.program("squeue", 'echo "$*" >> "$ROOT/squeue.log"')
    found.program("sacct", 'echo "$*" >> "$ROOT/sacct.log"')
    return found
