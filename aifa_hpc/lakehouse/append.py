"""Appends rows to an Iceberg table as one commit, exactly once, beside other writers.

Every append has a token, written into the summary of its snapshot. A commit demands that the table's branch is still
where it was when the table was last looked at, and each time it is looked at, the token is looked for first. So of
several commits with one token, by this process after a conflict, by the next one after ``kill -9``, or by a request
that arrives late, at most one can land: all others meet a branch that has moved, look again, and find the token.

A token is found as long as its snapshot is kept: do not let snapshots expire between an append and its repetition. Data
files that were written for an append that did not land belong to no snapshot; removing them is the lab's upkeep.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError, OutcomeUnknownError
from aifa_hpc.lakehouse.catalogs import load_table
from aifa_hpc.lakehouse.iceberg import told

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from pyiceberg.table import Table

    from aifa_hpc.lakehouse.names import TableName

TOKEN = "aifa.append-token"  # noqa: S105 - the name of a snapshot's property
"""Key in the summary of a snapshot."""

_ATTEMPTS = 10
_LONGEST_WAIT = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """What became of an append.

    Attributes:
        snapshot_id: The snapshot that holds the rows.
        rows: How many it added, as its summary says.
        again: An earlier append with this token had landed; nothing was added now.
    """

    snapshot_id: int
    rows: int
    again: bool


class _LandedError(Exception):
    """The token is in the table: the append has landed."""


def append(
    name: TableName,
    read: Callable[[], pa.Table],
    *,
    token: str,
    load: Callable[[TableName], Table] | None = None,
    attempts: int = _ATTEMPTS,
    longest_wait: float = _LONGEST_WAIT,
) -> Appended:
    """Appends rows as one snapshot; with the same token again, it finds what it did.

    Args:
        name: The table, in a catalog, and not at some time.
        read: Gives the rows; called once for each attempt.
        token: Names this append for ever.
        load: Opens the table; :func:`load_present` by default.
        attempts: How often it is tried when others commit meanwhile or the catalog fails.
        longest_wait: Seconds between two attempts, at most.

    Raises:
        InputError: No such table, or the rows do not fit it; nothing was appended.
        OutcomeUnknownError: All attempts failed, and one of them may land yet. Repeating it with this token is safe.
    """
    import tenacity  # noqa: PLC0415 - only here

    if not name.catalog or name.when:
        raise InputError(
            f"{name} cannot be appended to.",
            hint="Name a table in a catalog, without '@': iceberg:CATALOG.SPACE.TABLE.",
        )
    if not token:
        raise InputError(f"an append to {name} needs a token that is not empty.")
    # pyiceberg raises NotImplementedError for tables that it does not write (V3, some transforms of partitions): no
    # repetition helps, and nothing was appended.
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_not_exception_type((InputError, NotImplementedError)),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=longest_wait),
        reraise=True,
    )
    try:
        return retrying(_once, name, read, token, load or load_present)
    except InputError:
        raise
    except NotImplementedError as error:
        raise InputError(f"{name} cannot be appended to: {error}") from error
    except Exception as error:
        raise OutcomeUnknownError(
            f"the append to {name} failed {attempts} times, the last time by {type(error).__name__}: {error}.",
            hint="Repeat it with the same token: what has landed is found, and not appended twice.",
        ) from error


def find(table: Table, token: str) -> Appended | None:
    """The append with that token, if the table as it was loaded holds it."""
    for snapshot in table.snapshots():
        summary = snapshot.summary
        if summary is not None and summary.additional_properties.get(TOKEN) == token:
            rows = int(summary.additional_properties.get("added-records", 0))
            return Appended(snapshot_id=snapshot.snapshot_id, rows=rows, again=True)
    return None


def load_present(name: TableName) -> Table:
    """The table as its catalog has it now.

    Raises:
        InputError: No such catalog or table.
        SiteError: The catalog does not answer.
    """
    with told(name, "open"):
        return load_table(name)


def _once(name: TableName, read: Callable[[], pa.Table], token: str, load: Callable[[TableName], Table]) -> Appended:
    found = load(name)
    landed = find(found, token)
    if landed is not None:
        return landed
    table = _watched(found, token)
    rows = read()
    try:
        table.append(rows, snapshot_properties={TOKEN: token})
    except _LandedError:
        pass
    except (ValueError, TypeError) as error:  # raised before anything is committed: the schemas differ
        if find(load(name), token) is None:
            raise InputError(f"the rows do not fit {name}: {error}") from error
    except Exception as error:
        _log.info("an append to %s is tried again: %s", name, error)
        raise
    else:
        made = find(table, token)
        assert made is not None, "a commit without its summary"
        return Appended(snapshot_id=made.snapshot_id, rows=made.rows, again=False)
    landed = find(load(name), token)
    assert landed is not None, "an append that landed is gone"
    return landed


def _watched(table: Table, token: str) -> Table:
    """The table, which looks for the token whenever it is refreshed: pyiceberg repeats commits by itself."""
    from pyiceberg.table import Table as Plain  # noqa: PLC0415 - heavy, and only here

    class Watched(Plain):
        def refresh(self) -> Any:
            refreshed = super().refresh()
            if find(self, token) is not None:
                raise _LandedError
            return refreshed

    return Watched(table.name(), table.metadata, table.metadata_location, table.io, table.catalog, table.config)
