"""The local endpoint keeps the contract, and treats links, modes and times as its documentation says."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.testing.endpoints import EndpointContract, FolderPlace, GivenFeed, LyingFeed, target
from aifa_hpc.testing.housekeeping import HousekeepingContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    """A folder of this machine."""
    (tmp_path / "place").mkdir()
    return FolderPlace(tmp_path / "place")


class TestLocal(EndpointContract, HousekeepingContract):
    """The contract, by files of this machine."""


def test_links_are_followed(tmp_path: Path) -> None:
    """A link to a file is a file, and one to a folder is a folder."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a").write_bytes(b"123")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/file").symlink_to(tmp_path / "far/a")
    (tmp_path / "near/folder").symlink_to(tmp_path / "far")
    found = {file.path: file.size for file in LocalEndpoint(tmp_path / "near").scan()}
    assert found == {"file": 3, "folder/a": 3}


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    """It names the link instead of listing for ever."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/again").symlink_to(tmp_path)
    with pytest.raises(TransferError, match=r"again.*link leads back"):
        list(LocalEndpoint(tmp_path).scan())


def test_a_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    """It names the link: leaving data out silently would be worse."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(TransferError, match="dangling"):
        list(LocalEndpoint(tmp_path).scan())


def test_what_is_no_file_has_no_size(tmp_path: Path) -> None:
    """A pipe is listed as something that cannot be copied, and not opened."""
    os.mkfifo(tmp_path / "pipe")
    assert [(found.path, found.size) for found in LocalEndpoint(tmp_path).scan()] == [("pipe", -1)]


def test_a_published_file_has_time_and_mode(tmp_path: Path) -> None:
    """The source's time, its execute bit, and for the rest the umask's mode."""
    umask = os.umask(0o027)
    try:
        endpoint = LocalEndpoint(tmp_path)
    finally:
        os.umask(umask)
    wanted = target("run", b"12345")
    with endpoint.lane() as lane:
        lane.store(replace(wanted, executable=True), GivenFeed(b"12345")).wait()
        lane.store(target("data", b"12345"), GivenFeed(b"12345")).wait()
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("run", "data")]
    assert ([0o750, 0o640], wanted.mtime_ns) == (modes, (tmp_path / "run").stat().st_mtime_ns)


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    """What it pointed to stays."""
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / "place").mkdir()
    (tmp_path / "place/a").symlink_to(tmp_path / "elsewhere")
    with LocalEndpoint(tmp_path / "place").lane() as lane:
        lane.store(target("a", b"12345"), GivenFeed(b"12345")).wait()
    assert (b"untouched", b"12345", False) == (
        (tmp_path / "elsewhere").read_bytes(),
        (tmp_path / "place/a").read_bytes(),
        (tmp_path / "place/a").is_symlink(),
    )


def test_a_folder_at_the_target_is_an_error(tmp_path: Path) -> None:
    """It names the target, not the partial file, and leaves none."""
    (tmp_path / "a/b").mkdir(parents=True)
    with LocalEndpoint(tmp_path).lane() as lane, pytest.raises(TransferError, match=r"'a'.*folder stands"):
        lane.store(target("a", b"12345"), GivenFeed(b"12345")).wait()
    assert [tmp_path / "a"] == list(tmp_path.iterdir())


def test_what_cannot_be_cleared_away_hides_no_error(tmp_path: Path) -> None:
    """The folder went away meanwhile, and its partial file with it: told is that the name could not be taken."""

    class Moved(GivenFeed):
        def __iter__(self) -> Iterator[memoryview]:
            yield from super().__iter__()
            (tmp_path / "place/sub").rename(tmp_path / "elsewhere")
            (tmp_path / "place/sub").write_bytes(b"no folder")

    with LocalEndpoint(tmp_path / "place").lane() as lane, pytest.raises(TransferError, match="cannot publish 'sub/a'"):
        lane.store(target("sub/a", b"12345"), Moved(b"12345")).wait()


def test_a_shorter_partial_file_is_not_published(tmp_path: Path) -> None:
    """Sizes are compared before the rename."""
    endpoint = LocalEndpoint(tmp_path)
    partial = endpoint.begin("a", 10, "f" * 16 + "-1")
    with endpoint.lane() as lane, pytest.raises(TransferError, match="0 bytes where 10"):
        lane.publish(partial, target("a", b"0123456789"))
    assert not (tmp_path / "a").exists()


def test_the_feed_is_the_only_judge_here(tmp_path: Path) -> None:
    """In one process there is no far side to disagree: what passed was hashed by the engine."""
    with LocalEndpoint(tmp_path).lane() as lane:
        lane.store(target("a", b"12345"), LyingFeed(b"12345")).wait()
    assert (tmp_path / "a").read_bytes() == b"12345"
