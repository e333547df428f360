"""Private servers for the tests of transports, and transports to them that are closed afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.command import Command
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.transport.fabric_ssh import FabricTransport
from aifa_hpc.transport.openssh import OpenSSHTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aifa_hpc.transport.base import Transport

    Make = Callable[..., Transport]

KINDS = {"openssh": OpenSSHTransport, "fabric": FabricTransport}


def true(timeout: float = 20.0) -> Command:
    """A command that does nothing."""
    return Command(argv=("true",), timeout=timeout)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server with sshd's default limits for all that do not change it; its folder's name has blanks."""
    with Sshd.started(tmp_path_factory.mktemp("a server")) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sshd]:
    """A server that a test may maltreat."""
    with Sshd.started(tmp_path / "own server") as server:
        yield server


@pytest.fixture(scope="module")
def open_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Makes transports, and ends what they leave behind."""
    folder = tmp_path_factory.mktemp("control")
    made: list[Transport] = []

    def make(kind: str, server: Sshd, **settings: Any) -> Transport:
        defaults = {"host": server.alias, "ssh_config": str(server.ssh_config), "control_dir": folder}
        made.append(KINDS[kind](**(defaults | settings)))
        return made[-1]

    yield make
    for transport in made:
        transport.close()
        if isinstance(transport, OpenSSHTransport):
            transport.logout()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two."""
    return str(request.param)
