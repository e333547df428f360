"""Every launch kind on two nodes of both clusters; what the programs see is compared with the site's own topology.

The clusters' nodes have more cores than the machines that run tests, so there is no task plugin, which would have to
bind to cores that are not there: srun passes the requested binding on in ``SLURM_CPU_BIND`` and says that it "lacks
support for cpu binding". What is compared is the request. All nodes are one machine, so their addresses are the same.
torchrun, MPICH, Dask and Ray are the real ones.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.runtime import walltime
from aifa_hpc.sites.load import load_site
from aifa_hpc.sites.topology import cpu_mask
from integration.conftest import SHAPES, SITES, User, make_user
from integration.engines import install
from integration.everywhere import on_all_sites

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.sites.model import NodeType

pytestmark = pytest.mark.cluster

GPU_VARIABLE = {"lumi": "ROCR_VISIBLE_DEVICES", "jupiter": "CUDA_VISIBLE_DEVICES"}
# Slurm passes output on in pieces of 1024 bytes, so that longer lines of several ranks would mix.
PRINT = """
import json, os, sys
def say(**more):
    wanted = "CPU_BIND CPUS_PER_TASK JOB_ID JOB_NUM_NODES PROCID LOCALID".split()
    wanted = ["SLURM_" + name for name in wanted] + "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT".split()
    wanted += "LOCAL_WORLD_SIZE SLURM_JOB_END_TIME SLURMD_NODENAME".split()
    wanted += "PET_RDZV_CONF ROCR_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES".split()
    line = json.dumps({key: os.environ[key] for key in wanted if key in os.environ} | more) + "\\n"
    assert len(line) < 1024, line
    os.write(1, line.encode())
"""
SHOW = f"{PRINT}say(argv=sys.argv[1:])"
MPI = f"""{PRINT}
from mpi4py import MPI
world = MPI.COMM_WORLD
cards = world.allgather(f"{{os.environ['SLURMD_NODENAME']}}/{{os.environ['SLURM_LOCALID']}}")
say(cards=cards, total=world.allreduce(world.rank + 1), library=MPI.Get_library_version().split()[0])
"""
# Debian's torch 2.6 is built without libuv, and nothing but code can tell its rendezvous so.
NO_UV = """
import functools, sys, torch, torch.distributed as dist
if not torch.__version__.startswith("1."):
    dist.TCPStore = functools.partial(dist.TCPStore, use_libuv=False)
    sys.modules["torch.distributed.rendezvous"].TCPStore = dist.TCPStore
"""
TORCHRUN = f"""#!/usr/bin/python3
{NO_UV}
from torch.distributed.run import main
main()
"""
TORCH = f"""{PRINT}{NO_UV}
dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
mine = torch.tensor([int(os.environ[name]) for name in ("SLURM_NODEID", "LOCAL_RANK")])
seen = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
dist.all_gather(seen, mine)
say(total=total.item(), seen=[each.tolist() for each in seen], argv=sys.argv[1:])
dist.destroy_process_group()
"""


def submit(
    user: User,
    kind: str,
    *command: str,
    ends: str = "COMPLETED",
    env: dict[str, str] | None = None,
    more: str = "",
    **asked: Any,
) -> str:
    """Runs a job on two nodes to its end and returns its log; ``more`` are further tables of its file."""
    # On the two that `places` tells of: a job before this one may not have let go of them yet.
    two = {"nodes": 2, "nodelist": ",".join(sorted(user.connect["nodes"])[:2])}
    path = user.job(*command, kind=kind, **(asked if "nodes" in asked else two | asked))
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - the helper returns text
        file.write("[env]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in (env or {}).items()) + more)
    ran = user.aifa("submit", path, "--site", user.site, "--wait", "--json")
    log = user.aifa("logs", ran.json["id"]).out
    assert ends == ran.json["state"], f"{ran.err}\n{log}"
    return log


def shown(log: str) -> list[dict[str, Any]]:
    """What each program printed, by rank."""
    # torchrun puts the worker's name in front of what it passes on.
    rows = [json.loads(line) for line in re.findall(r"^(?:\[\w+\]:)?(\{.*)$", log, re.MULTILINE)]
    return sorted(rows, key=lambda row: int(row.get("SLURM_PROCID", 0)))


def places(user: User, tasks: int) -> list[tuple[str, int]]:
    """Node and local rank of every task on the first two nodes."""
    nodes = sorted(user.connect["nodes"])[:2]
    return [(node, local) for node in nodes for local in range(tasks)]


def node_type(user: User) -> NodeType:
    """The nodes of the machine's GPU partition, as its profile describes them."""
    site = load_site(user.machine, user.home)
    return site.nodes[site.partitions[str(SHAPES[user.machine]["partition"])].node]


def gpus_of(user: User) -> int:
    """GPUs of each node."""
    return node_type(user).gpus


def binding(user: User) -> str:
    """What srun must have asked for, from the site's topology."""
    node = node_type(user)
    if node.gpu_cpus:
        return "quiet,mask_cpu:" + ",".join(f"{cpu_mask(cpus):x}" for cpus in node.gpu_cpus)
    return "quiet,sockets"


@on_all_sites
def test_command_runs_once_on_the_first_node(shaper: User) -> None:
    """A plain command is one process that sees all GPUs of its node, and knows when it ends on any Slurm."""
    gpus = gpus_of(shaper)
    (row,) = shown(submit(shaper, "command", "python3", "-c", SHOW))
    assert 0 < walltime(row) <= 300
    assert (min(shaper.connect["nodes"]), "2") == (row["SLURMD_NODENAME"], row["SLURM_JOB_NUM_NODES"])
    assert ",".join(map(str, range(gpus))) == row["CUDA_VISIBLE_DEVICES"]
    assert "RANK" not in row


@on_all_sites
def test_srun_gives_each_rank_its_gpu_and_its_cores(shaper: User) -> None:
    """One rank for each GPU, bound beside it, all of one mind about where rank 0 listens."""
    gpus = gpus_of(shaper)
    rows = shown(submit(shaper, "srun", "python3", "-c", SHOW))
    assert places(shaper, gpus) == [(row["SLURMD_NODENAME"], int(row["SLURM_LOCALID"])) for row in rows]
    assert [str(rank) for rank in range(2 * gpus)] == [row["RANK"] for row in rows]
    assert {(str(2 * gpus), str(gpus))} == {(row["WORLD_SIZE"], row["LOCAL_WORLD_SIZE"]) for row in rows}
    assert [row["SLURM_LOCALID"] for row in rows] == [row[GPU_VARIABLE[shaper.machine]] for row in rows]
    assert {"0"} == {row["LOCAL_RANK"] for row in rows}
    assert {binding(shaper)} == {row["SLURM_CPU_BIND"] for row in rows}
    usable = node_type(shaper).usable_cpus
    assert {str(usable // gpus)} == {row["SLURM_CPUS_PER_TASK"] for row in rows}
    first = {"lumi": min(shaper.connect["nodes"]), "jupiter": "127.0.0.1"}[shaper.machine]
    port = str(10000 + int(rows[0]["SLURM_JOB_ID"]) % 10000)
    assert {(first, port)} == {(row["MASTER_ADDR"], row["MASTER_PORT"]) for row in rows}


@on_all_sites
def test_mpi_ranks_reduce_and_know_each_other(shaper: User) -> None:
    """Real MPICH over Slurm's own PMI-2: one world over two nodes; nothing tells the ranks of torch's rendezvous."""
    gpus = gpus_of(shaper)
    env = install(shaper, "mpi4py", "mpich") | {"SLURM_MPI_TYPE": "pmi2"}
    rows = shown(submit(shaper, "mpi", "python3", "-c", MPI, env=env))
    cards = [f"{node}/{local}" for node, local in places(shaper, gpus)]
    assert [cards] * len(cards) == [row["cards"] for row in rows]
    assert {("MPICH", sum(range(1, 2 * gpus + 1)))} == {(row["library"], row["total"]) for row in rows}
    assert [row["SLURM_LOCALID"] for row in rows] == [row[GPU_VARIABLE[shaper.machine]] for row in rows]
    assert {binding(shaper)} == {row["SLURM_CPU_BIND"] for row in rows}
    assert set() == {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} & {*rows[0]}


@on_all_sites
def test_mpi_spans_the_components_of_a_job(shaper: User) -> None:
    """Real MPICH: ranks of both components of a heterogeneous job are one world."""
    env = install(shaper, "mpi4py", "mpich") | {"SLURM_MPI_TYPE": "pmi2"}
    asked = {"time": "00:05:00", "tasks_per_node": 2} | SHAPES[shaper.machine]
    resources = ", ".join(f"{key} = {json.dumps(value)}" for key, value in asked.items())
    command = json.dumps(["python3", "-c", MPI])
    more = f'[[components]]\nresources = {{ {resources} }}\nlaunch = {{ kind = "mpi", command = {command} }}\n'
    log = submit(shaper, "mpi", "python3", "-c", MPI, env=env, more=more, nodes=1, tasks_per_node=1)
    rows = shown(log)
    assert [("MPICH", 6)] * 3 == [(row["library"], row["total"]) for row in rows], log
    nodes = [card.split("/")[0] for card in rows[0]["cards"]]
    assert (3, True) == (len(nodes), nodes[0] != nodes[1] == nodes[2])


@on_all_sites
def test_torchrun_reduces_over_two_nodes(shaper: User) -> None:
    """Real torchrun and gloo: agents meet at node 0, as many workers as GPUs, all of which they see; two for speed."""
    path, program = f"{shaper.folder}/train.py", f"{shaper.folder}/bin/torchrun"
    for file, text in ((path, TORCH), (program, TORCHRUN)):
        shaper.ssh(f"mkdir -p '{shaper.folder}/bin' && cat > '{file}' && chmod 700 '{file}'", text)
    # All nodes are one machine, whose only interface that is sure to be there is the loopback. Debian's torch 1.13
    # fails unless torchrun passes output on.
    env = {
        "GLOO_SOCKET_IFNAME": "lo",
        "PET_REDIRECTS": "1",
        "PET_TEE": "1",
        "PATH": f"{shaper.folder}/bin:/usr/bin:/bin",
    }
    log = submit(shaper, "torchrun", path, "--epochs", "3", env=env, gpus_per_node=2)
    rows = shown(log)
    assert [(10.0, "4", "2")] * 4 == [(row["total"], row["WORLD_SIZE"], row["LOCAL_WORLD_SIZE"]) for row in rows], log
    # Agents are numbered as they come.
    assert [[[0, 0], [0, 1], [1, 0], [1, 1]]] * 4 == [sorted(row["seen"]) for row in rows]
    first = min(shaper.connect["nodes"])
    hosts = [f"is_host={int(row['SLURMD_NODENAME'] == first)}" for row in rows]
    assert hosts == [row["PET_RDZV_CONF"] for row in rows]
    assert [["--epochs", "3"]] * 4 == [row["argv"] for row in rows]
    assert len({row["CUDA_VISIBLE_DEVICES"] for row in rows}) == 1


DASK = """
import json, os
from distributed import Client
client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"].values()
seen = client.run(lambda: {key: os.environ.get(key) for key in ("SLURMD_NODENAME", "SLURM_LOCALID", "VARIABLE")})
total = client.submit(sum, client.map(lambda number: number * number, range(10))).result()
names, threads = sorted(worker["name"] for worker in workers), sorted({worker["nthreads"] for worker in workers})
by_file = Client(scheduler_file=os.environ["DASK_SCHEDULER_FILE"])
held = by_file.scheduler.address == os.environ["DASK_SCHEDULER_ADDRESS"]
print(json.dumps({"names": names, "threads": threads, "total": total, "seen": list(seen.values()), "file": held}))
"""


@on_all_sites
def test_dask_computes_on_workers_of_both_nodes(shaper: User) -> None:
    """Real Dask: one worker on each node with all its cores, found by variable and by file."""
    cores = node_type(shaper).usable_cpus
    (row,) = shown(submit(shaper, "dask", "python3", "-c", DASK, env=install(shaper, "distributed")))
    assert [f"{node}-0" for node, _ in places(shaper, 1)] == row["names"]
    assert ([cores], 285, True) == (row["threads"], row["total"], row["file"])


@on_all_sites
def test_dask_may_have_a_worker_for_each_gpu(shaper: User) -> None:
    """As many workers as tasks are asked for, each with its GPU; two for speed."""
    asked = {"tasks_per_node": 2, "gpus_per_node": 2}
    script = DASK.replace("VARIABLE", GPU_VARIABLE[shaper.machine])
    (row,) = shown(submit(shaper, "dask", "python3", "-c", script, env=install(shaper, "distributed"), **asked))
    seen = sorted((entry["SLURMD_NODENAME"], int(entry["SLURM_LOCALID"])) for entry in row["seen"])
    assert (places(shaper, 2), 285) == (seen, row["total"])
    assert all(entry["SLURM_LOCALID"] == entry[GPU_VARIABLE[shaper.machine]] for entry in row["seen"])


@on_all_sites
def test_a_daemon_that_dies_ends_the_job(shaper: User) -> None:
    """When one worker is killed the command does not wait for the walltime: the job fails and says why."""
    script = """
import os, signal, time
from distributed import Client
client = Client()
first = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
nanny = client.run(os.getppid, workers=[first])[first]
os.kill(nanny, signal.SIGKILL)
time.sleep(200)
"""
    log = submit(shaper, "dask", "python3", "-c", script, ends="FAILED", env=install(shaper, "distributed"))
    assert "aifa: a daemon of dask ended before the command did" in log


@on_all_sites
def test_an_engine_that_is_not_there_ends_the_job(shaper: User) -> None:
    """Without the program the job fails at once, shows the shell's own words, and the command never runs."""
    log = submit(shaper, "ray", "echo", "here I am", ends="FAILED")
    # Whichever of the two comes first: the daemon that cannot start, or the look whether all have joined.
    assert "ray: not found" in log or "No module named 'ray'" in log
    assert "aifa: ray did not come up, see above; the command was not run" in log
    assert "here I am" not in log


RAY = """
import json, os, ray
ray.init(logging_level="ERROR", log_to_driver=False)
square = ray.remote(lambda number: number * number)
total = sum(ray.get([square.remote(number) for number in range(10)]))
found = ray.cluster_resources()
alive = sum(node["Alive"] for node in ray.nodes())
print(json.dumps({"total": total, "nodes": alive, "cpus": found["CPU"], "gpus": found["GPU"]}))
"""


@on_all_sites
def test_ray_computes_on_both_nodes(shaper: User) -> None:
    """Real Ray: a head and a worker with all cores and GPUs of two nodes."""
    node = node_type(shaper)
    (row,) = shown(submit(shaper, "ray", "python3", "-c", RAY, env=install(shaper, "ray")))
    assert (285, 2, 2.0 * node.usable_cpus, 2.0 * node.gpus) == (row["total"], row["nodes"], row["cpus"], row["gpus"])


@on_all_sites
def test_interactive_lines_work_when_pasted(shaper: User) -> None:
    """The lines get nodes and a terminal on the first one with the job's variables; submitting is refused with them."""
    path = shaper.job(
        "sh", "-c", "echo on $SLURMD_NODENAME with $CUDA_VISIBLE_DEVICES; tty", kind="interactive", nodes=2
    )
    rendered = shaper.aifa("render", path, "--site", shaper.site)
    refused = shaper.aifa("submit", path, "--site", shaper.site)
    assert (0, 2) == (rendered.code, refused.code), rendered.err
    assert rendered.out.strip() in refused.err
    before, line, after = re.split(r"^(salloc .*)$", rendered.out, flags=re.MULTILINE)
    # What a person types into the shell that salloc opens is given to it as a script, so that the test has an end.
    script = f"{line} bash -lc {shlex.quote(after)}"
    words = ["ssh", "-tt", "-F", shaper.connect["ssh_config"], "-i", shaper.connect["identity_file"], "-p"]
    words += [str(shaper.connect["port"]), f"{shaper.connect['user']}@{shaper.connect['host']}", f"{before}{script}"]
    ran = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, errors="replace"
    )
    everything = ",".join(map(str, range(gpus_of(shaper))))
    said = ran.stdout.replace("\r", "")
    assert f"on {min(shaper.connect['nodes'])} with {everything}\n/dev/pts/" in said, said + ran.stderr


@pytest.mark.parametrize("machine", SITES)
def test_an_image_for_the_other_machine_is_not_submitted(clusters: None, tmp_path: Path, machine: str) -> None:
    """The site reads the image's header, and the job is refused before it is sent."""
    user = make_user(tmp_path, machine, "openssh", mfa=False)
    code = {"lumi": "04", "jupiter": "02"}[machine]
    user.ssh(
        f"mkdir -p '{user.folder}' && printf '#!/usr/bin/env run-singularity\\n\\0SIF_MAGIC\\00001\\0000{code[1]}\\000'"
        f" > '{user.folder}/image.sif'"
    )
    path = user.job("true")
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - the helper returns text
        file.write(f'[container]\nimage = "{user.folder}/image.sif"\n')
    ran = user.aifa("submit", path, "--site", user.site)
    assert (2, True) == (ran.code, "the file's own header" in ran.err), ran.err
    assert [] == user.aifa("jobs", "--json", "--offline").json
