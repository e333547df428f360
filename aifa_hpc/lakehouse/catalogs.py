"""Opens tables through pyiceberg: catalogs as they are configured now, object stores where AWS's tools find them.

pyiceberg reads ``~/.pyiceberg.yaml`` and ``PYICEBERG_CATALOG__*`` once, when it is imported, so that a notebook which
sets a variable later is not heard; here they are read for each table. And pyiceberg asks Amazon for whatever its own
configuration does not say of S3, while everything else of this library goes where ``AWS_ENDPOINT_URL`` or the profile
says: so what these say is the default of every catalog, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.runtime.folders import s3_settings

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from aifa_hpc.lakehouse.names import TableName


def load_table(name: TableName) -> Table:
    """The table as it is now; raises what pyiceberg and the catalog's driver raise."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415 - heavy, and only for tables
    from pyiceberg.table import StaticTable  # noqa: PLC0415
    from pyiceberg.utils.config import Config  # noqa: PLC0415

    if not name.catalog:
        return StaticTable.from_metadata(name.table, store_settings() if "://" in name.table else {})
    configured = {key: str(value) for key, value in (Config().get_catalog_config(name.catalog) or {}).items()}
    catalog = load_catalog(name.catalog, **configured)
    for key, value in store_settings().items():
        catalog.properties.setdefault(key, value)
    return catalog.load_table(name.table)


def store_settings() -> dict[str, str]:
    """Where S3 is by the environment or the profile, as properties of a FileIO; empty for Amazon's."""
    found = s3_settings()
    return {"s3.endpoint": found["endpoint_override"], "s3.region": found["region"]} if found else {}
