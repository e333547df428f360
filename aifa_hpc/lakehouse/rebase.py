"""Reads a byte-identical copy of an Iceberg table: its metadata names the old place, and its files are at the new one.

Nothing is rewritten, so the source's checksums stay evidence, and deletes go on to match: they name data files as the
table does, and only the moment of opening a file looks elsewhere. For pyiceberg only; other engines read a relocated
snapshot (:mod:`aifa_hpc.lakehouse.relocate`). Every file that pyiceberg reads of a table, metadata, manifests, data and
deletes, is opened through the table's FileIO, which is what is put in here::

    table = rebased("/scratch/project_465000001/birds/metadata/00007-1b2c.metadata.json")
    table.scan(row_filter="day >= '2026-01-01'").to_arrow()

The same with pyiceberg's own loader, for programs that cannot call this::

    StaticTable.from_metadata(path, properties=rebasing({"s3://lab/birds": "/scratch/project_465000001/birds"}))
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyiceberg.io import PY_IO_IMPL, FileIO, InputFile, OutputFile, load_file_io

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.relocate import read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.table import StaticTable

PLACES = "aifa.rebase.places"
"""The property that holds old and new places, as a JSON object."""

_SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}  # Hadoop's and older names of the same stores


def rebased(
    metadata: str, places: Mapping[str, str] | None = None, *, properties: Mapping[str, str] | None = None
) -> StaticTable:
    """The table of a copy, to be read only.

    Args:
        metadata: Where its ``.metadata.json`` is now.
        places: Old place to new one; both folders, or both files. By default the place that the metadata names is the
            folder above the one that the metadata file is in: the whole table was copied as it was.
        properties: For reaching the new place, as pyiceberg's FileIO names them (``s3.endpoint`` and the like). They
            go before those of the table, which were for reaching the old one.

    Raises:
        InputError: It is no metadata of a table, or lies in no folder ``metadata`` and no places were given.
    """
    from pyiceberg.catalog.noop import NoopCatalog  # noqa: PLC0415 - heavy, and only here
    from pyiceberg.serializers import FromInputFile  # noqa: PLC0415
    from pyiceberg.table import StaticTable  # noqa: PLC0415

    own = {key: value for key, value in (properties or {}).items() if key not in (PY_IO_IMPL, PLACES)}
    file = load_file_io(own, metadata).new_input(metadata)
    try:
        with file.open() as stream:
            document = read_metadata(stream.read(), metadata)
    except FileNotFoundError as error:
        raise InputError(f"{metadata} is not there.", hint="Name the .metadata.json of the copied table.") from error
    found = {document["location"]: _folder_of(metadata)} if places is None else dict(places)
    return StaticTable(
        identifier=("rebased", metadata),
        metadata_location=metadata,
        metadata=FromInputFile.table_metadata(file),
        io=RebasedFileIO(own | rebasing(found)),
        catalog=NoopCatalog("rebased"),
    )


def rebasing(places: Mapping[str, str]) -> dict[str, str]:
    """The properties that make pyiceberg read through :class:`RebasedFileIO`.

    ``StaticTable.from_metadata`` lets the table's own properties win: one that sets ``py-io-impl`` needs
    :func:`rebased`.
    """
    name = f"{RebasedFileIO.__module__}.{RebasedFileIO.__qualname__}"
    return {PY_IO_IMPL: name, PLACES: json.dumps(dict(places))}


class RebasedFileIO(FileIO):
    """A FileIO for reading that looks for files of an old place at a new one; locations at a new place are as they are.

    The longest old place that a location lies in decides. The new place's own FileIO is pyiceberg's choice.

    Raises:
        InputError: The property :data:`PLACES` is missing or is no map of places.
    """

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        given: dict[str, Any] = dict(properties or {})
        super().__init__(given)
        self._places = _places(given.get(PLACES))
        self._inner = {key: value for key, value in given.items() if key not in (PY_IO_IMPL, PLACES)}
        self._opened: dict[str, FileIO] = {}

    def now(self, location: str) -> str:
        """Where a file is now.

        Raises:
            InputError: It lies in none of the places.
        """
        plain = _plain(location)
        for old, new in self._places:
            if _inside(plain, old):
                return new + plain[len(old) :]
        if any(_inside(plain, _plain(new)) for _, new in self._places):
            return location
        known = ", ".join(old for old, _ in self._places)
        raise InputError(
            f"{location} lies in none of the places that are known to have moved: {known}.",
            hint="Add the place where it was and where it is now: tables may keep files outside of their own folder"
            " (write.data.path, add_files).",
        )

    def new_input(self, location: str) -> InputFile:
        where = self.now(location)
        scheme = where.partition("://")[0] if "://" in where else ""
        if scheme not in self._opened:
            self._opened[scheme] = load_file_io(self._inner, where)
        return self._opened[scheme].new_input(where)

    def new_output(self, location: str) -> OutputFile:
        raise InputError(f"{location} is not written: a copy that is read as it was copied is not changed.")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        name = location if isinstance(location, str) else location.location
        raise InputError(f"{name} is not deleted: a copy that is read as it was copied is not changed.")


def _places(text: Any) -> tuple[tuple[str, str], ...]:
    """Old and new places, the longest old one first."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict) or not found or not all(isinstance(new, str) and new for new in found.values()):
        raise InputError(
            f"{PLACES} = {text!r} must be a JSON object of old places and new ones.",
            hint='Such as {"s3://lab/birds": "/scratch/project_465000001/birds"}; rebasing() writes it.',
        )
    pairs = [(_plain(old), new.rstrip("/")) for old, new in found.items()]
    if not all(old for old, _ in pairs):
        raise InputError(f"{PLACES} = {text!r}: an old place may not be everything.")
    return tuple(sorted(pairs, key=lambda pair: len(pair[0]), reverse=True))


def _plain(location: str) -> str:
    """One spelling of a location: ``file:///x`` and ``file:/x`` are ``/x``, ``s3a://`` is ``s3://``; no final slash."""
    scheme, colon, rest = location.partition(":")
    if not colon or "/" in scheme:
        return location.rstrip("/")
    if scheme == "file":
        return ("/" + rest.lstrip("/")).rstrip("/")
    return f"{_SAME_SCHEME.get(scheme, scheme)}:{rest}".rstrip("/")


def _inside(location: str, place: str) -> bool:
    """Whether it is the place or lies in it; ``/a/birds-2`` does not lie in ``/a/birds``."""
    return location == place or location.startswith(f"{place}/")


def _folder_of(metadata: str) -> str:
    table, _, rest = metadata.rpartition("/metadata/")
    if not table or "/" in rest:
        raise InputError(
            f"{metadata} lies in no folder `metadata`, so where the table is cannot be seen from it.",
            hint="Say which place went where: rebased(metadata, {old: new}).",
        )
    return table
