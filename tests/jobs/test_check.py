"""Each rule of a site with its nearest legal value, and all problems of a job at once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.jobs.check import account_of, check, require, require_open
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources
from aifa_hpc.sites.load import load_site, profile_names

NOWHERE = Path("/nonexistent")
GOOD: dict[str, dict[str, Any]] = {
    "lumi": {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001"},
    "jupiter": {"partition": "booster", "gpus_per_node": 4, "account": "e-aif-2026fl01-123"},
    "local": {},
}
IMAGE = {"lumi": "/appl/local/laifs/containers/x.sif", "jupiter": "/e/project1/p/x.sif"}


def job(site: str, *, job: dict[str, Any] | None = None, launch: dict[str, Any] | None = None, **asked: Any) -> Job:
    """A good job of a site with some fields changed."""
    return Job(
        name="digits",
        resources=Resources(**{"time": "00:10:00", "nodes": 1} | GOOD[site] | asked),
        launch=Launch(**{"kind": "srun", "command": ["python", "train.py"]} | (launch or {})),
        **(job or {}),
    )


def short(problems: tuple[Problem, ...]) -> list[tuple[str, str, str, str]]:
    """What tests compare: key, value, nearest legal value, severity."""
    return [(problem.key, problem.value, problem.nearest, problem.severity) for problem in problems]


@pytest.mark.parametrize("site", GOOD)
@pytest.mark.parametrize("kind", ["command", "srun", "torchrun"])
def test_a_good_job_has_no_problem(site: str, kind: str) -> None:
    """What a guide of the site shows passes without a word."""
    assert () == check(job(site, launch={"kind": kind, "command": ["train.py"]}), load_site(site, NOWHERE))


RULES: list[tuple[str, dict[str, Any], list[tuple[str, str, str, str]]]] = [
    # partition
    ("lumi", {"partition": ""}, [("resources.partition", "", "standard-g", "error")]),
    ("lumi", {"partition": "", "gpus_per_node": 0}, [("resources.partition", "", "standard", "error")]),
    ("jupiter", {"partition": ""}, [("resources.partition", "", "booster", "error")]),
    ("lumi", {"partition": "standardg"}, [("resources.partition", "standardg", "standard-g", "error")]),
    ("lumi", {"partition": "fmr-g"}, [("resources.partition", "fmr-g", "standard-g", "warning")]),
    ("local", {"partition": "booster"}, [("resources.partition", "booster", "local", "error")]),
    # account
    ("lumi", {"account": ""}, [("resources.account", "", "project_465000001", "error")]),
    ("lumi", {"account": "465000001"}, [("resources.account", "465000001", "project_465000001", "error")]),
    ("jupiter", {"account": "Jureap59"}, [("resources.account", "Jureap59", "e-aif-2026fl01-123", "error")]),
    # time: the partition's, the QOS's and the reservation's, whichever is least
    ("lumi", {"time": "2-00:00:01"}, [("resources.time", "2-00:00:01", "2-00:00:00", "error")]),
    ("jupiter", {"time": "12:00:01"}, [("resources.time", "12:00:01", "12:00:00", "error")]),
    ("jupiter", {"time": "07:00:00", "qos": "lowcont"}, [("resources.time", "07:00:00", "06:00:00", "error")]),
    (
        "jupiter",
        {"time": "03:00:00", "reservation": "develbooster"},
        [("resources.time", "03:00:00", "02:00:00", "error")],
    ),
    # nodes
    ("lumi", {"nodes": 1025}, [("resources.nodes", "1025", "1024", "error")]),
    ("lumi", {"nodes": 5, "partition": "small-g"}, [("resources.nodes", "5", "4", "error")]),
    ("jupiter", {"nodes": 2049}, [("resources.nodes", "2049", "2048", "error")]),
    ("jupiter", {"nodes": 5, "reservation": "develbooster"}, [("resources.nodes", "5", "4", "error")]),
    ("local", {"nodes": 5}, [("resources.nodes", "5", "4", "error")]),
    # GPUs
    ("lumi", {"gpus_per_node": 9}, [("resources.gpus_per_node", "9", "8", "error")]),
    ("lumi", {"gpus_per_node": 0}, [("resources.gpus_per_node", "0", "8", "error")]),
    ("lumi", {"gpus_per_node": 4}, [("resources.gpus_per_node", "4", "8", "warning")]),
    ("lumi", {"gpus_per_node": 4, "partition": "small-g"}, []),
    ("lumi", {"gpus_per_node": 2, "partition": "lumid"}, [("resources.gpus_per_node", "2", "1", "error")]),
    ("lumi", {"gpus_per_node": 0, "partition": "lumid"}, [("resources.gpus_per_node", "0", "1", "error")]),
    ("lumi", {"gpus_per_node": 1, "partition": "small"}, [("resources.gpus_per_node", "1", "0", "error")]),
    ("local", {"gpus_per_node": 1}, [("resources.gpus_per_node", "1", "0", "error")]),
    # cores: LUMI-G keeps 8 of its 64; a task for each GPU counts even where nobody wrote it
    ("lumi", {"cpus_per_task": 7}, []),
    ("lumi", {"cpus_per_task": 8}, [("resources.cpus_per_task", "8", "7", "error")]),
    ("lumi", {"tasks_per_node": 1, "cpus_per_task": 64}, [("resources.cpus_per_task", "64", "56", "error")]),
    ("lumi", {"tasks_per_node": 57}, [("resources.tasks_per_node", "57", "56", "error")]),
    ("jupiter", {"cpus_per_task": 73}, [("resources.cpus_per_task", "73", "72", "error")]),
    # memory: of the largest nodes in the partition
    ("lumi", {"memory": "481G"}, [("resources.memory", "481G", "480G", "error")]),
    ("lumi", {"memory": "992G", "partition": "small", "gpus_per_node": 0}, []),
    (
        "lumi",
        {"memory": "993G", "partition": "small", "gpus_per_node": 0},
        [("resources.memory", "993G", "992G", "error")],
    ),
    # QOS and reservation
    ("jupiter", {"qos": "lowcnt"}, [("resources.qos", "lowcnt", "lowcont", "error")]),
    ("lumi", {"qos": "anything"}, []),
    ("jupiter", {"reservation": "mine"}, [("resources.reservation", "mine", "develbooster", "warning")]),
    (
        "jupiter",
        {"reservation": "develbooster", "partition": "largebooster"},
        [
            ("resources.partition", "largebooster", "booster", "warning"),
            ("resources.partition", "largebooster", "booster", "error"),
        ],
    ),
]


@pytest.mark.parametrize(("site", "asked", "expected"), RULES, ids=lambda value: str(value) if value != [] else "fine")
def test_resources(site: str, asked: dict[str, Any], expected: list[tuple[str, str, str, str]]) -> None:
    """Each limit is the site's, and its nearest legal value is named."""
    assert expected == short(check(job(site, **asked), load_site(site, NOWHERE)))


@pytest.mark.parametrize(
    ("site", "asked", "expected"),
    [rule for rule in RULES if len(rule[2]) == 1 and rule[2][0][2]],
    ids=str,
)
def test_the_nearest_legal_value_is_legal(site: str, asked: dict[str, Any], expected: list[Any]) -> None:
    """Doing what the message says leaves no problem behind."""
    key, _, nearest, _ = expected[0]
    name = key.removeprefix("resources.")
    value = int(nearest) if name in {"nodes", "gpus_per_node", "tasks_per_node", "cpus_per_task"} else nearest
    assert () == check(job(site, **asked | {name: value}), load_site(site, NOWHERE))


@pytest.mark.parametrize(
    ("site", "fields", "words", "expected"),
    [
        ("lumi", {"workdir": "/data/x"}, ["python"], [("workdir", "/data/x", "", "error")]),
        ("lumi", {"workdir": "/scratchy"}, ["python"], [("workdir", "/scratchy", "", "error")]),
        ("lumi", {"workdir": "/scratch/../data"}, ["python"], [("workdir", "/scratch/../data", "", "error")]),
        ("lumi", {"workdir": "/scratch/p"}, ["/usr/bin/python3", "/flash/x.py", "/tmp"], []),
        ("jupiter", {"workdir": "/p/scratch/x"}, ["python"], [("workdir", "/p/scratch/x", "", "error")]),
        ("jupiter", {}, ["/p/x/python"], [("launch.command", "/p/x/python", "", "error")]),
        ("jupiter", {}, ["python", "/p/x.py"], [("launch.command", "/p/x.py", "", "warning")]),
        ("jupiter", {"container": Container(image="/e/x.sif")}, ["/workspace/python", "/p/x.py"], []),
        (
            "jupiter",
            {"container": Container(image="/p/x.sif", bind=["/p/data:/data", "/e/y", "/dev/shm"])},
            ["python"],
            [("container.image", "/p/x.sif", "", "error"), ("container.bind", "/p/data", "", "error")],
        ),
        ("local", {"workdir": "/anywhere"}, ["/any/program"], []),
        ("local", {"container": Container(image="/x.sif")}, ["x"], [("container.image", "/x.sif", "", "error")]),
    ],
)
def test_paths(site: str, fields: dict[str, Any], words: list[str], expected: list[Any]) -> None:
    """Compute nodes do not see every folder; inside a container other folders exist."""
    assert expected == short(check(job(site, job=fields, launch={"command": words}), load_site(site, NOWHERE)))


@pytest.mark.parametrize(
    ("launch", "asked", "expected"),
    [
        (
            {"kind": "torchrun", "command": ["python", "-m", "train"]},
            {},
            [("launch.command", "python -m train", "-m train", "error")],
        ),
        (
            {"kind": "torchrun", "command": ["/opt/bin/torchrun", "a.py"]},
            {},
            [("launch.command", "/opt/bin/torchrun a.py", "a.py", "error")],
        ),
        (
            {"kind": "torchrun", "command": ["a.py"]},
            {"tasks_per_node": 8},
            [("resources.tasks_per_node", "8", "1", "error")],
        ),
        ({"kind": "command"}, {"nodes": 2}, [("launch.kind", "command", "srun", "warning")]),
    ],
)
def test_launch(launch: dict[str, Any], asked: dict[str, Any], expected: list[Any]) -> None:
    """What starts the program has its own rules."""
    assert expected == short(check(job("lumi", launch=launch, **asked), load_site("lumi", NOWHERE)))


def test_a_launch_kind_the_site_lacks() -> None:
    """A kind that a site does not describe is refused, also with other problems beside it."""
    site = load_site("lumi", NOWHERE)
    site = msgspec.structs.replace(site, launch={"srun": site.launch["srun"]})
    found = short(check(job("lumi", launch={"kind": "command"}, tasks_per_node=57), site))
    assert [
        ("launch.kind", "command", "srun", "error"),
        ("resources.tasks_per_node", "57", "56", "error"),
    ] == found


def test_all_problems_at_once() -> None:
    """One answer holds every problem, each a sentence with its key, and tells that nothing was sent."""
    bad = job("lumi", nodes=2000, time="9-00", gpus_per_node=16, memory="1T", account="me", job={"workdir": "/data"})
    with pytest.raises(InputError, match="Nothing was sent") as caught:
        require(bad, load_site("lumi", NOWHERE))
    assert [
        "resources.account",
        "workdir",
        "resources.time",
        "resources.nodes",
        "resources.gpus_per_node",
        "resources.memory",
    ] == [problem.key for problem in caught.value.problems]
    for problem in caught.value.problems:
        assert f"  - {problem}" in str(caught.value)
        assert problem.rule
        assert problem.source


def test_warnings_do_not_refuse() -> None:
    """A job with warnings only is taken, and its warnings are handed back."""
    assert ["warning"] == [
        problem.severity for problem in require(job("lumi", gpus_per_node=4), load_site("lumi", NOWHERE))
    ]


def test_a_draft_is_refused_with_what_is_known() -> None:
    """A site whose facts are not public renders nothing and says why."""
    with pytest.raises(InputError, match=r"draft.*not public(.|\n)*MI430X"):
        require_open(load_site("lumi2", NOWHERE))


def test_the_users_own_account_stands_in() -> None:
    """The account of the site entry is used where the job names none, and its form is checked, too."""
    site = load_site("lumi", NOWHERE)
    site = msgspec.structs.replace(site, access=msgspec.structs.replace(site.access, account="project_465000009"))
    assert account_of(job("lumi", account=""), site) == "project_465000009"
    assert account_of(job("lumi"), site) == "project_465000001"
    assert () == check(job("lumi", account=""), site)


def test_the_job_folders_must_be_seen_from_compute_nodes() -> None:
    """A log below a folder that only login nodes have ends a job without a word (JUPITER: ``/p``)."""
    site = load_site("jupiter", NOWHERE)
    site = msgspec.structs.replace(site, access=msgspec.structs.replace(site.access, workdir="/p/scratch/{account}"))
    assert [("sites.jupiter.workdir", "/p/scratch/{account}", "", "error")] == short(check(job("jupiter"), site))


def test_doubtful_limits_say_so() -> None:
    """A limit that public sources dispute is told as such."""
    problem = check(job("lumi", partition="dev-g", time="02:30:00"), load_site("lumi", NOWHERE))[0]
    assert ("resources.time", "02:00:00") == (problem.key, problem.nearest)
    assert "conflict" in problem.source


def test_every_problem_has_the_fields_the_tests_compare() -> None:
    """The profiles checked here are all there are, and Problem has the fields read above."""
    assert {*GOOD, "lumi2"} == set(profile_names())
    assert {"key", "value", "nearest", "severity"} <= {field.name for field in fields(Problem)}
