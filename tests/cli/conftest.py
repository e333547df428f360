"""The program as users run it: a process of its own, with a state and a configuration folder of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.program import Ran, run_aifa

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Aifa:
    """Runs ``aifa`` with folders of its own."""

    home: Path

    def __call__(self, *words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Ran:
        """Runs it to its end."""
        return run_aifa(*words, env=self.env | (env or {}), cwd=cwd or self.home, timeout=60)

    @property
    def env(self) -> dict[str, str]:
        """Its environment."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIFA_", "SLURM_"))}
        return inherited | {
            "AIFA_STATE_DIR": str(self.home / "state"),
            "AIFA_CONFIG_DIR": str(self.home / "config"),
            "COLUMNS": "100",
        }

    def job(self, name: str = "hello", **changes: str) -> str:
        """Writes a job file for the site ``local`` and returns its path."""
        parts = {
            "time": '"00:02:00"',
            "resources": "",
            "kind": '"command"',
            "command": '["echo", "hello"]',
            "rest": "",
        } | changes
        path = self.home / f"{name}.toml"
        path.write_text(
            f'name = "{name}"\n[resources]\ntime = {parts["time"]}\n{parts["resources"]}\n'
            f"[launch]\nkind = {parts['kind']}\ncommand = {parts['command']}\n{parts['rest']}\n"
        )
        return str(path)


@pytest.fixture
def aifa(tmp_path: Path) -> Aifa:
    """The program."""
    return Aifa(tmp_path)
