"""Whole scripts, one for each site and launch kind or way of submission, as they were when somebody last read them.

After a change that is meant, write them anew and read the difference::

    AIFA_UPDATE_GOLDEN=1 pytest tests/sbatch/test_golden.py
    git diff tests/sbatch/golden
"""

from __future__ import annotations

import os
import re
import subprocess
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.features import After, Array, Chain
from aifa_hpc.jobs.plan import plan
from aifa_hpc.jobs.spec import Component, Container, Job, Launch, Resources
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.render import render
from aifa_hpc.sites.launching import KINDS, LaunchKind
from aifa_hpc.sites.load import load_site

if TYPE_CHECKING:
    import jinja2

GOLDEN = Path(__file__).parent / "golden"
RESOURCES = {
    "lumi": {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001"},
    "jupiter": {"partition": "booster", "gpus_per_node": 4, "account": "e-aif-2026fl01-123"},
    "local": {},
}
CONTAINERS = {
    "lumi": Container(
        image="/appl/local/laifs/containers/lumi-multitorch-u24r70f21m50t210-20260415_130625/lumi-multitorch-full-u24r70f21m50t210-20260415_130625.sif",
        bind=["/flash/project_465000001/env.sqsh:/user-software:image-src=/"],
    ),
    "jupiter": Container(image="/e/project1/aif/pytorch_aarch64.sif"),
}
FOLDERS = {
    "lumi": "/scratch/project_465000001/ada/aifa/jobs",
    "jupiter": "/e/scratch/aif/ada/aifa/jobs",
    "local": "/home/ada/aifa/jobs",
}
# The cores beside each GPU of a LUMI-G node: LUMI training materials, 2day-20260422/202-Binding.md.
LUMI_MASKS = "mask_cpu:0xfe000000000000,0xfe00000000000000,0xfe0000,0xfe000000,0xfe,0xfe00,0xfe00000000,0xfe0000000000"


def example(site: str, kind: LaunchKind) -> Job:
    """What a person would run there."""
    command = ["train.py", "--epochs", "3"]
    return Job(
        name="digits",
        resources=Resources(time="00:30:00", nodes=1 if kind == "command" else 2, **RESOURCES[site]),
        launch=Launch(kind=kind, command=command if kind == "torchrun" else ["python", *command]),
        container=CONTAINERS.get(site),
        env={"OMP_NUM_THREADS": "4", "RUN_NAME": "it's a test"},
    )


def script(site: str, kind: LaunchKind, loader: jinja2.BaseLoader) -> str:
    """The example's script."""
    placement = Placement(folder=f"{FOLDERS[site]}/k3x9q2", token="k3x9q2", name="digits-k3x9q2")
    return render(example(site, kind), load_site(site, GOLDEN), loader, version="0.1.0", placement=placement)


# Further components: CPU nodes beside GPU nodes where a site has both.
SECOND = {"lumi": RESOURCES["lumi"] | {"partition": "standard", "gpus_per_node": 0}}
WAYS: dict[str, dict[str, Any]] = {
    "array": {"array": Array(tasks="0-99:2", limit=4), "after": After(ok=["8123450"])},
    "chunk": {"array": Array(tasks="0-9,1000-1009", limit=2)},
    "chain": {"chain": Chain(total="01:30:00"), "signal": "USR1@120", "requeue": False},
    "hetjob": {},
}


def way_example(site: str, way: str) -> Job:
    """The example for srun, submitted in another way."""
    changes = dict(WAYS[way])
    if way == "hetjob":
        asked = Resources(time="00:30:00", tasks_per_node=2, **SECOND.get(site, RESOURCES[site]))
        launch = Launch(kind="srun", command=["python", "load.py", "it's data"], log_per_rank=True)
        changes["components"] = [Component(resources=asked, launch=launch)]
    return msgspec.structs.replace(example(site, "srun"), **changes)


def way_script(site: str, way: str, loader: jinja2.BaseLoader) -> str:
    """The script of its second submission, where there are several."""
    job, machine = way_example(site, way), load_site(site, GOLDEN)
    parts = plan(job, machine).parts
    part = parts[min(1, len(parts) - 1)]
    tokens = [f"k3x9q{number}" for number in range(len(parts))]
    folders = tuple(f"{FOLDERS[site]}/{token}" for token in tokens)
    token = tokens[part.number]
    placement = Placement(
        folder=folders[part.number],
        token=token,
        name=f"digits-{token}",
        after=() if part.after is None else ("8123456",),
        links=folders if part.chain else (),
    )
    return render(job, machine, loader, version="0.1.0", placement=placement, part=part)


PAIRS = [(site, kind) for site in RESOURCES for kind in KINDS if kind in load_site(site, GOLDEN).launch]


def require_golden(name: str, text: str) -> None:
    """A script is the one that was read."""
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get("AIFA_UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize(("site", "kind"), PAIRS)
def test_golden(site: str, kind: LaunchKind, loader: jinja2.BaseLoader) -> None:
    """The example is a legal job, and its script is the one that was read."""
    assert () == check(example(site, kind), load_site(site, GOLDEN))
    require_golden(f"{site}-{kind}", script(site, kind, loader))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("site", RESOURCES)
def test_golden_ways(site: str, way: str, loader: jinja2.BaseLoader) -> None:
    """An array, a later chunk of one, a link of a chain and a heterogeneous job."""
    errors = [one for one in check(way_example(site, way), load_site(site, GOLDEN)) if one.severity == "error"]
    assert [] == errors
    require_golden(f"{site}-{way}", way_script(site, way, loader))


def test_every_golden_script_is_one_of_these() -> None:
    """No file is left over from a site or kind that is gone."""
    expected = {f"{site}-{kind}.sbatch" for site, kind in [*PAIRS, *product(RESOURCES, WAYS)]}
    assert expected == {path.name for path in GOLDEN.iterdir()}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sbatch")), ids=lambda path: path.stem)
def test_golden_scripts_are_bash(path: Path) -> None:
    """Bash finds no fault in them, nor in what they hand to the bash of each task."""
    assert (0, b"") == _syntax(path.read_text("utf-8"))
    for inner in re.findall(r"(?:bash -c '|\"\$aifa_setup\"')(.*?)' task", path.read_text("utf-8"), re.DOTALL):
        assert (0, b"") == _syntax(inner.replace("'\"'\"'", "'"))


def _syntax(text: str) -> tuple[int, bytes]:
    done = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False)
    return done.returncode, done.stderr


def test_lumi_binds_each_rank_beside_its_gpu(loader: jinja2.BaseLoader) -> None:
    """The masks in the script are the published table, on whole nodes only."""
    assert f"--cpu-bind={LUMI_MASKS} " in script("lumi", "srun", loader)
    assert "--cpu-bind" not in script("lumi", "torchrun", loader)
    shared = Job(
        name="a",
        resources=Resources(time="1", partition="small-g", gpus_per_node=8, account="project_465000001"),
        launch=Launch(kind="srun", command=["x"]),
    )
    assert "--cpu-bind" not in render(shared, load_site("lumi", GOLDEN), loader, version="0")


@pytest.mark.parametrize(
    ("site", "asked", "expected"),
    [
        ("lumi", {}, {"mem": "480G", "ntasks-per-node": "8", "cpus-per-task": "7", "gpus-per-node": "8"}),
        ("lumi", {"partition": "small-g", "gpus_per_node": 2}, {"mem-per-gpu": "60G", "cpus-per-task": "7"}),
        ("lumi", {"partition": "standard", "gpus_per_node": 0}, {"mem": "224G", "cpus-per-task": "128"}),
        ("lumi", {"partition": "small", "gpus_per_node": 0, "tasks_per_node": 3}, {"mem-per-cpu": "1792M"}),
        ("lumi", {"memory": "100G"}, {"mem": "100G"}),
        ("lumi", {"qos": "q", "reservation": "r"}, {"qos": "q", "reservation": "r"}),
        ("jupiter", {}, {"mem": "", "ntasks-per-node": "4", "cpus-per-task": "72", "gpus-per-node": "4"}),
        ("local", {"tasks_per_node": 2}, {"mem": "", "ntasks-per-node": "2", "cpus-per-task": "1", "account": ""}),
    ],
)
def test_what_a_site_wants_to_be_asked(
    site: str, asked: dict[str, object], expected: dict[str, str], loader: jinja2.BaseLoader
) -> None:
    """Tasks, cores and memory follow from the nodes of the partition unless the job says otherwise."""
    resources = Resources(**{"time": "1"} | RESOURCES[site] | asked)
    job = Job(name="a", resources=resources, launch=Launch(kind="srun", command=["x"]))
    text = render(job, load_site(site, GOLDEN), loader, version="0")
    for option, value in expected.items():
        assert (f"#SBATCH --{option}={value}\n" in text) == bool(value), option


def test_without_a_placement(loader: jinja2.BaseLoader) -> None:
    """A script for a person to submit has no sentinel and a log that Slurm names."""
    text = render(example("lumi", "srun"), load_site("lumi", GOLDEN), loader, version="0")
    assert "#SBATCH --output=%x-%j.out\n" in text
    assert "aifa_folder" not in text
    assert "--comment" not in text
