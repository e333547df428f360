"""A task finds its place from whatever started it."""

from __future__ import annotations

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.runtime import local_rank, master, place, rank, world

SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "20",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2),4",
    "SLURM_PROCID": "17",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_NTASKS": "20",
}
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


def test_a_task_of_srun() -> None:
    """Slurm's step says rank, world and place on the node; nodes may hold different numbers of tasks."""
    here = place(SLURM)

    assert (17, 20, 1, 4, "slurm") == (here.rank, here.world, here.local_rank, here.local_world, here.source)


def test_a_worker_of_torchrun_inside_a_task() -> None:
    """The word of torchrun goes before that of the task it runs in."""
    env = SLURM | TORCHRUN

    assert (5, 8, 1) == (rank(env), world(env), local_rank(env))


@pytest.mark.parametrize("env", [{}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_JOB_ID": "1"}])
def test_alone(env: dict[str, str]) -> None:
    """Outside of Slurm, and in a batch script that calls no srun, a program is alone."""
    assert (0, 1, "alone") == (place(env).rank, place(env).world, place(env).source)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (TORCHRUN | {"RANK": "8"}, "rank 8 of 8"),
        (TORCHRUN | {"RANK": "-1"}, "RANK = '-1'"),
        (TORCHRUN | {"LOCAL_RANK": "6"}, "local rank 6 of rank 5"),
        ({key: value for key, value in SLURM.items() if key != "SLURM_PROCID"}, "SLURM_PROCID = ''"),
    ],
)
def test_nonsense_is_named(env: dict[str, str], said: str) -> None:
    """A variable that cannot be right is named with its value."""
    with pytest.raises(InputError, match=said):
        place(env)


def test_where_ranks_meet() -> None:
    """The variables of a rendered script, or this machine for a program that is alone."""
    env = SLURM | {"MASTER_ADDR": "nid005001", "MASTER_PORT": "12345"}

    assert ("nid005001", 12345) == master(env)
    assert ("127.0.0.1", 29500) == master({})


@pytest.mark.parametrize(
    ("extra", "said"),
    [({}, "MASTER_ADDR and MASTER_PORT"), ({"MASTER_ADDR": "n", "MASTER_PORT": "70000"}, "70000 is no port")],
)
def test_no_place_to_meet(extra: dict[str, str], said: str) -> None:
    """Several ranks that were not told where to meet are not left to guess."""
    with pytest.raises(InputError, match=said):
        master(SLURM | extra)
