"""What a machine without a usable Python still has, as one set of operations: by its own programs, or by SFTP.

Paths are absolute. One :class:`Tools` is one conversation over one channel, used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from aifa_hpc.staging.files import BLOCK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from aifa_hpc.staging.files import Row

_NUMBERS = {os.strerror(number): number for number in errno.errorcode}
_NUMBERS |= {"Directory nonexistent": errno.ENOENT}  # dash's word for it


class Tools(ABC):
    """Operations on files of a machine; what it refuses is an ``OSError``.

    Attributes:
        in_order: Nothing is under way, and nothing broke.
    """

    in_order: bool = True

    @abstractmethod
    def kind(self, path: str) -> str:
        """``file``, ``folder`` or ``absent``."""

    @abstractmethod
    def row(self, path: str) -> Row | None:
        """What is there, with ``path`` as its name; ``None`` for nothing."""

    @abstractmethod
    def scan(self, root: str, *, deep: bool) -> Iterator[Row]:
        """All files below a folder, or only those in it, by their path below it; links are followed."""

    @abstractmethod
    def read(self, path: str, offset: int, length: int) -> Generator[bytes, None, None]:
        """That many bytes; fewer when there are no more."""

    @abstractmethod
    def hash(self, path: str, offset: int, length: int, *, md5: bool) -> tuple[list[str], str]:
        """Hexadecimal SHA-256 of the blocks of a range that exists, and its MD5 or nothing."""

    @abstractmethod
    def create(self, path: str) -> None:
        """A new empty file that only we can read, with the folders above it."""

    @abstractmethod
    def write(self, path: str, offset: int, length: int, views: Iterable[memoryview]) -> None:
        """Writes a range of a file that exists and waits for the disk, as far as that can be had."""

    @abstractmethod
    def publish(self, partial: str, path: str, mtime_ns: int | None, *, executable: bool) -> None:
        """Sets time and mode, waits for the disk and renames."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Gives a file another name in its folder."""

    @abstractmethod
    def remove(self, paths: Sequence[str]) -> None:
        """Removes files; those that are gone are fine."""

    @abstractmethod
    def sync(self, folders: Sequence[str]) -> None:
        """Makes renames survive a crash, as far as that can be had."""

    @abstractmethod
    def close(self) -> None:
        """Ends the conversation."""


def spans(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """The blocks of a range, as offset and length."""
    for at in range(offset, offset + length, BLOCK):
        yield at, min(BLOCK, offset + length - at)


def os_error(said: str, path: str = "") -> OSError:
    """What a program said on standard error, as what the operating system told it."""
    number = next((number for text, number in _NUMBERS.items() if said.rstrip(" .").endswith(text)), 0)
    return OSError(number or errno.EIO, os.strerror(number) if number else said.strip() or "it failed", path)


@contextlib.contextmanager
def until_broken(tools: Tools) -> Iterator[None]:
    """A conversation in which something is under way: what ends it early leaves it out of order."""
    tools.in_order = False
    yield
    tools.in_order = True
