"""The data files of a copied Iceberg table: a folder also holds files of older snapshots, and files of deleted rows.

For a relocated copy as for one that was copied as it was: locations are read as below the place that metadata names.
Columns of files are found by their ids, because a file keeps the names that were right when it was written.
Rows that position deletes or deletion vectors delete are left out; a table with equality deletes is refused, because
without these deleted rows would be trained on.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import safe_path
from aifa_hpc.runtime.avro import read_records
from aifa_hpc.runtime.deletes import DataFile, Deletes, deleted_rows

if TYPE_CHECKING:
    from aifa_hpc.runtime.folders import Here, Root, There

HINT = "version-hint.text"
METADATA = ".metadata.json"
_GONE = 2  # status of an entry that says what a commit removed
_ADDED = 1  # status of one that says what the manifest's own commit added
_EQUALITY = 2  # content of a file of deletes that names values and no positions
_PLAIN = "`aifa stage copy ... --mode pushdown` writes plain Parquet with deletes applied and one schema."


def present_of(folder: Here | There) -> str | None:
    """The metadata file that a folder's hint names, relative to it."""
    hint = folder.read(f"metadata/{HINT}")
    return None if hint is None else f"metadata/v{hint.decode('ascii').strip()}{METADATA}"


def metadata_of(folder: Here | There) -> str | None:
    """The metadata file of a folder that holds a table, relative to it; ``None`` for any other folder.

    Raises:
        InputError: It holds one without saying which of its metadata files is meant.
    """
    hinted = present_of(folder)
    if hinted is not None:
        return hinted
    found = sorted(folder.find(METADATA, "metadata"))
    if found:
        raise InputError(
            f"{folder} holds an Iceberg table without a {HINT}: which of its {len(found)} metadata files is meant?",
            hint=f"Name it, such as shards({f'{folder}/{found[-1]}'!r}).",
        )
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What is read of a data set.

    Attributes:
        root: Its folder, or its URL.
        paths: Its files, relative to the root.
        names: Of a table, its columns' names by their ids.
        deleted: Of a table, which rows are deleted, by path (see :mod:`aifa_hpc.runtime.deletes`).
    """

    root: Root
    paths: list[str]
    names: dict[int, str] | None = None
    deleted: dict[str, bytes] = field(default_factory=dict)


def table_files(folder: Here | There, path: str) -> Files:
    """The data files of a table's present snapshot.

    Args:
        folder: Of the table.
        path: Of its metadata, relative to that.

    Raises:
        InputError: The table has no snapshot, has equality deletes, keeps files elsewhere or not as Parquet, or a file
            of its metadata or its deletes is missing or damaged.
    """
    metadata, data = f"{folder}/{path}", folder.read(path)
    try:
        if data is None:
            raise FileNotFoundError("there is no such file")
        document = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        place, current = document["location"].rstrip("/"), document.get("current-snapshot-id")
        snapshot = next((one for one in document.get("snapshots") or () if one["snapshot-id"] == current), None)
        schemas = {one.get("schema-id"): one for one in document.get("schemas") or ()}
        schema = schemas.get(document.get("current-schema-id")) or document["schema"]
        names = {field["id"]: field["name"] for field in schema["fields"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{metadata} is no metadata of an Iceberg table: {type(error).__name__}: {error}.") from error
    if snapshot is None or "manifest-list" not in snapshot:
        raise InputError(f"{metadata} has no snapshot that can be read: nothing was ever written to the table.")
    files: dict[str, DataFile] = {}
    deletes: list[Deletes] = []
    try:
        for listed in _records(folder, place, snapshot["manifest-list"]):
            for entry in _records(folder, place, listed["manifest_path"]):
                _add(files, deletes, place, listed, entry)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the manifests of {metadata} are none: {type(error).__name__}: {error}.") from error
    deleted = deleted_rows(files, deletes, lambda path: _read(folder, path))
    return Files(root=folder.root, paths=sorted(one.path for one in files.values()), names=names, deleted=deleted)


def _add(
    files: dict[str, DataFile], deletes: list[Deletes], place: str, listed: dict[str, Any], entry: dict[str, Any]
) -> None:
    """Adds what an entry of a manifest says."""
    if entry["status"] == _GONE:
        return
    file, sequence = entry["data_file"], entry.get("sequence_number")
    if sequence is None:  # it is that of the commit, which the manifest could not know when it was written
        sequence = (listed.get("sequence_number") or 0) if entry["status"] == _ADDED else 0
    if file.get("content"):
        deletes.append(_deletes(place, file, sequence))
    else:
        path = _below(place, _parquet(file))
        files[file["file_path"]] = DataFile(path=path, rows=file["record_count"], sequence=sequence)


def _deletes(place: str, file: dict[str, Any], sequence: int) -> Deletes:
    location = file["file_path"]
    if file["content"] == _EQUALITY:
        raise InputError(
            f"rows of the table are deleted by their values, in {location}. What such equality deletes delete is known"
            " when all older rows have been compared with them, which no rank can do for its own.",
            hint="Let the engine that writes the table compact it (in Spark `CALL system.rewrite_data_files`), and copy"
            " the snapshot after that.",
        )
    vector, data_file = None, file.get("referenced_data_file")
    if file["file_format"].upper() == "PUFFIN":
        first, size = file.get("content_offset"), file.get("content_size_in_bytes")
        if data_file is None or first is None or size is None:
            raise InputError(f"of the deletion vector in {location} it is not said where it is or of what.")
        vector = (first, size)
    else:
        _parquet(file)
    return Deletes(path=_below(place, location), sequence=sequence, data_file=data_file, vector=vector)


def _parquet(file: dict[str, Any]) -> str:
    location: str = file["file_path"]
    if file["file_format"].upper() != "PARQUET":
        raise InputError(f"{location} is {file['file_format']}, and read here is Parquet.", hint=_PLAIN)
    return location


def _records(folder: Here | There, place: str, location: str) -> list[Any]:
    path = _below(place, location)
    return read_records(_read(folder, path), f"{folder}/{path}")


def _read(folder: Here | There, path: str) -> bytes:
    data = folder.read(path)
    if data is None:
        raise InputError(
            f"{folder}/{path} cannot be read: No such file.",
            hint="`aifa stage verify` says what is missing or damaged, and can fetch it again.",
        )
    return data


def _below(place: str, location: str) -> str:
    if not location.startswith(f"{place}/"):
        raise InputError(f"{location} does not lie below {place}, the place of its table.", hint=_PLAIN)
    return safe_path(location[len(place) + 1 :])
