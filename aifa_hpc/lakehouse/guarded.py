"""Tables whose metadata does not say what program reads them.

pyiceberg imports and calls what a table's property ``py-io-impl`` names, and the table's own properties go before those
of its catalog. Who writes a table could have any function of this machine called. Here the catalog's configuration may
name one, and a table may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aifa_hpc.lakehouse.relocate import read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import StaticTable

_IMPLEMENTATION = "py-io-impl"


def static_table(metadata: str, properties: Mapping[str, str]) -> StaticTable:
    """The table of a metadata file, also of a compressed one.

    Args:
        metadata: Where it is.
        properties: Of the FileIO; they go before those of the table.

    Raises:
        InputError: It is none.
        Exception: What pyiceberg and the store raise.
    """
    from pyiceberg.catalog.noop import NoopCatalog  # noqa: PLC0415 - heavy, and only for tables
    from pyiceberg.io import load_file_io  # noqa: PLC0415
    from pyiceberg.table import StaticTable  # noqa: PLC0415
    from pyiceberg.table.metadata import TableMetadataUtil  # noqa: PLC0415

    with load_file_io(dict(properties), metadata).new_input(metadata).open() as stream:
        read = TableMetadataUtil.parse_obj(read_metadata(stream.read(), metadata))
    return StaticTable(
        identifier=("static-table", metadata),
        metadata_location=metadata,
        metadata=read,
        io=load_file_io(_plain(read.properties) | dict(properties), metadata),
        catalog=NoopCatalog("static-table"),
    )


def guard(catalog: Catalog) -> None:
    """Lets the tables that a catalog opens from now on be read as its configuration says."""
    load = catalog._load_file_io  # noqa: SLF001 - where pyiceberg's catalogs choose what reads a table

    def guarded(properties: Mapping[str, str] | None = None, location: str | None = None) -> Any:
        return load(_plain(properties or {}), location)

    catalog._load_file_io = guarded  # type: ignore[method-assign]  # noqa: SLF001


def _plain(properties: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in properties.items() if key != _IMPLEMENTATION}
