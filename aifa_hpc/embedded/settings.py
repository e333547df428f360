# ruff: noqa: PTH100, PTH103, PTH105, PTH120, PTH123 - every call starts a Python, and pathlib would slow that
# ruff: noqa: PLC0415 - imported where it is used, so that programs without it start faster
"""What an embedded scheduler is set to, and where its files are.

::

    ROOT/                       mode 0700
        settings.json           this module's values, written by the transport
        state.sqlite            jobs and steps (``store``)
        bin/                    sbatch, squeue, ...: one launcher each, first on a job's PATH
        jobs/ID/script          the script as submitted, mode 0700, run as itself through its #! line
        jobs/ID/environment     variables of the submitter, mode 0600, deleted when the job is over
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "srun")

NOTICE = (
    "The embedded scheduler runs jobs as processes of this machine: no queue policy, no isolation between jobs, "
    "no GPUs given, one machine behind several node names, no daemon. It is for trying things out and for tests, "
    "not for production."
)

# -I and -S: nothing of the caller's environment or site-packages decides what runs, and starting takes a third.
_BOOT = "import sys; sys.path.append(sys.argv[1]); from aifa_hpc.embedded.programs import main; main(sys.argv[2:])"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a partition grants.

    Attributes:
        hosts: Names of its nodes.
        cpus: Cores of each.
        max_time: Longest walltime in seconds.
        default_time: Walltime in seconds of a job that asks for none; ``None`` is the longest.
        max_nodes: Most nodes of one job.
        whole_node: Jobs get all cores of their nodes.
    """

    hosts: tuple[str, ...]
    cpus: int
    max_time: int
    default_time: int | None
    max_nodes: int
    whole_node: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """An embedded scheduler.

    Attributes:
        root: Folder of all its files.
        cluster: ``ClusterName``.
        partitions: Limits by partition name.
        default_partition: Where a job goes that names none; empty refuses it.
        slots: Most jobs at once.
        kill_wait: Seconds between SIGTERM and SIGKILL, slurm.conf(5) ``KillWait``.
        minute: Seconds that a minute of walltime lasts; 60 but in tests of limits.
        max_array_size: One more than the highest array index, slurm.conf(5) ``MaxArraySize``.
        remember: Seconds that squeue knows an ended job, slurm.conf(5) ``MinJobAge``.
        python: Interpreter of the launchers.
    """

    root: str
    cluster: str
    partitions: dict[str, Limits]
    default_partition: str
    slots: int
    kill_wait: float = 30.0
    minute: float = 60.0
    max_array_size: int = 1001
    remember: float = 300.0
    python: str = sys.executable

    @property
    def database(self) -> str:
        """The SQLite file."""
        return f"{self.root}/state.sqlite"

    @property
    def bin(self) -> str:
        """Folder of the launchers."""
        return f"{self.root}/bin"

    def folder(self, job: int) -> str:
        """What is kept of a job."""
        return f"{self.root}/jobs/{job}"

    def argv(self, program: str, *words: str) -> list[str]:
        """How one of the programs is started."""
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        return [self.python, "-I", "-S", "-c", _BOOT, package, self.root, program, *words]


def load_settings(root: str) -> Settings:
    """Reads ``ROOT/settings.json``.

    Raises:
        OSError: There is none.
    """
    with open(f"{root}/settings.json", encoding="utf-8") as file:
        table = json.load(file)
    partitions = {
        name: Limits(**{**limits, "hosts": tuple(limits["hosts"])}) for name, limits in table.pop("partitions").items()
    }
    return Settings(root=root, partitions=partitions, **table)


def save_settings(settings: Settings) -> None:
    """Makes the root, its launchers and ``settings.json``; what is there already is replaced atomically."""
    import shlex  # only the transport comes here

    os.makedirs(settings.root, mode=0o700, exist_ok=True)
    for folder in (settings.bin, f"{settings.root}/jobs"):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    table = asdict(settings)
    del table["root"]
    _replace(f"{settings.root}/settings.json", json.dumps(table, indent=2) + "\n", 0o600)
    for program in PROGRAMS:
        line = shlex.join(settings.argv(program))
        _replace(f"{settings.bin}/{program}", f'#!/bin/sh\nexec {line} "$@"\n', 0o700)


def _replace(path: str, text: str, mode: int) -> None:
    part = f"{path}.{os.getpid()}.part"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(part, path)
