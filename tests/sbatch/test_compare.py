"""One job on two machines, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.sbatch.compare import PATH_RULE, compare, describe
from aifa_hpc.sites.load import load_site

if TYPE_CHECKING:
    from aifa_hpc.sites.model import Site

JOB = """
name = "digits"
[resources]
nodes = 2
time = "13:00:00"
[launch]
kind = "srun"
command = ["python", "train.py"]
[container]
image = "/scratch/project_465000001/x.sif"
[sites.lumi.resources]
partition = "standard-g"
gpus_per_node = 8
account = "project_465000001"
[sites.jupiter.resources]
partition = "booster"
gpus_per_node = 4
account = "e-aif-2026fl01-123"
"""
EXPECTED = {
    "time": ("13:00:00 of 2-00:00:00 at most", "13:00:00 of 12:00:00 at most"),
    "binding": ("masks: each task on the 7 cores beside its GPU", "by srun: --cpu-bind=sockets"),
    "tasks": ("8 a node", "4 a node"),
    "cores": ("7 a task, 56 of 56 a node", "72 a task, 288 of 288 a node"),
    "memory": ("--mem=480G", "not asked for: the site gives what belongs to the nodes"),
    "cost": ("104 GPU-h at 13:00:00: 4 x 2 nodes x 13 h", "7488 core-h at 13:00:00: 288 x 2 nodes x 13 h"),
    "problems": (
        "none",
        "error: resources.time = 13:00:00: partition booster allows at most 12:00:00 (nearest: 12:00:00)",
    ),
}


def site_of(name: str) -> Site:
    """A packaged site."""
    return load_site(name, Path("/nonexistent"))


def rows_of(text: str = JOB) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """What differs between LUMI and JUPITER by aspect, and what does not."""
    described = {name: describe(read_job(text, site=(name,)), site_of(name)) for name in ("lumi", "jupiter")}
    differs, same = compare(described)
    return {row["what"]: (row["lumi"], row["jupiter"]) for row in differs}, same


@pytest.mark.parametrize(("aspect", "expected"), EXPECTED.items())
def test_what_differs_is_told_in_words(aspect: str, expected: tuple[str, str]) -> None:
    """Limits, binding, cores, memory and cost of the same job on LUMI and on JUPITER."""
    assert expected == rows_of()[0][aspect]


def test_folders_that_must_change_are_told_apart() -> None:
    """An image below /scratch is right on LUMI and must move on JUPITER; other problems are not among the paths."""
    lumi, jupiter = rows_of()[0]["paths"]
    image = "container.image = /scratch/project_465000001/x.sif must change: compute nodes of jupiter see"
    assert ("none", True, True) == (lumi, jupiter.startswith(image), PATH_RULE in jupiter)


def test_variables_that_both_have_are_left_out() -> None:
    """Each column has what is that site's own."""
    lumi, jupiter = rows_of()[0]["variables"]
    assert set() == set(lumi.split("; ")) & set(jupiter.split("; "))
    names = {word.partition("=")[0] for word in lumi.split("; ")}
    assert {"ROCR_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE"} == names & {
        "ROCR_VISIBLE_DEVICES",
        "LOCAL_WORLD_SIZE",
        "WORLD_SIZE",
    }
    assert "CUDA_VISIBLE_DEVICES" in jupiter


def test_what_is_the_same_is_named() -> None:
    """The number of nodes; and a job beside itself differs in nothing."""
    described = describe(read_job(JOB, site=("lumi",)), site_of("lumi"))
    assert ["nodes"] == rows_of()[1]
    assert ([], list(described)) == compare({"a": described, "b": described})


@pytest.mark.parametrize("name", ["lumi", "jupiter"])
@pytest.mark.parametrize("kind", ["command", "srun", "torchrun", "mpi", "ray", "dask", "interactive"])
def test_every_launch_kind_can_be_described(name: str, kind: str) -> None:
    """No aspect is left empty, whatever starts the program."""
    job = read_job(JOB, site=(name,))
    launch: Any = msgspec.structs.replace(job.launch, kind=kind)
    found = describe(msgspec.structs.replace(job, launch=launch), site_of(name))
    assert {"launcher", "cost", "problems", "paths"} <= set(found)
    assert "" not in found.values()


def test_a_job_that_cannot_be_rendered_there_has_its_problems() -> None:
    """A partition that the site does not have: the rest is not known."""
    found = describe(read_job(JOB), site_of("jupiter"))
    assert {"paths", "problems"} == set(found)
    assert "error: resources.partition" in found["problems"]


def test_a_draft_is_not_described() -> None:
    """With its reason."""
    with pytest.raises(InputError, match="is a draft"):
        describe(read_job(JOB), site_of("lumi2"))
