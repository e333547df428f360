"""Jobs and sites that the tests of rendering share, and a machine on which rendered scripts really run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.sbatch.loader import template_loader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import jinja2

RECORD = r"""
import json, os, sys
name = os.path.basename(sys.argv[0])
with open(os.path.join(os.environ["ROOT"], "calls.jsonl"), "a") as out:
    out.write(json.dumps({"name": name, "argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}) + "\n")
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One run of a stub program."""

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """A compute node of one folder, with stubs for what scripts call.

    ``srun`` runs the program once, without its own options; ``singularity`` and ``apptainer`` run what follows the
    image; ``module`` is a function as on the sites.
    """

    root: Path

    def program(self, name: str, script: str) -> None:
        """Installs a program."""
        path = self.root / "bin" / name
        path.write_text(script)
        path.chmod(0o755)

    @property
    def user(self) -> str:
        """Of the job; unique, because presets name folders in /tmp after it."""
        return f"ada{os.getpid()}"

    def start(self, script: str, **env: str) -> subprocess.Popen[str]:
        """Starts a script as slurmstepd does: from a copy, with the variables of a job."""
        copy = self.root / "script"
        copy.write_text(script, "utf-8", newline="")
        copy.chmod(0o700)
        found = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "ROOT": str(self.root),
            "HOME": str(self.root),
            "USER": self.user,
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_ACCOUNT": "project_1",
            "SLURM_JOB_NODELIST": "nid[005001-005002]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_NTASKS": "16",
            "SLURM_PROCID": "3",
            "SLURM_LOCALID": "3",
            "SLURM_NODEID": "0",
            "SLURM_CPUS_PER_TASK": "7",
        }
        return subprocess.Popen(
            [str(copy)],
            env=found | env,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a script to its end."""
        with self.start(script, **env) as process:
            out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def calls(self, name: str) -> list[Call]:
        """What a stub was called with, in order."""
        path = self.root / "calls.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [call for call in (Call(**json.loads(line)) for line in lines) if call.name == name]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with all stubs."""
    (tmp_path / "bin").mkdir()
    found = Node(root=tmp_path)
    head = f"#!/usr/bin/env -S python3 -S\n{RECORD}"
    launch = "words = sys.argv[1:]\nwhile words and words[0].startswith('--'): words.pop(0)\n"
    found.program("program", head)
    found.program("torchrun", head)
    found.program("srun", f"{head}{launch}os.execvp(words[0], words)\n")
    for runtime in ("singularity", "apptainer"):
        inside = "words = sys.argv[2:]\nwhile words[0].startswith('--'): words.pop(0)\nos.execvp(words[1], words[1:])\n"
        found.program(runtime, f"{head}{inside}")
    found.program("scontrol", "#!/bin/sh\necho nid005001\necho nid005002\n")
    found.program("getent", '#!/bin/sh\necho "10.0.0.1 STREAM $2"\n')
    # `bash -l` reads it; without it the scripts have no `module`, as on a node whose profile is broken.
    (tmp_path / ".bash_profile").write_text(
        f'export PATH="{tmp_path}/bin:$PATH"\nmodule() {{ echo "module $*" >> "$ROOT/modules.log"; }}\n'
    )
    yield found
    shutil.rmtree(f"/tmp/miopen-{found.user}-4711", ignore_errors=True)


@pytest.fixture
def loader(tmp_path: Path) -> jinja2.BaseLoader:
    """The packaged templates, with an empty folder of the user's own."""
    return template_loader(tmp_path / "config")


def own_templates(config: Path, **templates: str) -> jinja2.BaseLoader:
    """A loader with templates of the user's own."""
    folder = config / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in templates.items():
        (folder / f"{name}.sbatch.j2").write_text(text, "utf-8")
    return template_loader(config)


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Makes loaders with templates of the user's own."""

    def make(**templates: str) -> jinja2.BaseLoader:
        return own_templates(tmp_path / "own", **templates)

    return make
