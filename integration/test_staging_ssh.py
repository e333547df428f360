"""Staging through a real sshd: the contract, one login for all channels, broken links and killed processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.errors import AifaError, TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.progress import Progress
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.endpoints import HOSTILE_NAMES, EndpointContract, FolderPlace, some_bytes
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.transport.fabric_ssh import FabricTransport
from aifa_hpc.transport.openssh import OpenSSHTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.transport.base import Transport

FILES = {"big": some_bytes(5 * BLOCK + 4321), **{f"x/{name}": name.encode() for name in HOSTILE_NAMES}}
TOTAL = sum(map(len, FILES.values()))
SEED = int(os.environ.get("AIFA_TEST_SEED", "20261124"))
CLEAR = clear("internal", outgoing=True)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server with sshd's own limits."""
    with Sshd.started(tmp_path_factory.mktemp("staging server")) as server:
        yield server


@pytest.fixture(scope="module", params=["openssh", "fabric"])
def transport(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Either way to it."""
    kind = {"openssh": OpenSSHTransport, "fabric": FabricTransport}[request.param]
    with kind(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path_factory.mktemp("control")) as made:
        yield made
        if isinstance(made, OpenSSHTransport):
            made.logout()


@pytest.fixture
def place(tmp_path: Path, transport: Transport) -> Iterator[FolderPlace]:
    """A folder behind the server."""
    opened: list[SSHEndpoint] = []

    def make(path: str) -> SSHEndpoint:
        opened.append(SSHEndpoint(transport, path, label="sshd"))
        return opened[-1]

    (tmp_path / "place").mkdir()
    yield FolderPlace(tmp_path / "place", make)
    for endpoint in opened:
        endpoint.close()


class TestOverSSH(EndpointContract):
    """The contract, through sshd and a login shell."""


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A folder to copy."""
    for path, data in FILES.items():
        (tmp_path / "src" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / path).write_bytes(data)
    return tmp_path / "src"


def contents(root: Path) -> dict[str, bytes]:
    """All files but the manifest."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".aifa-manifest.jsonl"
    }


def test_there_and_back(src: Path, transport: Transport) -> None:
    """Up, verified over there, and down again."""
    there, back = src.parent / "there", src.parent / "back"
    with SSHEndpoint(transport, str(there), label="sshd") as far, Ledger(src.parent / "l.sqlite") as ledger:
        copy(LocalEndpoint(src), far, clearance=CLEAR, ledger=ledger)
        assert verify(far).ok
        copy(far, LocalEndpoint(back), clearance=clear(None, outgoing=False), ledger=ledger)
    assert contents(there) == FILES
    assert contents(back) == FILES


def test_all_channels_use_one_login(src: Path, tmp_path: Path) -> None:
    """Sites block bursts of connections and ask people for codes: eight channels are one connection."""
    with Sshd.started(tmp_path / "counting") as sshd:
        transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path / "c")
        with (
            SSHEndpoint(transport, str(tmp_path / "dst"), channels=8, label="sshd") as far,
            Ledger(tmp_path / "l.sqlite") as ledger,
        ):
            copy(LocalEndpoint(src), far, clearance=CLEAR, ledger=ledger)
        transport.logout()
        assert sshd.accepted_logins() == 1


def test_fewer_sessions_than_channels_are_enough(src: Path, tmp_path: Path) -> None:
    """A server with MaxSessions 3 carries what eight channels were asked for."""
    with Sshd.started(tmp_path / "stingy", "MaxSessions 3") as sshd:
        transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path / "c")
        with (
            SSHEndpoint(transport, str(tmp_path / "dst"), channels=8, label="sshd") as far,
            Ledger(tmp_path / "l.sqlite") as ledger,
        ):
            copy(LocalEndpoint(src), far, clearance=CLEAR, ledger=ledger)
        transport.logout()
    assert contents(tmp_path / "dst") == FILES


class _Cut(Progress):
    """Breaks all connections when so many bytes have passed."""

    def __init__(self, sshd: Sshd, after: int) -> None:
        self._sshd, self._left = sshd, after

    def advance(self, size: int) -> None:
        """Counts."""
        self._left -= size
        if self._left <= 0 < self._left + size:
            self._sshd.drop_connections()


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("number", range(3))
def test_a_link_that_breaks_costs_little(src: Path, tmp_path: Path, way: str, number: int) -> None:
    """The error says what to do, nothing incomplete is seen, and the next run sends little twice."""
    after = random.Random(f"{SEED}-{way}-{number}").randrange(BLOCK, TOTAL - BLOCK)
    with Sshd.started(tmp_path / "breaking") as sshd, Ledger(tmp_path / "l.sqlite") as ledger:
        transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path / "c")

        def run(progress: Progress) -> int:
            far_root = tmp_path / "dst" if way == "up" else src
            with SSHEndpoint(transport, str(far_root), channels=2, label="sshd") as far:
                near = LocalEndpoint(src if way == "up" else tmp_path / "dst")
                ends = (near, far) if way == "up" else (far, near)
                return copy(*ends, clearance=CLEAR, ledger=ledger, progress=progress).bytes_sent

        with pytest.raises(TransferError, match=r"interrupted.*Run the same command again"):
            run(_Cut(sshd, after))
        seen = {path: data for path, data in contents(tmp_path / "dst").items() if not path.endswith(".aifa-part")}
        assert all(FILES[path] == data for path, data in seen.items())
        second = run(Progress())
        transport.logout()
    assert contents(tmp_path / "dst") == FILES
    # What was handed to ssh and had not reached the far side goes again: the part at hand and the one before it.
    assert after + second - TOTAL <= 2 * 2 * BLOCK


CHILD = """
import sys
from pathlib import Path
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.progress import Progress
from aifa_hpc.transport.openssh import OpenSSHTransport

alias, config, base = sys.argv[1], sys.argv[2], Path(sys.argv[3])

class Say(Progress):
    def advance(self, size):
        print(size, flush=True)

transport = OpenSSHTransport(host=alias, ssh_config=config, control_dir=base / "c")
copy(LocalEndpoint(base / "src"), SSHEndpoint(transport, str(base / "dst"), channels=2, label="sshd"),
     clearance=clear("open", outgoing=True), ledger=Ledger(base / "l.sqlite"), progress=Say())
"""


@pytest.mark.parametrize("number", range(3))
def test_killed_from_outside_and_run_again(src: Path, tmp_path: Path, sshd: Sshd, number: int) -> None:
    """SIGKILL by somebody else at a random byte; at most a part for each channel is sent twice."""
    limit = random.Random(f"{SEED}-outside-{number}").randrange(1, TOTAL - BLOCK)
    argv = (sys.executable, "-c", CHILD, sshd.alias, str(sshd.ssh_config), str(tmp_path))
    sent = 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sent += int(line)
            if sent >= limit:
                child.send_signal(signal.SIGKILL)
                break
        sent += sum(map(int, child.stdout.read().split()))
    assert child.returncode == -signal.SIGKILL
    transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path / "c")
    with SSHEndpoint(transport, str(tmp_path / "dst"), channels=2, label="sshd") as far:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            summary = copy(LocalEndpoint(src), far, clearance=CLEAR, ledger=ledger)
        assert verify(far).ok
    transport.logout()
    assert contents(tmp_path / "dst") == FILES
    assert sent + summary.bytes_sent - TOTAL <= 2 * BLOCK


def test_a_full_disk_is_told_and_waited_for(tmp_path: Path, transport: Transport) -> None:
    """The far side's own words, the file, the place and the next step; with room again, the rest is sent."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)), check=False).returncode:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        (tmp_path / "big").write_bytes(some_bytes(3 * BLOCK))
        (small / "ballast").write_bytes(bytes(2**20))
        with (
            SSHEndpoint(transport, f"{small}/big", channels=2, label="sshd") as far,
            Ledger(tmp_path / "l.sqlite") as ledger,
        ):
            with pytest.raises(TransferError, match=r"cannot write 'big' at sshd: No space left.*Free some space"):
                copy(LocalEndpoint(tmp_path / "big"), far, clearance=CLEAR, ledger=ledger)
            assert not (small / "big").exists()
            subprocess.run(("mount", "-o", "remount,size=40m", str(small)), check=True)
            summary = copy(LocalEndpoint(tmp_path / "big"), far, clearance=CLEAR, ledger=ledger)
        assert (small / "big").read_bytes() == (tmp_path / "big").read_bytes()
        assert summary.parts_resumed >= 1
    finally:
        subprocess.run(("umount", str(small)), check=True)


def test_a_place_that_is_not_ours_is_told(src: Path, tmp_path: Path, transport: Transport) -> None:
    """Permission denied, by a far side that is not root, with the file, the place and what to check."""
    program = shutil.which("setpriv")
    if os.geteuid() != 0 or program is None:
        pytest.skip("only root can become somebody else")
    python = tmp_path / "python-as-nobody"
    python.write_text(f'#!/bin/sh\nexec {program} --reuid=65534 --regid=65534 --clear-groups /usr/bin/python3 "$@"\n')
    for path in (python, tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    (tmp_path / "locked").mkdir(mode=0o755)
    with (
        SSHEndpoint(transport, str(tmp_path / "locked/dst"), python=str(python), label="sshd") as far,
        Ledger(tmp_path / "l.sqlite") as ledger,
        pytest.raises(TransferError, match=r"cannot \w+ '.*' at sshd: Permission denied.*Check the permissions"),
    ):
        copy(LocalEndpoint(src), far, clearance=CLEAR, ledger=ledger)
    assert list((tmp_path / "locked").iterdir()) == []


def test_two_copies_at_a_time_over_one_login(src: Path, transport: Transport) -> None:
    """Different targets, one connection."""
    errors: list[AifaError] = []

    def one(number: int) -> None:
        try:
            with (
                SSHEndpoint(transport, str(src.parent / f"dst{number}"), channels=2, label="sshd") as far,
                Ledger(src.parent / "l.sqlite") as ledger,
            ):
                copy(LocalEndpoint(src), far, clearance=CLEAR, ledger=ledger)
        except AifaError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 120
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    assert errors == []
    assert [FILES, FILES] == [contents(src.parent / f"dst{number}") for number in range(2)]
