"""One thread's way to a remote agent: parts by themselves, small files many in one call, in both directions.

A small file costs its bytes and little more: those that follow each other share a call, its answer, and on the far side
the thread that waits for the disk. A bundle goes when it is full or somebody waits for one of its files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import AifaError
from aifa_hpc.manifest import safe_path
from aifa_hpc.staging.endpoints.base import Feed, Lane, Pending, Reading
from aifa_hpc.staging.endpoints.local import found_of
from aifa_hpc.staging.files import CHUNK
from aifa_hpc.staging.model import Found, Part, Partial, Target, partial_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.staging.remote import Remote

SMALL = 256 * 1024
"""Bytes of a file that does not go by itself."""

BUNDLE_BYTES = CHUNK
"""Of one bundle; the agent takes no longer frames."""

BUNDLE_FILES = 64


class SSHLane(Lane):
    """A lane over one conversation.

    Args:
        remote: The conversation.
        give: Takes it back at the end.
    """

    def __init__(self, remote: Remote, give: Callable[[Remote], None]) -> None:
        self._remote, self._give = remote, give
        self._buffer = memoryview(bytearray(CHUNK))
        self._open = True
        self._coming = _Coming(remote)
        self._going = _Going(remote)

    def read(self, path: str, part: Part) -> Reading:
        """A small file with others, if more are asked for before it is iterated."""
        small = not part.offset and part.length <= SMALL
        if not small or self._coming.full(part.length):
            self._coming.send()  # what is iterated first is asked for first
        if not small:
            return _PartReading(self._remote, path, part, self._buffer)
        if self._coming.sent:
            self._coming = _Coming(self._remote)
        return self._coming.add(path, part.length)

    def write(self, partial: Partial, part: Part, feed: Feed) -> Pending:
        """A part by itself."""
        call = self._remote.ask("write", partial=partial_path(partial.path, partial.token), offset=part.offset)
        return self._pour(call, partial.path, feed)

    def store(self, target: Target, feed: Feed) -> Pending:
        """A small file with others, if more come before it is waited for."""
        if feed.length > SMALL:
            return self._pour(self._remote.ask("store", **words_of(target, target.token)), target.path, feed)
        if self._going.full(feed.length):
            self._going.send()
        if self._going.sent:
            self._going = _Going(self._remote)
        return self._going.add(target, feed)

    def publish(self, partial: Partial, target: Target) -> Found:
        """Gives a file its name."""
        call = self._remote.ask("publish", **words_of(target, partial.token))
        return found_of(self._remote.answer(call, path=target.path, doing="publish")["row"])

    def close(self) -> None:
        """Gives the conversation back; what nobody waited for was not sent."""
        if self._open:
            self._open = False
            self._give(self._remote)

    def _pour(self, call: int, path: str, feed: Feed) -> Pending:
        self._remote.pour(call, feed)
        self._remote.end(call, feed.sum.blocks)
        return _Answer(self._remote, call, path)


def words_of(target: Target, token: str) -> dict[str, Any]:
    """What the agent must know to publish a file."""
    return {
        "partial": partial_path(safe_path(target.path), token),
        "path": target.path,
        "size": target.size,
        "mtime_ns": target.mtime_ns,
        "executable": target.executable,
    }


class _PartReading(Reading):
    def __init__(self, remote: Remote, path: str, part: Part, buffer: memoryview) -> None:
        self._remote, self._path, self._buffer = remote, path, buffer
        self._call = remote.ask("read", path=path, offset=part.offset, length=part.length)

    def __iter__(self) -> Iterator[memoryview]:
        for item in self._remote.data(self._call, self._buffer, path=self._path, doing="read"):
            if isinstance(item, memoryview):
                yield item
            else:
                self.pin = item["pin"]
                self.claimed = tuple(map(bytes.fromhex, item["blocks"]))


class _Answer(Pending):
    def __init__(self, remote: Remote, call: int, path: str) -> None:
        self._remote, self._call, self._path = remote, call, path

    def wait(self) -> Found | None:
        header = self._remote.answer(self._call, path=self._path, doing="write")
        return found_of(header["row"]) if "row" in header else None


class _Bundle(ABC):
    """Small files of one call."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.files: list[Any] = []
        self.length = 0
        self.call = 0

    @property
    def sent(self) -> bool:
        return self.call > 0

    def full(self, length: int) -> bool:
        """Whether a file of that length must go into the next one."""
        return len(self.files) >= BUNDLE_FILES or self.length + length > BUNDLE_BYTES

    def send(self) -> None:
        """Asks, if there is something to ask and that was not done."""
        if self.files and not self.sent:
            self.call = self.ask()

    @abstractmethod
    def ask(self) -> int:
        """Sends the call; its number."""


class _Going(_Bundle):
    """Files that are written."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote)
        self._body = bytearray()
        self._rows: list[Any] | AifaError | None = None

    def add(self, target: Target, feed: Feed) -> Pending:
        """Takes a file; when its feed raises, the bundle is as before."""
        try:
            for view in feed:
                self._body += view
        except BaseException:
            del self._body[self.length :]
            raise
        blocks = [block.hex() for block in feed.sum.blocks]
        self.length = len(self._body)
        self.files.append({**words_of(target, target.token), "blocks": blocks})
        return _Stored(self, len(self.files) - 1, target.path)

    def ask(self) -> int:
        call = self.remote.ask("bundle", files=self.files)
        self.remote.pour(call, [memoryview(self._body)])
        self._body = bytearray()
        return call

    def row(self, number: int, path: str) -> Any:
        """What became of a file, waiting for it."""
        self.send()
        if self._rows is None:
            try:
                self._rows = self.remote.answer(self.call, path=path, doing="write")["rows"]
            except AifaError as error:
                self._rows = error  # there is one answer, and the other files are asked for too
        if isinstance(self._rows, AifaError):
            raise self._rows
        return self._rows[number]


class _Stored(Pending):
    def __init__(self, bundle: _Going, number: int, path: str) -> None:
        self._bundle, self._number, self._path = bundle, number, path

    def wait(self) -> Found | None:
        row = self._bundle.row(self._number, self._path)
        if isinstance(row, dict):
            raise self._bundle.remote.refusal(row, path=self._path, doing="write")
        return found_of(row)


class _Coming(_Bundle):
    """Files that are read."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote)
        self._got: list[tuple[dict[str, Any], memoryview]] = []

    def add(self, path: str, length: int) -> Reading:
        """Takes a file."""
        self.files.append((path, length))
        self.length += length
        return _FileReading(self, len(self.files) - 1, path)

    def ask(self) -> int:
        return self.remote.ask("gather", files=self.files)

    def file(self, number: int, path: str) -> tuple[Any, memoryview]:
        """What the agent says of a file, and its bytes, waiting for them."""
        self.send()
        if not self._got:
            self._got = list(self._cut(*self.remote.gathered(self.call, self.length, path=path)))
        return self._got[number]

    def _cut(self, files: list[Any], body: memoryview) -> Iterator[tuple[Any, memoryview]]:
        at = 0
        for said in files:
            length = 0 if isinstance(said, dict) else said[0]
            yield said, body[at : at + length]
            at += length


class _FileReading(Reading):
    def __init__(self, bundle: _Coming, number: int, path: str) -> None:
        self._bundle, self._number, self._path = bundle, number, path

    def __iter__(self) -> Iterator[memoryview]:
        said, view = self._bundle.file(self._number, self._path)
        if isinstance(said, dict):
            raise self._bundle.remote.refusal(said, path=self._path, doing="read")
        if view:
            yield view
        _, blocks, self.pin = said
        self.claimed = tuple(map(bytes.fromhex, blocks))
