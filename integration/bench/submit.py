"""Two hundred jobs submitted to a test cluster by the tools people use today, side by side in one run, as ratios.

    python -m integration.bench.submit [--jobs 200] [--rounds 3] [--site lumi] [--peers PYTHON]

The yardstick is a loop of ``sbatch`` on the node, started by one ssh. Ours is everything from job objects to written
down ids: checking, rendering, the store, the way there and back. Goal: at most 1.2 times the loop, also over a link of
40 ms. submitit runs on the node, as it must; hpc-rocket opens a connection for each job, so a twentieth of the jobs is
measured and multiplied. All connections but hpc-rocket's are open already; all jobs wait for one that is held, so that
none of them runs; tools take turns, the first round warms up, figures are medians. Peers come from a throw-away
environment, or from that of ``--peers``. The cluster is one of ``integration.cluster up`` that nobody else uses: all
jobs there are cancelled in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.command import shell
from aifa_hpc.jobs.features import After
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.tracker.connection import Connection, connect
from aifa_hpc.units import Walltime
from integration.bench.peers import far, install
from integration.conftest import SHAPES, User, make_user, reroute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.tracker.handle import JobHandle

GOAL = 1.2
DELAY = 0.02  # seconds one way: a round trip of 40 ms
SHARE = 20  # hpc-rocket submits one in so many
NODE_PACKAGES = ("submitit", "cloudpickle", "typing_extensions.py")
# On the node: packages, folder, account, partition, GPUs, the id that all wait for, how many.
SUBMITIT = """
import sys
packages, folder, account, partition, gpus, held, count = sys.argv[1:]
sys.path.insert(0, packages)
import submitit
executor = submitit.SlurmExecutor(folder=folder)
executor.update_parameters(
    account=account, partition=partition, gpus_per_node=int(gpus), time=5, dependency="afterok:" + held
)
print(*(executor.submit(print, number).job_id for number in range(int(count))), sep="\\n")
"""
# Its configuration knows no port.
ROCKET = """
import sys
from hpcrocket.ssh.connectiondata import ConnectionData
ConnectionData.__init__.__defaults__ = (None, None, None, int(sys.argv.pop(1)))
from hpcrocket.__main__ import main
sys.exit(main())
"""
LOOP = 'for number in $(seq "$1"); do sbatch --parsable --dependency=afterok:"$2" "$3"; done'


class Bench:
    """A user of a cluster, reached by one way.

    Args:
        home: An empty folder.
        machine: ``lumi`` or ``jupiter``.
        port: Where sshd is reached; none for the cluster's own.
        python: Has the peers.
    """

    def __init__(self, home: Path, machine: str, port: int | None, python: str) -> None:
        self.home = home
        self.user: User = make_user(home, machine, "openssh", mfa=False)
        self.port = port or self.user.connect["port"]
        if port is not None:
            reroute(self.user, port)
        self.python = python
        self.folder, self.account = self.user.folder, str(self.user.connect["account"])
        shape = SHAPES[machine]
        self.partition, self.gpus = str(shape["partition"]), int(str(shape["gpus_per_node"]))
        self.script = f"{self.folder}/job.sbatch"
        lines = (
            "#!/bin/bash", f"#SBATCH --account={self.account}", f"#SBATCH --partition={self.partition}",
            f"#SBATCH --gpus-per-node={self.gpus}",
            "#SBATCH --nodes=1", "#SBATCH --time=5", "#SBATCH --output=/dev/null", "true",
        )  # fmt: skip
        self.user.ssh(f"mkdir -p {self.folder} && cat > {self.script}", "\n".join((*lines, "")))
        self.held = self.user.ssh(f"sbatch --parsable --hold {self.script}").strip()

    def ssh(self, *words: str, stdin: bytes = b"") -> str:
        """Runs a program there, over a connection that is kept open."""
        argv = (*self.words(), shlex.join(words))
        ran = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{words[:3]} ended with {ran.returncode}: {ran.stderr.decode()[-1000:]}")
        return ran.stdout.decode()

    def words(self) -> tuple[str, ...]:
        """The words of ssh before a command."""
        keep = ("-o", "ControlMaster=auto", "-o", f"ControlPath={self.home}/c", "-o", "ControlPersist=60")
        config = self.home / "ssh_config" if (self.home / "ssh_config").exists() else self.user.connect["ssh_config"]
        to = ("-p", str(self.port), f"{self.user.connect['user']}@{self.user.connect['host']}")
        return ("ssh", "-F", str(config), "-i", self.user.connect["identity_file"], *keep, *to)

    def send_submitit(self) -> None:
        """Puts submitit, which is pure Python, where the node's own Python finds it."""
        where = "import submitit, pathlib; print(pathlib.Path(submitit.__file__).parents[1])"
        packages = Path(subprocess.check_output([self.python, "-c", where], text=True).strip())
        archive = self.home / "packages.zip"
        with zipfile.ZipFile(archive, "w") as target:
            for name in NODE_PACKAGES:
                path = packages / name
                for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
                    target.write(file, file.relative_to(packages))
        self.ssh("sh", "-c", 'cat > "$1"', "sh", f"{self.folder}/packages.zip", stdin=archive.read_bytes())

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Ours, logged in, with an empty memory."""
        with tempfile.TemporaryDirectory(dir=self.home, prefix="s") as state:
            os.environ |= {"AIFA_STATE_DIR": state, "AIFA_CONFIG_DIR": str(self.home / "config")}
            with connect(self.user.site) as connection:
                connection.cluster.transport.run(shell("true"))
                yield connection

    def jobs(self, count: int) -> list[Job]:
        """The same jobs as everybody's."""
        resources = Resources(partition=self.partition, gpus_per_node=self.gpus, time=Walltime(300))
        after, launch = After(ok=(self.held,)), Launch(kind="command", command=("true",))
        return [Job(name=f"b{number}", resources=resources, launch=launch, after=after) for number in range(count)]

    def together(self, count: int) -> tuple[float, list[str]]:
        """Ours, in one command."""
        return self._ours(lambda connection: connection.submit_many(self.jobs(count)))

    def one_by_one(self, count: int) -> tuple[float, list[str]]:
        """Ours, each by itself."""
        return self._ours(lambda connection: [connection.submit(job) for job in self.jobs(count)])

    def _ours(self, work: Callable[[Connection], list[JobHandle]]) -> tuple[float, list[str]]:
        with self.connection() as connection:
            begin = time.perf_counter()
            handles = work(connection)
            return time.perf_counter() - begin, [str(handle.id) for handle in handles]

    def loop(self, count: int) -> tuple[float, list[str]]:
        """Calls sbatch on the node, as often as there are jobs."""
        return self._told("sh", "-c", LOOP, "sh", str(count), self.held, self.script)

    def by_ssh(self, count: int) -> tuple[float, list[str]]:
        """An ssh with an sbatch for each job."""
        words = ("sbatch", "--parsable", f"--dependency=afterok:{self.held}", self.script)
        begin = time.perf_counter()
        ids = [self.ssh(*words).strip() for _ in range(count)]
        return time.perf_counter() - begin, ids

    def submitit(self, count: int) -> tuple[float, list[str]]:
        """Calls submitit, on the node."""
        given = (f"{self.folder}/packages.zip", f"{self.folder}/submitit", self.account, self.partition, str(self.gpus))
        return self._told("python3", "-c", SUBMITIT, *given, self.held, str(count))

    def rocket(self, count: int) -> tuple[float, list[str]]:
        """hpc-rocket; a share of the jobs, multiplied."""
        lines = (
            f"host: {self.user.connect['host']}", f"user: {self.user.connect['user']}",
            f"private_keyfile: {self.user.connect['identity_file']}",
            f"sbatch: {self.script.replace('job.sbatch', 'rocket.sbatch')}",
        )  # fmt: skip
        (self.home / "rocket.yml").write_text("\n".join(lines) + "\n")
        late = f'sed "s/^true/#SBATCH --dependency=afterok:{self.held}\\ntrue/" {self.script}'
        self.ssh("sh", "-c", f"{late} > {self.folder}/rocket.sbatch")
        begin, ids = time.perf_counter(), []
        for _ in range(max(1, count // SHARE)):
            argv = (self.python, "-c", ROCKET, str(self.port), "launch", "--save-jobid", "rocket.id", "rocket.yml")
            ran = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=self.home)
            if ran.returncode:
                raise RuntimeError(f"hpc-rocket failed: {ran.stdout[-1000:]} {ran.stderr[-1000:]}")
            ids.append((self.home / "rocket.id").read_text().strip())
        return (time.perf_counter() - begin) * count / len(ids), ids

    def _told(self, *words: str) -> tuple[float, list[str]]:
        begin = time.perf_counter()
        ids = self.ssh(*words).split()
        return time.perf_counter() - begin, ids

    def cancel(self, *ids: str) -> None:
        """Makes room for the next: these jobs, or all that are there."""
        self.ssh("xargs", "-n", "500", "scancel", *(() if ids else ("--me",)), stdin="\n".join(ids).encode())


def measure(bench: Bench, count: int, rounds: int, missing: dict[str, str]) -> dict[str, float]:
    """Median seconds of each way to submit."""
    tools: dict[str, Callable[[int], tuple[float, list[str]]]] = {
        "loop": bench.loop,
        "ours": bench.together,
        "ours, one by one": bench.one_by_one,
        "ssh sbatch": bench.by_ssh,
    }
    if "submitit" not in missing:
        bench.send_submitit()
        tools["submitit"] = bench.submitit
    if "hpc-rocket" not in missing:
        tools["hpc-rocket"] = bench.rocket
    times: dict[str, list[float]] = {name: [] for name in tools}
    for number in range(rounds + 1):
        for name, tool in tools.items():
            seconds, ids = tool(count)
            bench.cancel(*ids)
            if len(set(ids)) != (max(1, count // SHARE) if name == "hpc-rocket" else count):
                raise RuntimeError(f"{name} made {len(set(ids))} jobs of {count}")
            if number:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def options(about: str | None, *, jobs: int, rounds: int) -> argparse.Namespace:
    """What a benchmark of jobs is told: how many, how often, where, and the Python that has the peers."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=jobs)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--site", choices=sorted(SHAPES), default="lumi")
    parser.add_argument("--peers", metavar="PYTHON", help="a Python that has the peers already")
    return parser.parse_args()


def with_peers(given: argparse.Namespace, folder: Path, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The Python that has the peers, and why some are left out, which is printed."""
    python, missing = (given.peers, {}) if given.peers else install(folder, names)
    for peer, reason in missing.items():
        print(f"{peer} is left out, it cannot be installed here: {reason}")
    return python, missing


def main() -> None:
    """Measures and prints."""
    given = options(__doc__, jobs=200, rounds=3)
    with tempfile.TemporaryDirectory(prefix="aifa-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        python, missing = with_peers(given, folder / "v", ("submitit", "hpc-rocket"))
        near = make_user(folder / "look", given.site, "openssh").connect["port"]
        for words, port in (("0 ms", None), (f"{2000 * DELAY:.0f} ms", stack.enter_context(far(near, DELAY)))):
            bench = Bench(folder / words.replace(" ", ""), given.site, port, python)
            try:
                found = measure(bench, given.jobs, given.rounds, missing)
            finally:
                bench.cancel()
            print(f"{given.jobs} jobs, {words}: loop of sbatch on the node {found['loop']:.2f} s; as many times it:")
            for tool, seconds in found.items():
                if tool != "loop":
                    ratio = seconds / found["loop"]
                    verdict = f"   goal {GOAL:g}: {'met' if ratio <= GOAL else 'MISSED'}" if tool == "ours" else ""
                    print(f"  {tool:<18} {ratio:6.2f}   {seconds:7.2f} s{verdict}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
