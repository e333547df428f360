"""What a table may say of its files. A table comes from elsewhere, and the files of this machine are not its own."""

from __future__ import annotations

from aifa_hpc.errors import InputError

_MOST = 2**50
"""Bytes or rows of one file, and of all that a ledger adds up of a few thousand ones."""


def require_near(metadata: str, location: str) -> None:
    """Refuses a file that a table should not reach.

    Args:
        metadata: Where the table's metadata is.
        location: Of a file that it names.

    Raises:
        InputError: It climbs out of a folder, or is a file of this machine in a table of a store.
    """
    if ".." in location.split("/"):
        raise InputError(f"{location} climbs out of its folder with '..': no engine names a table's files like this.")
    if _is_local(location) and not _is_local(metadata):
        raise InputError(
            f"{location} is a file of this machine, and the table is at {metadata}: it is not read.",
            hint="Who wrote the table can have its files where the table is.",
        )


def require_counts(location: str, size: int, rows: int) -> None:
    """Refuses sizes that no file has.

    Raises:
        InputError: Negative ones, or more than a pebibyte.
    """
    for count, what in ((size, "bytes"), (rows, "rows")):
        if not 0 <= count <= _MOST:
            raise InputError(
                f"the table says of {location} that it has {count} {what}, from 0 to {_MOST} can be.",
                hint="Its metadata is damaged: what else it says is not to be believed either.",
            )


def _is_local(location: str) -> bool:
    scheme, colon, _ = location.partition(":")
    return not colon or "/" in scheme or scheme == "file"
