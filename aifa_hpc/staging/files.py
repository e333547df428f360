# ruff: noqa: UP006, UP031, UP035, UP045, RUF005 - Python 3.6 has no other way to say it
# ruff: noqa: PTH103, PTH104, PTH108, PTH116, PTH118, PTH120, PTH208 - paths are bytes, which pathlib refuses
# ruff: noqa: S324, PLR0917 - MD5 is how object stores check parts; 3.6 on a login node is called by position
"""Files of a folder as a copy needs them: listed, pinned, hashed, read, written aside and published by a rename.

Python 3.6 and the standard library: the local endpoint calls this, and the remote agent is sent it. Paths are bytes and
relative to the folder, so no locale matters; what the operating system refuses is raised as it comes.
"""

import contextlib
import errno
import hashlib
import os
import stat
import time
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

CHUNK = 2**20
BLOCK = 8 * 2**20
MANIFEST = b".aifa-manifest.jsonl"
PART_SUFFIX = b".aifa-part"

_FENCED = "was taken over by another copy, or somebody removed its partial file"

Row = List[Any]  # path, size, mtime_ns, pin, executable


class Refused(Exception):  # noqa: N818 - what the call did, not what went wrong
    """A call that failed for a reason other than the operating system's."""

    def __init__(self, kind: str, what: str, path: bytes = b"") -> None:
        Exception.__init__(self, what)
        self.kind, self.what, self.path = kind, what, path


class Sums:
    """SHA-256 of each block of a stream, and its MD5 where an object store wants it."""

    def __init__(self, md5: bool = False) -> None:
        self._left = BLOCK
        self._hash = hashlib.sha256()
        self._md5 = hashlib.md5() if md5 else None
        self._blocks = []  # type: List[str]

    def update(self, view: memoryview) -> None:
        """Takes the next bytes."""
        if self._md5 is not None:
            self._md5.update(view)
        while len(view) >= self._left:
            self._hash.update(view[: self._left])
            view = view[self._left :]
            self._blocks.append(self._hash.hexdigest())
            self._hash, self._left = hashlib.sha256(), BLOCK
        self._hash.update(view)
        self._left -= len(view)

    def finish(self) -> Tuple[List[str], str]:
        """Hexadecimal digests of the blocks, and the MD5 or nothing."""
        if self._left < BLOCK:
            self._blocks.append(self._hash.hexdigest())
        return self._blocks, self._md5.hexdigest() if self._md5 is not None else ""


class Files:
    """A folder's files; every path is relative to it."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._above = os.path.join(root, b"")
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def full(self, path: bytes) -> bytes:
        """The path below the root; one that leaves it is refused before any I/O."""
        if path.startswith(b"/") or b"\0" in path or (b".." in path and b".." in path.split(b"/")):
            raise Refused("path", "leaves the folder", path)
        return self._above + path if path else self.root

    def kind(self) -> str:
        """What the root is: ``file``, ``folder`` or ``absent``."""
        try:
            mode = os.stat(self.root).st_mode
        except FileNotFoundError:
            return "absent"
        if stat.S_ISDIR(mode):
            return "folder"
        if stat.S_ISREG(mode):
            return "file"
        raise Refused("path", "is neither a file nor a folder", self.root)

    def scan(self, parts: bool = False) -> Iterator[Row]:
        """All files below the root, or all unfinished parts; links are followed. What is no file has size -1."""
        for folder, listed in self._walk():
            for name, found in listed:
                if name.endswith(PART_SUFFIX) and name.startswith(b".") if parts else not is_ours(name):
                    yield row(os.path.join(folder, name), found)

    def folders(self, known: Dict[str, str]) -> Iterator[List[Any]]:
        """Folders below the root that hold files: path, state, and whether that is the ``known`` one.

        The state is what :func:`state_of` makes of the files. Where it is another one, the rows of the files follow.
        """
        for folder, listed in self._walk():
            files = [item for item in listed if not is_ours(item[0])]
            if not files:
                continue
            path, state = text(folder), state_of(map(mark_of, files))
            same = known.get(path) == state
            yield [path, state, same]
            if not same:
                for name, found in files:
                    yield row(os.path.join(folder, name), found)

    def states(self, folders: Iterable[Tuple[bytes, int]]) -> Iterator[str]:
        """The state of what lies in each of these folders; nothing for one that holds more files than that, or none."""
        for folder, most in folders:
            try:
                listed = self._listed(folder, most)
            except OSError:
                listed = []
            files = [item for item in listed if not is_ours(item[0]) and not stat.S_ISDIR(item[1].st_mode)]
            yield state_of(map(mark_of, files)) if files else ""

    def _walk(self) -> Iterator[Tuple[bytes, List[Tuple[bytes, os.stat_result]]]]:
        """Each folder, from the root down, with what lies in it and is no folder; links are followed."""
        found = os.stat(self.root)
        stack = [(b"", ((found.st_dev, found.st_ino),))]  # type: List[Tuple[bytes, Tuple[Tuple[int, int], ...]]]
        while stack:
            folder, above = stack.pop()
            listed = []
            for item in self._listed(folder):
                found = item[1]
                if not stat.S_ISDIR(found.st_mode):
                    listed.append(item)
                    continue
                key, path = (found.st_dev, found.st_ino), os.path.join(folder, item[0])
                if key in above:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.full(path))
                stack.append((path, above + (key,)))
            yield folder, listed

    def _listed(self, folder: bytes, most: Optional[int] = None) -> List[Tuple[bytes, os.stat_result]]:
        """The names in a folder, sorted, with what is behind them; nothing when there are more than ``most``."""
        full = self.full(folder)
        names = os.listdir(full)
        if most is not None and len(names) > most:
            return []
        # By descriptor and without an object for each entry: a sixth less time than scandir.
        fd = os.open(full, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            return [(name, os.stat(name, dir_fd=fd)) for name in sorted(names)]
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.path.join(full, error.filename)) from error
        finally:
            os.close(fd)

    def stat(self, paths: Iterable[bytes]) -> Iterator[Optional[Row]]:
        """A row for each path, ``None`` where there is nothing; a folder has size -1."""
        for path in paths:
            try:
                yield row(path, os.stat(self.full(path)))
            except (FileNotFoundError, NotADirectoryError):
                yield None

    def find(self, folder: bytes, prefix: bytes) -> Iterator[Row]:
        """Unfinished parts in a folder whose names begin so."""
        try:
            names = os.listdir(self.full(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in sorted(names):
            if name.startswith(prefix) and name.endswith(PART_SUFFIX):
                for found in self.stat([os.path.join(folder, name)]):
                    if found is not None:
                        yield found

    def read(self, path: bytes, offset: int, length: int) -> "Reading":
        """A range of a file."""
        return Reading(self.full(path), offset, length)

    def fill(self, path: bytes, view: memoryview) -> Tuple[int, str]:
        """Reads a file from its beginning until ``view`` is full or it ends; how much that is, and the file's pin."""
        fd = os.open(self.full(path), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            done = 0
            while done < len(view):
                count = os.readv(fd, [view[done:]])
                if not count:
                    break
                done += count
            return done, pin(os.fstat(fd))
        finally:
            os.close(fd)

    def sums(self, path: bytes, spans: Iterable[Tuple[int, int]], md5: bool = False) -> Iterator[Tuple[List[str], str]]:
        """The digests of ranges that begin at a block's boundary; a range past the end is as long as there is."""
        for offset, length in spans:
            sums = Sums(md5)
            for view in self.read(path, offset, length):
                sums.update(view)
            yield sums.finish()

    def create(self, path: bytes) -> int:
        """A new file that only we can read, with the folders above it; opened for writing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        full = self.full(path)
        try:
            return os.open(full, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            return os.open(full, flags, 0o600)

    def begin(self, path: bytes) -> None:
        """Creates an empty partial file."""
        os.close(self.create(path))

    def open_partial(self, path: bytes) -> int:
        """A partial file that exists, for writing at any place."""
        try:
            return os.open(self.full(path), os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError as error:
            raise Refused("fenced", _FENCED, path) from error

    def borrow(self, partial: bytes, offset: int, path: bytes, at: int, length: int, blocks: List[str]) -> bool:
        """Copies a range of a file into a partial file; whether it held what those digests say.

        An absolute path is a file in another folder of this machine.
        """
        fd = self.open_partial(partial)
        try:
            sums = Sums()
            for view in Reading(path if path.startswith(b"/") else self.full(path), at, length):
                write_all(fd, view, offset)
                sums.update(view)
                offset += len(view)
            if sums.finish()[0] != blocks:
                return False
            datasync(fd)
        except FileNotFoundError:
            return False
        else:
            return True
        finally:
            os.close(fd)

    def rename(self, old: bytes, new: bytes) -> None:
        """Takes a partial file over: whoever wrote to the old name no longer can."""
        try:
            os.rename(self.full(old), self.full(new))
        except FileNotFoundError as error:
            raise Refused("fenced", _FENCED, old) from error

    def publish(
        self, fd: int, partial: bytes, target: bytes, size: int, mtime_ns: Optional[int], executable: bool
    ) -> Row:
        """Gives a complete file its time, mode and name, after it is on the disk. Closes ``fd``."""
        try:
            found = os.fstat(fd)
            if found.st_size != size:
                raise Refused("size", "has %d bytes where %d were written" % (found.st_size, size), partial)
            os.fchmod(fd, (0o777 if executable else 0o666) & ~self._umask)
            if mtime_ns is not None:
                # The time of access is now: sites delete what was neither changed nor read for long.
                os.utime(fd, ns=(int(time.time() * 10**9), mtime_ns))
            os.fsync(fd)
            full = self.full(target)
            try:
                os.rename(self.full(partial), full)
            except FileNotFoundError as error:
                raise Refused("fenced", _FENCED, partial) from error
            return row(target, os.fstat(fd))
        finally:
            os.close(fd)

    def remove(self, paths: Iterable[bytes]) -> None:
        """Removes files; what is not there is fine."""
        for path in paths:
            try:
                os.unlink(self.full(path))
            except FileNotFoundError:
                continue

    def drop(self, partial: bytes) -> None:
        """Removes a partial file after an error, which is the one to tell, whether that goes or not."""
        with contextlib.suppress(OSError):
            self.remove([partial])

    def sync(self, folders: Iterable[bytes]) -> None:
        """Makes renames in these folders survive a crash of the machine."""
        for folder in folders:
            fd = os.open(self.full(folder), os.O_RDONLY)
            try:
                os.fsync(fd)
            except OSError as error:
                if error.errno != errno.EINVAL:  # some file systems cannot sync a folder, and need not
                    raise
            finally:
                os.close(fd)


class Reading:
    """A range of a file as views of one buffer; after the last one, ``pin`` says which state of the file it was."""

    def __init__(self, full: bytes, offset: int, length: int) -> None:
        self._full, self._offset, self._length = full, offset, length
        self.pin = ""

    def __iter__(self) -> Iterator[memoryview]:
        fd = os.open(self._full, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            if self._offset:
                os.lseek(fd, self._offset, os.SEEK_SET)
            left = self._length
            buffer = memoryview(bytearray(min(CHUNK, left)))
            while left:
                count = os.readv(fd, [buffer[: min(CHUNK, left)]])
                if not count:
                    break
                left -= count
                yield buffer[:count]
            self.pin = pin(os.fstat(fd))
        finally:
            os.close(fd)


def pin(found: os.stat_result) -> str:
    """Which state of a file this is: another one has another pin."""
    return "%d-%d-%d" % (found.st_size, found.st_mtime_ns, found.st_ino)


def is_ours(name: bytes) -> bool:
    """Whether that is the name of a manifest or of an unfinished part: never data."""
    return name.startswith(b".") and name.endswith((MANIFEST, PART_SUFFIX))


def mark_of(item: Tuple[bytes, os.stat_result]) -> bytes:
    """Name, pin and kind of something that lies in a folder, as its state tells it."""
    name, found = item
    mode = found.st_mode
    kind = b"?" if not stat.S_ISREG(mode) else b"x" if mode & stat.S_IXUSR else b"-"
    return b"%s\0%d-%d-%d%s" % (name, found.st_size, found.st_mtime_ns, found.st_ino, kind)


def state_of(marks: Iterable[bytes]) -> str:
    """One digest of the marks of all files in a folder, in the order of their names."""
    return hashlib.sha256(b"\0".join(marks)).hexdigest()[:32]


def row(path: bytes, found: os.stat_result) -> Row:
    """What a listing tells of a file; size -1 for what is none."""
    size = found.st_size if stat.S_ISREG(found.st_mode) else -1
    return [text(path), size, found.st_mtime_ns, pin(found), bool(found.st_mode & stat.S_IXUSR)]


def write_all(fd: int, view: memoryview, offset: int) -> None:
    """Writes all of it there."""
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def text(path: bytes) -> str:
    """A path as JSON can carry it, whatever the locale."""
    return path.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """The inverse of :func:`text`."""
    return path.encode("utf-8", "surrogateescape")


datasync = getattr(os, "fdatasync", os.fsync)
