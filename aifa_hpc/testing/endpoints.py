"""What every staging endpoint must do, as a pytest class to inherit from.

::

    @pytest.fixture
    def place(tmp_path: Path) -> Iterator[Place]:
        with MyPlace(tmp_path) as place:
            yield place

    class TestMine(EndpointContract):
        ...  # nothing else

A :class:`Place` makes endpoints and looks at what is there by a way of its own, so that no endpoint vouches for itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import pytest

from aifa_hpc.errors import AifaError, TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.failures import FencedError
from aifa_hpc.staging.geometry import cut
from aifa_hpc.staging.model import Part, Target
from aifa_hpc.testing.feeds import GivenFeed, LyingFeed, some_bytes, sum_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.model import PartSum

__all__ = [
    "HOSTILE_NAMES",
    "EndpointContract",
    "FolderPlace",
    "GivenFeed",
    "LyingFeed",
    "Place",
    "SourceContract",
    "some_bytes",
    "sum_of",
    "target",
]

HOSTILE_NAMES = (
    "it's",
    'double "quotes"',
    "new\nline",
    "$(touch x) `id` $HOME",
    "-rf",
    " blanks ",
    "back\\slash",
    "ünï/cödé ☃",
    "percent%2Fcent",
    "a:b",
    "*?[x]",
)
_MTIME = 1_700_000_000_123_456_789
_SMALL = Part(index=0, offset=0, length=5)


class Place(ABC):
    """A place of its own for one test, seen past the endpoint."""

    @abstractmethod
    def endpoint(self, path: str = "") -> Endpoint:
        """An endpoint at a path of the place; a final ``/`` is kept."""

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Makes a file."""

    @abstractmethod
    def get(self, path: str) -> bytes | None:
        """The content of a file that readers can see."""

    @abstractmethod
    def names(self) -> set[str]:
        """All files that readers can see, and partial files."""


class FolderPlace(Place):
    """A folder of this machine.

    Args:
        root: An empty folder.
        make: Makes an endpoint for an absolute path.
    """

    def __init__(self, root: Path, make: Callable[[str], Endpoint] = LocalEndpoint) -> None:
        self.root, self._make = root, make

    def endpoint(self, path: str = "") -> Endpoint:
        """An endpoint at that path."""
        return self._make(f"{self.root}/{path}" if path else str(self.root))

    def put(self, path: str, data: bytes) -> None:
        """Makes a file, with its folders."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def get(self, path: str) -> bytes | None:
        """What a reader sees."""
        return (self.root / path).read_bytes() if (self.root / path).is_file() else None

    def names(self) -> set[str]:
        """Every name of a file."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


class SourceContract:
    """Tests that every endpoint passes that files are read from; ``place`` is the fixture that a module gives.

    Attributes:
        impossible_names: Names that the server under test cannot hold, and what becomes of them there.
    """

    impossible_names: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def require_possible(self, name: str) -> None:
        """Leaves the test out where the server cannot hold such a name, and says what becomes of it."""
        if name in self.impossible_names:
            pytest.skip(f"{name!r}: {self.impossible_names[name]}")

    def test_what_is_there_is_told(self, place: Place) -> None:
        """A file, a folder and nothing are told apart."""
        place.put("folder/file", b"x")
        kinds = [place.endpoint(path).kind() for path in ("folder", "folder/file", "nothing")]
        assert kinds == ["folder", "file", "absent"]

    def test_a_final_slash_is_remembered(self, place: Place) -> None:
        """What the user wrote decides where a file goes."""
        assert [place.endpoint(path).says_folder for path in ("a", "a/")] == [False, True]

    def test_a_path_splits_into_folder_and_name(self, place: Place) -> None:
        """The folder above sees the file under its name."""
        place.put("folder/file", b"12345")
        above, name = place.endpoint("folder/file").split()
        found = above.stat([name])[0]
        assert found is not None
        assert (name, found.size) == ("file", 5)

    def test_stat_answers_in_order(self, place: Place) -> None:
        """Each path has its answer, and nothing is ``None``."""
        place.put("b", b"22")
        place.put("a", b"1")
        with place.endpoint() as endpoint:
            found = endpoint.stat(["b", "no", "a", "a/below"])
        assert [one and one.size for one in found] == [2, None, 1, None]

    def test_another_content_has_another_pin(self, place: Place) -> None:
        """A pin stands for one state of a file."""
        place.put("a", b"before")
        with place.endpoint() as endpoint:
            before, again = (pin_of(endpoint, "a") for _ in range(2))
            place.put("a", b"behind, and longer")
            after = pin_of(endpoint, "a")
        assert before == again
        assert before != after

    @pytest.mark.parametrize(("offset", "length"), [(0, 3_000_000), (0, 1), (1, 1_048_577), (2_999_999, 1), (0, 0)])
    def test_ranges_are_read(self, place: Place, offset: int, length: int) -> None:
        """Exactly the bytes asked for, and the pin of the file they are from."""
        data = some_bytes(3_000_000)
        place.put("a", data)
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            reading = lane.read("a", Part(index=0, offset=offset, length=length))
            read = b"".join(bytes(view) for view in reading)
            assert (data[offset : offset + length], pin_of(endpoint, "a")) == (read, reading.pin)
        assert reading.claimed in (None, sum_of(read).blocks)

    def test_reading_ahead_keeps_the_order(self, place: Place) -> None:
        """Several readings of a lane may be asked for before the first is used."""
        contents = {f"f{number}": some_bytes(100_000 * number, number) for number in range(1, 6)}
        for path, data in contents.items():
            place.put(path, data)
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            asked = {path: lane.read(path, cut(len(data), BLOCK)[0]) for path, data in contents.items()}
            read = {path: b"".join(bytes(view) for view in reading) for path, reading in asked.items()}
        assert contents == read

    def test_a_missing_file_is_an_error_with_its_name(self, place: Place) -> None:
        """Reading what is not there names it, and the lane is still good."""
        place.put("a", b"12345")
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            with pytest.raises(TransferError, match="missing-one"):
                list(lane.read("missing-one", _SMALL))
            assert [bytes(view) for view in lane.read("a", _SMALL)] == [b"12345"]

    def test_hashes_are_those_of_the_content(self, place: Place) -> None:
        """Block digests and MD5 agree with hashlib; past the end there is nothing."""
        data = some_bytes(BLOCK + 1000)
        place.put("big", data)
        place.put("small", b"12345")
        parts = cut(len(data), BLOCK)
        with place.endpoint() as endpoint:
            found = list(endpoint.sums([("big", parts), ("small", [_SMALL]), ("small", parts)], md5=True))
        assert [sum_of(data[:BLOCK]), sum_of(data[BLOCK:])] == found[0]
        assert [[sum_of(b"12345")], [sum_of(b"12345"), sum_of(b"")]] == found[1:]

    def test_small_files_are_read_whole(self, place: Place) -> None:
        """As bytes, or ``None`` where there is none."""
        place.put("a", b"12345")
        with place.endpoint() as endpoint:
            assert [endpoint.read_bytes(path) for path in ("a", "b")] == [b"12345", None]

    def test_closing_twice_is_harmless(self, place: Place) -> None:
        """An endpoint may be closed by whoever made it and by whoever used it."""
        endpoint = place.endpoint()
        with endpoint:
            endpoint.kind()
        endpoint.close()

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_files_of_any_name_are_listed_and_read(self, place: Place, name: str) -> None:
        """Quotes, newlines, dollars and dashes come back as they are."""
        self.require_possible(name)
        place.put(name, b"12345")
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            listed = [(found.path, found.size, found.pin) for found in endpoint.scan()]
            reading = lane.read(name, _SMALL)
            assert b"".join(bytes(view) for view in reading) == b"12345"
        assert [(name, 5, reading.pin)] == listed

    def test_folders_that_did_not_change_need_no_listing(self, place: Place) -> None:
        """Others list what they hold; a place that has no states for folders lists all, always."""
        for path in ("a", "b/c", "b/.d", "b/e/f"):
            place.put(path, path.encode())
        with place.endpoint() as endpoint:
            listed = list(endpoint.folders({}))
            known = {folder.path: folder.state for folder in listed if folder.state}
            place.put("b/c", b"another size")
            again = {folder.path for folder in endpoint.folders(known) if folder.files is None}
            states = dict(zip(known, endpoint.states([(path, 3) for path in known]), strict=True))
        assert sorted(found.path for one in listed for found in one.files or ()) == ["a", "b/.d", "b/c", "b/e/f"]
        assert (again, again) == (known.keys() - {"b"}, {path for path in known if states[path] == known[path]})


class EndpointContract(SourceContract):
    """Tests that every endpoint passes that files are read from and written to.

    Attributes:
        fences: Whoever takes a partial file over fences its former owner off.
    """

    fences: ClassVar[bool] = True

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_names_are_only_names(self, place: Place, name: str) -> None:
        """Quotes, newlines, dollars and dashes reach the place and come back as they are."""
        self.require_possible(name)
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            lane.store(target(name, b"12345"), GivenFeed(b"12345")).wait()
            listed = [found.path for found in endpoint.scan()]
            read = b"".join(bytes(view) for view in lane.read(name, _SMALL))
        assert ([name], {name}, b"12345", b"12345") == (listed, place.names(), place.get(name), read)

    def test_listing_leaves_out_our_own_files(self, place: Place) -> None:
        """Manifests and partial files are not data."""
        for path in ("a", "b/c", "b/.hidden", ".aifa-manifest.jsonl", ".a.aifa-manifest.jsonl"):
            place.put(path, path.encode())
        with place.endpoint() as endpoint:
            endpoint.begin("b/d", 100, "f" * 16 + "-1")
            sizes = {found.path: found.size for found in endpoint.scan()}
        assert sizes == {"a": 1, "b/c": 3, "b/.hidden": 9}

    def test_a_stored_file_appears_whole(self, place: Place) -> None:
        """With its folders, in place of an older one, and nothing else is left."""
        place.put("x/y/a", b"an older one")
        data = some_bytes(2_500_000)
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            found = lane.store(target("x/y/a", data), GivenFeed(data)).wait()
            assert found is not None
            assert (pin_of(endpoint, "x/y/a"), len(data)) == (found.pin, found.size)
        assert (data, {"x/y/a"}) == (place.get("x/y/a"), place.names())

    def test_an_empty_file_is_a_file(self, place: Place) -> None:
        """Nothing in it, but it is there."""
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            lane.store(target("empty", b""), GivenFeed(b"")).wait()
        assert place.get("empty") == b""

    def test_a_source_that_breaks_leaves_nothing(self, place: Place) -> None:
        """Its error comes through, the old file stays, and the lane is still good."""
        place.put("a", b"old")
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            with pytest.raises(TransferError, match="the source is broken"):
                lane.store(target("a", b"x" * 3_000_000), GivenFeed(b"x" * 3_000_000, fail_after=2**20))
            lane.store(target("b", b"12345"), GivenFeed(b"12345")).wait()
        assert ({"a", "b"}, b"old", b"12345") == (place.names(), place.get("a"), place.get("b"))

    def test_many_stores_may_fly(self, place: Place) -> None:
        """Handed over one after the other, waited for later."""
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            flying = [lane.store(target(f"d{n % 3}/f{n}", b"%d" % n), GivenFeed(b"%d" % n)) for n in range(40)]
            for pending in flying:
                pending.wait()
        assert {f"d{n % 3}/f{n}" for n in range(40)} == place.names()

    def test_parts_make_a_file(self, place: Place) -> None:
        """In any order, from several lanes; nobody sees it before it is published."""
        with place.endpoint() as endpoint:
            size = endpoint.limits.part * 2 + 12345
            data = some_bytes(size)
            parts = cut(size, endpoint.limits.part)
            partial = endpoint.begin("x/big", size, "f" * 16 + "-1")
            with ThreadPoolExecutor(len(parts)) as pool:

                def send(part: Part) -> None:
                    with endpoint.lane() as lane:
                        piece = data[part.offset : part.offset + part.length]
                        lane.write(partial, part, GivenFeed(piece)).wait()

                list(pool.map(send, reversed(parts)))
            unseen = place.get("x/big")
            found = [one for one in endpoint.partials(["x"]) if one.token == partial.token]
            held = endpoint.partial_sums(found[0], parts)
            sums = tuple(sum_of(data[part.offset : part.offset + part.length]) for part in parts)
            with endpoint.lane() as lane:
                published = lane.publish(partial, target("x/big", data, sums=sums))
            assert pin_of(endpoint, "x/big") == published.pin
        assert unseen is None
        assert all(mine.agrees(theirs) for mine, theirs in zip(sums, held, strict=True))
        assert (data, {"x/big"}) == (place.get("x/big"), place.names())

    def test_parts_that_did_not_arrive_are_not_held(self, place: Place) -> None:
        """What was not sent does not agree with anything."""
        with place.endpoint() as endpoint:
            part = endpoint.limits.part
            data = some_bytes(part * 2)
            first, second = cut(len(data), part)
            partial = endpoint.begin("big", len(data), "f" * 16 + "-1")
            with endpoint.lane() as lane:
                lane.write(partial, second, GivenFeed(data[part:])).wait()
            found = endpoint.partials([""])
            held = endpoint.partial_sums(found[0], [first, second])
            sums = [sum_of(data[:part]), sum_of(data[part:])]
            agree = [mine.agrees(theirs) for mine, theirs in zip(sums, held, strict=True)]
            endpoint.discard(found)
            endpoint.discard(found)
            assert (agree, endpoint.partials([""])) == ([False, True], [])
        assert set() == place.names()

    def test_another_owner_fences_the_first_off(self, place: Place) -> None:
        """After a takeover the old token writes and publishes nothing, and the new one does."""
        if not self.fences:
            pytest.skip("a store knows uploads by ids of its own: whoever has one may write, and nobody is fenced off")
        with place.endpoint() as endpoint, endpoint.lane() as lane:
            size = endpoint.limits.part + 5
            first, last = cut(size, endpoint.limits.part)
            mine = endpoint.begin("a", size, "f" * 16 + "-1")
            theirs = endpoint.adopt(mine, "f" * 16 + "-2")
            with pytest.raises(FencedError, match="'a'"):
                lane.write(mine, last, GivenFeed(b"12345")).wait()
            with pytest.raises(FencedError, match="'a'"):
                lane.publish(mine, target("a", b"x" * size))
            with pytest.raises(FencedError, match="'a'"):
                endpoint.adopt(mine, "f" * 16 + "-3")
            data = some_bytes(size)
            lane.write(theirs, first, GivenFeed(data[: first.length])).wait()
            lane.write(theirs, last, GivenFeed(data[first.length :])).wait()
            lane.publish(theirs, target("a", data))
        assert (data, {"a"}) == (place.get("a"), place.names())

    @pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside", "nul\0"])
    def test_a_path_that_leaves_is_refused(self, place: Place, path: str) -> None:
        """Before anything is written."""
        with place.endpoint("folder") as endpoint, endpoint.lane() as lane:
            with pytest.raises(AifaError, match=r"outside|NUL|nul"):
                lane.store(target(path, b"12345"), GivenFeed(b"12345")).wait()
            with pytest.raises(AifaError, match=r"outside|NUL|nul"):
                endpoint.begin(path, 5, "f" * 16 + "-1")
        assert set() == place.names()


def target(path: str, data: bytes, *, sums: tuple[PartSum, ...] = ()) -> Target:
    """A file as it shall be published."""
    return Target(
        path=path, size=len(data), mtime_ns=_MTIME, executable=False, token=f"{'e' * 16}-{len(data)}", sums=sums
    )


def pin_of(endpoint: Endpoint, path: str) -> str:
    """The pin of a file that is there."""
    found = endpoint.stat([path])[0]
    assert found is not None
    return found.pin
