"""Any legal job on every site renders to a script that says what was asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.prepare import prepare
from aifa_hpc.sbatch.render import render
from aifa_hpc.sbatch.reread import read_directives
from aifa_hpc.sites.load import load_site

NOWHERE = Path("/nonexistent")
SITES = {name: load_site(name, NOWHERE) for name in ("jupiter", "local", "lumi")}
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@st.composite
def legal_jobs(draw: st.DrawFn) -> tuple[str, Job]:
    """A site and a job it would take."""
    site = SITES[draw(st.sampled_from(sorted(SITES)))]
    name = draw(st.sampled_from(sorted(site.partitions)))
    partition = site.partitions[name]
    node = site.nodes[partition.node]
    most = node.gpus if partition.max_gpus is None else min(node.gpus, partition.max_gpus)
    gpus = draw(st.integers(1, most)) if most else 0
    tasks = draw(st.none() | st.integers(1, 8))
    resources = Resources(
        time=f"{draw(st.integers(1, 30))}",
        partition=name,
        nodes=draw(st.integers(1, min(8, partition.max_nodes or partition.nodes))),
        gpus_per_node=gpus,
        tasks_per_node=tasks,
        cpus_per_task=draw(st.none() | st.integers(1, node.usable_cpus // (tasks or max(gpus, 1)))),
        memory=draw(st.none() | st.sampled_from(["1G", "1500M", "100K"])),
        account=site.scheduler.account_example,
    )
    root = site.path_roots[0].rstrip("/")
    kind = draw(st.sampled_from(["command", "srun", "torchrun"]))
    image = Container(image=f"{root}/x.sif", bind=[f"{root}/a"]) if site.container and draw(st.booleans()) else None
    made = Job(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True)),
        resources=resources,
        launch=Launch(kind=kind, command=["program", *draw(st.lists(text, max_size=3))]),
        container=image,
        env=draw(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{4,9}", fullmatch=True), text, max_size=3)),
        workdir=draw(st.sampled_from(["", f"{root}/w", f"{root}/a b#c"])),
    )
    return site.name, made


@given(legal_jobs(), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_legal_job_renders(drawn: tuple[str, Job], placed: bool) -> None:
    """It reads back equal, bash finds no fault in it, and no line but the first ones is a directive."""
    name, made = drawn
    site = SITES[name]
    errors = [problem for problem in check(made, site) if problem.severity == "error"]
    if made.launch.kind == "torchrun":
        errors = [problem for problem in errors if problem.key != "resources.tasks_per_node"]
    assert [] == errors
    placement = Placement(folder="/scratch/a b/jobs/t0", token="t0", name=f"{made.name}-t0") if placed else None
    script = render(made, site, template_loader(NOWHERE), version="0", placement=placement)
    assert prepare(made, site, placement).directives == read_directives(script)
    head, _, body = script.partition("\n\n")
    assert [] == [line for line in body.split("\n") if line.startswith(("#SBATCH", "#PBS", "#BSUB"))]
    assert len(prepare(made, site, placement).directives) == head.count("\n#SBATCH ")
    done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False)
    assert (0, b"") == (done.returncode, done.stderr)
