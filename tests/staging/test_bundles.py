"""Small files share calls, answers and waits for the disk, and each is done or failed by itself all the same."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.endpoints.ssh_lane import BUNDLE_FILES, SMALL, SSHLane
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.geometry import cut
from aifa_hpc.staging.model import Part
from aifa_hpc.staging.remote import Remote
from aifa_hpc.testing.endpoints import target
from aifa_hpc.testing.feeds import GivenFeed, LyingFeed, some_bytes
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.staging.endpoints.base import Endpoint

CONTENTS = {f"d{n % 3}/{n:03}": some_bytes(n * n * 20, n) for n in range(200)}
"""From nothing to more than goes together, on both sides of where files go by themselves."""

assert min(map(len, CONTENTS.values())) == 0
assert max(map(len, CONTENTS.values())) > SMALL


@pytest.fixture(params=["local", "agent"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Endpoint]:
    """A folder, by itself and through the agent."""
    local = request.param == "local"
    with LocalEndpoint(tmp_path) if local else SSHEndpoint(LocalTransport(), str(tmp_path)) as endpoint:
        yield endpoint


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    """A conversation."""
    remote = Remote(LocalTransport(), str(tmp_path), python="python3", place="there")
    with contextlib.closing(remote):
        yield remote


def files_of(folder: Path) -> dict[str, bytes]:
    """All that is there, partial files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_handed_over_arrives(place: Endpoint, tmp_path: Path) -> None:
    """Waited for in another order than it was sent."""
    with place.lane() as lane:
        flying = {path: lane.store(target(path, data), GivenFeed(data)) for path, data in CONTENTS.items()}
        for path in reversed(flying):
            found = flying[path].wait()
            assert found is not None
            assert (path, len(CONTENTS[path])) == (found.path, found.size)
    assert files_of(tmp_path) == CONTENTS


def test_what_fails_hurts_no_other(place: Endpoint, tmp_path: Path) -> None:
    """A name that is taken by a folder, and a source that breaks, in the midst of others; nothing of them is left."""
    (tmp_path / "d1/073").mkdir(parents=True)
    flying = {}
    with place.lane() as lane:
        for number, (path, data) in enumerate(CONTENTS.items()):
            if number % 50 == 20:
                with pytest.raises(TransferError, match="the source is broken"):
                    lane.store(target(path, data), GivenFeed(data, piece=1000, fail_after=len(data) // 2))
            else:
                flying[path] = lane.store(target(path, data), GivenFeed(data))
        with pytest.raises(TransferError, match="d1/073"):
            flying.pop("d1/073").wait()
        for pending in flying.values():
            pending.wait()
    assert {path: CONTENTS[path] for path in flying} == files_of(tmp_path)


def test_nobody_need_wait(tmp_path: Path) -> None:
    """A lane that is closed early names what it wrote: here, partial files would stay."""
    with LocalEndpoint(tmp_path) as place, place.lane() as lane:
        for name in "abc":
            lane.store(target(name, b"12345"), GivenFeed(b"12345"))
    assert dict.fromkeys("abc", b"12345") == files_of(tmp_path)


def test_readings_keep_their_order(place: Endpoint, tmp_path: Path) -> None:
    """Small files, large ones and parts asked for ahead; what is missing is an error when its turn comes."""
    for path, data in CONTENTS.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "d0/099").unlink()
    with place.lane() as lane:
        asked = {path: lane.read(path, cut(len(data), BLOCK)[0]) for path, data in CONTENTS.items()}
        for path, reading in asked.items():
            if path == "d0/099":
                with pytest.raises(TransferError, match="d0/099"):
                    list(reading)
                continue
            assert CONTENTS[path] == b"".join(bytes(view) for view in reading)
            found = place.stat([path])[0]
            assert found is not None
            assert found.pin == reading.pin


def test_a_file_that_became_shorter_is_as_long_as_it_is(place: Endpoint, tmp_path: Path) -> None:
    """And the next one is whole; who reads compares pins."""
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"67890")
    with place.lane() as lane:
        asked = [lane.read(path, Part(index=0, offset=0, length=5)) for path in "ab"]
        assert [b"12", b"67890"] == [b"".join(bytes(view) for view in reading) for reading in asked]


def test_files_that_change_on_the_way_are_refused_by_themselves(remote: Remote, tmp_path: Path) -> None:
    """Each has its digest, whatever they share."""
    lane = SSHLane(remote, lambda _: None)
    feeds = {path: (LyingFeed if path in {"b", "d"} else GivenFeed)(b"12345") for path in "abcde"}
    flying = {path: lane.store(target(path, b"12345"), feed) for path, feed in feeds.items()}
    for path, pending in flying.items():
        with pytest.raises(DamagedError) if path in {"b", "d"} else contextlib.nullcontext():
            pending.wait()
    assert dict.fromkeys("ace", b"12345") == files_of(tmp_path)


def test_many_files_are_few_calls(remote: Remote) -> None:
    """Both ways."""
    lane = SSHLane(remote, lambda _: None)
    names = [f"f{number}" for number in range(10 * BUNDLE_FILES)]
    before = remote._calls
    for pending in [lane.store(target(name, b"x"), GivenFeed(b"x")) for name in names]:
        pending.wait()
    for reading in [lane.read(name, Part(index=0, offset=0, length=1)) for name in names]:
        assert [bytes(view) for view in reading] == [b"x"]
    assert remote._calls - before == 20
