"""How srun lays its tasks out over a job's nodes, and what each task finds in its environment.

Rules and names: srun(1) of Slurm 22.05, ``--distribution`` and OUTPUT ENVIRONMENT VARIABLES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.hostlist import compress_hostlist, expand_hostlist

from .environment import counted, spread
from .words import Refusal, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPTIONS = table(
    "accel-bind= account/A= acctg-freq= bb= bbf= bcast=? bcast-exclude= begin/b= chdir/D= cluster-constraint= "
    "clusters/M= comment= compress=? constraint/C= container= contiguous core-spec/S= cores-per-socket= cpu-bind= "
    "cpu-freq= cpus-per-gpu= cpus-per-task/c= deadline= delay-boot= dependency/d= disable-status/X distribution/m= "
    "epilog= error/e= exact exclude/x= exclusive=? export= extra-node-info/B= gid= gpu-bind= gpu-freq= gpus/G= "
    "gpus-per-node= gpus-per-socket= gpus-per-task= gres= gres-flags= help/h het-group= hint= hold/H immediate/I=? "
    "input/i= interactive job-name/J= jobid= kill-on-bad-exit/K=? label/l licenses/L= mail-type= mail-user= "
    "mcs-label= mem= mem-bind= mem-per-cpu= mem-per-gpu= mincpus= mpi= msg-timeout= multi-prog network= nice=? "
    "no-allocate/Z no-kill/k=? nodefile/F= nodelist/w= nodes/N= ntasks/n= ntasks-per-core= ntasks-per-gpu= "
    "ntasks-per-node= ntasks-per-socket= open-mode= output/o= overcommit/O overlap oversubscribe/s partition/p= "
    "power= prefer= preserve-env/E priority= profile= prolog= propagate=? pty qos/q= quiet/Q quit-on-interrupt reboot "
    "relative/r= reservation= resv-ports=? send-libs=? signal= slurmd-debug= sockets-per-node= spread-job switches= "
    "task-epilog= task-prolog= test-only thread-spec= threads/T= threads-per-core= time/t= time-min= tmp= "
    "tres-per-task= uid= unbuffered/u usage use-min-nodes verbose/v version/V wait/W= wckey= whole x11=?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """One task: its number in the step, on its node, and where that is."""

    rank: int
    local: int
    node: int
    host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The tasks of a step on its nodes.

    Attributes:
        hosts: Node names.
        counts: Tasks on each.
        ranks: The tasks in their order.
        warning: What srun says about it; empty when nothing.
    """

    hosts: tuple[str, ...]
    counts: tuple[int, ...]
    ranks: tuple[Rank, ...]
    warning: str = ""


def error(line: str, exit_code: int = 1) -> Refusal:
    """A refusal in srun's form."""
    return Refusal(f"srun: error: {line}", exit_code=exit_code)


def count(options: Mapping[str, str], name: str, default: str | None) -> int | None:
    """A positive number from an option or from the job's variable; ``None`` when neither is there.

    Raises:
        Refusal: Something else.
    """
    text = options.get(name, default)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise error(f'Invalid numeric value "{text}" for --{name}.')
    return int(text)


def lay_out(options: Mapping[str, str], job: Mapping[str, str]) -> Layout:
    """Decides nodes and tasks of a step.

    Args:
        options: Of srun.
        job: The job's environment.

    Raises:
        Refusal: More nodes than the job has, or numbers that are none.
    """
    hosts = _hosts(options, expand_hostlist(job["SLURM_JOB_NODELIST"]))
    asked = options.get("nodes")
    nodes = count({"nodes": asked.partition("-")[0]}, "nodes", None) if asked else None
    if nodes is not None and nodes > len(hosts):
        raise error(f"Only allocated {len(hosts)} nodes asked for {nodes}")
    hosts = hosts[: nodes or len(hosts)]
    per_node = count(options, "ntasks-per-node", job.get("SLURM_NTASKS_PER_NODE"))
    # The job's own number stands in SLURM_NTASKS and wins over --nodes and --ntasks-per-node; for less, say -n.
    tasks = count(options, "ntasks", job.get("SLURM_NTASKS")) or len(hosts) * (per_node or 1)
    warning = ""
    if tasks < len(hosts):
        if nodes is not None:
            warning = f"srun: Warning: can't run {tasks} processes on {nodes} nodes, setting nnodes to {tasks}"
        hosts = hosts[:tasks]
    counts = spread(tasks, len(hosts))
    if per_node and "ntasks-per-node" in options and tasks <= per_node * len(hosts):
        counts = [max(0, min(per_node, tasks - per_node * node)) for node in range(len(hosts))]
    cores = tasks * (count(options, "cpus-per-task", job.get("SRUN_CPUS_PER_TASK")) or 1)
    given = sum(_cores(job["SLURM_JOB_CPUS_PER_NODE"])[: len(hosts)])
    if cores > given and "overcommit" not in options:
        raise error(f"Unable to create step for job {job['SLURM_JOB_ID']}: More processors requested than permitted")
    cyclic = options.get("distribution", job.get("SLURM_DISTRIBUTION", "block")).startswith("cyclic")
    order = _cyclic(counts) if cyclic else [node for node, number in enumerate(counts) for _ in range(number)]
    ranks, seen = [], [0] * len(hosts)
    for rank, node in enumerate(order):
        ranks.append(Rank(rank=rank, local=seen[node], node=node, host=hosts[node]))
        seen[node] += 1
    return Layout(hosts=tuple(hosts), counts=tuple(counts), ranks=tuple(ranks), warning=warning)


def _hosts(options: Mapping[str, str], hosts: list[str]) -> list[str]:
    """The job's nodes, reduced by ``--nodelist``, ``--exclude`` and ``--relative``."""
    try:
        wanted = expand_hostlist(options.get("nodelist", ""))
        without = set(expand_hostlist(options.get("exclude", "")))
    except ParseError as wrong:
        raise error(str(wrong)) from None
    if set(wanted) - set(hosts):
        raise error("Unable to create step: Requested nodes not in the job's allocation")
    if wanted:
        hosts = [host for host in hosts if host in wanted]
    hosts = [host for host in hosts if host not in without]
    if "relative" in options:
        hosts = hosts[int(options["relative"]) if options["relative"].isdecimal() else len(hosts) :]
    if not hosts:
        raise error("Unable to create step: Requested node configuration is not available")
    return hosts


def _cores(text: str) -> list[int]:
    """Numbers of ``SLURM_JOB_CPUS_PER_NODE``, one for each node."""
    found = []
    for word in text.split(","):
        number, _, times = word.partition("(x")
        found += [int(number)] * int(times.rstrip(")") or 1)
    return found


def _cyclic(counts: Sequence[int]) -> list[int]:
    left, order = list(counts), []
    while any(left):
        for node, number in enumerate(left):
            if number:
                order.append(node)
                left[node] -= 1
    return order


def task_environment(
    base: Mapping[str, str], layout: Layout, rank: Rank, *, step: str, cpus_per_task: str | None
) -> dict[str, str]:
    """Everything a task finds in its environment."""
    hosts, tasks, nodes = compress_hostlist(layout.hosts), str(len(layout.ranks)), str(len(layout.hosts))
    env = dict(base) | {
        "SLURM_STEP_ID": step,
        "SLURM_STEPID": step,
        "SLURM_STEP_NODELIST": hosts,
        "SLURM_STEP_NUM_NODES": nodes,
        "SLURM_STEP_NUM_TASKS": tasks,
        "SLURM_STEP_TASKS_PER_NODE": counted(layout.counts),
        "SLURM_TASKS_PER_NODE": counted(layout.counts),
        "SLURM_NTASKS": tasks,
        "SLURM_NPROCS": tasks,
        "SLURM_NNODES": nodes,
        "SLURM_NODEID": str(rank.node),
        "SLURM_PROCID": str(rank.rank),
        "SLURM_LOCALID": str(rank.local),
        "SLURM_GTIDS": ",".join(str(other.rank) for other in layout.ranks if other.node == rank.node),
        "SLURMD_NODENAME": rank.host,
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SLURM_SRUN_COMM_HOST": "127.0.0.1",
    }
    if cpus_per_task is not None:
        env["SLURM_CPUS_PER_TASK"] = cpus_per_task
    return env
