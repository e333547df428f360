"""Who am I among the tasks of a job: the same answer under torchrun, under srun, and alone on a laptop.

torchrun is asked first, because its workers run inside a task of srun. Slurm is believed only inside a step: a batch
script has ``SLURM_PROCID=0`` and the whole job's ``SLURM_NTASKS`` although it runs alone, and a program that believed
it would wait for ranks that never come.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST_PORT = 1
_LAST_PORT = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One task among all.

    Attributes:
        rank: From 0, over all nodes.
        world: Number of ranks.
        local_rank: From 0, on this node.
        local_world: Ranks on this node; ``None`` where nobody says.
        source: Who said so: ``torchrun``, ``slurm`` or ``alone``.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int | None
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise InputError(f"{self.source} says rank {self.rank} of {self.world}: ranks go from 0 to one less.")
        if not 0 <= self.local_rank <= self.rank:
            raise InputError(f"{self.source} says local rank {self.local_rank} of rank {self.rank}.")


def place(environ: Mapping[str, str] | None = None) -> Place:
    """This task's place.

    Args:
        environ: Variables; those of this process by default.

    Raises:
        InputError: A variable is no number, or they contradict each other.
    """
    env = os.environ if environ is None else environ
    if "RANK" in env and "WORLD_SIZE" in env:
        local = _number(env, "LOCAL_RANK", "0")
        return Place(
            rank=_number(env, "RANK"),
            world=_number(env, "WORLD_SIZE"),
            local_rank=local,
            local_world=_number(env, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in env else None,
            source="torchrun",
        )
    if "SLURM_STEP_ID" in env and "SLURM_STEP_NUM_TASKS" in env:
        return Place(
            rank=_number(env, "SLURM_PROCID"),
            world=_number(env, "SLURM_STEP_NUM_TASKS"),
            local_rank=_number(env, "SLURM_LOCALID"),
            local_world=_tasks_here(env),
            source="slurm",
        )
    return Place(rank=0, world=1, local_rank=0, local_world=1, source="alone")


def rank(environ: Mapping[str, str] | None = None) -> int:
    """This task's number, from 0, over all nodes; errors as :func:`place`."""
    return place(environ).rank


def world(environ: Mapping[str, str] | None = None) -> int:
    """How many tasks there are; errors as :func:`place`."""
    return place(environ).world


def given_or_here(rank: int | None, world: int | None) -> tuple[int, int]:
    """Rank and world as they were given, and as this task has them where they were not; errors as :func:`place`."""
    if rank is not None and world is not None:
        return rank, world
    here = place()
    return here.rank if rank is None else rank, here.world if world is None else world


def local_rank(environ: Mapping[str, str] | None = None) -> int:
    """This task's number, from 0, on its node; errors as :func:`place`."""
    return place(environ).local_rank


def master(environ: Mapping[str, str] | None = None) -> tuple[str, int]:
    """Where rank 0 listens: host and port. A task that is alone meets itself, at PyTorch's usual port.

    Raises:
        InputError: Several tasks, and ``MASTER_ADDR`` or ``MASTER_PORT`` does not say where they meet.
    """
    env = os.environ if environ is None else environ
    if place(env).world == 1 and "MASTER_ADDR" not in env:
        return "127.0.0.1", 29500
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not env.get(name)]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} must say where the ranks meet.",
            hint="Scripts of `aifa render` set both; in your own, export them before srun.",
        )
    port = _number(env, "MASTER_PORT")
    if not _FIRST_PORT <= port <= _LAST_PORT:
        raise InputError(f"MASTER_PORT = {port} is no port: they go from {_FIRST_PORT} to {_LAST_PORT}.")
    return env["MASTER_ADDR"], port


def _number(env: Mapping[str, str], name: str, default: str = "") -> int:
    text = env.get(name, default)
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} = {text!r} must be a whole number from 0.")
    return int(text)


def _tasks_here(env: Mapping[str, str]) -> int | None:
    """Of ``SLURM_STEP_TASKS_PER_NODE``, such as ``8(x2),4``: the count of this node."""
    node = _number(env, "SLURM_NODEID", "0")
    for group in env.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        count, _, times = group.partition("(x")
        repeated = int(times.rstrip(")")) if times else 1
        if not count.isdigit():
            return None
        if node < repeated:
            return int(count)
        node -= repeated
    return None
