"""What launch kinds demand of a job: each combination that would do something else is told."""

from __future__ import annotations

from typing import Any

import pytest

from aifa_hpc.errors import ParseError
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.jobs.features import Array
from aifa_hpc.jobs.kinds import kind_problems
from aifa_hpc.jobs.spec import Job, Launch, Resources


def job(kind: str, resources: dict[str, Any] | None = None, *, log: bool = False, **more: Any) -> Job:
    """A small job."""
    launch = Launch(kind=kind, command=["a"], log_per_rank=log)  # type: ignore[arg-type] # one of the kinds
    return Job(name="a", resources=Resources(**{"time": "10"} | (resources or {})), launch=launch, **more)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (job("ray"), []),
        (job("ray", {"tasks_per_node": 1}), []),
        (job("ray", {"tasks_per_node": 4}), [("resources.tasks_per_node", "4", "error")]),
        (job("dask", {"tasks_per_node": 4}), []),
        (job("dask", signal="USR1@60"), [("signal", "USR1@60", "error")]),
        (job("dask", signal="B:USR1@60"), []),
        (job("srun", signal="USR1@60"), []),
        (job("ray", log=True), [("launch.log_per_rank", "true", "warning")]),
        (job("mpi", log=True), []),
        (job("interactive"), []),
        (job("interactive", array=Array(count=3)), [("array", "", "error")]),
        (job("interactive", signal="USR1@60"), [("signal", "USR1@60", "error")]),
    ],
)
def test_combinations(made: Job, expected: list[tuple[str, str, str]]) -> None:
    """Key, value and severity of each."""
    assert expected == [(problem.key, problem.value, problem.severity) for problem in kind_problems(made)]


def test_only_an_interactive_job_may_have_no_words() -> None:
    """It is a shell then."""
    assert () == Launch(kind="interactive").command
    with pytest.raises(ParseError, match="is empty"):
        Launch(kind="mpi")


@pytest.mark.parametrize("modules", ["PyTorch", ["a b"], ["-f"], ["a;b"], [7], [""]])
def test_modules_are_names(modules: Any) -> None:
    """Nothing that a shell or the module command would take for something else."""
    with pytest.raises(ParseError, match="modules"):
        job("srun", modules=modules)


def test_modules_stand_in_the_file() -> None:
    """In their order."""
    text = 'name = "a"\nmodules = ["GCC/14.3.0", "CUDA/13"]\n[resources]\ntime = "10"\n[launch]\ncommand = ["a"]\n'
    assert ("GCC/14.3.0", "CUDA/13") == read_job(text).modules
