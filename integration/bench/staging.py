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
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.testing.stores import Bucket, RcloneStore
from aifa_hpc.transport.openssh import OpenSSHTransport
from integration.bench.peers import CIPHER, OverS3, OverSSH, far
from integration.bench.seaweed import SeaweedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.staging.endpoints.base import Endpoint

MIB = 2**20
DELAY = 0.02
"""Seconds one way: a round trip of 40 ms."""


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
        clean_folder(self.folder)
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


def clean_folder(folder: Path) -> None:
    """Removes what copies left in a folder of ours: the last one, and what the ledger knows."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()


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
    """One large object, to and from the store that spends the least of this machine on it: server and tools share it.

    rclone's server hashes a whole object for each request that reads of it, so that whoever reads it in ranges waits
    for the square of its size; SeaweedFS, where there is one, only reads, but writes what it is sent twice.
    """
    data = make_file(folder / "file", int(1024 * MIB * scale))
    for up, kinds in ((True, (RcloneStore,)), (False, (SeaweedStore, RcloneStore))):
        kind = next((kind for kind in kinds if not kind.lacking()), None)
        if kind is None:
            print(f"S3 rows need {' or '.join(one.lacking() for one in kinds)}")
            continue
        with kind.started(folder / f"store-{up}") as store:
            os.environ.update(store.env)
            yield s3_row(Bucket(store.url, "bench"), near.folder, data, up=up)
    data.unlink()
    del far


def s3_row(bucket: Bucket, folder: Path, data: Path, *, up: bool) -> Row:
    """One direction."""
    out = folder / "out"
    here = data if up else out / "data"

    def ours() -> None:
        store = S3Endpoint(bucket.name, "x/data", endpoint_url=bucket.url)
        ends: tuple[Endpoint, Endpoint] = (LocalEndpoint(here), store) if up else (store, LocalEndpoint(here))
        with Ledger(folder / "ledger.sqlite") as ledger:
            copy(*ends, clearance=clear("open", outgoing=True), ledger=ledger)

    def clean() -> None:
        clean_folder(folder)
        if up:
            bucket.empty()
        elif not bucket.keys():
            with data.open("rb") as file:
                bucket.client.put_object(Bucket=bucket.name, Key="x/data", Body=file)
        os.sync()

    def check() -> None:
        if up:
            body = bucket.client.get_object(Bucket=bucket.name, Key="x/data")["Body"]
            with (out / "data").open("wb") as file:
                shutil.copyfileobj(body, file, MIB)
        same(data, out / "data")

    tools: dict[str, Callable[[], None]] = {"ours": ours}
    for peer, tool in OverS3(url=bucket.url).tools().items():
        tools[peer] = lambda tool=tool: tool(here, f"{bucket.name}/x/data", up)  # type: ignore[misc]
    return Row(
        name=f"1 GiB, {'to' if up else 'from'} S3",
        tools=tools,
        prepare=clean,
        check=check,
        goals={"s5cmd": 1, "s3fs": 1.5},
    )


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
