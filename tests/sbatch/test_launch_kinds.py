"""Every launch kind on every site that has it, engines of daemons run on a node of stubs, modules and images."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.prepare import prepare
from aifa_hpc.sbatch.render import render
from aifa_hpc.sbatch.reread import read_directives, read_salloc
from aifa_hpc.sites.launching import KINDS
from aifa_hpc.sites.load import load_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    import jinja2
    from conftest import Node

NOWHERE = Path("/nonexistent")
LUMI = load_site("lumi", NOWHERE)
JUPITER = load_site("jupiter", NOWHERE)
LOCAL = load_site("local", NOWHERE)
SITES = {site.name: site for site in (LUMI, JUPITER, LOCAL)}
NASTY = [
    "a'; echo $(id) #",
    '"$(touch pwned)"',
    "$HOME !! \\",
    "two\nlines",
    "\n#SBATCH --account=other",
    "",
    "*",
    "-n",
]
ROCM6 = "/scratch/lumi-multitorch-full-u24r64f21m43t29-20260225_144743.sif"
ROCM7 = "/scratch/lumi-multitorch-full-u24r70f21m50t210-20260415_130625.sif"
DAEMON = """#!/bin/bash
echo "$@" >> "$ROOT/daemons"
# Workers leave when their scheduler does.
trap 'touch "$ROOT/over"' TERM
for number in {1..300}; do
  if [ -e "$ROOT/over" ]; then
    echo stopped >> "$ROOT/daemons"
    exit 0
  fi
  sleep 0.1
done
"""


def job(
    kind: str, command: tuple[str, ...] = ("program",), resources: dict[str, Any] | None = None, **more: Any
) -> Job:
    """A small job."""
    launch = Launch(kind=kind, command=command)  # type: ignore[arg-type] # one of the kinds
    return Job(name="a", resources=Resources(**{"time": "1"} | (resources or {})), launch=launch, **more)


def gpu_job(site: str, kind: str, command: tuple[str, ...] = ("program",), **more: Any) -> Job:
    """A job on two whole GPU nodes."""
    asked = {
        "lumi": {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001", "nodes": 2},
        "jupiter": {"partition": "booster", "gpus_per_node": 4, "account": "jureap59", "nodes": 2},
    }
    return job(kind, command, asked[site], **more)


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@st.composite
def legal_jobs(draw: st.DrawFn) -> tuple[str, Job]:
    """A site and a job of any kind that it would take."""
    site = SITES[draw(st.sampled_from(sorted(SITES)))]
    name = draw(st.sampled_from(sorted(site.partitions)))
    partition, root = site.partitions[name], site.path_roots[0].rstrip("/")
    kind = draw(st.sampled_from([kind for kind in KINDS if kind in site.launch]))
    gpus, most = site.nodes[partition.node].gpus, min(8, partition.max_nodes or partition.nodes)
    if partition.max_gpus is not None:
        gpus, most = min(gpus, partition.max_gpus), 1
    resources = {
        "partition": name,
        "nodes": draw(st.integers(1, most)),
        "gpus_per_node": draw(st.integers(1, gpus)) if gpus else 0,
        "account": site.scheduler.account_example,
    }
    image = Container(image=f"{root}/x.sif", bind=[f"{root}/a"]) if site.container and draw(st.booleans()) else None
    made = job(
        kind,
        ("program", *draw(st.lists(text, max_size=3))),
        resources,
        container=image,
        modules=draw(st.lists(st.sampled_from(["GCC/14.3.0", "a+b:c"]), max_size=2)),
        env=draw(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{4,9}", fullmatch=True), text, max_size=3)),
        workdir=draw(st.sampled_from(["", f"{root}/w", f"{root}/a b#c"])),
    )
    return site.name, made


@given(legal_jobs(), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_legal_job_of_any_kind_renders(drawn: tuple[str, Job], placed: bool) -> None:
    """It reads back equal, and bash finds no fault in it."""
    site, made = SITES[drawn[0]], drawn[1]
    assert [] == [problem for problem in check(made, site) if problem.severity == "error"]
    placement = Placement(folder="/scratch/a b/jobs/t0", token="t0", name=f"{made.name}-t0") if placed else None
    script = render(made, site, template_loader(NOWHERE), version="0", placement=placement)
    found = read_salloc(script) if made.launch.kind == "interactive" else read_directives(script)
    assert prepare(made, site, placement).directives == found
    done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False)
    assert (0, b"") == (done.returncode, done.stderr)


class Engine:
    """A node with an engine whose daemons are stubs; real engines run in the tests on clusters."""

    def __init__(self, node: Node, kind: str) -> None:
        self.node, self.kind = node, kind
        node.program(kind, DAEMON)
        program = (node.root / "bin" / "program").read_text()
        node.program("program", f"{program}os.system(os.environ['BEFORE'])\nsys.exit(int(os.environ['CODE']))\n")
        self.library(alive=2)

    def library(self, alive: int) -> None:
        """What the look whether all have joined imports."""
        library = self.node.root / "library"
        library.mkdir(exist_ok=True)
        (library / "ray.py").write_text(
            f"is_initialized = lambda: False\ninit = lambda **_: None\nnodes = lambda: [{{'Alive': True}}] * {alive}\n"
        )
        (library / "distributed.py").write_text(
            "import os, sys, time\nclass Client:\n    def __init__(self, **_): pass\n"
            f"    def wait_for_workers(self, wanted):\n        time.sleep(30 * (wanted > {alive}))\n"
        )

    def run(
        self,
        loader: jinja2.BaseLoader,
        *words: str,
        code: int = 0,
        before: str = "true",
        signal: str = "",
        **shape: int,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a job of two nodes, whose program runs a line of shell first."""
        kinds = LOCAL.launch | {self.kind: msgspec.structs.replace(LOCAL.launch[self.kind], **shape)}
        site = msgspec.structs.replace(LOCAL, launch=kinds)
        env = {"CODE": str(code), "BEFORE": before, "A": NASTY[0]}
        made = job(self.kind, ("program", *words), {"nodes": 2}, env=env, signal=signal)
        folder = self.node.root / "job"
        folder.mkdir()
        placement = Placement(folder=str(folder), token="t0", name="a.t0")
        text = render(made, site, loader, version="0", placement=placement)
        text = text.replace("set -o pipefail", "set -o pipefail; export SCRIPT=$$", 1)
        library = str(self.node.root / "library")
        return self.node.run(text, SLURM_JOB_ID=str(os.getpid()), SLURM_PROCID="0", PYTHONPATH=library)

    @property
    def daemons(self) -> list[str]:
        """What the daemons were told, and that they were stopped."""
        path = self.node.root / "daemons"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["ray", "dask"])
def engine(request: pytest.FixtureRequest, node: Node) -> Iterator[Engine]:
    """Each of the engines."""
    yield Engine(node, request.param)
    shutil.rmtree(f"/tmp/{request.param}-{os.getpid()}", ignore_errors=True)


@pytest.mark.parametrize("code", [0, 7])
def test_an_engine_runs_the_command_once_and_stops(engine: Engine, code: int, loader: jinja2.BaseLoader) -> None:
    """The command has the engine's address, its words and its own exit code; all daemons are stopped behind it."""
    done = engine.run(loader, *NASTY, code=code)
    assert code == done.returncode, done.stderr
    (call,) = engine.node.calls("program")
    port = 10000 + os.getpid() % 10000
    shared = f"{engine.node.root}/job/.{engine.kind}-{os.getpid()}"
    expected = {
        "ray": {
            "RAY_ADDRESS": f"nid005001:{port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": f"{shared}/token",
        },
        "dask": {
            "DASK_SCHEDULER_ADDRESS": f"tls://nid005001:{port}",
            "DASK_SCHEDULER_FILE": f"{shared}/scheduler.json",
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
            "DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY": f"{shared}/key.pem",
        },
    }
    assert (expected[engine.kind] | {"A": NASTY[0]}).items() <= call.env.items()
    assert NASTY == call.argv
    started = [line for line in engine.daemons if line != "stopped"]
    first = {"ray": ["start --head"], "dask": ["scheduler --protocol tls", "worker tls://nid005001:"]}
    assert len(first[engine.kind]) == len(started) == engine.daemons.count("stopped")
    assert all(any(line.startswith(words) for line in started) for words in first[engine.kind])
    assert (engine.node.root / "job" / "exit").read_text().split()[2] == str(code)
    assert [] == [place for place in (Path(shared), Path(f"/tmp/{engine.kind}-{os.getpid()}")) if place.exists()]


def test_a_secret_of_an_engine_is_for_its_owner_only(node: Node, loader: jinja2.BaseLoader) -> None:
    """Ray's token is long, in a file of mode 0600 in a folder of mode 0700; it stands in no argument and no log."""
    engine = Engine(node, "ray")
    secret = node.root / "job" / f".ray-{os.getpid()}" / "token"
    look = f"stat -c %a '{secret.parent}' '{secret}'; cp '{secret}' '{node.root}/kept'"
    done = engine.run(loader, before=look)
    token = (node.root / "kept").read_text()
    assert ("700\n600\n", 64) == (done.stdout, len(token))
    assert token not in done.stderr + "".join(engine.daemons)
    assert all(token not in " ".join(call.argv) for name in ("srun", "program") for call in node.calls(name))


@pytest.mark.parametrize(
    ("kind", "variable", "value", "left_out"),
    [
        ("ray", "RAY_AUTH_MODE", "disabled", "RAY_AUTH_TOKEN_PATH"),
        ("dask", "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "false", "openssl"),
    ],
)
def test_who_wants_no_secret_says_so(
    kind: str, variable: str, value: str, left_out: str, loader: jinja2.BaseLoader
) -> None:
    """The user's own setting wins, and the daemons then speak as it says."""
    assert left_out in render(job(kind), LOCAL, loader, version="0")
    text = render(job(kind, env={variable: value}), LOCAL, loader, version="0")
    assert left_out not in text
    assert "tls" not in text
    assert f"export {variable}={value}\n" in text


def test_a_signal_is_handed_to_the_command_alone(engine: Engine, loader: jinja2.BaseLoader) -> None:
    """The daemons would end on it; they are stopped behind the command, whose exit code is the job's."""
    engine.node.program(
        "program",
        "#!/usr/bin/env -S python3 -S\nimport os, signal, sys, time\n"
        "def save(*_): print('saved', flush=True); os._exit(5)\n"
        "signal.signal(signal.SIGUSR1, save)\nos.kill(int(os.environ['SCRIPT']), signal.SIGUSR1)\ntime.sleep(20)\n",
    )
    done = engine.run(loader, signal="B:USR1@60")
    assert (5, "saved\n") == (done.returncode, done.stdout), done.stderr
    assert {"ray": 1, "dask": 2}[engine.kind] == engine.daemons.count("stopped")
    assert (engine.node.root / "job" / "exit").read_text().split()[2] == "5"
    assert not (engine.node.root / "job" / f".{engine.kind}-{os.getpid()}").exists()


def test_an_engine_that_never_comes_together_is_given_up(engine: Engine, loader: jinja2.BaseLoader) -> None:
    """The bound is the site's, the job fails and says so, the command is not run, the daemons are stopped."""
    engine.library(alive=1)
    done = engine.run(loader, join_seconds=2)
    assert 124 == done.returncode
    assert f"not all of {engine.kind} was there after 2 seconds; the command was not run" in done.stderr
    assert [] == engine.node.calls("program")
    assert "stopped" in engine.daemons


def test_a_daemon_that_cannot_start_ends_the_job(engine: Engine, loader: jinja2.BaseLoader) -> None:
    """The other daemons are stopped, and the command is not run."""
    engine.library(alive=1)
    engine.node.program(engine.kind, "#!/bin/sh\necho no such luck >&2\nexit 3\n")
    done = engine.run(loader)
    assert 1 == done.returncode
    assert "no such luck" in done.stderr
    assert f"aifa: a daemon of {engine.kind} ended before the command did" in done.stderr
    assert [] == engine.node.calls("program")


def test_own_modules_come_last(node: Node, loader: jinja2.BaseLoader) -> None:
    """The job's modules are loaded after the site's, in their order."""
    made = gpu_job("jupiter", "mpi", modules=["GCC/14.3.0", "ParaStationMPI/5.13.0-1"])
    done = node.run(render(made, JUPITER, loader, version="0"))
    assert (0, "") == (done.returncode, done.stderr)
    loads = ["Stages/2026", "GCC/14.3.0", "ParaStationMPI/5.13.0-1"]
    assert [f"module load {name}" for name in loads] == (node.root / "modules.log").read_text().splitlines()


@pytest.mark.parametrize("site", [LUMI, JUPITER], ids=["lumi", "jupiter"])
def test_mpi_ranks_are_told_of_their_gpu_only(site: Any, node: Node, loader: jinja2.BaseLoader) -> None:
    """Nothing of torch's rendezvous is set, and the binding is that of srun."""
    done = node.run(render(gpu_job(site.name, "mpi"), site, loader, version="0"))
    assert (0, "") == (done.returncode, done.stderr)
    (call,) = node.calls("program")
    variable = site.launch["mpi"].gpu_variable
    assert "3" == call.env[variable]
    assert set() == {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} & call.env.keys()
    words = prepare(gpu_job(site.name, "mpi"), site).srun
    assert words == prepare(gpu_job(site.name, "srun"), site).srun


def test_mpi_in_lumis_images_speaks_pmi2(loader: jinja2.BaseLoader) -> None:
    """In a container only, and the user's own choice wins."""
    lines = [
        re.findall("export SLURM_MPI_TYPE=.*", render(made, LUMI, loader, version="0"))
        for made in (
            gpu_job("lumi", "mpi"),
            gpu_job("lumi", "mpi", container=Container(image=ROCM7)),
            gpu_job("lumi", "mpi", container=Container(image=ROCM7), env={"SLURM_MPI_TYPE": "pmix"}),
        )
    ]
    assert [[], ['export SLURM_MPI_TYPE="pmi2"'], ["export SLURM_MPI_TYPE=pmix"]] == lines


def test_presets_of_an_image_hold_for_it_alone(loader: jinja2.BaseLoader) -> None:
    """NCCL_NET_GDR_LEVEL is set for ROCm 6, not for ROCm 7, and the user's value wins and says so."""

    def text(image: str, **env: str) -> str:
        made = gpu_job("lumi", "srun", container=Container(image=image), env=env)
        return render(made, LUMI, loader, version="0")

    assert 'export NCCL_NET_GDR_LEVEL="PHB"\n' in text(ROCM6)
    assert "NCCL_NET_GDR_LEVEL" not in text(ROCM7)
    assert "# yours, in place of PHB\nexport NCCL_NET_GDR_LEVEL=0\n" in text(ROCM6, NCCL_NET_GDR_LEVEL="0")


def test_torchrun_binds_on_whole_nodes_where_the_image_can(loader: jinja2.BaseLoader) -> None:
    """--numa-binding needs a torch that has it, and all of the node's cores."""

    def text(**resources: Any) -> str:
        made = gpu_job("lumi", "torchrun", container=Container(image=ROCM7))
        made = msgspec.structs.replace(made, resources=msgspec.structs.replace(made.resources, **resources))
        return render(made, LUMI, loader, version="0")

    assert "  --numa-binding=exclusive program\n" in text()
    assert "--numa-binding" not in text(partition="small-g")
    assert "--numa-binding" not in render(gpu_job("lumi", "torchrun"), LUMI, loader, version="0")


def test_a_dask_worker_for_each_gpu_sees_its_own(loader: jinja2.BaseLoader) -> None:
    """Also where the shell that runs srun must name all GPUs."""
    made = gpu_job("jupiter", "dask")
    assert '  export CUDA_VISIBLE_DEVICES="$SLURM_LOCALID"\n' not in render(made, JUPITER, loader, version="0")
    each = msgspec.structs.replace(made, resources=msgspec.structs.replace(made.resources, tasks_per_node=4))
    text = render(each, JUPITER, loader, version="0")
    assert '\nexport CUDA_VISIBLE_DEVICES="0,1,2,3"\n' in text
    assert '  export CUDA_VISIBLE_DEVICES="$SLURM_LOCALID"\n' in text
    assert "--ntasks-per-node=4 --cpus-per-task=72 " in text


def test_interactive_lines_carry_what_the_job_asks_for(own: Any, loader: jinja2.BaseLoader) -> None:
    """One salloc line with every option, and the shell of the site behind it; a template cannot drop one."""
    asked = job("interactive", (), {"partition": "booster", "gpus_per_node": 4, "account": "jureap59"})
    text = render(asked, JUPITER, loader, version="0")
    assert ("gpus-per-node", "4") in read_salloc(text)
    assert "--cpu-bind=none --pty bash -c " in text
    assert text.endswith("' task bash -i\n")
    with pytest.raises(InputError, match=r"--account=jureap59 is missing"):
        render(asked, JUPITER, own(interactive="salloc --job-name=a\n"), version="0")
