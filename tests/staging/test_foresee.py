"""Questions that are asked before their time are answered once, and never with what is no longer so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import NotSentError
from aifa_hpc.manifest import MANIFEST
from aifa_hpc.staging.endpoints.base import GLANCE_BYTES
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.store import small_of, store_bytes
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.staging.endpoints.base import Endpoint


@pytest.fixture
def there(tmp_path: Path) -> Iterator[SSHEndpoint]:
    """A folder, through the agent."""
    with SSHEndpoint(LocalTransport(), str(tmp_path)) as endpoint:
        yield endpoint


def sizes(place: Endpoint) -> list[int]:
    """Of the files that are foreseen here."""
    return [found.size if found else -1 for found in place.stat(["a", "b"])]


@pytest.mark.parametrize("begun", [False, True])
def test_an_answer_is_taken_once(there: SSHEndpoint, tmp_path: Path, *, begun: bool) -> None:
    """The next one is new, whether the questions began the conversation or not."""
    (tmp_path / "a").write_bytes(b"1")
    if begun:
        there.kind()
    there.foresee(kind=True, glance=["a"], stat=["a", "b"], partials=[""])
    assert there.glance(["a"])[0][1] == b"1"
    assert there.partials([""]) == []  # the last one: the others were answered before
    (tmp_path / "a").write_bytes(b"22")
    assert there.kind() == "folder"
    assert sizes(there) == [1, -1]
    assert sizes(there) == [2, -1]
    assert there.glance(["a"])[0][1] == b"22"
    assert there.partials([""]) == []
    assert there.stat([MANIFEST]) == [None]


def test_what_was_changed_from_here_is_asked_anew(there: SSHEndpoint) -> None:
    """By the conversation for questions, and by a lane."""
    assert sizes(there) == [-1, -1]
    there.foresee(stat=["a", "b"])
    there.store_at_once([small_of("a", b"333")], [1])
    assert sizes(there) == [3, -1]
    there.foresee(stat=["a", "b"])
    store_bytes(there, "b", b"4444")
    assert sizes(there) == [3, 4]
    there.foresee(stat=["a", "b"])
    there.remove(["a"])
    assert sizes(there) == [-1, 4]


def test_nobody_need_ask(tmp_path: Path) -> None:
    """Answers that nobody takes disturb no other, and a place that is closed at once begins nothing."""
    (tmp_path / "a").write_bytes(b"1")
    with SSHEndpoint(LocalTransport(), str(tmp_path)) as there:
        there.foresee(kind=True, glance=["a"], stat=["a", "b"], partials=[""])
    with SSHEndpoint(LocalTransport(), str(tmp_path)) as there:
        there.foresee(kind=True, glance=["a"], stat=["a", "b"], partials=[""])
        assert [found.path for found in there.scan()] == ["a"]
        assert list(there.sums([])) == []
        assert there.read_bytes("a") == b"1"


def test_a_way_that_does_not_begin_is_told_to_who_asks(tmp_path: Path) -> None:
    """Not in the background, where nobody hears it."""
    with SSHEndpoint(LocalTransport(), str(tmp_path), python="no-such-python") as there:
        there.foresee(glance=["a"])
        with pytest.raises(NotSentError, match="no-such-python"):
            there.glance(["a"])


@pytest.mark.parametrize("local", [True, False])
def test_a_glance_tells_what_is_there_and_what_it_holds(tmp_path: Path, *, local: bool) -> None:
    """A file, an empty one, a long one, a folder and nothing."""
    (tmp_path / "folder").mkdir()
    for name, size in (("small", GLANCE_BYTES), ("empty", 0), ("long", GLANCE_BYTES + 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    with LocalEndpoint(tmp_path) if local else SSHEndpoint(LocalTransport(), str(tmp_path)) as place:
        names = ["small", "empty", "long", "folder", "nothing"]
        seen = place.glance(names)
        assert [found for found, _ in seen] == place.stat(names)
        assert [None if data is None else len(data) for _, data in seen] == [GLANCE_BYTES, 0, None, None, None]
