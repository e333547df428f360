"""Files of this machine, and of every file system mounted on it."""

from __future__ import annotations

import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial as partial_call
from typing import TYPE_CHECKING, ClassVar

from aifa_hpc.errors import AifaError, InputError
from aifa_hpc.manifest import safe_path
from aifa_hpc.staging.endpoints.base import Endpoint, Feed, Lane, Pending, Reading
from aifa_hpc.staging.failures import refused, unable
from aifa_hpc.staging.files import PART_SUFFIX, Files, Refused, datasync, raw, text, write_all
from aifa_hpc.staging.model import Folder, Found, Kind, Loan, Part, Partial, PartSum, Target, partial_path, read_partial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aifa_hpc.staging.files import Row


_SYNCERS = 4
"""Threads that wait for the disk."""

_FOLDER_WORDS = 3
_SMALL = 256 * 1024
_BATCH = 16
"""Small files that one of those threads waits for: to wake it costs as much as to write one."""


def found_of(row: Row) -> Found:
    """A row of a listing as a value."""
    path, size, mtime_ns, pin, executable = row
    return Found(path=path, size=size, mtime_ns=mtime_ns, pin=pin, executable=executable)


def folders_of(rows: Iterable[Row]) -> Iterator[Folder]:
    """Folders from a listing: path, state and whether that is known; if it is not, the rows of files follow."""
    folder: Folder | None = None
    for row in rows:
        if len(row) != _FOLDER_WORDS:
            assert folder is not None, "a listing by folders begins with one"
            assert folder.files is not None, "files of a folder whose state is known"
            folder.files.append(found_of(row))
            continue
        if folder is not None:
            yield folder
        path, state, known = row
        folder = Folder(path=path, state=state, files=None if known else [])
    if folder is not None:
        yield folder


def most_of(count: int) -> int:
    """How many names a folder may have to be looked at for that many files: others may have put some beside them."""
    return 4 * count + 1000


class LocalEndpoint(Endpoint):
    """A folder or file of this machine.

    Args:
        root: Where; given as text, a final ``/`` says that it is meant as a folder.
    """

    local = True
    lends: ClassVar[bool] = True
    lanes = first = 64  # the other side decides

    def __init__(self, root: str | os.PathLike[str]) -> None:
        given = os.fspath(root)
        self._folder = given.endswith("/")
        # Not resolved: a link in the path may be repointed, and then it is another place only to who looks inside.
        self._root = os.path.abspath(given)  # noqa: PTH100 - Path.absolute() keeps '..'
        self._files = Files(os.fsencode(self._root))
        # Threads start when they are needed.
        self._syncers = ThreadPoolExecutor(_SYNCERS, thread_name_prefix="aifa-sync")
        self.identity = f"file://{socket.gethostname()}{self._root}"

    def __str__(self) -> str:
        return self._root

    @property
    def says_folder(self) -> bool:
        """Written with a final ``/``."""
        return self._folder

    def kind(self) -> Kind:
        """What is there."""
        with self._told("look at", ""):
            return self._files.kind()  # type: ignore[return-value] # one of the three

    def split(self) -> tuple[LocalEndpoint, str]:
        """The folder above, and the name in it."""
        folder, name = os.path.split(self._root)
        if not name:
            raise InputError(f"{self} cannot be the name of a file.")
        return LocalEndpoint(folder), name

    def scan(self) -> Iterator[Found]:
        """All files below."""
        with self._told("list", ""):
            for row in self._files.scan():
                yield found_of(row)

    def folders(self, known: Mapping[str, str]) -> Iterator[Folder]:
        """All files below, by folder."""
        with self._told("list", ""):
            yield from folders_of(self._files.folders(dict(known)))

    def states(self, folders: Sequence[tuple[str, int]]) -> list[str]:
        """The states of folders."""
        return list(self._files.states((raw(path), most_of(count)) for path, count in folders))

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What is at each path."""
        with self._told("look at", paths[0] if paths else ""):
            rows = list(self._files.stat(raw(path) for path in paths))
        return [found_of(row) if row is not None else None for row in rows]

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """Hashes parts where they are."""
        for path, parts in wanted:
            with self._told("read", path):
                spans = [(part.offset, part.length) for part in parts]
                sums = list(self._files.sums(raw(path), spans, md5))
            yield [PartSum(blocks=tuple(map(bytes.fromhex, blocks)), md5=bytes.fromhex(md5)) for blocks, md5 in sums]

    def partials(self, folders: Sequence[str]) -> list[Partial]:
        """Partial files in these folders."""
        with self._told("list partial files in", folders[0] if folders else ""):
            return partials_of(row for folder in folders for row in self._files.find(raw(folder), b"."))

    def strays(self) -> Iterator[Partial]:
        """All partial files below."""
        with self._told("list partial files in", ""):
            yield from partials_of(self._files.scan(parts=True))

    def begin(self, path: str, size: int, token: str) -> Partial:
        """A new partial file."""
        del size
        with self._told("create", path):
            self._files.begin(raw(partial_path(safe_path(path), token)))
        return Partial(path=path, token=token)

    def adopt(self, partial: Partial, token: str) -> Partial:
        """Takes a partial file over."""
        with self._told("take over", partial.path):
            self._files.rename(raw(partial_path(partial.path, partial.token)), raw(partial_path(partial.path, token)))
        return Partial(path=partial.path, token=token, size=partial.size)

    def discard(self, partials: Sequence[Partial]) -> None:
        """Removes partial files."""
        with self._told("remove partial files of", partials[0].path if partials else ""):
            self._files.remove(raw(partial_path(partial.path, partial.token)) for partial in partials)

    def borrow(self, partial: Partial, loans: Sequence[Loan]) -> list[bool]:
        """Copies parts from files that are here."""
        name = raw(partial_path(partial.path, partial.token))
        with self._told("write", partial.path):
            return [
                self._files.borrow(
                    name, loan.part.offset, raw(loan.path), loan.offset, loan.part.length,
                    [block.hex() for block in loan.sum.blocks],
                )
                for loan in loans
            ]  # fmt: skip

    def remove(self, paths: Sequence[str]) -> None:
        """Removes files."""
        with self._told("remove", ""):
            self._files.remove(raw(safe_path(path)) for path in paths)

    def settle(self, folders: Sequence[str]) -> None:
        """Syncs these folders."""
        with self._told("sync", ""):
            self._files.sync(raw(folder) for folder in folders)

    def lane(self) -> Lane:
        """A way for one thread."""
        return _LocalLane(self, self._files, self._syncers)

    @contextmanager
    def _told(self, doing: str, path: str) -> Iterator[None]:
        with told(doing, path, str(self)):
            yield


def partials_of(rows: Iterable[Row]) -> list[Partial]:
    """Rows of partial files as values; a name that was not made here is left out."""
    found = []
    for row in rows:
        partial = read_partial(row[0], size=row[1], mtime_ns=row[2])
        if partial is not None:
            found.append(partial)
    return found


@contextmanager
def told(doing: str, path: str, place: str) -> Iterator[None]:
    """Explains what the operating system refuses meanwhile."""
    try:
        yield
    except Refused as error:
        name = path or text(error.path)
        raise unable(kind=error.kind, what=error.what, path=name, place=place, doing=doing) from error
    except OSError as error:
        seen = error.filename if isinstance(error.filename, bytes) else b""
        name = path if not seen or seen.endswith(PART_SUFFIX) else text(seen)
        raise refused(error, path=name, place=place, doing=doing) from error


class _LocalReading(Reading):
    def __init__(self, files: Files, path: str, part: Part, place: str) -> None:
        self._files, self._path, self._part, self._place = files, path, part, place

    def __iter__(self) -> Iterator[memoryview]:
        reading = iter(source := self._files.read(raw(self._path), self._part.offset, self._part.length))
        while True:
            # Only our own reading is explained, not what the consumer raises.
            with told("read", self._path, self._place):
                view = next(reading, None)
            if view is None:
                break
            yield view
        self.pin = source.pin


class _SmallReading(Reading):
    """All of a small file at once."""

    def __init__(self, files: Files, path: str, view: memoryview, place: str) -> None:
        self._files, self._path, self._view, self._place = files, path, view, place

    def __iter__(self) -> Iterator[memoryview]:
        with told("read", self._path, self._place):
            count, self.pin = self._files.fill(raw(self._path), self._view)
        if count:
            yield self._view[:count]


class _Synced(Pending):
    """A write whose bytes are on their way from memory to the disk."""

    def __init__(self, job: Future[Found | None]) -> None:
        self._job = job

    def wait(self) -> Found | None:
        return self._job.result()


class _Batch:
    """Small files that are on their way from memory to the disk together."""

    def __init__(self, syncers: ThreadPoolExecutor) -> None:
        self._syncers = syncers
        self._steps: list[Callable[[], Found]] = []
        self._job: Future[list[Found | AifaError]] | None = None

    @property
    def begun(self) -> bool:
        return self._job is not None

    def add(self, step: Callable[[], Found]) -> Pending:
        """Takes a file; the last one sends all on their way."""
        self._steps.append(step)
        if len(self._steps) == _BATCH:
            self.begin()
        return _OfBatch(self, len(self._steps) - 1)

    def begin(self) -> Future[list[Found | AifaError]]:
        """Sends them on their way, if that was not done."""
        if self._job is None:
            self._job = self._syncers.submit(self._run)
        return self._job

    def _run(self) -> list[Found | AifaError]:
        done: list[Found | AifaError] = []
        for step in self._steps:
            try:
                done.append(step())
            except AifaError as error:
                done.append(error)
        return done


class _OfBatch(Pending):
    def __init__(self, batch: _Batch, number: int) -> None:
        self._batch, self._number = batch, number

    def wait(self) -> Found | None:
        found = self._batch.begin().result()[self._number]
        if isinstance(found, AifaError):
            raise found
        return found


class _LocalLane(Lane):
    def __init__(self, endpoint: LocalEndpoint, files: Files, syncers: ThreadPoolExecutor) -> None:
        self._place, self._files, self._syncers = str(endpoint), files, syncers
        self._batch = _Batch(syncers)
        self._buffer = memoryview(bytearray(_SMALL))

    def read(self, path: str, part: Part) -> Reading:
        if not part.offset and part.length <= _SMALL:
            return _SmallReading(self._files, path, self._buffer[: part.length], self._place)
        return _LocalReading(self._files, path, part, self._place)

    def write(self, partial: Partial, part: Part, feed: Feed) -> Pending:
        with told("write", partial.path, self._place):
            fd = self._files.open_partial(raw(partial_path(partial.path, partial.token)))
        try:
            self._pour(fd, feed, part.offset, partial.path)
        except BaseException:
            os.close(fd)
            raise
        return _Synced(self._syncers.submit(self._sync, fd, partial.path))

    def store(self, target: Target, feed: Feed) -> Pending:
        partial = raw(partial_path(safe_path(target.path), target.token))
        with told("create", target.path, self._place):
            fd = self._files.create(partial)
        try:
            self._pour(fd, feed, 0, target.path)
        except BaseException:
            os.close(fd)
            self._files.drop(partial)
            raise
        if target.size > _SMALL:
            return _Synced(self._syncers.submit(self._name_or_remove, fd, partial, target))
        if self._batch.begun:
            self._batch = _Batch(self._syncers)
        return self._batch.add(partial_call(self._name_or_remove, fd, partial, target))

    def publish(self, partial: Partial, target: Target) -> Found:
        name = raw(partial_path(partial.path, partial.token))
        with told("publish", target.path, self._place):
            fd = self._files.open_partial(name)
        return self._name(fd, name, target)

    def close(self) -> None:
        self._batch.begin().result()  # those that nobody waited for have partial files

    def _pour(self, fd: int, feed: Feed, offset: int, path: str) -> None:
        for view in feed:
            with told("write", path, self._place):
                write_all(fd, view, offset)
            offset += len(view)

    def _sync(self, fd: int, path: str) -> None:
        try:
            with told("write", path, self._place):
                datasync(fd)
        finally:
            os.close(fd)

    def _name(self, fd: int, partial: bytes, target: Target) -> Found:
        with told("publish", target.path, self._place):
            row = self._files.publish(fd, partial, raw(target.path), target.size, target.mtime_ns, target.executable)
        return found_of(row)

    def _name_or_remove(self, fd: int, partial: bytes, target: Target) -> Found:
        try:
            return self._name(fd, partial, target)
        except BaseException:
            self._files.drop(partial)
            raise
