"""Opens tables through pyiceberg: catalogs as they are configured now, object stores where AWS's tools find them.

pyiceberg reads ``~/.pyiceberg.yaml`` and ``PYICEBERG_CATALOG__*`` once, when it is imported, so that a notebook which
sets a variable later is not heard; here they are read for each table. And pyiceberg asks Amazon for whatever its own
configuration does not say of S3, while everything else of this library goes where ``AWS_ENDPOINT_URL`` or the profile
says: so what these say is the default of every catalog, too.

pyiceberg waits for ever for a catalog that accepts a connection and says nothing (REST, SQL and Hive; boto3 has limits
of its own). A catalog has :data:`PATIENCE` seconds here, or what its property ``aifa.seconds`` says.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from aifa_hpc.errors import InputError, SiteError
from aifa_hpc.lakehouse.guarded import guard, static_table
from aifa_hpc.runtime.folders import s3_settings, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyiceberg.table import Table

    from aifa_hpc.lakehouse.names import TableName


PATIENCE = 60.0
"""Seconds in which a catalog has to give a table."""

_SECONDS = "aifa.seconds"
T = TypeVar("T")


def load_table(name: TableName) -> Table:
    """The table as it is now.

    Raises:
        InputError: The catalog's ``aifa.seconds`` are none.
        SiteError: It did not answer in time.
        Exception: What pyiceberg and the catalog's driver raise.
    """
    from pyiceberg.utils.config import Config  # noqa: PLC0415 - heavy, and only for tables

    configured = dict(Config().get_catalog_config(name.catalog) or {}) if name.catalog else {}
    settings = {key: str(value) for key, value in configured.items()}
    seconds = _patience(name, settings)
    return within(seconds, lambda: _load(name, settings, seconds), f"{name}: {_who(name, settings)} does not answer")


def within(seconds: float, work: Callable[[], T], late: str) -> T:
    """What some work gives or raises.

    Args:
        seconds: How long it may take.
        work: A thread does it, which is left behind when it takes longer: nothing ends it, and no exit waits for it.
        late: What to say then.

    Raises:
        SiteError: It took longer.
    """
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            raised = error

            def fail() -> T:
                raise raised

            done.append(fail)
        else:
            done.append(lambda: found)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise SiteError(
            f"{late} within {seconds:g} seconds.",
            hint=f"Is it up, and is its address right? A slow one may have more: its property {_SECONDS}.",
        )
    return done[0]()


def _load(name: TableName, settings: Mapping[str, str], seconds: float) -> Table:
    from aifa_hpc.lakehouse.near import nearly  # noqa: PLC0415 - with pyiceberg, which is heavy

    if not name.catalog:
        return static_table(name.table, nearly(store_settings() if "://" in name.table else {}))
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415

    catalog = load_catalog(name.catalog, **settings)
    _limit(catalog, seconds)
    guard(catalog)
    for key, value in nearly(store_settings() | catalog.properties).items():
        catalog.properties[key] = value
    return catalog.load_table(name.table)


def _limit(catalog: Any, seconds: float) -> None:
    """Lets a REST catalog's later answers, to commits, take no longer either."""
    session = getattr(catalog, "_session", None)
    if session is None:
        return
    from requests import Session  # noqa: PLC0415 - comes with pyiceberg
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    class Patient(HTTPAdapter):
        def send(self, request: Any, **words: Any) -> Any:  # type: ignore[override]
            return super().send(request, **(words | {"timeout": words.get("timeout") or seconds}))

    if isinstance(session, Session):
        for scheme in ("http://", "https://"):
            if type(session.get_adapter(scheme)) is HTTPAdapter:
                session.mount(scheme, Patient())


def _patience(name: TableName, settings: Mapping[str, str]) -> float:
    text = settings.get(_SECONDS, f"{PATIENCE:g}")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise InputError(
            f"catalog {name.catalog}: {_SECONDS} = {text!r} must be a number of seconds above 0.",
            hint=f"Without it, it is {PATIENCE:g}.",
        )
    return found


def _who(name: TableName, settings: Mapping[str, str]) -> str:
    """Who should answer; an address may hold a password."""
    return f"catalog {name.catalog!r} at {shown(settings['uri'])}" if "uri" in settings else "it"


def store_settings() -> dict[str, str]:
    """Where S3 is by the environment or the profile, as properties of a FileIO; empty for Amazon's."""
    found = s3_settings()
    return {"s3.endpoint": found["endpoint_override"], "s3.region": found["region"]} if found else {}
