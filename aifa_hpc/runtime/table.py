"""The data files of a copied Iceberg table: a folder also holds files of older snapshots, and files of deleted rows.

For a relocated copy as for one that was copied as it was: locations are read as below the place that metadata names.
Columns of files are found by their ids, because a file keeps the names that were right when it was written.
Deletes are not applied here, and a table that has any is refused: without them deleted rows would be trained on.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import safe_path
from aifa_hpc.runtime.avro import read_records

if TYPE_CHECKING:
    from aifa_hpc.runtime.folders import Here, Root, There

HINT = "version-hint.text"
METADATA = ".metadata.json"
_GONE = 2  # status of an entry that says what a commit removed
_APPLIED = "`aifa stage copy ... --mode pushdown` writes plain Parquet with deletes applied and one schema."


def metadata_of(folder: Here | There) -> str | None:
    """The metadata file of a folder that holds a table, relative to it; ``None`` for any other folder.

    Raises:
        InputError: It holds one without saying which of its metadata files is meant.
    """
    hint = folder.read(f"metadata/{HINT}")
    if hint is not None:
        return f"metadata/v{hint.decode('ascii').strip()}{METADATA}"
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
    """

    root: Root
    paths: list[str]
    names: dict[int, str] | None = None


def table_files(folder: Here | There, path: str) -> Files:
    """The data files of a table's present snapshot.

    Args:
        folder: Of the table.
        path: Of its metadata, relative to that.

    Raises:
        InputError: The table has no snapshot, has deletes, keeps files elsewhere or not as Parquet, or a file of its
            metadata is missing or damaged.
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
    found = []
    for listed in _records(folder, place, snapshot["manifest-list"]):
        for entry in _records(folder, place, listed["manifest_path"]):
            file = entry["data_file"]
            if entry["status"] == _GONE:
                continue
            if file.get("content"):
                raise InputError(f"{metadata}: rows of the table are deleted by {file['file_path']}.", hint=_APPLIED)
            if file["file_format"].upper() != "PARQUET":
                raise InputError(f"{file['file_path']} is {file['file_format']}, and read here is Parquet.")
            found.append(_below(place, file["file_path"]))
    return Files(root=folder.root, paths=sorted(found), names=names)


def _records(folder: Here | There, place: str, location: str) -> list[Any]:
    path = _below(place, location)
    data = folder.read(path)
    if data is None:
        raise InputError(
            f"{folder}/{path} cannot be read: No such file.",
            hint="`aifa stage verify` says what is missing or damaged, and can fetch it again.",
        )
    return read_records(data, f"{folder}/{path}")


def _below(place: str, location: str) -> str:
    if not location.startswith(f"{place}/"):
        raise InputError(f"{location} does not lie below {place}, the place of its table.", hint=_APPLIED)
    return safe_path(location[len(place) + 1 :])
