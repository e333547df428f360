"""Files of a machine that has no usable Python: by coreutils, or by SFTP where nobody may run anything.

Slower than the remote agent, and as safe: what was written is hashed again before it counts. Parts are written one by
one, so more channels help more.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
from typing import TYPE_CHECKING, ClassVar

from aifa_hpc.errors import AifaError, InputError
from aifa_hpc.manifest import is_ours, safe_path
from aifa_hpc.staging.endpoints.base import Done, Endpoint, Feed, Lane, Pending, Reading
from aifa_hpc.staging.endpoints.local import found_of, partials_of
from aifa_hpc.staging.failures import refused, unable
from aifa_hpc.staging.files import CHUNK
from aifa_hpc.staging.model import Found, Part, Partial, PartSum, Target, partial_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aifa_hpc.staging.endpoints.tools import Tools
    from aifa_hpc.staging.model import Kind


class PlainEndpoint(Endpoint):
    """A folder or file of a machine by its tools.

    Args:
        make: Opens a conversation; or the conversations of another endpoint.
        root: Absolute path; a final ``/`` says that it is meant as a folder.
        channels: Conversations for data.
        label: What the machine is called, in messages and in the ledger.
    """

    pins_tell: ClassVar[bool] = False  # those of SFTP are of whole seconds

    def __init__(self, make: Callable[[], Tools] | Pool, root: str, *, channels: int, label: str) -> None:
        if not root.startswith("/") or "\0" in root:
            raise InputError(f"{root!r} at {label}: a path on another machine is absolute.")
        self._folder = root.endswith("/")
        self._root = posixpath.normpath("/" + root.lstrip("/"))
        self._label = label
        self.lanes = channels
        self.identity = f"ssh://{label}{self._root}"
        self.pool = make if isinstance(make, Pool) else Pool(make)

    def __str__(self) -> str:
        return f"{self._label}:{self._root}"

    @property
    def says_folder(self) -> bool:
        """Written with a final ``/``."""
        return self._folder

    def kind(self) -> Kind:
        """What is there."""
        with self._using("look at", "") as tools:
            return tools.kind(self._root)  # type: ignore[return-value] # one of the three

    def split(self) -> tuple[PlainEndpoint, str]:
        """The folder above, and the name in it."""
        folder, name = posixpath.split(self._root)
        if not name:
            raise InputError(f"{self} cannot be the name of a file.")
        return PlainEndpoint(self.pool, folder, channels=self.lanes, label=self._label), name

    def scan(self) -> Iterator[Found]:
        """All files below."""
        with self._using("list", "") as tools:
            yield from (found_of(row) for row in tools.scan(self._root, deep=True) if not is_ours(row[0]))

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """One question for each path."""
        with self._using("look at", paths[0] if paths else "") as tools:
            return [self.state(tools, path) for path in paths]

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """Hashed there, or read back."""
        for path, parts in wanted:
            with self._using("read", path) as tools:
                row = tools.row(self.full(path))
                if row is None:
                    raise unable(kind="gone", what="is not there", path=path, place=str(self), doing="read")
                found = [self.hash(tools, path, part, row[1], md5=md5) for part in parts]
            yield found

    def partials(self, folders: Sequence[str]) -> list[Partial]:
        """Partial files in these folders."""
        found = []
        for folder in folders:
            with self._using("list", folder) as tools:
                full = posixpath.join(self._root, folder)
                rows = list(tools.scan(full, deep=False)) if tools.kind(full) == "folder" else []
            found += partials_of([posixpath.join(folder, row[0]), *row[1:]] for row in rows)
        return found

    def strays(self) -> Iterator[Partial]:
        """All partial files below."""
        with self._using("list partial files in", "") as tools:
            yield from partials_of(tools.scan(self._root, deep=True))

    def begin(self, path: str, size: int, token: str) -> Partial:
        """A new partial file."""
        del size
        with self._using("create", path) as tools:
            tools.create(self.full(partial_path(safe_path(path), token)))
        return Partial(path=path, token=token)

    def adopt(self, partial: Partial, token: str) -> Partial:
        """Takes a partial file over."""
        old, new = (self.full(partial_path(partial.path, one)) for one in (partial.token, token))
        with self._using("take over", partial.path) as tools:
            try:
                tools.rename(old, new)
            except FileNotFoundError as error:
                raise self.fenced(partial.path) from error
        return Partial(path=partial.path, token=token, size=partial.size)

    def discard(self, partials: Sequence[Partial]) -> None:
        """Removes partial files."""
        self._remove([partial_path(partial.path, partial.token) for partial in partials], "remove partial files of")

    def remove(self, paths: Sequence[str]) -> None:
        """Removes files."""
        self._remove([safe_path(path) for path in paths], "remove")

    def settle(self, folders: Sequence[str]) -> None:
        """Syncs these folders."""
        with self._using("sync", "") as tools:
            tools.sync([posixpath.join(self._root, folder) for folder in folders])

    def lane(self) -> Lane:
        """A way for one thread."""
        return _PlainLane(self)

    def close(self) -> None:
        """Ends the conversations."""
        self.pool.close()

    def full(self, path: str) -> str:
        """The path below the root."""
        return posixpath.join(self._root, safe_path(path))

    def state(self, tools: Tools, path: str) -> Found | None:
        """What is at a path."""
        row = tools.row(self.full(path))
        return found_of([path, *row[1:]]) if row is not None else None

    def hash(self, tools: Tools, path: str, part: Part, size: int, *, md5: bool = False) -> PartSum:
        """What a file of that size holds in a part."""
        length = max(0, min(part.length, size - part.offset))
        blocks, digest = tools.hash(self.full(path), part.offset, length, md5=md5)
        return PartSum(blocks=tuple(map(bytes.fromhex, blocks)), md5=bytes.fromhex(digest))

    def fenced(self, path: str) -> Exception:
        """A partial file that is no longer there."""
        what = "was taken over by another copy, or somebody removed its partial file"
        return unable(kind="fenced", what=what, path=path, place=str(self), doing="write")

    @contextlib.contextmanager
    def told(self, doing: str, path: str) -> Iterator[None]:
        """Explains what the machine refuses meanwhile."""
        try:
            yield
        except OSError as error:
            raise refused(error, path=path, place=str(self), doing=doing) from error

    @contextlib.contextmanager
    def _using(self, doing: str, path: str) -> Iterator[Tools]:
        with self.told(doing, path), self.pool.taken() as tools:
            yield tools

    def _remove(self, paths: Sequence[str], doing: str) -> None:
        if paths:
            with self._using(doing, paths[0]) as tools:
                tools.remove([self.full(path) for path in paths])


class Pool:
    """Conversations that are lent and come back; one that broke does not."""

    def __init__(self, make: Callable[[], Tools]) -> None:
        self._make = make
        self._idle: list[Tools] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Tools]:
        """One for a while."""
        with self._lock:
            tools = self._idle.pop() if self._idle else None
        tools = tools or self._make()
        try:
            yield tools
        finally:
            if tools.in_order:
                with self._lock:
                    self._idle.append(tools)
            else:
                tools.close()

    def close(self) -> None:
        """Ends all."""
        with self._lock:
            idle, self._idle = self._idle, []
        for tools in idle:
            tools.close()


class _PlainReading(Reading):
    def __init__(self, endpoint: PlainEndpoint, path: str, part: Part) -> None:
        self._endpoint, self._path, self._part = endpoint, path, part

    def __iter__(self) -> Iterator[memoryview]:
        endpoint, part = self._endpoint, self._part
        # Not told(): what the consumer raises at the yield is not explained.
        with endpoint.pool.taken() as tools:
            with endpoint.told("read", self._path):
                found = endpoint.state(tools, self._path)
                if found is None:
                    raise unable(kind="gone", what="is not there", path=self._path, place=str(endpoint), doing="read")
                pieces = tools.read(
                    endpoint.full(self._path), part.offset, max(0, min(part.length, found.size - part.offset))
                )
            # Closed before the conversation is anybody else's, also when nobody wants the rest.
            with contextlib.closing(pieces):
                while True:
                    with endpoint.told("read", self._path):
                        piece = next(pieces, b"")
                    if not piece:
                        break
                    view = memoryview(piece)
                    for at in range(0, len(view), CHUNK):
                        yield view[at : at + CHUNK]
            with endpoint.told("read", self._path):
                after = endpoint.state(tools, self._path)
        self.pin = after.pin if after is not None else ""


class _PlainLane(Lane):
    def __init__(self, endpoint: PlainEndpoint) -> None:
        self._endpoint = endpoint

    def read(self, path: str, part: Part) -> Reading:
        return _PlainReading(self._endpoint, path, part)

    def write(self, partial: Partial, part: Part, feed: Feed) -> Pending:
        with self._endpoint.pool.taken() as tools:
            self._pour(tools, partial_path(partial.path, partial.token), partial.path, part, feed)
        return Done()

    def store(self, target: Target, feed: Feed) -> Pending:
        endpoint, name = self._endpoint, partial_path(safe_path(target.path), target.token)
        partial = Partial(path=target.path, token=target.token)
        try:
            with endpoint.pool.taken() as tools:
                with endpoint.told("create", target.path):
                    tools.create(endpoint.full(name))
                self._pour(tools, name, target.path, Part(index=0, offset=0, length=feed.length), feed)
            return Done(self.publish(partial, target))
        except BaseException:
            with contextlib.suppress(AifaError):  # the first error is the one to tell
                endpoint.discard([partial])
            raise

    def publish(self, partial: Partial, target: Target) -> Found:
        endpoint, name = self._endpoint, partial_path(partial.path, partial.token)
        with endpoint.pool.taken() as tools, endpoint.told("publish", target.path):
            row = tools.row(endpoint.full(name))
            if row is None:
                raise endpoint.fenced(target.path)
            if row[1] != target.size:
                what = f"has {row[1]} bytes where {target.size} were written"
                raise unable(kind="size", what=what, path=target.path, place=str(endpoint), doing="publish")
            try:
                tools.publish(
                    endpoint.full(name), endpoint.full(target.path), target.mtime_ns, executable=target.executable
                )
            except FileNotFoundError as error:
                raise endpoint.fenced(target.path) from error
            found = endpoint.state(tools, target.path)
        if found is None:
            raise unable(kind="gone", what="vanished", path=target.path, place=str(endpoint), doing="publish")
        return found

    def close(self) -> None:
        return

    def _pour(self, tools: Tools, name: str, path: str, part: Part, feed: Feed) -> None:
        endpoint = self._endpoint
        with endpoint.told("write", path):
            try:
                tools.write(endpoint.full(name), part.offset, part.length, feed)
                held = endpoint.hash(tools, name, part, part.offset + part.length)
            except FileNotFoundError as error:
                raise endpoint.fenced(path) from error
        if held.blocks != feed.sum.blocks:
            what = "arrived with another SHA-256 than it was sent with"
            raise unable(kind="damaged", what=what, path=path, place=str(endpoint), doing="write")
