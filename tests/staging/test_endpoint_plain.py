"""Machines without Python keep the contract: by coreutils through one shell, and by SFTP; the programs are real."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.staging.endpoints.far import open_far
from aifa_hpc.staging.endpoints.plain import PlainEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.endpoints.tools import os_error
from aifa_hpc.staging.endpoints.tools_sftp import SftpTools
from aifa_hpc.staging.endpoints.tools_shell import ShellTools
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.testing.endpoints import EndpointContract, FolderPlace, GivenFeed, LyingFeed, target
from aifa_hpc.transport.base import Channel, ProcessChannel
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.command import Command, Completed
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.endpoints.tools import Tools

SFTP_SERVER = next(
    (path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server") if Path(path).exists()), None
)
needs_sftp = pytest.mark.skipif(SFTP_SERVER is None, reason="no sftp-server program here (Debian: openssh-sftp-server)")


class Machine(LocalTransport):
    """This machine, where a PATH of its own may lack Python and SFTP is the real server's program."""

    def __init__(self, path: str | None = None) -> None:
        super().__init__({} if path is None else {"PATH": path})

    def run(self, command: Command) -> Completed:
        """By a shell, as sshd does."""
        return super().run(replace(command, argv=("sh", "-c", command.line)))

    def open(self, command: Command) -> Channel:
        """Likewise."""
        return super().open(replace(command, argv=("sh", "-c", command.line)))

    def subsystem(self, name: str) -> Channel:
        """SFTP."""
        assert (name, SFTP_SERVER is None) == ("sftp", False)
        return ProcessChannel((str(SFTP_SERVER),))


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with coreutils, findutils and nothing else."""
    folder = tmp_path / "bare-bin"
    folder.mkdir()
    for name in (
        "sh", "dd", "stat", "find", "head", "tail", "tr", "sha256sum", "md5sum", "mkdir", "touch", "chmod", "sync",
        "mv", "rm", "grep", "cat",
    ):  # fmt: skip
        (folder / name).symlink_to(shutil.which(name))  # type: ignore[arg-type]
    return str(folder)


class _Places:
    """Endpoints over the same tools, closed at the end."""

    def __init__(self, root: Path, tools: Callable[[], Tools]) -> None:
        self._opened: list[Endpoint] = []
        root.mkdir()

        def make(path: str) -> Endpoint:
            self._opened.append(PlainEndpoint(tools, path, channels=4, label="plain"))
            return self._opened[-1]

        self.place = FolderPlace(root, make)

    def close(self) -> None:
        """All of them."""
        for endpoint in self._opened:
            endpoint.close()


class TestShell(EndpointContract):
    """The contract, by coreutils."""

    @pytest.fixture
    def place(self, tmp_path: Path, bare_path: str) -> Iterator[FolderPlace]:
        """A folder of this machine."""
        places = _Places(tmp_path / "place", lambda: ShellTools(Machine(bare_path)))
        yield places.place
        places.close()


@needs_sftp
class TestSftp(EndpointContract):
    """The contract, by SFTP."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[FolderPlace]:
        """A folder of this machine."""
        places = _Places(tmp_path / "place", lambda: SftpTools(Machine()))
        yield places.place
        places.close()


@pytest.fixture(params=["shell", pytest.param("sftp", marks=needs_sftp)])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path, bare_path: str) -> Iterator[PlainEndpoint]:
    """A folder by either of the two."""
    (tmp_path / "root").mkdir()
    tools = {"shell": lambda: ShellTools(Machine(bare_path)), "sftp": lambda: SftpTools(Machine())}[request.param]
    with PlainEndpoint(tools, str(tmp_path / "root"), channels=2, label="plain") as made:
        yield made


def test_bytes_that_change_on_the_way_are_refused(endpoint: PlainEndpoint, tmp_path: Path) -> None:
    """What was written is hashed again, and nothing is left of it."""
    with endpoint.lane() as lane:
        with pytest.raises(DamagedError, match=r"'a'.*another SHA-256"):
            lane.store(target("a", b"12345"), LyingFeed(b"12345")).wait()
        lane.store(target("b", b"12345"), GivenFeed(b"12345")).wait()
    assert [tmp_path / "root/b"] == list((tmp_path / "root").iterdir())


def test_time_and_mode_are_set(endpoint: PlainEndpoint, tmp_path: Path) -> None:
    """The time of the source, as finely as the way carries it; readable, and writable by its owner."""
    with endpoint.lane() as lane:
        lane.store(target("a", b"12345"), GivenFeed(b"12345")).wait()
    found = (tmp_path / "root/a").stat()
    assert (1_700_000_000, 0o644 & ~_umask()) == (int(found.st_mtime), found.st_mode & 0o777 & ~_umask())


def test_links_that_lead_back_are_an_error(endpoint: PlainEndpoint, tmp_path: Path) -> None:
    """Not an endless listing."""
    (tmp_path / "root/sub").mkdir()
    (tmp_path / "root/sub/up").symlink_to("..")
    with pytest.raises(TransferError, match=r"cannot list .*(loop|symbolic links)"):
        list(endpoint.scan())


def test_a_dangling_link_is_an_error(endpoint: PlainEndpoint, tmp_path: Path) -> None:
    """As it is for the agent."""
    (tmp_path / "root/a").symlink_to("nowhere")
    with pytest.raises(TransferError, match="No such file"):
        list(endpoint.scan())


def test_the_best_way_is_found(tmp_path: Path, bare_path: str) -> None:
    """The agent where there is Python, the shell where there is none; both see the same file in the same state."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a").write_bytes(b"12345")
    kinds, found = [], []
    for machine in (Machine(), Machine(bare_path)):
        with open_far(machine, str(tmp_path / "x"), label="far") as endpoint:
            kinds.append(type(endpoint))
            found.append(endpoint.stat(["a"]))
    assert [SSHEndpoint, PlainEndpoint] == kinds
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("said", "number", "text"),
    [
        ("dd: error writing 'x': No space left on device", 28, "No space left on device"),
        ("sh: 1: cannot create /x/y: Directory nonexistent", 2, "No such file or directory"),
        ("something odd", 5, "something odd"),
    ],
)
def test_words_of_programs_are_errors_of_the_system(said: str, number: int, text: str) -> None:
    """So that the same next step is told."""
    error = os_error(said)
    assert (number, text) == (error.errno, error.strerror)


class Broken(LocalTransport):
    """A machine whose connection ends as soon as SFTP begins."""

    def subsystem(self, name: str) -> Channel:
        """A conversation that is over."""
        return ProcessChannel(("sh", "-c", f"echo {name} is gone. >&2"))


def test_a_connection_that_breaks_before_sftp_answers() -> None:
    """What the other side said, and that the same command goes on."""
    with pytest.raises(TransferError, match=r"no SFTP server answered: sftp is gone\. .*run the same command again"):
        SftpTools(Broken())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
