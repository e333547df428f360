"""The tools of a machine that has GNU coreutils and findutils, driven through one POSIX shell that stays open.

Requests are lines: a word, numbers, and paths whose delicate bytes are octal escapes for ``printf %b``, so no path is
ever part of a program. Answers are lines as well; data is counted.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from aifa_hpc.command import Command, shell
from aifa_hpc.errors import OutcomeUnknownError, TransferError
from aifa_hpc.staging.endpoints.tools import Tools, os_error, spans, until_broken
from aifa_hpc.staging.files import CHUNK, raw, text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from aifa_hpc.staging.files import Row
    from aifa_hpc.transport.base import Transport

_SCRIPT = r"""
LC_ALL=C; export LC_ALL; mask=$(umask); umask 077
path() { p=$(printf '%b.' "$1"); p=${p%.}; }
no() { printf 'no %s\n' "$(printf '%s' "$1" | tr '\n\r' '  ' | tail -c 400)"; }
try() { if e=$("$@" 2>&1); then :; else no "$e"; return 1; fi; }
cut() { dd if="$1" bs=1048576 iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none 2>/dev/null; }
printf 'aifa-shell 1\n'
while read -r op a b c d; do
  case $op in
  stat) path "$a"
    if e=$(stat -L -c '%f %s %.9Y %i' -- "$p" 2>&1); then printf 'ok %s\n' "$e"; else no "$e"; fi ;;
  scan) path "$a"; set -- -mindepth 1; [ "$b" = 1 ] || set -- "$@" -maxdepth 1
    set -- find -L "$p" "$@" ! -type d -printf '%y %m %s %T@ %i %P\0'
    if "$@" 2>/dev/null; then printf 'end\0'
    else printf 'no %s\0' "$("$@" 2>&1 >/dev/null | tr '\n\000' '  ' | tail -c 400)"; fi ;;
  read) path "$a"; { cut "$p" "$b" "$c"; head -c "$c" /dev/zero; } | head -c "$c" ;;
  hash) path "$a"; printf 'ok %s %s\n' "$(cut "$p" "$b" "$c" | sha256sum)" "$(
    [ "$d" = 1 ] && cut "$p" "$b" "$c" | md5sum)" ;;
  create) path "$a"; try mkdir -p -- "${p%/*}" && try sh -c 'set -C; : >"$1"' sh "$p" && echo ok ;;
  write) path "$a"
    if [ -f "$p" ]; then echo go
      try dd of="$p" bs=1048576 iflag=fullblock,count_bytes oflag=seek_bytes seek="$b" count="$c" \
        conv=notrunc,nocreat,fdatasync status=none && echo ok
    else no 'No such file or directory'; fi ;;
  publish) path "$a"; q=$p; path "$b"
    mode=$(printf '%o' $(( (0666 | (d * 0111)) & ~0$mask )))
    { [ "$c" = - ] || try touch -c -m -d "@$c" -- "$q"; } && try chmod "$mode" -- "$q" && try sync -- "$q" &&
      try mv -fT -- "$q" "$p" && echo ok ;;
  rename) path "$a"; q=$p; path "$b"; try mv -fT -- "$q" "$p" && echo ok ;;
  remove) path "$a"; try rm -f -- "$p" && echo ok ;;
  sync) path "$a"; try sync -- "$p" && echo ok ;;
  esac
done
"""
_MAGIC = b"aifa-shell 1\n"
_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:,@%")
_FILE = "f"


def shell_command() -> Command:
    """Starts the conversation."""
    return shell(_SCRIPT)


class ShellTools(Tools):
    """Coreutils over one channel.

    Args:
        transport: The way to the machine.

    Raises:
        TransportError: It cannot be reached.
        TransferError: It has no such tools.
    """

    def __init__(self, transport: Transport) -> None:
        self._channel = transport.open(shell_command())
        self._ahead = b""
        self._buffer = memoryview(bytearray(CHUNK))
        try:
            while _MAGIC not in self._ahead:
                self._hear()
            self._ahead = self._ahead.partition(_MAGIC)[2]
        except OutcomeUnknownError as error:
            self._channel.close()
            raise TransferError(f"no shell with coreutils answered: {error.message}.") from error

    def kind(self, path: str) -> str:
        """By its mode."""
        mode = self._mode(path)
        return "absent" if mode is None else "folder" if stat.S_ISDIR(mode[0]) else "file"

    def row(self, path: str) -> Row | None:
        """By ``stat``."""
        found = self._mode(path)
        if found is None:
            return None
        mode, size, mtime_ns, inode = found
        return _row(path, size if stat.S_ISREG(mode) else -1, mtime_ns, inode, mode)

    def scan(self, root: str, *, deep: bool) -> Iterator[Row]:
        """By ``find``."""
        with until_broken(self):
            self._say("scan", root, "1" if deep else "0")
            while (record := self._until(b"\0")) != b"end":
                if record.startswith(b"no "):
                    self.in_order = True
                    raise os_error(record[3:].decode("utf-8", "replace"), root)
                kind, mode, size, mtime, inode, name = record.split(b" ", 5)
                if kind in (b"l", b"N", b"L"):
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), text(name))
                number = int(size) if kind == _FILE.encode() else -1
                yield _row(text(name), number, _nanoseconds(mtime.decode()), inode.decode(), int(mode, 8))

    def read(self, path: str, offset: int, length: int) -> Generator[bytes, None, None]:
        """By ``dd``; what the file does not have is asked for in no case, so the count is exact."""
        with until_broken(self):
            self._say("read", path, str(offset), str(length))
            left = length
            while left:
                if not self._ahead:
                    self._hear()
                piece, self._ahead = self._ahead[:left], self._ahead[left:]
                left -= len(piece)
                yield piece

    def hash(self, path: str, offset: int, length: int, *, md5: bool) -> tuple[list[str], str]:
        """By ``sha256sum`` and ``md5sum``."""
        blocks = [self._digests(path, at, count, md5=False)[0] for at, count in spans(offset, length)]
        return blocks, self._digests(path, offset, length, md5=True)[1] if md5 else ""

    def create(self, path: str) -> None:
        """With the folders above."""
        self._ask("create", path)

    def write(self, path: str, offset: int, length: int, views: Iterable[memoryview]) -> None:
        """By ``dd``, which waits for the disk; a source that breaks is made up for with zeros."""
        self._ask("write", path, str(offset), str(length), answer="go")
        left = length
        with until_broken(self):
            try:
                for view in views:
                    self._channel.send(view)
                    left -= len(view)
            except OutcomeUnknownError:
                raise
            except BaseException:
                while left > 0:
                    self._channel.send(bytes(min(left, CHUNK)))
                    left -= CHUNK
                self._answer(path)
                self.in_order = True
                raise
            # When it failed, nobody knows how much it took: the conversation is out of order then.
            self._answer(path)

    def publish(self, partial: str, path: str, mtime_ns: int | None, *, executable: bool) -> None:
        """By ``touch``, ``chmod``, ``sync`` and ``mv``."""
        when = "-" if mtime_ns is None else f"{mtime_ns // 10**9}.{mtime_ns % 10**9:09}"
        self._ask("publish", partial, _escape(path), when, "1" if executable else "0")

    def rename(self, old: str, new: str) -> None:
        """By ``mv``."""
        self._ask("rename", old, _escape(new))

    def remove(self, paths: Sequence[str]) -> None:
        """By ``rm``."""
        for path in paths:
            self._ask("remove", path)

    def sync(self, folders: Sequence[str]) -> None:
        """By ``sync``."""
        for folder in folders:
            self._ask("sync", folder)

    def close(self) -> None:
        """Ends the shell."""
        self._channel.close()

    def _mode(self, path: str) -> tuple[int, int, int, str] | None:
        try:
            mode, size, mtime, inode = self._ask("stat", path).split()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise
        return int(mode, 16), int(size), _nanoseconds(mtime), inode

    def _digests(self, path: str, offset: int, length: int, *, md5: bool) -> tuple[str, str]:
        words = self._ask("hash", path, str(offset), str(length), "1" if md5 else "0").split()
        return words[0], words[2] if md5 else ""

    def _ask(self, op: str, path: str, *words: str, answer: str = "ok") -> str:
        with until_broken(self):
            self._say(op, path, *words)
            try:
                return self._answer(path, answer)
            except OSError:
                self.in_order = True
                raise

    def _say(self, op: str, path: str, *words: str) -> None:
        self._channel.send((" ".join((op, _escape(path), *words)) + "\n").encode("ascii"))

    def _answer(self, path: str, answer: str = "ok") -> str:
        line = self._until(b"\n").decode("utf-8", "replace")
        word, _, rest = line.partition(" ")
        if word == answer:
            return rest
        if word == "no":
            raise os_error(rest, path)
        raise TransferError(f"the shell over there answered {line[:200]!r}: the connection is not in order.")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._ahead:
            self._hear()
        found, _, self._ahead = self._ahead.partition(mark)
        return found

    def _hear(self) -> None:
        count = self._channel.receive_into(self._buffer)
        if not count:
            said = self._channel.stderr_tail()
            raise OutcomeUnknownError("the shell over there is gone" + (f": {said}" if said else ""))
        self._ahead += bytes(self._buffer[:count])


def _escape(path: str) -> str:
    return "".join(chr(byte) if byte in _SAFE else f"\\0{byte:03o}" for byte in raw(path))


def _nanoseconds(mtime: str) -> int:
    seconds, _, rest = mtime.partition(".")
    return int(seconds) * 10**9 + int(rest[:9].ljust(9, "0") or 0)


def _row(path: str, size: int, mtime_ns: int, inode: str, mode: int) -> Row:
    # The same pin as the agent's, which may have been there before.
    return [path, size, mtime_ns, f"{size}-{mtime_ns}-{inode}", bool(mode & stat.S_IXUSR)]
