"""Copies one large file up and down over a loopback sshd: ours, rsync and scp, side by side in one run.

    python -m integration.bench.staging [--size "1 GiB"] [--rounds 3] [--channels 4] [--durable] [--folder DIR]

All use the same server, the same cipher and connections that are open already. Ours hashes on both sides and waits
for the disk that is written to; rsync has its whole-file checksum, scp none, and neither waits for a disk unless
``--durable`` makes ``sync FILE`` part of their time. Rounds take turns; figures are medians.
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
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.transport.openssh import OpenSSHTransport
from aifa_hpc.units import parse_size, show_size
from integration.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CIPHER = "aes128-gcm@openssh.com"


class Bench:
    """A server, a file, and three ways to copy it."""

    def __init__(self, folder: Path, sshd: Sshd, transport: OpenSSHTransport, size: int, channels: int) -> None:
        self.folder, self.sshd, self.transport, self.channels = folder, sshd, transport, channels
        self.file = folder / "data"
        with self.file.open("wb") as file:
            for _ in range(size // 2**20):
                file.write(os.urandom(2**20))
        self.out = folder / "out"
        self.ssh = ("ssh", "-F", str(sshd.ssh_config))

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Path]:
        """An empty folder for the copy; what was copied is compared afterwards, outside the measured time."""
        self.out.mkdir()
        try:
            yield self.out / "data"
            if subprocess.run(("cmp", "--", str(self.file), str(self.out / "data")), check=False).returncode:
                raise RuntimeError("the copy is not equal to its source")
        finally:
            shutil.rmtree(self.out)
            for name in ("ledger.sqlite", "ledger.sqlite-journal"):
                (self.folder / name).unlink(missing_ok=True)

    def ours(self, target: Path, *, up: bool) -> None:
        """The engine, with a new ledger."""
        far = SSHEndpoint(self.transport, str(self.file if not up else target), channels=self.channels, label="bench")
        near = LocalEndpoint(self.file if up else target)
        with far, Ledger(self.folder / "ledger.sqlite") as ledger:
            ends = (near, far) if up else (far, near)
            copy(*ends, clearance=clear("open", outgoing=True), ledger=ledger)

    def rsync(self, target: Path, *, up: bool) -> None:
        """Plain ``rsync -a``."""
        near, far = (self.file, target) if up else (target, self.file)
        remote = f"{self.sshd.alias}:{far}"
        ends = (str(near), remote) if up else (remote, str(near))
        run(("rsync", "-a", "-e", " ".join(self.ssh), "--", *ends))

    def scp(self, target: Path, *, up: bool) -> None:
        """Plain ``scp``, which speaks SFTP."""
        near, far = (self.file, target) if up else (target, self.file)
        remote = f"{self.sshd.alias}:{far}"
        ends = (str(near), remote) if up else (remote, str(near))
        run(("scp", "-q", "-F", str(self.sshd.ssh_config), "--", *ends))


def run(argv: Sequence[str]) -> None:
    """Runs a program that must succeed."""
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def durable(tool: Callable[..., None]) -> Callable[..., None]:
    """The tool, and then a sync of what it wrote."""

    def run_and_sync(target: Path, *, up: bool) -> None:
        tool(target, up=up)
        run(("sync", "--", str(target)))

    return run_and_sync


def measure(bench: Bench, rounds: int, tools: dict[str, Callable[..., None]]) -> dict[tuple[str, str], list[float]]:
    """Seconds of each tool in each direction; the first round warms up and is thrown away."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for way in ("up", "down"):
            for name, tool in tools.items():
                with bench.fresh() as target:
                    os.sync()
                    begun = time.perf_counter()
                    tool(target, up=way == "up")
                    took = time.perf_counter() - begun
                if number:
                    seconds.setdefault((way, name), []).append(took)
    return seconds


def main() -> None:
    """Prints a table of rates, and ours as a ratio to each of the others."""
    parser = argparse.ArgumentParser(description="Staging against rsync and scp over a loopback sshd.")
    parser.add_argument("--size", default="1 GiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument(
        "--durable", action="store_true", help="the others' files are on the disk, too, when time stops"
    )
    parser.add_argument("--folder", type=Path, help="where the files are; the temporary folder by default")
    options = parser.parse_args()
    size = parse_size(options.size).bytes
    with tempfile.TemporaryDirectory(prefix="aifa-bench-", dir=options.folder) as name:
        folder = Path(name)
        with Sshd.started(folder / "sshd", "Subsystem sftp internal-sftp") as sshd:
            sshd.write_config(
                f"Ciphers {CIPHER}",
                "ControlMaster auto",
                f'ControlPath "{folder}/others"',
                "ControlPersist 600",
            )
            transport = OpenSSHTransport(
                host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=folder / "control"
            )
            bench = Bench(folder, sshd, transport, size, options.channels)
            tools = {"ours": bench.ours, "rsync": bench.rsync, "scp": bench.scp}
            if options.durable:
                tools |= {name: durable(tool) for name, tool in tools.items() if name != "ours"}
            try:
                seconds = measure(bench, options.rounds, tools)
            finally:
                transport.logout()
                subprocess.run((*bench.ssh, "-O", "exit", sshd.alias), check=False, capture_output=True)
    print(f"{show_size(size)}, {options.rounds} rounds, {os.cpu_count()} cores, {platform.python_version()}, {CIPHER}")
    for way in ("up", "down"):
        rates = {tool: size / 2**20 / statistics.median(seconds[way, tool]) for tool in tools}
        cells = [f"{tool} {rate:6.1f} MiB/s" for tool, rate in rates.items()]
        ratios = [f"{rates['ours'] / rate:.2f} x {tool}" for tool, rate in rates.items() if tool != "ours"]
        print(f"{way:<5}{'   '.join(cells)}   ours is {', '.join(ratios)}")


if __name__ == "__main__":
    main()
