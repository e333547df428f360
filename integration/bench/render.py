"""A thousand different jobs read, checked and rendered for each site, beside what others take, in seconds of one core.

    python -m integration.bench.render [--jobs 1000] [--rounds 5] [--peers PYTHON]

Goal: under two seconds for a thousand jobs, reading and checking included. The peers are submitit and PSI/J, of which a
throw-away environment is made (or that of ``--peers`` is used); each renders a job of the same size by the function
that its own ``submit`` calls, and neither checks it. Rounds take turns; figures are medians, so ratios are of one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.jobs.check import require
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.render import render
from aifa_hpc.sites.load import load_site
from integration.bench.peers import install

if TYPE_CHECKING:
    from aifa_hpc.sites.model import Site

GOAL = 2.0
NOWHERE = Path("/nonexistent")
SITES = {
    "lumi": {
        "partition": "standard-g",
        "gpus": 8,
        "account": "project_465000001",
        "root": "/scratch/project_465000001",
    },
    "jupiter": {"partition": "booster", "gpus": 4, "account": "e-aif-2026fl01-123", "root": "/e/scratch/aif"},
}
KINDS = ("command", "srun", "torchrun")
JOB = """
name = "job-{number}"
[resources]
partition = "{partition}"
nodes = {nodes}
gpus_per_node = {gpus}
time = "0{hours}:30:00"
account = "{account}"
[launch]
kind = "{kind}"
command = ["train.py", "--seed", "{number}", "--data", "{root}/shards-{number}"]
[container]
image = "{root}/image.sif"
[env]
OMP_NUM_THREADS = "7"
RUN_NAME = "it's {number}"
"""
# Run by the peer's Python: how many jobs, then the seconds on standard output.
PEERS = {
    "submitit": """
import sys, time
from submitit.slurm.slurm import _make_sbatch_string
begin = time.process_time()
for number in range(int(sys.argv[1])):
    text = _make_sbatch_string(
        command=f"python train.py --seed {number}", folder="/scratch/p/logs", job_name=f"job-{number}",
        partition="standard-g", account="project_465000001", nodes=1 + number % 8, ntasks_per_node=8, cpus_per_task=7,
        gpus_per_node=8, mem="480G", time=30, setup=["export OMP_NUM_THREADS=7"],
    )
    assert f"--seed {number}" in text
print(time.process_time() - begin)
""",
    "psij-python": """
import datetime, io, sys, time
import psij
executor = psij.JobExecutor.get_instance("slurm")
begin = time.process_time()
for number in range(int(sys.argv[1])):
    size = psij.ResourceSpecV1(
        node_count=1 + number % 8, processes_per_node=8, cpu_cores_per_process=7, gpu_cores_per_process=1
    )
    attributes = psij.JobAttributes(
        duration=datetime.timedelta(minutes=30), queue_name="standard-g", project_name="project_465000001"
    )
    spec = psij.JobSpec(
        name=f"job-{number}", executable="python", arguments=["train.py", "--seed", str(number)],
        environment={"OMP_NUM_THREADS": "7"}, resources=size, attributes=attributes, launcher="srun",
    )
    job, script = psij.Job(spec), io.StringIO()
    executor.generate_submit_script(job, executor._create_script_context(job), script)
    assert f"--seed {number}" in script.getvalue()
print(time.process_time() - begin, flush=True)
import os
os._exit(0)  # its polling thread would go on
""",
}


def job_files(machine: str, count: int) -> list[str]:
    """Texts of job files, each another one."""
    return [
        JOB.format(number=number, nodes=1 + number % 500, hours=number % 9, kind=KINDS[number % 3], **SITES[machine])
        for number in range(count)
    ]


def ours(site: Site, texts: list[str]) -> dict[str, float]:
    """Seconds of each step for all jobs; the templates are compiled anew."""
    begin = time.process_time()
    jobs = [read_job(text) for text in texts]
    read = time.process_time()
    for job in jobs:
        require(job, site)
    checked = time.process_time()
    loader = template_loader(NOWHERE)
    scripts = {render(job, site, loader, version="0") for job in jobs}
    rendered = time.process_time()
    assert len(scripts) == len(texts)
    return {"read": read - begin, "check": checked - read, "render": rendered - checked}


def peer(python: str, name: str, count: int, home: str) -> float:
    """Seconds a peer takes to render that many jobs; what it leaves in a home folder goes to ``home``."""
    words = [python, "-W", "ignore", "-c", PEERS[name], str(count)]
    ran = subprocess.run(
        words, check=True, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": home}
    )
    return float(ran.stdout.split()[-1])


def measure(count: int, rounds: int, python: str, peers: list[str], home: str) -> dict[str, float]:
    """Median seconds of everything, in rounds that take turns."""
    sites = {machine: load_site(machine, NOWHERE) for machine in SITES}
    texts = {machine: job_files(machine, count) for machine in SITES}
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for machine, site in sites.items():
            for step, seconds in ours(site, texts[machine]).items():
                times.setdefault(f"{machine} {step}", []).append(seconds)
        for name in peers:
            times.setdefault(name, []).append(peer(python, name, count, home))
    return {name: statistics.median(values) for name, values in times.items()}


def report(found: dict[str, float], count: int, missing: dict[str, str]) -> None:
    """Prints the table and the verdict."""
    for machine in SITES:
        steps = {step: found[f"{machine} {step}"] for step in ("read", "check", "render")}
        whole = sum(steps.values())
        verdict = "met" if whole * 1000 / count < GOAL else "MISSED"
        split = ", ".join(f"{step} {seconds * 1000:.0f} ms" for step, seconds in steps.items())
        print(f"{machine:<12} {count} jobs in {whole:.2f} s ({split}); goal {GOAL:.0f} s for a thousand: {verdict}")
    for name in PEERS:
        if name in missing:
            print(f"{name:<12} left out, it cannot be installed here: {missing[name]}")
            continue
        ratios = ", ".join(f"{machine} {found[f'{machine} render'] / found[name]:.1f}" for machine in SITES)
        print(f"{name:<12} {count} jobs rendered in {found[name]:.2f} s; ours takes this many times as long: {ratios}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="a Python that has the peers already")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aifa-peers-") as folder:
        python, missing = (given.peers, {}) if given.peers else install(Path(folder), PEERS)
        found = measure(given.jobs, given.rounds, python, [name for name in PEERS if name not in missing], folder)
    report(found, given.jobs, missing)


if __name__ == "__main__":
    main()
