"""One pinned snapshot of an Iceberg table, rewritten so that any engine reads it at another place without a catalog.

Iceberg's metadata names every file by its full location. Data files are copied byte for byte; what names them is
written anew from the bottom up, because each file states the exact length of the ones below it::

    data files, equality deletes        copied
    position deletes, deletion vectors  name data files: changed, so their own sizes change
    manifests                           name both, with sizes, and bounds of names
    manifest list                       names manifests, with their lengths
    vN.metadata.json                    names the list; keeps this snapshot only
    version-hint.text                   says N; written last, so that a reader never meets half a table

Files are mapped one by one and not by a common beginning, so tables whose files lie elsewhere (``add_files``, object
store layouts) can be moved too. Names are made of what they stand for: the same snapshot at the same place is the same
bytes, whoever makes it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.avro import AvroFile, put_texts, read_avro, write_avro
from aifa_hpc.lakehouse.deletes import move_positions, move_vectors
from aifa_hpc.lakehouse.sound import require_counts
from aifa_hpc.manifest import safe_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

HINT = "version-hint.text"

_DATA, _POSITIONS, _EQUALITY = 0, 1, 2  # data_file.content
GONE = 2
"""Status of a manifest's entry that says what a commit removed."""

_DELETES = 1  # content of a manifest
_PATH_FIELD = 2147483546  # reserved field id of `file_path` in position deletes
_AHEAD_BYTES = 4 * 2**20
"""Manifests that are read before it is known whether they are needed, at most: some 20,000 entries."""

_VERSIONS = (1, 2, 3)
_DROPPED_PROPERTIES = (
    "adls.",
    "gc.enabled",
    "gcs.",
    "hdfs.",
    "py-io-impl",
    "s3.",
    "write.data.path",
    "write.folder-storage.path",
    "write.metadata.path",
    "write.object-storage.",
)
"""Beginnings of properties that say where the source keeps its files and how to reach them."""


@dataclass(kw_only=True, slots=True)
class Moved:
    """What the copy is made of; every path is relative to the table's new place.

    Attributes:
        copied: Path to where the file is now: to be copied as it is.
        sizes: Path to bytes, of what is copied, as the table says it.
        made: Path to bytes, of what was put, in the order in which it is to be published: :data:`HINT` last.
        rows: Rows of the data files, before any deletes.
        deletes: Kinds of delete files that are kept: ``position``, ``vector``, ``equality``.
    """

    copied: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    deletes: set[str] = field(default_factory=set)


def read_metadata(data: bytes, name: str) -> dict[str, Any]:
    """A table's metadata, also a compressed one.

    Raises:
        InputError: It is none, or of a version that is not known here.
    """
    try:
        metadata = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{name} is no metadata of an Iceberg table: {error}.") from error
    version = metadata.get("format-version") if isinstance(metadata, dict) else None
    if version not in _VERSIONS:
        raise InputError(f"{name} has format-version {version!r}; known here are {', '.join(map(str, _VERSIONS))}.")
    assert isinstance(metadata, dict)
    return metadata


def relocate(
    metadata: dict[str, Any],
    snapshot_id: int,
    root: str,
    read: Callable[[str], bytes],
    put: Callable[[str, bytes], object],
    *,
    version: Callable[[bytes], int] = lambda _: 1,
    only: Collection[str] | None = None,
    have: Callable[[], Mapping[str, int]] = dict,
) -> Moved:
    """The copy of a snapshot for a place.

    Args:
        metadata: Of the table, from :func:`read_metadata`.
        snapshot_id: Which snapshot.
        root: Where the copy will be, as its readers will name it: ``/scratch/x/table``, ``s3://bucket/table``.
        read: Gives all bytes of a metadata or delete file.
        put: Takes what is made: its path in the copy, and all bytes.
        version: Is shown the copy's metadata and gives its number: that of an earlier copy at the same place if it is
            the same, else a greater one than any there.
        only: Locations of the data files to take; all by default.
        have: Tells bytes of files that an earlier copy to the same place left, by path. Manifests among them are not
            made again, and what they name is not listed in the result: only what was added since has to be moved. Asked
            once, when what can be read before was: the answer may be on its way meanwhile.

    Raises:
        InputError: No such snapshot, an encrypted table, or a file that cannot be read.
    """
    place = root.rstrip("/")
    moving = _Relocation(
        metadata=metadata, snapshot_id=snapshot_id, root=place, read=read, put=put, only=only, have=have
    )
    return moving.run(version)


class _Relocation:
    def __init__(
        self,
        *,
        metadata: dict[str, Any],
        snapshot_id: int,
        root: str,
        read: Callable[[str], bytes],
        put: Callable[[str, bytes], object],
        only: Collection[str] | None,
        have: Callable[[], Mapping[str, int]],
    ) -> None:
        self._metadata = metadata
        self._snapshot = find_snapshot(metadata, snapshot_id)
        self._root = root
        self._read = read
        self._put = put
        self._only = only
        self._ask = have
        self._have: Mapping[str, int] = {}
        self._ahead: dict[str, tuple[bytes, AvroFile]] = {}
        # In the names of what is made: of a part of the files, other metadata is made than of all.
        self._tag = _short(self._root if only is None else "\n".join((self._root, *sorted(only))))
        self._moved: dict[str, str] = {}  # location of a data file to its path in the copy
        self._vectors: dict[str, tuple[str, int]] = {}  # location of a Puffin file to its path and new size
        self._out = Moved()

    def run(self, choose: Callable[[bytes], int]) -> Moved:
        if self._metadata.get("encryption-keys"):
            raise InputError("the table is encrypted, and its keys stay in its catalog: it cannot be moved like this.")
        location = self._snapshot["manifest-list"]
        listed = read_avro(self._read(location), location)
        self._read_ahead(listed.records)
        have = self._ask()
        self._have = have if self._only is None else {}
        # Data before deletes: deletes name data.
        order = sorted(range(len(listed.records)), key=lambda number: listed.records[number].get("content") or _DATA)
        kept: dict[int, dict[str, Any]] = {}
        for number in order:
            entry = self._manifest(listed.records[number])
            if entry is not None:
                kept[number] = entry
        name = f"metadata/snap-{self._snapshot['snapshot-id']}-{self._tag}.avro"
        self._make(name, write_avro(listed, [kept[number] for number in sorted(kept)]))
        document = json.dumps(self._document(f"{self._root}/{name}")).encode()
        version = choose(document)
        self._make(f"metadata/v{version}.metadata.json", document)
        self._make(f"metadata/{HINT}", str(version).encode())
        return self._out

    def _read_ahead(self, listed: Sequence[dict[str, Any]]) -> None:
        """Manifests that this snapshot has added: no copy of an earlier one has them."""
        length = 0
        for one in listed:
            length += one["manifest_length"]
            if one.get("added_snapshot_id") == self._snapshot["snapshot-id"] and length <= _AHEAD_BYTES:
                self._ahead[one["manifest_path"]] = self._avro(one["manifest_path"])

    def _avro(self, location: str) -> tuple[bytes, AvroFile]:
        content = self._read(location)
        return content, read_avro(content, location)

    def _make(self, path: str, data: bytes) -> None:
        self._put(path, data)
        self._out.made[path] = len(data)

    def _manifest(self, listed: dict[str, Any]) -> dict[str, Any] | None:
        """The entry of the manifest list, once its manifest is made; ``None`` when nothing in it is alive."""
        location = listed["manifest_path"]
        if listed.get("key_metadata"):
            raise InputError(f"the manifest {location} is encrypted: its table cannot be moved like this.")
        name = f"metadata/{_short(location)}-{self._tag}-m.avro"
        if name in self._have:
            return listed | self._listed(listed, name, self._have[name], None)
        content, file = self._ahead.pop(location) if location in self._ahead else self._avro(location)
        deletes = (listed.get("content") or _DATA) == _DELETES
        alive = [entry for entry in file.records if entry["status"] != GONE]
        moved = [one for one in (self._delete(e) if deletes else self._data(e) for e in alive) if one is not None]
        if not moved:
            return None
        data = None
        if not deletes and len(moved) == len(file.records):  # of all entries only the names are other ones
            data = put_texts(content, [(_name_of(old), _name_of(new)) for old, new in zip(alive, moved, strict=True)])
        data = write_avro(file, moved) if data is None else data
        self._make(name, data)
        return listed | self._listed(listed, name, len(data), moved)

    def _listed(
        self, listed: dict[str, Any], name: str, length: int, moved: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        """What the manifest list says of a manifest; its counts stay where its entries are not known."""
        changed: dict[str, Any] = {"manifest_path": f"{self._root}/{name}", "manifest_length": length}
        for kind, status in (("existing", 0), ("added", 1), ("deleted", GONE)):
            own = [entry for entry in moved or () if entry["status"] == status]
            counts = {"files": len(own), "rows": sum(entry["data_file"]["record_count"] for entry in own)}
            for unit, count in counts.items():
                # V1 lists may call them added_data_files_count.
                for key in (f"{kind}_{unit}_count", f"{kind}_data_{unit}_count"):
                    if key in listed and (moved is not None or status == GONE):
                        changed[key] = count
        return changed

    def _data(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        file = self._plain(entry)
        location = file["file_path"]
        if self._only is not None and location not in self._only:
            return None
        path = self._moved[location] = self._copy(file, "data")
        self._out.rows += file["record_count"]
        return entry | {"data_file": file | {"file_path": f"{self._root}/{path}"}}

    def _delete(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        file = self._plain(entry)
        if file["content"] == _EQUALITY:
            self._out.deletes.add("equality")
            return entry | {"data_file": file | {"file_path": f"{self._root}/{self._copy(file, 'data')}"}}
        referenced = file.get("referenced_data_file")
        changed: dict[str, Any] = {}
        if referenced is not None:
            changed["referenced_data_file"] = self._now(referenced)
            if changed["referenced_data_file"] is None:
                return None
        if str(file["file_format"]).upper() == "PUFFIN":
            path, changed["file_size_in_bytes"] = self._vector(file["file_path"])
        elif str(file["file_format"]).upper() == "PARQUET":
            made = self._positions(file["file_path"])
            if made is None:
                return None
            path, positions = made
            changed |= positions | self._bounds(file, positions.pop("bounds"))
        else:
            raise InputError(f"position deletes as {file['file_format']} cannot be moved yet: {file['file_path']}.")
        return entry | {"data_file": file | changed | {"file_path": f"{self._root}/{path}"}}

    def _plain(self, entry: dict[str, Any]) -> dict[str, Any]:
        file: dict[str, Any] = entry["data_file"]
        if file.get("key_metadata"):
            raise InputError(f"{file['file_path']} is encrypted: its table cannot be moved like this.")
        require_counts(file["file_path"], file["file_size_in_bytes"], file["record_count"])
        return file

    def _positions(self, location: str) -> tuple[str, dict[str, Any]] | None:
        data, first, last, rows = move_positions(self._read(location), self._now, location)
        if not rows:
            return None
        self._out.deletes.add("position")
        path = f"data/{_short(location)}-{self._tag}-deletes.parquet"
        self._make(path, data)
        return path, {"file_size_in_bytes": len(data), "record_count": rows, "bounds": (first, last)}

    def _vector(self, location: str) -> tuple[str, int]:
        """Several vectors may share a file: it is made once."""
        if location not in self._vectors:
            data = move_vectors(self._read(location), self._now, location)
            path = f"data/{_short(location)}-{self._tag}-deletes.puffin"
            self._make(path, data)
            self._vectors[location] = path, len(data)
            self._out.deletes.add("vector")
        return self._vectors[location]

    def _bounds(self, file: dict[str, Any], names: tuple[str, str]) -> dict[str, Any]:
        """Readers skip delete files by the bounds of the names in them; split offsets were those of the old file."""
        changed: dict[str, Any] = {"split_offsets": None} if file.get("split_offsets") else {}
        for key, name in zip(("lower_bounds", "upper_bounds"), names, strict=True):
            bounds = file.get(key)
            if bounds is not None:
                own = {"key": _PATH_FIELD, "value": name.encode()}
                changed[key] = [own if bound["key"] == _PATH_FIELD else bound for bound in bounds]
        # Sizes of columns and counts of values were those of the old file.
        return changed | {key: None for key in ("column_sizes", "value_counts") if file.get(key) is not None}

    def _copy(self, file: dict[str, Any], folder: str) -> str:
        path = self._path(file["file_path"], folder)
        self._out.copied[path] = file["file_path"]
        self._out.sizes[path] = file["file_size_in_bytes"]
        return path

    def _path(self, location: str, folder: str) -> str:
        """As below the table's own place; what lies elsewhere gets a name that is its own."""
        base = f"{self._metadata['location'].rstrip('/')}/"
        inside = location.removeprefix(base)
        if inside != location:
            return safe_path(inside)
        return safe_path(f"{folder}/{_short(location)}-{location.rpartition('/')[2]}")

    def _now(self, location: str) -> str | None:
        path = self._moved.get(location)
        if path is None and self._have:  # it may be one that was taken along by an earlier copy
            path = self._path(location, "data")
        return None if path is None else f"{self._root}/{path}"

    def _document(self, manifest_list: str) -> dict[str, Any]:
        """The metadata with this snapshot as its only one."""
        document = dict(self._metadata)
        number = self._snapshot["snapshot-id"]
        snapshot = {**self._snapshot, "manifest-list": manifest_list}
        snapshot.pop("parent-snapshot-id", None)
        if self._only is not None and "summary" in snapshot:  # its totals are those of the whole
            snapshot["summary"] = {
                key: value for key, value in snapshot["summary"].items() if not key.startswith("total-")
            }
        document |= {
            "location": self._root,
            "current-snapshot-id": number,
            "snapshots": [snapshot],
            "snapshot-log": [{"snapshot-id": number, "timestamp-ms": snapshot["timestamp-ms"]}],
            "metadata-log": [],
            "last-updated-ms": snapshot["timestamp-ms"],
            "refs": {"main": {"snapshot-id": number, "type": "branch"}},
            "properties": {
                key: value
                for key, value in (document.get("properties") or {}).items()
                if not key.startswith(_DROPPED_PROPERTIES)
            },
        }
        # As they were then: a commit to the source does not change the copy of this snapshot.
        if "sequence-number" in snapshot:
            document["last-sequence-number"] = snapshot["sequence-number"]
        if "first-row-id" in snapshot and "added-rows" in snapshot:
            document["next-row-id"] = snapshot["first-row-id"] + snapshot["added-rows"]
        # An earlier snapshot is read with the schema that it had, the last one with the table's present one.
        if "schema-id" in snapshot and number != self._metadata.get("current-snapshot-id"):
            document["current-schema-id"] = snapshot["schema-id"]
            if "schema" in document:  # V1 repeats it
                document["schema"] = {one["schema-id"]: one for one in document["schemas"]}[snapshot["schema-id"]]
        for key in ("statistics", "partition-statistics"):
            if key in document:
                document[key] = []
        return document


def find_snapshot(metadata: dict[str, Any], snapshot_id: int) -> dict[str, Any]:
    """A snapshot of the metadata.

    Raises:
        InputError: It has none of that id (any more), or one from before manifest lists.
    """
    found = next((one for one in metadata.get("snapshots") or () if one["snapshot-id"] == snapshot_id), None)
    if found is None:
        known = ", ".join(str(one["snapshot-id"]) for one in (metadata.get("snapshots") or ())[-5:]) or "none"
        raise InputError(
            f"{metadata.get('location')} has no snapshot {snapshot_id}: it never had one, or it has expired.",
            hint=f"The latest ones are {known}.",
        )
    if "manifest-list" not in found:
        raise InputError(
            f"snapshot {snapshot_id} of {metadata.get('location')} lists its manifests inline, as early V1 tables do.",
            hint="Any commit by a current engine writes a manifest list.",
        )
    assert isinstance(found, dict)
    return found


def _name_of(entry: dict[str, Any]) -> str:
    name: str = entry["data_file"]["file_path"]
    return name


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
