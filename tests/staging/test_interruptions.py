"""Kill -9 at any byte, and the same copy again: everything arrives, and hardly anything is sent twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import Summary, copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.endpoints import some_bytes
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.endpoints.base import Endpoint

LANES = 2
FILES = {"big": some_bytes(6 * BLOCK + 999), **{f"small/{number}": some_bytes(5000, number) for number in range(50)}}
TOTAL = sum(map(len, FILES.values()))
SEED = int(os.environ.get("AIFA_TEST_SEED", "20261124"))

CHILD = """
import os, signal, sys
from pathlib import Path
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.progress import Progress
from aifa_hpc.transport.local import LocalTransport

base, way, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

class Deadly(Progress):
    left = limit
    def advance(self, size):
        self.left -= size
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

def end(name, far):
    return SSHEndpoint(LocalTransport(), str(base / name), channels=2) if far else LocalEndpoint(base / name)

source, destination = end("src", way[0] == "s"), end("dst", way[1] == "s")
copy(source, destination, clearance=clear("open", outgoing=True), ledger=Ledger(base / "l.sqlite"),
     progress=Deadly(), lanes=2)
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a source."""
    make_tree(tmp_path / "src", FILES)
    return tmp_path


def ends(base: Path, way: str) -> tuple[Endpoint, Endpoint]:
    """Source and destination; ``s`` is by the agent, ``l`` is local."""

    def end(name: str, kind: str) -> Endpoint:
        if kind == "s":
            return SSHEndpoint(LocalTransport(), str(base / name), channels=LANES)
        return LocalEndpoint(base / name)

    return end("src", way[0]), end("dst", way[1])


def kill_after(base: Path, way: str, sent: int) -> None:
    """A copy in a process that ends itself with SIGKILL when so many bytes were handed on."""
    done = subprocess.run((sys.executable, "-c", CHILD, str(base), way, str(sent)), check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def again(base: Path, way: str, clearance: Clearance) -> Summary:
    """The same copy in this process."""
    source, destination = ends(base, way)
    with source, destination, Ledger(base / "l.sqlite") as ledger:
        return copy(source, destination, clearance=clearance, ledger=ledger, lanes=LANES)


def visible(base: Path) -> dict[str, bytes]:
    """What readers see at the destination."""
    return {path: data for path, data in tree(base / "dst").items() if not path.endswith(".aifa-part")}


@pytest.mark.parametrize("way", ["ll", "ls", "sl", "ss"])
@pytest.mark.parametrize("number", range(3))
def test_killed_anywhere_and_run_again(base: Path, clearance: Clearance, way: str, number: int) -> None:
    """Nothing incomplete is seen, all arrives, and at most a part for each lane goes twice."""
    sent = random.Random(f"{SEED}-{way}-{number}").randrange(1, TOTAL)
    kill_after(base, way, sent)
    assert all(FILES[path] == data for path, data in visible(base).items())
    summary = again(base, way, clearance)
    assert tree(base / "dst") == FILES
    resent = sent + summary.bytes_sent - TOTAL
    assert resent <= LANES * BLOCK
    assert verify(LocalEndpoint(base / "dst")).ok
    assert again(base, way, clearance).bytes_sent == 0


def test_killed_again_and_again(base: Path, clearance: Clearance) -> None:
    """Every run takes up where the last one was killed: of three parts sent, two lanes can lose two."""
    for _ in range(2):
        kill_after(base, "ls", 3 * BLOCK)
    summary = again(base, "ls", clearance)
    assert tree(base / "dst") == FILES
    assert summary.bytes_reused >= 2 * BLOCK


@pytest.mark.parametrize("way", ["ll", "ls"])
def test_a_lost_ledger_costs_hashing_not_sending(base: Path, clearance: Clearance, way: str) -> None:
    """The partial file is found by the source's fingerprint in its name, hashed, and continued."""
    sent = 4 * BLOCK + 1000
    kill_after(base, way, sent)
    for path in base.glob("l.sqlite*"):
        path.unlink()
    summary = again(base, way, clearance)
    assert tree(base / "dst") == FILES
    assert sent + summary.bytes_sent - TOTAL <= LANES * BLOCK
    assert summary.parts_resumed >= 2


def test_a_lost_partial_costs_sending_not_correctness(base: Path, clearance: Clearance) -> None:
    """The ledger's word is not taken for what is not there."""
    kill_after(base, "ls", 4 * BLOCK)
    for path in (base / "dst").rglob("*.aifa-part"):
        path.unlink()
    summary = again(base, "ls", clearance)
    assert (FILES, 0) == (tree(base / "dst"), summary.bytes_reused)


def test_a_damaged_partial_is_mended(base: Path, clearance: Clearance) -> None:
    """Acknowledged parts are hashed again before they are believed."""
    kill_after(base, "ls", 4 * BLOCK)
    [partial] = (base / "dst").glob(".big.*.aifa-part")
    with partial.open("r+b") as file:
        file.write(b"rotten")
    summary = again(base, "ls", clearance)
    assert tree(base / "dst") == FILES
    assert summary.bytes_sent >= BLOCK


def test_a_source_that_changed_in_between_is_sent_anew(base: Path, clearance: Clearance) -> None:
    """Parts of two versions are never mixed, and the old partial file does not stay."""
    kill_after(base, "ls", 4 * BLOCK)
    changed = FILES | {"big": some_bytes(6 * BLOCK + 999, seed=7)}
    make_tree(base / "src", changed)
    summary = again(base, "ls", clearance)
    assert (changed, 0) == (tree(base / "dst"), summary.bytes_reused)


def test_two_copies_with_one_ledger_are_refused(base: Path, clearance: Clearance) -> None:
    """The second is told who is at it; a process that is gone holds nothing."""
    source, destination = ends(base, "ll")
    holder = subprocess.Popen((sys.executable, "-c", "import time; time.sleep(60)"))
    try:
        with Ledger(base / "l.sqlite") as ledger:
            ledger.flush()
            with ledger.hold(f"{destination.identity}/", pid=holder.pid):
                with Ledger(base / "l.sqlite") as other, pytest.raises(TransferError, match=f"process {holder.pid}"):
                    copy(source, destination, clearance=clearance, ledger=other)
                holder.kill()
                holder.wait()
                with Ledger(base / "l.sqlite") as other:
                    copy(source, destination, clearance=clearance, ledger=other)
    finally:
        holder.kill()
        holder.wait()
    assert tree(base / "dst") == FILES


def test_two_copies_with_two_ledgers_end_well(base: Path, clearance: Clearance) -> None:
    """They do not know of each other: one may be fenced off, but what is seen is right at any time."""

    def one(number: int) -> str:
        source, destination = ends(base, "ls")
        try:
            with source, destination, Ledger(base / f"l{number}.sqlite") as ledger:
                copy(source, destination, clearance=clearance, ledger=ledger)
        except TransferError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(one, range(2)))
    assert "" in told
    assert all("another copy" in text for text in told if text)
    assert visible(base) == FILES
