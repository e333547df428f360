"""What a folder should hold: every file's size and hash, as lines of JSON that travel with the data.

On disk::

    DST/
    ├── train/part-000.parquet
    ├── train/part-001.parquet
    └── .aifa-manifest.jsonl             published last: it stands for a complete, verified copy
    DIR/
    ├── weights.bin
    └── .weights.bin.aifa-manifest.jsonl   the same for a single file

A manifest is a header and one line for each file, sorted by path (wrapped here)::

    {"aifa_manifest": 2, "files": 1, "bytes": 11, "tree": "sha256:5b1e...", "sets": [
     {"source": "s3://lab/train", "place": "s3:///lab/train", "tool": "0.1.0", "level": "verified",
      "published": "2026-11-24T08:00:00+00:00", "files": 1, "bytes": 11, "tree": "sha256:5b1e..."}]}
    {"path": "train/part-000.parquet", "set": 0, "size": 11, "mtime_ns": 1790000000000000000, "executable": false,
     "digest": "sha256:b94d27b9..."}

**Sets.** What came from one source is a data set; a folder may hold several, and each file belongs to the one that
wrote it last. Files that a source no longer has stay in its set until they are deleted.

**Digests.** A file of at most one block (8 MiB) has its plain SHA-256, as ``sha256sum`` prints it. A longer one has
``sha256-8M``: the SHA-256 of its blocks' SHA-256s one after the other, so that blocks can be hashed in any order and on
many cores, and the digest does not depend on how a file was cut for sending. Its entry lists the blocks, so damage is
found and mended by the block. ``split -b 8M --filter='sha256sum | cut -c-64 | xxd -r -p' FILE | sha256sum`` agrees.

Standard library only: a job checks its data with this on a compute node.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK = 8 * 2**20
MANIFEST = ".aifa-manifest.jsonl"
PART_SUFFIX = ".aifa-part"

LEVELS = {
    "verified": "both sides hashed every byte with SHA-256",
    "store-sha256": "an object store that refuses another SHA-256 took every part under its own",
    "store-md5": "an object store that refuses another MD5 took every part under its own, and told it again",
    "store-etag": "an object store told the MD5 of every part, and what it refuses was not asked, or is nothing",
    "durable": "of what an interrupted copy had left, the acknowledgement was believed",
}
"""How what was copied is known to be there as it was at its source, the strongest first."""

_VERSION = 2
_DIGEST = re.compile(r"sha256(-8M)?:[0-9a-f]{64}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.=+-]*)*", re.ASCII)
"""Paths that need no closer look: no component can be empty or begin with a dot, and nothing can be a drive."""

_DRIVE = re.compile(r"[A-Za-z]:(?:[\\/]|$)", re.ASCII)
_HEADER_KEYS = {"aifa_manifest", "files", "bytes", "tree", "sets"}
_SET_KEYS = {"source", "place", "tool", "level", "published"}
_ENTRY_KEYS = {"path", "set", "size", "mtime_ns", "executable", "digest"}


def safe_path(text: str) -> str:
    """The path itself, when it stays below whatever folder it is put in.

    Raises:
        ParseError: It is empty or absolute, begins with a drive (``C:/``), holds a NUL, has a ``.``, ``..`` or empty
            component, or a ``..`` between backslashes.
    """
    if _PLAIN.fullmatch(text):
        return text
    reason = ""
    if not text:
        reason = "is empty"
    elif "\0" in text:
        reason = "holds a NUL byte"
    elif text.startswith("/"):
        reason = "is absolute"
    elif _DRIVE.match(text):
        reason = "begins with a drive"
    elif ".." in text.replace("\\", "/").split("/"):
        reason = "climbs out with '..'"
    elif any(part in ("", ".") for part in text.split("/")):
        reason = "has an empty or '.' component"
    elif not _is_name(text):
        reason = "has a character that no file name can have"
    if reason:
        raise ParseError(f"{text!r} {reason}: paths in a manifest are relative, with '/' between names")
    return text


def _is_name(text: str) -> bool:
    """Whether it is what Python makes of some bytes, so that no two texts are the same file."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text
    except UnicodeEncodeError:
        return False


def manifest_name(name: str = "") -> str:
    """Where the manifest of a folder (no name) or of a single file lies, beside the data."""
    return f".{name}{MANIFEST}" if name else MANIFEST


def is_ours(path: str) -> bool:
    """Whether the path is a manifest or an unfinished part of a copy: never data."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and (name.endswith((MANIFEST, PART_SUFFIX)))


class BlockHasher:
    """SHA-256 of each block of a stream that begins at a block's boundary."""

    def __init__(self, block: int = BLOCK) -> None:
        self._block = block
        self._left = block
        self._hash = hashlib.sha256()
        self._done: list[bytes] = []

    def update(self, view: memoryview) -> None:
        """Takes the next bytes."""
        while len(view) >= self._left:
            self._hash.update(view[: self._left])
            view = view[self._left :]
            self._done.append(self._hash.digest())
            self._hash, self._left = hashlib.sha256(), self._block
        self._hash.update(view)
        self._left -= len(view)

    def finish(self) -> tuple[bytes, ...]:
        """The digests of all blocks, the last one maybe short; an empty stream has none."""
        if self._left < self._block:
            self._done.append(self._hash.digest())
            self._hash, self._left = hashlib.sha256(), self._block
        return tuple(self._done)


def blocks_of(size: int) -> int:
    """How many blocks a file of that many bytes has."""
    return -(-size // BLOCK)


def file_digest(blocks: Iterable[bytes]) -> str:
    """A file's digest from its blocks' SHA-256s."""
    blocks = tuple(blocks)
    if len(blocks) == 1:
        return f"sha256:{blocks[0].hex()}"
    joined = hashlib.sha256(b"".join(blocks)).hexdigest()
    return f"sha256-8M:{joined}" if blocks else f"sha256:{joined}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file.

    Attributes:
        path: Relative, POSIX; bytes that are not UTF-8 are surrogate escapes.
        size: Bytes.
        digest: See the module.
        mtime_ns: Modification time in nanoseconds since 1970, as the source had it.
        executable: Its owner may run it.
        set: The data set it belongs to, as an index of the manifest's.
        blocks: SHA-256 of each block, for a file of several.
    """

    path: str
    size: int
    digest: str
    set: int = 0
    mtime_ns: int = 0
    executable: bool = False
    blocks: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        safe_path(self.path)
        if self.size < 0:
            raise ParseError(f"{self.path!r}: a size cannot be negative, got {self.size}")
        if not _DIGEST.fullmatch(self.digest) or self.digest.startswith("sha256-8M:") != (self.size > BLOCK):
            raise ParseError(f"{self.path!r}: {self.digest!r} is not the digest of a file of {self.size} bytes")
        wanted = blocks_of(self.size) if self.size > BLOCK else 0
        if len(self.blocks) != wanted or (wanted and file_digest(self.blocks) != self.digest):
            raise ParseError(f"{self.path!r}: its {len(self.blocks)} block digests do not make {self.digest}")

    @property
    def all_blocks(self) -> tuple[bytes, ...]:
        """SHA-256 of each block, of short files too."""
        if self.blocks or not self.size:
            return self.blocks
        return (bytes.fromhex(self.digest.partition(":")[2]),)


def make_entry(
    *, path: str, size: int, blocks: tuple[bytes, ...], mtime_ns: int = 0, executable: bool = False
) -> Entry:
    """An entry from what hashing a file gave."""
    return Entry(
        path=path,
        size=size,
        digest=file_digest(blocks),
        mtime_ns=mtime_ns,
        executable=executable,
        blocks=blocks if len(blocks) > 1 else (),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """What was copied from one source.

    Attributes:
        source: The source as people write it; damaged files are fetched from there again.
        place: Names the source wherever it is written differently.
        tool: Version of the program that copied it last.
        level: What its files are proven by, one of :data:`LEVELS`; the weakest, where they differ.
        published: When, in UTC, as ISO 8601.
    """

    source: str = ""
    place: str = ""
    tool: str = ""
    level: str = "verified"
    published: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A set of files.

    Attributes:
        entries: Sorted by path; no path twice, none below another.
        sets: The data sets that the entries belong to.
    """

    entries: tuple[Entry, ...]
    sets: tuple[DataSet, ...] = (DataSet(),)

    def __post_init__(self) -> None:
        previous = ""
        for entry in self.entries:
            if previous and entry.path <= previous:
                raise ParseError(f"{entry.path!r} does not come after {previous!r}: a manifest is sorted by path")
            previous = entry.path
            if not 0 <= entry.set < len(self.sets):
                raise ParseError(f"{entry.path!r}: there is no data set {entry.set} among {len(self.sets)}")

    @property
    def bytes(self) -> int:
        """Sum of all sizes."""
        return sum(entry.size for entry in self.entries)

    @cached_property
    def tree(self) -> str:
        """One hash of all paths, sizes and contents; times and modes do not count."""
        return tree_of(self.entries)

    def of(self, number: int) -> tuple[Entry, ...]:
        """The entries of a data set."""
        return tuple(entry for entry in self.entries if entry.set == number)


def tree_of(entries: Iterable[Entry]) -> str:
    """One hash of all paths, sizes and contents of entries in the order of paths."""
    total = hashlib.sha256()
    for entry in entries:
        total.update(f"{entry.digest} {entry.size} ".encode("ascii"))
        total.update(entry.path.encode("utf-8", "surrogateescape") + b"\0")
    return f"sha256:{total.hexdigest()}"


def weakest(levels: Iterable[str]) -> str:
    """The weakest of these levels; one that this version does not know is weaker than all it knows."""
    order = [*LEVELS]
    return max(levels, key=lambda level: order.index(level) if level in LEVELS else len(order), default=order[0])


def make_manifest(entries: Iterable[Entry], *, sets: Iterable[DataSet] = (DataSet(),)) -> Manifest:
    """A manifest of entries in any order.

    Raises:
        ParseError: A path occurs twice.
    """
    return Manifest(entries=tuple(sorted(entries, key=lambda entry: entry.path)), sets=tuple(sets))


def write_manifest(manifest: Manifest) -> Iterator[str]:
    """The manifest's lines, each with its newline; ASCII, so that no locale can spoil them."""
    yield _line(
        {
            "aifa_manifest": _VERSION,
            "files": len(manifest.entries),
            "bytes": manifest.bytes,
            "tree": manifest.tree,
            "sets": [_set_record(manifest, number) for number in range(len(manifest.sets))],
        }
    )
    for entry in manifest.entries:
        record: dict[str, Any] = {
            "path": entry.path,
            "set": entry.set,
            "size": entry.size,
            "mtime_ns": entry.mtime_ns,
            "executable": entry.executable,
            "digest": entry.digest,
        }
        if entry.blocks:
            record["blocks"] = [block.hex() for block in entry.blocks]
        yield _line(record)


def read_manifest(text: str) -> Manifest:
    """The inverse of :func:`write_manifest`; a manifest that was cut or edited is refused.

    Raises:
        ParseError: Not a manifest, of a newer version, cut short, or with a path that leaves its folder.
    """
    lines = text.split("\n")
    if lines.pop() or not lines:
        raise ParseError("the manifest ends in the middle of a line: it was cut short")
    header = _record(lines[0], 1, _HEADER_KEYS)
    entries = tuple(_entry(_record(line, number, _ENTRY_KEYS), number) for number, line in enumerate(lines[1:], 2))
    manifest = Manifest(entries=entries, sets=_sets(header["sets"]))
    found = [_set_record(manifest, number) for number in range(len(manifest.sets))]
    whole = (len(entries), manifest.bytes, manifest.tree, found)
    if (header["files"], header["bytes"], header["tree"], header["sets"]) != whole:
        raise ParseError(f"the manifest's {len(entries)} entries are not the {header['files']} its header vouches for")
    return manifest


def _set_record(manifest: Manifest, number: int) -> dict[str, Any]:
    one, alone = manifest.sets[number], len(manifest.sets) == 1
    entries = manifest.entries if alone else manifest.of(number)
    record: dict[str, Any] = {key: getattr(one, key) for key in ("source", "place", "tool", "level", "published")}
    size = sum(entry.size for entry in entries)
    return record | {"files": len(entries), "bytes": size, "tree": manifest.tree if alone else tree_of(entries)}


def _sets(records: Any) -> tuple[DataSet, ...]:
    if not isinstance(records, list) or not all(isinstance(one, dict) and one.keys() >= _SET_KEYS for one in records):
        raise ParseError(f"`sets` of the manifest needs a list of records with the keys {', '.join(sorted(_SET_KEYS))}")
    return tuple(DataSet(**{key: str(one[key]) for key in _SET_KEYS}) for one in records)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=True, separators=(", ", ": ")) + "\n"


def _record(line: str, number: int, keys: set[str]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ParseError(f"line {number} of the manifest is not JSON: {error}") from error
    if isinstance(record, dict) and record.get("aifa_manifest", _VERSION) != _VERSION:
        raise ParseError(f"manifest version {record['aifa_manifest']!r} is not known here; this is {_VERSION}")
    if not isinstance(record, dict) or not keys <= record.keys() <= keys | {"blocks"}:
        raise ParseError(f"line {number} of the manifest needs exactly the keys {', '.join(sorted(keys))}")
    return record


def _entry(record: dict[str, Any], number: int) -> Entry:
    try:
        blocks = tuple(bytes.fromhex(text) for text in record.get("blocks", ()))
    except (TypeError, ValueError) as error:
        raise ParseError(f"line {number} of the manifest: `blocks` is not a list of hexadecimal digests") from error
    types = {"path": str, "set": int, "size": int, "mtime_ns": int, "executable": bool, "digest": str}
    for key, kind in types.items():
        if type(record[key]) is not kind:
            raise ParseError(f"line {number} of the manifest: `{key}` is not of type {kind.__name__}")
    return Entry(**{key: record[key] for key in types}, blocks=blocks)
