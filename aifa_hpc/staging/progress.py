"""What a copy tells while it works; the silent one says nothing, so nobody has to ask whether there is one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """Told of everything; subclasses show it. Calls come from several threads, one at a time."""

    def hint(self, text: str) -> None:
        """Something a person should know before the first byte."""

    def start(self, files: int, size: int) -> None:
        """The copy begins: so many files, so many bytes in total."""

    def checking(self, files: int) -> None:
        """So many files are the same size on both sides and are compared by hash."""

    def skipped(self, size: int) -> None:
        """A file of that many bytes is there already."""

    def resumed(self, size: int) -> None:
        """A part of that many bytes arrived in an earlier run."""

    def reused(self, size: int) -> None:
        """That many bytes of a file were copied from another one at the destination."""

    def advance(self, size: int) -> None:
        """That many bytes were sent; negative when some of them must be sent again."""

    def finished(self, path: str) -> None:
        """A file was published, or found to be as it was."""

    def removed(self, path: str) -> None:
        """A file was deleted at the destination."""


silent = Progress()
"""Shows nothing."""


class Counting(Progress):
    """Passes on one call at a time, and adds up.

    Attributes:
        files_sent: Files that were published.
        files_removed: Files that were deleted.
        bytes_sent: Bytes that went over, those of parts that had to be repeated too.
        bytes_skipped: Bytes of files that were there already.
        bytes_resumed: Bytes that an interrupted run had sent.
        bytes_borrowed: Bytes that were copied from other files of the destination.
        parts_resumed: Parts that ``bytes_resumed`` counts.

    Args:
        inner: Told of everything.
        done: Told how many bytes of the copy need not be sent any more, with each change of that.
    """

    def __init__(self, inner: Progress, done: Callable[[int], None] = lambda _: None) -> None:
        self.lock = threading.RLock()
        self._inner = inner
        self._tell_done = done
        self._done = 0
        self.files_sent = self.files_removed = 0
        self.bytes_sent = self.bytes_skipped = self.bytes_resumed = self.bytes_borrowed = self.parts_resumed = 0

    def start(self, files: int, size: int) -> None:
        with self.lock:
            self._inner.start(files, size)

    def checking(self, files: int) -> None:
        with self.lock:
            self._inner.checking(files)

    def skipped(self, size: int) -> None:
        with self.lock:
            self.bytes_skipped += size
            self._count(size)
            self._inner.skipped(size)

    def resumed(self, size: int) -> None:
        with self.lock:
            self.bytes_resumed += size
            self.parts_resumed += 1
            self._count(size)
            self._inner.resumed(size)

    def reused(self, size: int) -> None:
        with self.lock:
            self.bytes_borrowed += size
            self._count(size)
            self._inner.reused(size)

    def advance(self, size: int) -> None:
        with self.lock:
            self.bytes_sent += max(size, 0)
            self._count(size)
            self._inner.advance(size)

    def finished(self, path: str) -> None:
        with self.lock:
            self.files_sent += 1
            self._inner.finished(path)

    def removed(self, path: str) -> None:
        with self.lock:
            self.files_removed += 1
            self._inner.removed(path)

    def _count(self, size: int) -> None:
        self._done += size
        self._tell_done(self._done)
