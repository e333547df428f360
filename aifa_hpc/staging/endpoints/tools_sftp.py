"""The tools of a machine that lets nobody run anything: SFTP, by paramiko's client over any transport's channel.

SFTP hashes nothing, so what was written is read back; it tells whole seconds and no inode, so its pins are coarser.
``posix-rename`` and ``fsync`` are extensions of OpenSSH's server: without the first nothing can be published safely.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import posixpath
import stat
import threading
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import OutcomeUnknownError, TransferError
from aifa_hpc.staging.endpoints.tools import Tools, spans, until_broken
from aifa_hpc.staging.files import CHUNK, raw, text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from aifa_hpc.staging.files import Row
    from aifa_hpc.transport.base import Channel, Transport

_NO_ANSWER = "If the connection broke, run the same command again: what arrived is kept."
_REQUEST = 32 * 1024
_AHEAD = 64
"""Requests under way in a read: 2 MiB, which is the window of an SSH channel."""


class SftpTools(Tools):
    """SFTP over one channel.

    Args:
        transport: The way to the machine.

    Raises:
        TransportError: It cannot be reached.
        TransferError: It has no SFTP either.
    """

    def __init__(self, transport: Transport) -> None:
        import paramiko  # noqa: PLC0415 - slow to import, and seldom needed

        self._channel = transport.subsystem("sftp")
        self._failures = (paramiko.SSHException, EOFError, OutcomeUnknownError)
        try:
            self._sock = _Sock(self._channel)
            self._sftp = paramiko.SFTPClient(self._sock)
        except self._failures as error:
            said = self._channel.stderr_tail() or str(error)
            self._channel.close()
            raise TransferError(f"no SFTP server answered: {said.rstrip('.')}.", hint=_NO_ANSWER) from error

    def kind(self, path: str) -> str:
        """By its mode."""
        found = self._stat(path)
        return "absent" if found is None else "folder" if stat.S_ISDIR(found.st_mode) else "file"

    def row(self, path: str) -> Row | None:
        """By ``stat``."""
        found = self._stat(path)
        return None if found is None else _row(path, found)

    def scan(self, root: str, *, deep: bool) -> Iterator[Row]:
        """Folder by folder; a folder within itself is found by the path the server resolves."""
        folders: list[tuple[str, tuple[str, ...]]] = [("", (self._real(root),))]
        while folders:
            folder, above = folders.pop()
            with self._talking():
                listed = sorted(self._sftp.listdir_attr(_name(posixpath.join(root, folder))), key=_sort_key)
            for entry in listed:
                name = _text(entry.filename)
                path, full = posixpath.join(folder, name), posixpath.join(root, folder, name)
                found = entry
                if stat.S_ISLNK(entry.st_mode or 0):
                    found = self._stat(full)
                    if found is None:
                        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                if not stat.S_ISDIR(found.st_mode):
                    yield _row(path, found)
                elif deep:
                    real = self._real(full) if found is not entry else posixpath.join(above[-1], name)
                    if real in above:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    folders.append((path, (*above, real)))

    def read(self, path: str, offset: int, length: int) -> Generator[bytes, None, None]:
        """Several requests ahead."""
        wanted = [(at, min(_REQUEST, offset + length - at)) for at in range(offset, offset + length, _REQUEST)]
        with self._talking():
            file = self._sftp.open(_name(path), "rb")
            try:
                for at in range(0, len(wanted), _AHEAD):
                    yield from file.readv(wanted[at : at + _AHEAD])
            except BaseException:
                # Or nobody wants the rest; that it cannot be closed any more is no news then.
                with contextlib.suppress(OSError, ValueError, *self._failures):
                    file.close()
                raise
            file.close()

    def hash(self, path: str, offset: int, length: int, *, md5: bool) -> tuple[list[str], str]:
        """Read back and hashed here."""
        blocks, whole = [], hashlib.md5(usedforsecurity=False)
        for at, count in spans(offset, length):
            block = hashlib.sha256()
            for piece in self.read(path, at, count):
                block.update(piece)
                if md5:
                    whole.update(piece)
            blocks.append(block.hexdigest())
        return blocks, whole.hexdigest() if md5 else ""

    def create(self, path: str) -> None:
        """With the folders above."""
        try:
            self._create(path)
        except FileNotFoundError:
            self._make_folders(posixpath.dirname(path))
            self._create(path)

    def write(self, path: str, offset: int, length: int, views: Iterable[memoryview]) -> None:
        """Several requests ahead; a source that breaks leaves the range as far as it came."""
        del length
        with self._full(path), self._talking(), self._sftp.open(_name(path), "r+b") as file:
            file.set_pipelined(True)
            file.seek(offset)
            kept = b""
            for view in views:
                for at in range(0, len(view), _REQUEST):
                    file.write(kept)
                    kept = bytes(view[at : at + _REQUEST])
            # Only a request that is waited for tells what became of those before.
            file.set_pipelined(False)
            file.write(kept)
            self._fsync(file)

    def publish(self, partial: str, path: str, mtime_ns: int | None, *, executable: bool) -> None:
        """Mode by what the server gives a new file of ours; time in whole seconds."""
        with self._talking():
            self._sftp.chmod(_name(partial), 0o755 if executable else 0o644)
            if mtime_ns is not None:
                seconds = mtime_ns // 10**9
                self._sftp.utime(_name(partial), (seconds, seconds))
            with self._sftp.open(_name(partial), "r+b") as file:
                self._fsync(file)
        self.rename(partial, path)

    def rename(self, old: str, new: str) -> None:
        """In place of what is there."""
        with self._talking():
            self._sftp.posix_rename(_name(old), _name(new))

    def remove(self, paths: Sequence[str]) -> None:
        """One by one."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError), self._talking():
                self._sftp.remove(_name(path))

    def sync(self, folders: Sequence[str]) -> None:
        """Nothing that SFTP could do."""

    def close(self) -> None:
        """Ends the conversation."""
        self._channel.close()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        self._sock.reader = threading.get_ident()
        try:
            with until_broken(self):
                yield
        except self._failures as error:
            said = self._channel.stderr_tail() or str(error)
            raise OutcomeUnknownError(f"the SFTP server is gone: {said}") from error
        except UnicodeDecodeError as error:
            raise OSError(errno.EILSEQ, "a name that is not UTF-8, which SFTP here cannot carry") from error
        except OSError as error:
            self.in_order = True
            if error.errno is None:  # SFTP has one code for all that is not "no such file" or "denied"
                what = f"the SFTP server said {str(error) or 'Failure'}, its word for a used-up quota, too"
                raise OSError(errno.EIO, what) from error
            raise

    @contextlib.contextmanager
    def _full(self, path: str) -> Iterator[None]:
        """Asks for the room there is when a write failed: a server has the same word for no room as for all else."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EIO and self._room(path) < _REQUEST:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise

    def _room(self, path: str) -> float:
        """Bytes that a user can still write there; of a server that cannot tell, as many as one likes."""
        from paramiko.sftp import CMD_EXTENDED  # noqa: PLC0415 - slow to import, and seldom needed

        try:
            with self._talking():
                _, answer = self._sftp._request(CMD_EXTENDED, "statvfs@openssh.com", _name(path))  # noqa: SLF001 - as below
        except OSError:
            return math.inf
        # OpenSSH's PROTOCOL, section 4.4: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail.
        numbers = [answer.get_int64() for _ in range(5)]
        return float(numbers[1] * numbers[4])

    def _stat(self, path: str) -> Any:
        try:
            with self._talking():
                return self._sftp.stat(_name(path))
        except FileNotFoundError:
            return None

    def _real(self, path: str) -> str:
        with self._talking():
            return _text(self._sftp.normalize(_name(path)) or path)

    def _create(self, path: str) -> None:
        with self._talking():
            self._sftp.open(_name(path), "wbx").close()
            self._sftp.chmod(_name(path), 0o600)

    def _make_folders(self, path: str) -> None:
        if self._stat(path) is None:
            self._make_folders(posixpath.dirname(path))
            try:
                with self._talking():
                    self._sftp.mkdir(_name(path))
            except OSError:
                if self.kind(path) != "folder":  # somebody else was faster, or it cannot be made
                    raise

    def _fsync(self, file: Any) -> None:
        from paramiko.sftp import CMD_EXTENDED  # noqa: PLC0415 - slow to import, and seldom needed

        with contextlib.suppress(OSError):  # a server without it leaves durability to its disk
            self._sftp._request(CMD_EXTENDED, "fsync@openssh.com", file.handle)  # noqa: SLF001 - it has no other way


class _Sock:
    """A channel as paramiko's SFTP client wants its socket."""

    closed = False

    def __init__(self, channel: Channel) -> None:
        self.reader = threading.get_ident()  # the thread that waits for answers
        self._channel = channel
        self._buffer = memoryview(bytearray(CHUNK))

    def get_name(self) -> str:
        """For paramiko's log."""
        return "aifa"

    def send(self, data: bytes) -> int:
        """All of it.

        Paramiko asks for ranges ahead in a thread of its own, whose error would be printed and heard by nobody. Whoever
        waits for the answers is told that the other side is gone.
        """
        try:
            self._channel.send(data)
        except OutcomeUnknownError:
            if threading.get_ident() == self.reader:
                raise
        return len(data)

    def recv(self, count: int) -> bytes:
        """At most that many."""
        return bytes(self._buffer[: self._channel.receive_into(self._buffer[: min(count, CHUNK)])])

    def recv_ready(self) -> bool:
        """An answer is under way whenever one is asked for."""
        return True

    def close(self) -> None:
        """Left to the tools."""
        self.closed = True


def _name(path: str) -> bytes:
    return raw(path)


def _text(name: str | bytes) -> str:
    return text(name) if isinstance(name, bytes) else text(name.encode("utf-8", "surrogateescape"))


def _sort_key(entry: Any) -> str:
    return _text(entry.filename)


def _row(path: str, found: Any) -> Row:
    size = found.st_size if stat.S_ISREG(found.st_mode) else -1
    mtime_ns = int(found.st_mtime) * 10**9
    return [path, size, mtime_ns, f"{size}-{found.st_mtime}-sftp", bool(found.st_mode & stat.S_IXUSR)]
