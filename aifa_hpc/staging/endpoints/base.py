"""What the engine asks of a place for files: an :class:`Endpoint`, and :class:`Lane` s to work on it in parallel.

The engine calls ``endpoint`` methods from one thread at a time and gives each of its threads a lane of its own. A new
kind of place implements these two and runs ``aifa_hpc.testing.endpoints.EndpointContract``.

Promises of a destination:

* nothing under a published name is ever incomplete: files come into being by a rename, or an upload's completion;
* a :class:`Pending` write is done when the bytes are as durable as the place can make them, and were compared with
  their digest on its side;
* a partial file is written to only by who knows its token; :meth:`Endpoint.adopt` fences off everybody else.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from aifa_hpc.staging.geometry import Limits
from aifa_hpc.staging.model import Folder, Part, partial_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from aifa_hpc.manifest import Manifest
    from aifa_hpc.staging.model import Found, Kind, Loan, Partial, PartSum, Target
    from aifa_hpc.staging.together import Small


GLANCE_BYTES = 512 * 1024
"""Of a file that is small enough to be read at a glance."""


class Reading(ABC):
    """Bytes on their way from a source. Readings of a lane are iterated in the order they were asked for."""

    pin: str = ""
    """After the last byte: the state of the file they came from."""
    claimed: tuple[bytes, ...] | None = None
    """After the last byte: SHA-256 of the blocks as the far side sent them, where there is a far side."""

    @abstractmethod
    def __iter__(self) -> Iterator[memoryview]:
        """Views of a buffer that is used again: what is to stay must be copied.

        Raises:
            TransferError: It cannot be read.
        """


class Feed(ABC):
    """Bytes on their way to a destination, hashed as they pass; iterating raises what the source raised."""

    length: int

    @abstractmethod
    def __iter__(self) -> Iterator[memoryview]:
        """The bytes, ``length`` in total."""

    @property
    @abstractmethod
    def sum(self) -> PartSum:
        """Digests of what passed; only after the last byte."""


class Pending(ABC):
    """A write that was handed over."""

    md5: bytes = b""
    """Of what arrived, where parts are proven by it; after :meth:`wait`."""

    @abstractmethod
    def wait(self) -> Found | None:
        """Returns when the bytes are durable; for a whole file, with what was published.

        Raises:
            TransferError: They did not arrive, or not as they were sent.
        """


class Done(Pending):
    """A write that was finished on the spot."""

    def __init__(self, found: Found | None = None, *, md5: bytes = b"") -> None:
        self._found, self.md5 = found, md5

    def wait(self) -> Found | None:
        """Done already."""
        return self._found


class Lane(ABC):
    """One thread's way to an endpoint."""

    @abstractmethod
    def read(self, path: str, part: Part) -> Reading:
        """Asks for a range of a file; several may be asked for ahead."""

    @abstractmethod
    def write(self, partial: Partial, part: Part, feed: Feed) -> Pending:
        """Sends a part of a file that was begun.

        Raises:
            TransferError: What ``feed`` raised; the part is not there then, and the lane is still good.
        """

    @abstractmethod
    def store(self, target: Target, feed: Feed) -> Pending:
        """Sends a whole file and publishes it. The same errors as :meth:`write`."""

    @abstractmethod
    def publish(self, partial: Partial, target: Target) -> Found:
        """Gives a complete partial file its name.

        Raises:
            TransferError: It is gone or not complete, or the name cannot be taken.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of the lane."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Endpoint(ABC):
    """A folder (or, before :meth:`split`, maybe a single file) somewhere.

    Attributes:
        local: It is on this machine.
        identity: Names the place in the ledger; the same place has the same identity tomorrow.
        limits: How files may be cut.
        lanes: How many lanes may be worth having.
        first: How many are worth beginning with.
        lane_worth: Bytes for each lane without which it is not: what beginning it costs, they take to pass another.
        checks_md5: Parts are proven by MD5 (object stores) instead of SHA-256.
        lends: :meth:`borrow` can do it.
        pins_tell: A file that was replaced has another pin, however soon that was.
        writable: It can be a destination.
        at_once: Bytes of small files that :meth:`store_at_once` takes in one call; 0 where it is none.
        at_most: Of a source: bytes of all its files, where that is known before they are listed.
        last: Of a source: files that are published after all others, in this order.
        proof: What files that are there already are proven by: one of :data:`aifa_hpc.manifest.LEVELS`.
    """

    local: bool = False
    checks_md5: bool = False
    lends: ClassVar[bool] = False
    pins_tell: ClassVar[bool] = True
    writable: ClassVar[bool] = True
    limits: Limits = Limits()
    lanes: int = 4
    first: int = 4
    lane_worth: ClassVar[int] = 1
    at_once: ClassVar[int] = 0
    at_most: int | None = None
    last: tuple[str, ...] = ()
    proof: str = "verified"
    identity: str

    @property
    def saved(self) -> int:
        """Bytes of files that did not have to pass on the way, as they were packed; of lanes that were closed."""
        return 0

    @abstractmethod
    def __str__(self) -> str:
        """The place as messages name it."""

    @abstractmethod
    def kind(self) -> Kind:
        """What is there."""

    @property
    @abstractmethod
    def says_folder(self) -> bool:
        """The user wrote it with a final ``/``."""

    @abstractmethod
    def split(self) -> tuple[Endpoint, str]:
        """The folder above, and the name in it; connections are shared."""

    @abstractmethod
    def scan(self) -> Iterator[Found]:
        """All files below, in any order; manifests and partial files are left out.

        Raises:
            TransferError: The folder cannot be listed.
        """

    def folders(self, known: Mapping[str, str]) -> Iterator[Folder]:
        """All files below, by folder.

        Args:
            known: States of folders whose files need not be listed if that is what they still are.

        Raises:
            TransferError: As :meth:`scan`.
        """
        del known
        yield Folder(path="", state="", files=list(self.scan()))

    def states(self, folders: Sequence[tuple[str, int]]) -> list[str]:
        """The states of folders, in one question and whatever they are.

        Args:
            folders: Their paths, and how many files are expected there: one with far more is not looked at.

        Returns:
            As of :attr:`Folder.state`; empty for what has none, is gone, or cannot be listed.
        """
        return [""] * len(folders)

    @abstractmethod
    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What is at each path; ``None`` for nothing."""

    @abstractmethod
    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """Hashes parts where they are. A part past the end of its file has the digests of what there is.

        Raises:
            TransferError: A file cannot be read.
        """

    def partial_sums(self, partial: Partial, parts: Sequence[Part]) -> list[PartSum]:
        """What a partial file holds, for the given parts of it; a file like others, where uploads have no ids."""
        [found] = self.sums([(partial_path(partial.path, partial.token), parts)])
        return found

    def matches(self, found: Found, sums: Sequence[PartSum]) -> bool:
        """Whether a published file is made of these parts; asked only where parts are proven by MD5."""
        # Not abstract: most places have SHA-256 and nothing to answer. Asked all the same, it is the engine's mistake.
        raise NotImplementedError(f"{self} compares {found.path!r} ({len(sums)} parts) by SHA-256")

    def read_bytes(self, path: str) -> bytes | None:
        """A small file, or ``None``."""
        found = self.stat([path])[0]
        return None if found is None or found.size < 0 else self.read_found(found)

    def read_found(self, found: Found) -> bytes:
        """All of a small file that :meth:`stat` has just told of."""
        with self.lane() as lane:
            return b"".join(bytes(view) for view in lane.read(found.path, Part(index=0, offset=0, length=found.size)))

    @functools.cached_property
    def manifests(self) -> dict[str, tuple[str, Manifest]]:
        """Those that were read here, by name, each with the pin it had: one that did not change is not read again."""
        return {}

    def glance(self, paths: Sequence[str]) -> list[tuple[Found | None, bytes | None]]:
        """What is at each path, and what it holds if it is a small file; ``None`` for the content of others.

        Raises:
            TransferError: It cannot be looked at.
        """
        seen = self.stat(paths)
        return [(one, self.read_found(one) if one and 0 <= one.size <= GLANCE_BYTES else None) for one in seen]

    def foresee(
        self, *, glance: Sequence[str] = (), stat: Sequence[str] = (), partials: Sequence[str] = (), kind: bool = False
    ) -> None:
        """These questions will be asked soon, one of each; a place with a long way to it may ask them already."""
        del glance, stat, partials, kind

    @abstractmethod
    def partials(self, folders: Sequence[str]) -> list[Partial]:
        """All partial files in these folders (not below them), by anybody; ``""`` is the root."""

    @abstractmethod
    def strays(self) -> Iterator[Partial]:
        """All partial files below, by anybody, with their time."""

    def recall(self, path: str, token: str) -> Partial | None:
        """A partial file by its token, where :meth:`partials` may not list all."""
        del path, token
        return None

    @abstractmethod
    def begin(self, path: str, size: int, token: str) -> Partial:
        """A new partial file, with the folders above it."""

    @abstractmethod
    def adopt(self, partial: Partial, token: str) -> Partial:
        """Takes a partial file over under another token; who had the old one can write no more.

        Raises:
            TransferError: It is gone.
        """

    @abstractmethod
    def discard(self, partials: Sequence[Partial]) -> None:
        """Removes partial files; those that are gone are fine."""

    def borrow(self, partial: Partial, loans: Sequence[Loan]) -> list[bool]:
        """Copies parts from published files of this place into a partial file, without a byte over the wire.

        Returns:
            For each, whether the part is there now, durable, and as its digest says. A place that cannot do it says no.
        """
        del partial
        return [False] * len(loans)

    def store_at_once(self, files: Sequence[Small], steps: Sequence[int]) -> list[Found | None]:
        """Publishes small files in one call; only where :attr:`at_once` says that it can.

        Args:
            files: At most :attr:`at_once` bytes.
            steps: How many of them belong to each step: one begins when all before it would survive a crash.

        Returns:
            For each, what was published and would survive a crash; ``None`` for what was not, of whatever reason.
        """
        # Not abstract: few places keep an order. Asked all the same, it is the engine's mistake.
        raise NotImplementedError(f"{self} takes {len(files)} files in {len(steps)} steps one by one")

    def replace(self, file: Small, pin: str) -> Found | None:
        """Publishes a small file in place of the one with that pin (``""``: of none), durable, where that is one call.

        Returns:
            What was published; ``None``, and nothing is done, where another file is there, or that cannot be told.
        """
        del file, pin
        return None

    @abstractmethod
    def remove(self, paths: Sequence[str]) -> None:
        """Removes published files; those that are gone are fine.

        Raises:
            TransferError: It is not allowed, or one of them is a folder.
        """

    @abstractmethod
    def settle(self, folders: Sequence[str]) -> None:
        """Makes what was published in these folders survive a crash of the machine."""

    def expect(self, lanes: int) -> None:
        """So many lanes will be asked for soon; a place that needs time for them may begin."""
        del lanes

    def prepare(self, path: str, jobs: int) -> None:
        """So many parts and files will be written, the first of that path; a place may find out what that takes."""
        del path, jobs

    @abstractmethod
    def lane(self) -> Lane:
        """A way for one thread."""

    def close(self) -> None:
        """Lets go of connections; harmless twice."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
