"""Which files a snapshot of an Iceberg table is made of, to be copied as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.avro import read_avro
from aifa_hpc.lakehouse.relocate import GONE, find_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable


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
    listing = find_snapshot(metadata, snapshot_id)["manifest-list"]
    listed = read(listing)
    for entry in read_avro(listed, listing).records:
        manifest = entry["manifest_path"]
        found[manifest] = entry["manifest_length"]
        for one in read_avro(read(manifest), manifest).records:
            if one["status"] != GONE:
                found[one["data_file"]["file_path"]] = one["data_file"]["file_size_in_bytes"]
    found[listing] = len(listed)
    found[location] = len(read(location))
    base = f"{metadata['location'].rstrip('/')}/"
    outside = next((one for one in found if not one.startswith(base)), None)
    if outside is not None:
        raise InputError(
            f"{outside} lies outside of its table {base}: as it is, it cannot be found again at another place.",
            hint="Copy the table without --no-relocate: its metadata is then written for the new place.",
        )
    return found
