"""The SSH endpoint keeps the contract over a transport whose machine is this one, with the real agent as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command
from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.remote import agent_command
from aifa_hpc.testing.endpoints import EndpointContract, FolderPlace, GivenFeed, LyingFeed, target
from aifa_hpc.testing.housekeeping import HousekeepingContract
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.transport.base import Channel


def old_python() -> str | None:
    """A Python 3.6 that works: ``$AIFA_TEST_PYTHON36``, or ``python3.6`` on PATH."""
    for name in (os.environ.get("AIFA_TEST_PYTHON36"), "python3.6"):
        found = shutil.which(name) if name else None
        if found and subprocess.run((found, "-c", ""), check=False, capture_output=True).returncode == 0:
            return found
    return None


OLD_PYTHON = old_python()


class _Place(FolderPlace):
    def __init__(self, root: Path, python: str, transport: LocalTransport | None = None) -> None:
        root.mkdir()
        self._transport = transport or LocalTransport()
        self._opened: list[SSHEndpoint] = []

        def make(path: str) -> SSHEndpoint:
            self._opened.append(SSHEndpoint(self._transport, path, python=python))
            return self._opened[-1]

        super().__init__(root, make)

    def close(self) -> None:
        """Ends all agents."""
        for endpoint in self._opened:
            endpoint.close()


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FolderPlace]:
    """A folder of this machine, reached through an agent."""
    python = request.cls.python if request.cls else sys.executable
    place = _Place(tmp_path / "place", python)
    yield place
    place.close()


class TestAgent(EndpointContract, HousekeepingContract):
    """The contract, by the agent in this Python."""

    python = sys.executable


@pytest.mark.skipif(OLD_PYTHON is None, reason="no Python 3.6 here; name one in AIFA_TEST_PYTHON36")
class TestAgentOnPython36(EndpointContract, HousekeepingContract):
    """The contract, by the agent in the Python of LUMI's login nodes."""

    python = OLD_PYTHON


class _Banner(LocalTransport):
    """A machine whose login talks before it runs anything."""

    def open(self, command: Command) -> Channel:
        """With a banner on standard output."""
        noise = "printf 'Welcome!\\n*** 42 \\000 ***\\n'; head -c 100000 /dev/zero; exec \"$@\""
        return super().open(Command(argv=("sh", "-c", noise, "sh", *command.argv), stdin=command.stdin))


def test_a_login_banner_does_not_break_the_conversation(tmp_path: Path) -> None:
    """Whatever is printed before the agent speaks is passed over, NUL bytes too."""
    (tmp_path / "a").write_bytes(b"12345")
    with SSHEndpoint(_Banner(), str(tmp_path), python=sys.executable) as endpoint:
        assert [("a", 5)] == [(found.path, found.size) for found in endpoint.scan()]


def test_bytes_that_change_on_the_way_are_refused(tmp_path: Path) -> None:
    """The agent compares its digest with the sender's before it acknowledges, and leaves nothing."""
    with SSHEndpoint(LocalTransport(), str(tmp_path), python=sys.executable) as endpoint, endpoint.lane() as lane:
        with pytest.raises(DamagedError, match=r"'a'.*another SHA-256"):
            lane.store(target("a", b"12345"), LyingFeed(b"12345")).wait()
        lane.store(target("b", b"12345"), GivenFeed(b"12345")).wait()
    assert [tmp_path / "b"] == list(tmp_path.iterdir())


def test_a_machine_without_python_is_an_error_that_says_so() -> None:
    """With what the far side said, and what is needed."""
    with (
        SSHEndpoint(_Shell(), "/", python="no-such-python3", label="lumi") as endpoint,
        pytest.raises(TransferError, match=r"lumi.*no-such-python3.*not found.*needs python3 \(3.6 or newer\)"),
    ):
        endpoint.kind()


class _Shell(LocalTransport):
    """A machine that runs commands by a shell, as sshd does."""

    def open(self, command: Command) -> Channel:
        """Through a shell's line."""
        return super().open(Command(argv=("sh", "-c", command.line), stdin=command.stdin))


def test_the_agent_survives_a_shell(tmp_path: Path) -> None:
    """Its few words are one line, without an exclamation mark that a login shell could take for its own."""
    words = agent_command("python3").argv
    assert not [word for word in words if "\n" in word or "!" in word]
    assert len(agent_command("python3").line) < 2000
    (tmp_path / "a").write_bytes(b"12345")
    with SSHEndpoint(_Shell(), str(tmp_path), python=sys.executable) as endpoint:
        assert ["a"] == [found.path for found in endpoint.scan()]


def test_a_relative_path_is_refused() -> None:
    """Nothing is started for it."""
    with pytest.raises(InputError, match=r"'data'.*absolute"):
        SSHEndpoint(LocalTransport(), "data")


def test_errors_of_the_far_side_name_file_place_and_next_step(tmp_path: Path) -> None:
    """As the operating system over there said it."""
    (tmp_path / "file").write_bytes(b"")
    with (
        SSHEndpoint(LocalTransport(), str(tmp_path), python=sys.executable, label="lumi") as endpoint,
        endpoint.lane() as lane,
        pytest.raises(TransferError, match=r"cannot write 'file/a' at lumi:.*directory.*Move it|move it away"),
    ):
        lane.store(target("file/a", b"12345"), GivenFeed(b"12345")).wait()
