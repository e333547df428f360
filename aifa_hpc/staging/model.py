"""The values that planning, endpoints and engine exchange."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aifa_hpc.manifest import PART_SUFFIX, safe_path

Kind: TypeAlias = Literal["file", "folder", "absent"]

_LONGEST_NAME = 255
"""``NAME_MAX`` of every file system in question, in bytes."""

_LONGEST_TOKEN = 32

_WHOLE_NS = 2 * 10**9
"""How long a time of whole seconds stays the same: Lustre keeps such, and some NFS servers; FAT has even ones."""

_TICK_NS = 10**8
"""Other times are those of a clock's tick, 10 ms at most; the rest is for clocks of two machines that differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A file as an endpoint lists it.

    Attributes:
        path: Relative to the endpoint's root.
        size: Bytes; -1 for what is no file (a folder, a socket).
        pin: Which state of the file this is: size, time and inode, or an ETag. Equal pins mean unchanged content.
        mtime_ns: Modification time in nanoseconds since 1970.
        executable: Its owner may run it.
        proof: Of a file that was just published, what it is proven by: one of :data:`aifa_hpc.manifest.LEVELS`.
    """

    path: str
    size: int
    pin: str
    mtime_ns: int = 0
    executable: bool = False
    proof: str = field(default="verified", compare=False)

    def is_young(self, looked_ns: int) -> bool:
        """Whether what is written to it after it was looked at may leave its time, and so its pin, as they are.

        Args:
            looked_ns: When that began, in nanoseconds since 1970.
        """
        return self.mtime_ns + (_TICK_NS if self.mtime_ns % 10**9 else _WHOLE_NS) >= looked_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What lies in a folder, as an endpoint lists it; not what lies below it.

    Attributes:
        path: Relative to the endpoint's root.
        state: One digest of the names and pins of all its files; empty where the endpoint does not make one.
        files: They; ``None`` for those of a folder whose state was known.
    """

    path: str
    state: str
    files: list[Found] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A range of a file that is sent, acknowledged and journalled as one."""

    index: int
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSum:
    """What a part holds.

    Attributes:
        blocks: SHA-256 of each of its blocks; empty where only an MD5 is known.
        md5: Its MD5, where an object store is involved.
    """

    blocks: tuple[bytes, ...] = ()
    md5: bytes = b""

    def agrees(self, other: PartSum) -> bool:
        """Whether both know a common kind of digest and all common kinds are equal."""
        pairs = [pair for pair in ((self.blocks, other.blocks), (self.md5, other.md5)) if all(pair)]
        return bool(pairs) and all(mine == theirs for mine, theirs in pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    """A file that is being put together at the destination, under a name nobody reads.

    Attributes:
        path: The file it will be.
        token: Whose it is: :func:`new_token`, or the id an object store gave its multipart upload.
        size: How far it reaches now; there may be holes.
        mtime_ns: When it was last written to, or begun, in nanoseconds since 1970; 0 where nobody asked.
    """

    path: str
    token: str
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Loan:
    """A part that a published file of the destination may hold already.

    Attributes:
        part: The part of the file that is put together.
        path: The file that may hold it.
        offset: Where in that file.
        sum: What it must hold.
    """

    part: Part
    path: str
    offset: int
    sum: PartSum


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A file as it shall be published.

    Attributes:
        path: Relative to the destination's root.
        size: Bytes.
        mtime_ns: Modification time to set where the destination keeps one; ``None`` leaves it at now.
        executable: Execute bits to set where it keeps them.
        token: For the partial file of one that is stored in a single piece.
        sums: Digests of all parts, known when a file of several parts is published.
    """

    path: str
    size: int
    mtime_ns: int | None
    executable: bool
    token: str = ""
    sums: tuple[PartSum, ...] = field(default=(), repr=False)


def fingerprint(identity: str, found: Found) -> str:
    """Which state of which source file: partial files of the same one may be continued, others never."""
    text = "\0".join((identity, found.path, found.pin, str(found.size)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def new_token(print_: str, attempt: str) -> str:
    """A token for one attempt at copying the file with that fingerprint."""
    return f"{print_}-{attempt}"


def partial_path(path: str, token: str) -> str:
    """Where the partial file of a token lies: beside its target, so that publishing is a rename in one folder."""
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{partial_prefix(path)}{token}{PART_SUFFIX}"


def read_partial(path: str, *, size: int, mtime_ns: int = 0) -> Partial | None:
    """The inverse of :func:`partial_path`; of a name that was shortened, the path is the short form."""
    folder, slash, name = path.rpartition("/")
    stem, dot, token = name.removesuffix(PART_SUFFIX).rpartition(".")
    if not (name.startswith(".") and name.endswith(PART_SUFFIX) and dot and len(stem) > 1 and token):
        return None
    return Partial(path=f"{folder}{slash}{stem[1:]}", token=token, size=size, mtime_ns=mtime_ns)


def partial_prefix(path: str) -> str:
    """How the names of all partial files of a target begin; shortened where the name would not fit."""
    name = path.rpartition("/")[2]
    raw = name.encode("utf-8", "surrogateescape")
    room = _LONGEST_NAME - len(PART_SUFFIX) - _LONGEST_TOKEN - 2
    if len(raw) > room:
        name = f"{raw[: room - 17].decode('utf-8', 'ignore')}~{hashlib.sha256(raw).hexdigest()[:16]}"
    return f".{name}."


def checked(path: str) -> str:
    """A path from a listing, refused when it would leave the destination.

    Raises:
        ParseError: It would.
    """
    return safe_path(path)
