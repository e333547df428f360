"""A snapshot of an Iceberg table as a source of copies: data files as they are, and metadata for its new place.

Everything is pinned before the first byte: the snapshot names each file with its length, and files of a table never
change. What names the files is made in a folder of this machine and published last, in an order in which a reader at
the destination meets either the table that was there before or all of the new one.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aifa_hpc.errors import AifaError, InputError, TransferError
from aifa_hpc.lakehouse.relocate import HINT, find_snapshot, relocate
from aifa_hpc.lakehouse.sound import require_near
from aifa_hpc.lakehouse.verbatim import verbatim
from aifa_hpc.manifest import MANIFEST, safe_path
from aifa_hpc.staging.endpoints.base import Endpoint, Lane, Reading
from aifa_hpc.staging.endpoints.source import Source, SourceLane
from aifa_hpc.staging.files import CHUNK, Sums
from aifa_hpc.staging.model import Found, Part
from aifa_hpc.staging.planning import note_published
from aifa_hpc.staging.together import FILES, fits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from aifa_hpc.lakehouse.iceberg import Pinned
    from aifa_hpc.manifest import Entry, Manifest
    from aifa_hpc.staging.model import Kind

_PIECE = 8 * CHUNK
"""Bytes of one request to an object store."""

_LANES = 8
_MARKS = (MANIFEST, f"metadata/{HINT}")
"""What says which files of the table, and which version of its metadata, are at a destination."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A file of the copy.

    Attributes:
        found: As the engine lists it.
        origin: Where it is read: a location of the table's, or a file of this machine.
    """

    found: Found
    origin: str | Path


class TableSource(Source):
    """Files of a table, or files that were made of it.

    Args:
        text: What it is, as it can be named again.
        identity: Of the table, for the ledger.
        items: Its files, by path in the copy.
        last: Those that are published after all others, in this order.
        open_location: Opens what is no file of this machine; raises AifaError.
        folder: Closed with this.
    """

    lanes = _LANES

    def __init__(
        self,
        *,
        text: str,
        identity: str,
        items: Mapping[str, Item],
        last: Sequence[str] = (),
        open_location: Callable[[str], Any] | None = None,
        folder: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self._text, self.identity, self._items, self._folder = text, identity, items, folder
        self.last = tuple(last)
        self._open_location = open_location

    def __str__(self) -> str:
        return self._text

    @property
    def says_folder(self) -> bool:
        """A table is several files."""
        return True

    @property
    def at_most(self) -> int | None:  # type: ignore[override] # told, and not set
        """Bytes of all its files, if they are few."""
        sizes = [item.found.size for item in self._items.values()]
        return sum(sizes) if len(sizes) <= FILES else None

    def kind(self) -> Kind:
        """A table is several files."""
        return "folder"

    def split(self) -> tuple[Endpoint, str]:
        """Never asked: only what :meth:`kind` calls a file is split."""
        # Abstract above, so it must be here. Asked all the same, it is the engine's mistake.
        raise NotImplementedError(f"{self} is several files")

    def scan(self) -> Iterator[Found]:
        """All its files."""
        return (item.found for item in self._items.values())

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What the table says of each."""
        return [self.state(path) for path in paths]

    def state(self, path: str) -> Found | None:
        """What the table says of it."""
        item = self._items.get(path)
        return item.found if item is not None else None

    def lane(self) -> Lane:
        """A way for one thread."""
        return _TableLane(self)

    def open(self, path: str) -> Any:
        """A file, as a stream that can be sought in.

        Raises:
            TransferError: It is gone, or not as long as the table says.
        """
        item = self._items[path]
        try:
            if isinstance(item.origin, Path):
                stream: Any = item.origin.open("rb")
            else:
                assert self._open_location is not None, "a table without a way to its files"
                stream = self._open_location(item.origin)
        except (AifaError, OSError) as error:
            said = error.message if isinstance(error, AifaError) else f"{error}"
            raise TransferError(
                f"cannot read {path!r} of {self}: {said}", hint="Nothing of it was published."
            ) from error
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        if size != item.found.size:
            stream.close()
            raise TransferError(
                f"{item.origin} has {size} bytes, and {self} says {item.found.size}: it is not the table's file.",
                hint="Something other than the table's engine has written to it.",
            )
        return stream

    def close(self) -> None:
        """Removes what was made."""
        if self._folder is not None:
            self._folder.cleanup()


def open_source(
    pinned: Pinned,
    *,
    text: str,
    root: str,
    there: Endpoint,
    only: Collection[str] | None = None,
    new_only: bool = False,
) -> TableSource:
    """A snapshot with metadata for its new place.

    Args:
        pinned: The table.
        text: What it is, as it can be named again.
        root: The destination, as readers of the copy will name it.
        there: The destination.
        only: Locations of the data files that are wanted; all by default.
        new_only: List only what the manifest there does not have; what it has is believed to be there.

    Raises:
        InputError: The snapshot cannot be moved.
        SiteError: The table cannot be read.
    """
    there.foresee(glance=_MARKS)  # answered while the table's metadata are read
    identity = _identity(pinned)
    document = pinned.metadata()
    snapshot = find_snapshot(document, pinned.snapshot_id)
    had: dict[str, Entry] = {}
    number = b""

    def have() -> dict[str, int]:
        nonlocal had, number
        (manifest, data), (_, hint) = there.glance(_MARKS)
        had, number = _of(note_published(there, MANIFEST, manifest, data), identity), hint or b""
        return {path: entry.size for path, entry in had.items()} if new_only else {}

    folder = tempfile.TemporaryDirectory(prefix="aifa-table-")

    def put(path: str, data: bytes) -> None:
        made = Path(folder.name) / path
        made.parent.mkdir(exist_ok=True, parents=True)
        made.write_bytes(data)

    def choose(data: bytes) -> int:
        version = int(number) if number.strip().isdigit() else 0
        if version and not _same(data, f"metadata/v{version}.metadata.json", had, there):
            return version + 1  # a reader may be at the one that is there: it stays
        return max(version, 1)

    try:
        with _named(text):
            moved = relocate(document, pinned.snapshot_id, root, pinned.read, put, version=choose, only=only, have=have)
            for origin in moved.copied.values():
                require_near(pinned.table.metadata_location, origin)
    except BaseException:
        folder.cleanup()
        raise
    time_ns = snapshot["timestamp-ms"] * 10**6
    old = had if new_only else {}
    items = {
        path: _item(path, moved.copied[path], size, time_ns) for path, size in moved.sizes.items() if path not in old
    }
    for path in moved.made:
        items[path] = made_item(path, Path(folder.name) / path, time_ns)
    _foresee(there, items)
    return TableSource(
        text=text,
        identity=identity,
        items=items,
        last=tuple(moved.made)[-2:],
        open_location=_opener(pinned),
        folder=folder,
    )


def _foresee(there: Endpoint, items: Mapping[str, Item]) -> None:
    """What a copy of few files begins with costs one way there and back; of many, a way for them begins."""
    if fits([item.found.size for item in items.values()], there):
        there.foresee(kind=True, stat=list(items), partials=sorted({path.rpartition("/")[0] for path in items}))
    else:
        there.expect(1)


def open_verbatim(pinned: Pinned, *, text: str) -> TableSource:
    """A snapshot's files as they are, metadata too: to be read with :mod:`aifa_hpc.lakehouse.rebase`.

    Raises:
        InputError: A file lies outside the table's own place.
        SiteError: The table cannot be read.
    """
    document = pinned.metadata()
    time_ns = find_snapshot(document, pinned.snapshot_id)["timestamp-ms"] * 10**6
    location = pinned.table.metadata_location
    with _named(text):
        sizes = verbatim(document, pinned.snapshot_id, location, pinned.read)
        for origin in sizes:
            require_near(location, origin)
    base = f"{document['location'].rstrip('/')}/"
    items = {}
    for origin, size in sizes.items():
        path = safe_path(origin.removeprefix(base))
        items[path] = _item(path, origin, size, time_ns)
    name = location.removeprefix(base)
    return TableSource(
        text=text, identity=f"{_identity(pinned)}/as it is", items=items, last=(name,), open_location=_opener(pinned)
    )


@contextmanager
def _named(text: str) -> Iterator[None]:
    """What is wrong with a file is said with the table and the snapshot that it is of."""
    try:
        yield
    except InputError as error:
        if text in error.message:
            raise
        raise InputError(f"{text}: {error.message}", hint=error.hint) from error


def made_item(path: str, file: Path, time_ns: int) -> Item:
    """A file that was made on this machine; its pin is what it holds."""
    digest, size = _digest(file)
    return Item(found=Found(path=path, size=size, pin=digest, mtime_ns=time_ns), origin=file)


def _item(path: str, origin: str, size: int, time_ns: int) -> Item:
    # Files of a table never change under their name.
    pin = hashlib.sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Item(found=Found(path=path, size=size, pin=f"{size}:{pin}", mtime_ns=time_ns), origin=origin)


def _identity(pinned: Pinned) -> str:
    return f"iceberg:{pinned.table.metadata.table_uuid}"


def _opener(pinned: Pinned) -> Callable[[str], Any]:
    def open_location(location: str) -> Any:
        with pinned.told(f"read {location}"):
            return pinned.table.io.new_input(location).open()

    return open_location


def _of(manifest: Manifest | None, identity: str) -> dict[str, Entry]:
    """What earlier copies of the table published, by path."""
    entries = manifest.entries if manifest is not None else ()
    return {entry.path: entry for entry in entries if manifest and manifest.sets[entry.set].place == identity}


def _same(data: bytes, path: str, had: Mapping[str, Entry], there: Endpoint) -> bool:
    """Whether the destination has, or by its manifest ought to have, just this metadata."""
    if path in had:
        sums = Sums()
        sums.update(memoryview(data))
        return [block.hex() for block in had[path].all_blocks] == sums.finish()[0]
    return there.read_bytes(path) == data


def _digest(file: Path) -> tuple[str, int]:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()


class _TableReading(Reading):
    def __init__(self, lane: _TableLane, found: Found, part: Part) -> None:
        self._lane, self._found, self._part = lane, found, part

    def __iter__(self) -> Iterator[memoryview]:
        stream = self._lane.stream(self._found.path)
        at, end = self._part.offset, min(self._part.offset + self._part.length, self._found.size)
        try:
            stream.seek(at)
            while at < end:
                data = stream.read(min(_PIECE, end - at))
                if not data:
                    raise TransferError(f"{self._found.path!r} of {self._lane.source} ends after {at} bytes.")
                at += len(data)
                view = memoryview(data)
                for begin in range(0, len(view), CHUNK):
                    yield view[begin : begin + CHUNK]
        except OSError as error:
            self._lane.close()
            raise TransferError(
                f"cannot read {self._found.path!r} of {self._lane.source}: {error}.",
                hint="Run the same command again; what arrived is kept.",
            ) from error
        self.pin = self._found.pin


class _TableLane(SourceLane):
    def __init__(self, source: TableSource) -> None:
        super().__init__(source)
        self.source = source
        self._path = ""
        self._stream: IO[bytes] | None = None

    def read(self, path: str, part: Part) -> Reading:
        found = self.source.state(path)
        if found is None:
            raise TransferError(f"{path!r} is not in {self.source}.")
        return _TableReading(self, found, part)

    def stream(self, path: str) -> Any:
        """The file, open; parts of one file come one after the other."""
        if path != self._path or self._stream is None:
            self.close()
            self._stream = self.source.open(path)
            self._path = path
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
