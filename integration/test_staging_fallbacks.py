"""Machines that offer less, behind a real sshd: no Python on the PATH, and no exec at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.far import open_far
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.plain import PlainEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.endpoints import HOSTILE_NAMES, EndpointContract, FolderPlace, some_bytes
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.transport.fabric_ssh import FabricTransport
from aifa_hpc.transport.openssh import OpenSSHTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.transport.base import Transport

FILES = {"big": some_bytes(3 * BLOCK + 4321), **{f"x/{name}": name.encode() for name in HOSTILE_NAMES}}
PROGRAMS = ("sh", "dd", "stat", "find", "head", "tail", "tr", "sha256sum", "md5sum", "mkdir", "touch", "chmod", "sync",
            "mv", "rm", "grep", "cat", "sleep")  # fmt: skip


@pytest.fixture(scope="module")
def no_exec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server on which nobody may run anything."""
    lines = ("Subsystem sftp internal-sftp", "ForceCommand internal-sftp")
    with Sshd.started(tmp_path_factory.mktemp("no exec"), *lines) as server:
        yield server


@pytest.fixture(scope="module")
def no_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server whose PATH has coreutils, findutils and grep."""
    folder = tmp_path_factory.mktemp("bare")
    for name in PROGRAMS:
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    # Of several SetEnv lines the first counts: this one stands for the server's own as well.
    with Sshd.started(tmp_path_factory.mktemp("no python"), f"SetEnv PATH={folder} SHLVL=1") as server:
        yield server


def connect(sshd: Sshd, kind: type[Any], folder: Path) -> Transport:
    """A way to it."""
    transport: Transport = kind(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=folder)
    return transport


@pytest.fixture(scope="module", params=["no_exec", "no_python"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What was found out about either machine, once; one connection for all tests."""
    transport = connect(request.getfixturevalue(request.param), OpenSSHTransport, tmp_path_factory.mktemp("control"))
    with open_far(transport, "/", label="sshd", channels=4, patience=2) as endpoint:
        yield endpoint
    transport.logout()  # type: ignore[attr-defined] # an OpenSSHTransport


@pytest.fixture
def place(tmp_path: Path, first: Any) -> FolderPlace:
    """A folder behind the server."""
    (tmp_path / "place").mkdir()
    return FolderPlace(tmp_path / "place", lambda path: PlainEndpoint(first.pool, path, channels=4, label="sshd"))


class TestLess(EndpointContract):
    """The contract, by plain SFTP and by coreutils."""


@pytest.mark.parametrize("kind", [OpenSSHTransport, FabricTransport])
@pytest.mark.parametrize("server", ["no_exec", "no_python"])
def test_there_and_back(server: str, kind: type[Any], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Up, verified over there, and down again, by either transport."""
    for path, data in FILES.items():
        (tmp_path / "src" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / path).write_bytes(data)
    transport = connect(request.getfixturevalue(server), kind, tmp_path / "c")
    with (
        open_far(transport, str(tmp_path / "there"), label="sshd", channels=3, patience=2) as far,
        Ledger(tmp_path / "l.sqlite") as ledger,
    ):
        copy(LocalEndpoint(tmp_path / "src"), far, clearance=clear("internal", outgoing=True), ledger=ledger)
        assert verify(far).ok
        copy(far, LocalEndpoint(tmp_path / "back"), clearance=clear(None, outgoing=False), ledger=ledger)
    transport.close()
    for folder in ("there", "back"):
        found = {path: (tmp_path / folder / path).read_bytes() for path in FILES}
        assert found == FILES


def test_a_machine_that_offers_nothing_is_told(tmp_path: Path) -> None:
    """With what it would need."""
    with Sshd.started(tmp_path / "nothing", "ForceCommand exit 1") as sshd:
        transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path / "c")
        with pytest.raises(TransferError, match=r"nothing can be copied to or from sshd.*GNU coreutils, or an SFTP"):
            open_far(transport, "/x", label="sshd", patience=2)
        transport.logout()
