"""Which files a snapshot of an Iceberg table is made of, to be copied as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.avro import read_avro
from aifa_hpc.lakehouse.relocate import GONE, find_snapshot
from aifa_hpc.lakehouse.sound import require_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def manifests(
    metadata: dict[str, Any], snapshot_id: int, read: Callable[[str], bytes]
) -> Iterator[tuple[dict[str, Any], Sequence[dict[str, Any]]]]:
    """What the list says of each manifest of a snapshot, and the manifest's entries.

    Raises:
        InputError: One of these files is gone or damaged.
    """
    listing = find_snapshot(metadata, snapshot_id)["manifest-list"]
    for entry in read_avro(read(listing), listing).records:
        yield entry, read_avro(read(entry["manifest_path"]), entry["manifest_path"]).records


def verbatim(metadata: dict[str, Any], snapshot_id: int, location: str, read: Callable[[str], bytes]) -> dict[str, int]:
    """Location and bytes of every file: data, deletes, manifests, their list, and the metadata itself last.

    Args:
        metadata: Of the table.
        snapshot_id: Which snapshot.
        location: Of the metadata.
        read: Gives all bytes of a metadata file.

    Raises:
        InputError: A file lies outside the table's own place: its name would be lost.
    """
    found: dict[str, int] = {}
    for entry, records in manifests(metadata, snapshot_id, read):
        found[entry["manifest_path"]] = entry["manifest_length"]
        for one in records:
            file = one["data_file"]
            if one["status"] != GONE:
                require_counts(file["file_path"], file["file_size_in_bytes"], file["record_count"])
                found[file["file_path"]] = file["file_size_in_bytes"]
    listing = find_snapshot(metadata, snapshot_id)["manifest-list"]
    found[listing] = len(read(listing))
    found[location] = len(read(location))
    base = f"{metadata['location'].rstrip('/')}/"
    outside = next((one for one in found if not one.startswith(base)), None)
    if outside is not None:
        raise InputError(
            f"{outside} lies outside of its table {base}: as it is, it cannot be found again at another place.",
            hint="Copy the table without --no-relocate: its metadata is then written for the new place.",
        )
    return found
