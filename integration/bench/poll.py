"""Ten thousand jobs of a test cluster followed by one question, beside what others ask, in one run, as ratios.

    python -m integration.bench.poll [--jobs 10000] [--rounds 5] [--site lumi] [--peers PYTHON]

The jobs are real ones, held in the queue of a real controller; each has a row in our store. Goals: one round trip,
under 1.5 MB there and back, under 150 ms of CPU here. ``first`` is the question that tells something new of every job,
``again`` the one behind it, when nothing has changed, ``some`` when every hundredth job was cancelled in between. The
peers are submitit, whose own watcher asks ``sacct`` on the node, and qtoolkit, by which jobflow-remote asks over SSH;
both learn the same from the same jobs. They come from a throw-away environment, or from that of ``--peers``. The
cluster is one of ``integration.cluster up`` that nobody else uses: its limits are lifted while this runs, and all jobs
there are cancelled in the end.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.poller import Poller, utc_now
from integration.bench.submit import Bench, options, with_peers
from integration.clusters.control import Cluster
from integration.conftest import SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.command import Command, Completed
    from aifa_hpc.tracker.connection import Connection

MOST_BYTES, MOST_CPU = 1_500_000, 0.150
SUBMIT = 'seq "$1" | xargs -P 2 -n 1 sh -c \'sbatch --parsable --hold "$0" 2>&1\' "$2"'
# On the node: packages, then ids on standard input; seconds and seconds of CPU on standard output.
SUBMITIT = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from submitit.slurm.slurm import SlurmInfoWatcher
watcher = SlurmInfoWatcher()
ids = sys.stdin.read().split()
for one in ids:
    watcher.register_job(one)
begin, cpu = time.perf_counter(), time.process_time()
watcher.update()
took, cpu = time.perf_counter() - begin, time.process_time() - cpu
assert all(watcher.get_state(one, mode="cache") == "PENDING" for one in ids[-10:])
print(json.dumps([took, cpu]))
"""
# Here: ids and the words of ssh on standard input; seconds, seconds of CPU and bytes on standard output.
QTOOLKIT = """
import json, resource, subprocess, sys, time
from qtoolkit.io.slurm import SlurmIO
ids, words = json.load(sys.stdin)
begin, cpu = time.perf_counter(), time.process_time()
slurm = SlurmIO()
command = slurm.get_jobs_list_cmd(ids, None)
ran = subprocess.run([*words, command], capture_output=True)
found = slurm.parse_jobs_list_output(ran.returncode, ran.stdout, ran.stderr, ids)
assert len(found) == len(ids), (len(found), ran.stderr[-500:])
children = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = time.process_time() - cpu + children.ru_utime + children.ru_stime
print(json.dumps([time.perf_counter() - begin, cpu, len(command) + len(ran.stdout)]))
"""


@dataclass
class Cost:
    """What one question took.

    Attributes:
        seconds: Wall time.
        cpu: Seconds of CPU here, of the ssh program too.
        trips: Commands sent.
        bytes: There and back.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    trips: int = 1
    bytes: int = 0


@dataclass
class Counted:
    """Counts what a transport carries."""

    run_there: Callable[[Command], Completed]
    cost: Cost = field(default_factory=Cost)
    days: int = 0

    def run(self, command: Command) -> Completed:
        """Runs it there."""
        completed = self.run_there(command)
        self.cost.trips += 1
        self.cost.bytes += sum(map(len, (*map(str.encode, command.argv), command.stdin or b"")))
        self.cost.bytes += len(completed.stdout) + len(completed.stderr)
        return completed


def cpu_seconds() -> float:
    """CPU of this process and of the ended ones that it started."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def ask(connection: Connection, counted: Counted) -> Cost:
    """One poll, as if the last had been a day ago."""
    counted.days += 1
    later = utc_now() + datetime.timedelta(days=counted.days)
    poller = Poller(connection.cluster, connection.store, clock=lambda: later)
    cost = counted.cost = Cost(trips=0)
    begin, cpu = time.perf_counter(), cpu_seconds()
    if not poller.poll():
        raise RuntimeError("it was not its turn to ask")
    cost.seconds, cost.cpu = time.perf_counter() - begin, cpu_seconds() - cpu
    return cost


def remember(connection: Connection, bench: Bench, ids: list[str]) -> None:
    """Gives every job a row, as if it had been submitted from here."""
    store, site, now = connection.store, bench.user.site, utc_now()
    with store.together():
        for number, job_id in enumerate(ids):
            token = f"t{number:011d}"
            folder = f"{bench.user.connect['workdir']}/jobs/{token}"
            store.intend(token=token, site=site, name=f"b{number}", folder=folder, now=now)
            store.update(token, Status(state="PENDING"), now=now, job_id=job_id)


def ours(bench: Bench, ids: list[str], rounds: int, cancel: Callable[..., None]) -> dict[str, list[Cost]]:
    """Our questions in each round, every round with a new store."""
    found: dict[str, list[Cost]] = {"first": [], "again": [], "some": []}
    for number in range(rounds):
        with bench.connection() as connection:
            remember(connection, bench, ids)
            counted = Counted(connection.cluster.transport.run)
            connection.cluster.transport.run = counted.run  # type: ignore[method-assign] # it is measured
            for name in ("first", "again"):
                found[name].append(ask(connection, counted))
            expected = {"PENDING"}
            if number == rounds - 1:
                cancel(*ids[::100])
                found["some"].append(ask(connection, counted))
                expected |= {"CANCELLED"}
            states = {row.status.state for row in connection.store.rows()}
            if states != expected:
                raise RuntimeError(f"the jobs are said to be {states}")
    return found


def peers(bench: Bench, ids: list[str], missing: dict[str, str]) -> Iterator[tuple[str, Cost]]:
    """What the others take for one question."""
    if "submitit" not in missing:
        bench.send_submitit()
        words = ("python3", "-c", SUBMITIT, f"{bench.folder}/packages.zip")
        seconds, cpu = json.loads(bench.ssh(*words, stdin="\n".join(ids).encode()))
        yield "submitit", Cost(seconds, cpu)
    if "qtoolkit" not in missing:
        given = json.dumps([ids, bench.words()])
        words = (bench.python, "-W", "ignore", "-c", QTOOLKIT)
        ran = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"qtoolkit failed: {ran.stderr[-2000:]}")
        seconds, cpu, size = json.loads(ran.stdout)
        yield "qtoolkit", Cost(seconds, cpu, bytes=size)


@contextlib.contextmanager
def lifted(cluster: Cluster, partition: str, jobs: int) -> Iterator[None]:
    """The limits of a cluster, out of the way."""
    conf = "/etc/slurm/slurm.conf"
    limits = cluster.admin("sacctmgr", "-nP", "show", "qos", f"part_{partition}", "format=MaxSubmitJobsPerUser").strip()

    def restart(script: str, most: str) -> None:
        cluster.admin("sh", "-c", script)
        if limits:
            cluster.admin("sacctmgr", "-i", "modify", "qos", f"part_{partition}", "set", f"MaxSubmitJobsPerUser={most}")
        cluster.stop("slurmctld")
        cluster.start("slurmctld")

    restart(f"echo MaxJobCount={2 * jobs} >> {conf}", "-1")
    try:
        yield
    finally:
        restart(f"sed -i '/^MaxJobCount=/d' {conf}", limits)


def report(found: dict[str, list[Cost]], others: dict[str, list[Cost]]) -> None:
    """Prints the table and the verdict."""
    rows = found | others
    cells = {
        name: [statistics.median(getattr(cost, key) for cost in costs) for key in ("seconds", "cpu", "trips", "bytes")]
        for name, costs in rows.items()
        if costs
    }
    base = cells["again"]
    for name, (seconds, cpu, trips, size) in cells.items():
        shown = f"ours, {name}" if name in found else name
        ratio = "" if name in found else f"   as many times ours: {seconds / base[0]:.1f} wall, {cpu / base[1]:.1f} CPU"
        told = f"{size / 1e6:5.2f} MB" if size else "all of it on the node"
        print(f"{shown:<14} {seconds:6.2f} s   {1000 * cpu:6.0f} ms CPU   {trips:.0f} round trip   {told}{ratio}")
    for name in found:
        _, cpu, trips, size = cells[name]
        verdicts = (
            f"one round trip: {'met' if trips == 1 else 'MISSED'}",
            f"{MOST_BYTES / 1e6:g} MB: {'met' if size < MOST_BYTES else 'MISSED'}",
            f"{1000 * MOST_CPU:.0f} ms CPU: {'met' if cpu < MOST_CPU else 'MISSED'}",
        )
        print(f"{name}: {', '.join(verdicts)}")


def main() -> None:
    """Measures and prints."""
    given = options(__doc__, jobs=10_000, rounds=5)
    with tempfile.TemporaryDirectory(prefix="aifa-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        python, missing = with_peers(given, folder / "v", ("submitit", "qtoolkit"))
        stack.enter_context(lifted(Cluster(given.site), str(SHAPES[given.site]["partition"]), given.jobs))
        bench = Bench(folder / "home", given.site, None, python)
        stack.callback(bench.cancel)
        ids = bench.ssh("sh", "-c", SUBMIT, "sh", str(given.jobs), bench.script).split()
        if len(set(ids)) != given.jobs:
            raise RuntimeError(f"{len(set(ids))} jobs of {given.jobs} were submitted: {ids[-5:]}")
        while not bench.ssh("sacct", "-X", "-n", f"--jobs={max(ids, key=int)}").strip():  # submitit sees nothing before
            time.sleep(1)
        others: dict[str, list[Cost]] = {}
        for _ in range(given.rounds):
            for peer, cost in peers(bench, ids, missing):
                others.setdefault(peer, []).append(cost)
        report(ours(bench, ids, given.rounds, bench.cancel), others)


if __name__ == "__main__":
    main()
