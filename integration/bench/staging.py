"""Staging against the tools people use today: side by side in one run, every figure a ratio, ours verified.

    python -m integration.bench.staging [--rows file,far,small,...] [--rounds 3] [--scale 1.0] [--folder DIR]

All use the same server, the same cipher and connections that are open already, except rclone, which opens its own.
Ours hashes on both sides and waits for the disk it writes to; rsync has its whole-file checksum, the others nothing.
Tools take turns, round by round; the first round warms up and is thrown away; figures are medians. Every copy is
compared with its source, outside the measured time. ``--scale 0.1`` makes everything a tenth of its size.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.s3 import S3Endpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.testing.sshd import Sshd, free_port
from aifa_hpc.transport.openssh import OpenSSHTransport
from integration.bench.peers import CIPHER, OverS3, OverSSH, far, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.staging.endpoints.base import Endpoint

MIB = 2**20
DELAY = 0.02
"""Seconds one way: a round trip of 40 ms."""

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "secretsecretsecret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        name: What is copied.
        tools: What to run for each tool, ours among them; run in turns.
        prepare: Called before each run, outside the measured time.
        check: Called after each run; raises when the copy is not right.
        goals: Least ratio to some of the others.
    """

    name: str
    tools: dict[str, Callable[[], None]]
    prepare: Callable[[], None]
    check: Callable[[], None]
    goals: dict[str, float]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, rounds: int) -> None:
        """Runs all tools in turns."""
        for number in range(rounds + 1):
            for name, tool in self.tools.items():
                self.prepare()
                begun = time.perf_counter()
                tool()
                took = time.perf_counter() - begun
                self.check()
                if number:
                    self.seconds.setdefault(name, []).append(took)

    def show(self) -> str:
        """The line: seconds, then ours as a ratio to each of the others, with the goal where there is one."""
        medians = {name: statistics.median(took) for name, took in self.seconds.items()}
        cells = [f"{name} {took:.2f} s" for name, took in medians.items()]
        ratios = []
        for name, took in medians.items():
            if name == "ours":
                continue
            ratio, goal = took / medians["ours"], self.goals.get(name)
            verdict = "" if goal is None else f" (goal {goal:g}: {'hit' if ratio >= goal else 'MISSED'})"
            ratios.append(f"{ratio:.2f} x {name}{verdict}")
        return f"{self.name:<38} {'  '.join(cells)}\n{'':<38} ours is {', '.join(ratios)}"


class Machine:
    """A server, a link to it of some length, and folders to copy between."""

    def __init__(self, folder: Path, sshd: Sshd, port: int, name: str) -> None:
        self.folder, self.name = folder / name.replace(" ", ""), name
        self.folder.mkdir()
        lines = sshd.ssh_config.read_text().replace(f"Port {sshd.port}", f"Port {port}")
        known = sshd.known_hosts.read_text().replace(f"]:{sshd.port} ", f"]:{port} ")
        (self.folder / "known_hosts").write_text(known)
        (self.folder / "known_hosts.plain").write_text(known)
        lines = lines.replace(str(sshd.known_hosts), str(self.folder / "known_hosts"))
        head, _, rest = lines.partition("\n")
        kept = ("ControlMaster auto", f'ControlPath "{self.folder}/c"', "ControlPersist 600", f"Ciphers {CIPHER}")
        self.config = self.folder / "peers_config"
        self.config.write_text("\n  ".join((head, *kept)) + "\n" + rest)
        own = self.folder / "own_config"
        own.write_text("\n  ".join((head, f"Ciphers {CIPHER}")) + "\n" + rest)
        self.peers = OverSSH(sshd=sshd, port=port, config=self.config)
        self.transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(own), control_dir=self.folder / "control")
        self.alias = sshd.alias
        self.out = self.folder / "out"

    def close(self) -> None:
        """Ends its connections."""
        self.transport.logout()
        subprocess.run(("ssh", "-F", str(self.config), "-O", "exit", self.alias), check=False, capture_output=True)

    def ends(self, source: Path, *, up: bool) -> tuple[Endpoint, Endpoint]:
        """Ours, from here to there or the other way."""
        if up:
            return LocalEndpoint(source), SSHEndpoint(self.transport, str(self.out / "data"), label=self.name)
        return SSHEndpoint(self.transport, str(source), label=self.name), LocalEndpoint(self.out / "data")

    def ours(self, source: Path, *, up: bool) -> None:
        """One copy by the engine, with the ledger that is there."""
        near, far = self.ends(source, up=up)
        with near, far, Ledger(self.folder / "ledger.sqlite") as ledger:
            copy(near, far, clearance=clear("open", outgoing=True), ledger=ledger)

    def clean(self) -> None:
        """Before each run: nothing was ever copied."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        for path in self.folder.glob("ledger.sqlite*"):
            path.unlink()
        os.sync()

    def row(self, name: str, source: Path, *, up: bool, goals: dict[str, float]) -> Row:
        """A copy from nothing, in one direction."""
        target = self.out / "data"
        tools = {"ours": lambda: self.ours(source, up=up)}
        for peer, tool in self.peers.tools(folder=source.is_dir()).items():
            tools[peer] = lambda tool=tool: tool(source, target, up)  # type: ignore[misc]
        return Row(
            name=f"{name}, {self.name}, {'up' if up else 'down'}",
            tools=tools,
            prepare=self.clean,
            check=lambda: same(source, target),
            goals=goals,
        )


def same(source: Path, target: Path) -> None:
    """Raises when the two differ; what was made for the copy (manifests) does not count."""
    argv = ("diff", "-rq", "--exclude=.*aifa-manifest.jsonl", "--", str(source), str(target))
    if subprocess.run(argv, check=False).returncode:
        raise RuntimeError("the copy is not equal to its source")


def make_file(path: Path, size: int) -> Path:
    """A file that cannot be compressed."""
    with path.open("wb") as file:
        for _ in range(max(1, size // MIB)):
            file.write(os.urandom(MIB))
    return path


def make_files(path: Path, count: int, size: int) -> Path:
    """Files in folders of a thousand."""
    for number in range(count):
        if number % 1000 == 0:
            (path / f"{number // 1000:03}").mkdir(parents=True)
        (path / f"{number // 1000:03}/{number:06}.bin").write_bytes(os.urandom(size))
    return path


def file_rows(near: Machine, far: Machine, folder: Path, scale: float) -> Iterator[Row]:
    """One large file."""
    data = make_file(folder / "file", int(1024 * MIB * scale))
    for up in (True, False):
        yield near.row("1 GiB", data, up=up, goals={"rsync": 1.5, "rclone": 3})
    data.unlink()
    del far


def far_rows(near: Machine, far: Machine, folder: Path, scale: float) -> Iterator[Row]:
    """One large file over a long link."""
    data = make_file(folder / "file", int(512 * MIB * scale))
    for up in (True, False):
        yield far.row("512 MiB", data, up=up, goals={"rsync": 5, "scp": 5, "rclone": 3})
    data.unlink()
    del near


def small_rows(near: Machine, far: Machine, folder: Path, scale: float) -> Iterator[Row]:
    """Many small files."""
    data = make_files(folder / "files", int(5000 * scale), 64 * 1024)
    for machine, goal in ((near, 1.5), (far, 3)):
        for up in (True, False):
            yield machine.row("5,000 x 64 KiB", data, up=up, goals={"rsync": goal})
    shutil.rmtree(data)


def noop_rows(near: Machine, far: Machine, folder: Path, scale: float) -> Iterator[Row]:
    """Everything is there already."""
    data = make_files(folder / "many", int(100_000 * scale), 100)
    near.clean()
    near.ours(data, up=True)
    row = near.row("no-op of 100,000 files", data, up=True, goals={"rsync": 1})
    row.tools = {name: row.tools[name] for name in ("ours", "rsync")}
    row.prepare = lambda: None
    yield row
    shutil.rmtree(data)
    del far


def s3_rows(near: Machine, far: Machine, folder: Path, scale: float) -> Iterator[Row]:
    """One large object, to and from ``rclone serve s3``."""
    if not program("rclone"):
        print("S3 rows need rclone")
        return
    data = make_file(folder / "file", int(1024 * MIB * scale))
    root = folder / "store"
    os.environ.update(KEYS)
    with s3_server(root) as url:
        peers = OverS3(url=url)
        for up in (True, False):
            yield s3_row(peers, near, data, root, up=up)
    data.unlink()
    del far


def s3_row(peers: OverS3, near: Machine, data: Path, root: Path, *, up: bool) -> Row:
    """One direction."""
    name = "out" if up else "in"
    bucket = root / f"bucket-{name}"

    def ours() -> None:
        store, here = S3Endpoint(bucket.name, "x/data", endpoint_url=peers.url), near.out / "data"
        ends: tuple[Endpoint, Endpoint] = (LocalEndpoint(data), store) if up else (store, LocalEndpoint(here))
        with Ledger(near.folder / "ledger.sqlite") as ledger:
            copy(*ends, clearance=clear("open", outgoing=True), ledger=ledger)

    def clean() -> None:
        near.clean()
        if up or not bucket.exists():
            shutil.rmtree(bucket, ignore_errors=True)
            (bucket / "x").mkdir(parents=True)
            if not up:
                shutil.copy(data, bucket / "x/data")
        os.sync()

    tools: dict[str, Callable[[], None]] = {"ours": ours}
    for peer, tool in peers.tools().items():
        tools[peer] = lambda tool=tool: tool(data if up else near.out / "data", f"{bucket.name}/x/data", up)  # type: ignore[misc]
    return Row(
        name=f"1 GiB, {'to' if up else 'from'} S3",
        tools=tools,
        prepare=clean,
        check=lambda: same(data, bucket / "x/data" if up else near.out / "data"),
        goals={"s5cmd": 1, "s3fs": 1.5},
    )


@contextlib.contextmanager
def s3_server(root: Path) -> Iterator[str]:
    """``rclone serve s3`` over a folder, whose subfolders are buckets."""
    root.mkdir()
    port = free_port()
    keys = f"{KEYS['AWS_ACCESS_KEY_ID']},{KEYS['AWS_SECRET_ACCESS_KEY']}"
    argv = (str(program("rclone")), "--config", os.devnull, "serve", "s3", "--addr", f"127.0.0.1:{port}",
            "--auth-key", keys, "--vfs-cache-mode", "off", "--dir-cache-time", "20ms", str(root))  # fmt: skip
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as server:
        try:
            time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


ROWS = {"file": file_rows, "far": far_rows, "small": small_rows, "noop": noop_rows, "s3": s3_rows}


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where the files are; the temporary folder by default")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {CIPHER}, {options.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory(prefix="aifa-bench-", dir=options.folder) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        sshd = stack.enter_context(Sshd.started(folder / "sshd", "Subsystem sftp internal-sftp"))
        machines = (
            Machine(folder, sshd, sshd.port, "0 ms"),
            Machine(folder, sshd, stack.enter_context(far(sshd.port, DELAY)), f"{2000 * DELAY:.0f} ms"),
        )
        for machine in machines:
            stack.callback(machine.close)
        for wanted in options.rows.split(","):
            for row in ROWS[wanted](*machines, folder, options.scale):
                row.measure(options.rounds)
                print(row.show(), flush=True)


if __name__ == "__main__":
    main()
