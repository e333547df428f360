"""Iceberg tables through pyiceberg: opens one from any catalog, pins a snapshot, and says which files a query needs."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import AifaError, InputError, SiteError
from aifa_hpc.lakehouse.catalogs import load_table
from aifa_hpc.lakehouse.filters import require_columns, require_filter
from aifa_hpc.lakehouse.names import read_time
from aifa_hpc.lakehouse.relocate import read_metadata
from aifa_hpc.lakehouse.scan import scan_batches
from aifa_hpc.lakehouse.sound import require_near
from aifa_hpc.lakehouse.verbatim import manifests

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.io.pyarrow import ArrowScan
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

    from aifa_hpc.lakehouse.names import TableName

_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A data file that a query needs.

    Attributes:
        location: Where it is.
        size: Bytes.
        rows: As the table says, before any deletes.
    """

    location: str
    size: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The files of one snapshot that a query needs.

    Attributes:
        files: Data files, sorted by location.
        all_files: How many data files the snapshot has.
        all_bytes: Bytes of them.
        all_rows: Rows of them.
    """

    files: tuple[Chosen, ...]
    all_files: int
    all_bytes: int
    all_rows: int

    @property
    def bytes(self) -> int:
        """Bytes of the files that are needed."""
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int:
        """Rows of the files that are needed."""
        return sum(file.rows for file in self.files)

    @property
    def avoided(self) -> int:
        """Bytes that need not be moved."""
        return self.all_bytes - self.bytes


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows and columns of a snapshot, file by file, deletes applied.

    Attributes:
        schema: Of the rows.
        selection: The files.
        tasks: One for each data file, sorted by location.
        sizes: Bytes that are read of each, about: those of its columns that are wanted.
        batches: Gives the rows of one.
    """

    schema: pa.Schema
    selection: Selection
    tasks: tuple[FileScanTask, ...]
    sizes: tuple[int, ...]
    batches: Callable[[FileScanTask], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A table at one snapshot, whatever is committed to it meanwhile.

    Attributes:
        name: As the user wrote it.
        table: pyiceberg's, with this snapshot as its present one, and the columns that it had then.
        snapshot_id: The snapshot.
    """

    name: TableName
    table: Table
    snapshot_id: int

    def read(self, location: str) -> bytes:
        """All bytes of a file of the table, with the table's own credentials.

        Raises:
            InputError: It is gone.
            SiteError: It cannot be read.
        """
        with self.told(f"read {location}"):
            require_near(self.table.metadata_location, location)
            with self.table.io.new_input(location).open() as stream:
                return stream.read()

    def told(self, doing: str) -> AbstractContextManager[None]:
        """Explains what goes wrong meanwhile; raises InputError or SiteError."""
        return told(self.name.at(self.snapshot_id), doing)

    def metadata(self) -> dict[str, Any]:
        """The table's metadata as it is written; errors as :meth:`read`."""
        return read_metadata(self.read(self.table.metadata_location), self.table.metadata_location)

    def select(self, *, where: str = "", columns: Sequence[str] = ()) -> Selection:
        """The data files that may hold what is asked for, by partitions and the statistics of files.

        Args:
            where: A row filter as pyiceberg reads it: ``label = 3 and day >= '2026-01-01'``.
            columns: Names that must exist; which columns are moved is decided by the mode of staging.

        Raises:
            InputError: A column does not exist, or the filter is none.
            SiteError: The table's files cannot be read.
        """
        self._require(columns)
        return self._selection(self._tasks(where, rows=False), where)

    def rows(self, *, where: str, columns: Sequence[str], scratch: Path | None = None) -> Rows:
        """What is asked for, to be read file by file; errors as :meth:`select`, ``scratch`` as ``scan_batches``."""
        from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow  # noqa: PLC0415 - heavy, and only here

        from aifa_hpc.lakehouse.near import full  # noqa: PLC0415 - as pyiceberg

        self._require(columns)
        tasks = self._tasks(where, rows=True)
        projected = self.table.scan(selected_fields=tuple(columns) or ("*",)).projection()
        io = full(self.table.io, self.table.location())
        arrow = ArrowScan(self.table.metadata, io, projected, self._filter(where, rows=True))
        numbers = projected.field_ids
        return Rows(
            schema=schema_to_pyarrow(projected, include_field_ids=False),
            selection=self._selection(tasks, where),
            tasks=tuple(tasks),
            sizes=tuple(_read_bytes(task.file, numbers) for task in tasks),
            batches=lambda task: self._batches(arrow, task, scratch),
        )

    def _batches(self, scan: ArrowScan, task: FileScanTask, scratch: Path | None) -> Iterator[pa.RecordBatch]:
        with self.told(f"read {task.file.file_path}"):
            yield from scan_batches(scan, task, scratch=scratch)

    def _require(self, columns: Sequence[str]) -> None:
        """Refuses a column that is not in the snapshot."""
        schema = self.table.schema()
        known = [schema.find_column_name(number) or "" for number in schema.field_ids]
        require_columns(f"{self.name} at snapshot {self.snapshot_id}", columns, known)

    def _filter(self, where: str, *, rows: bool) -> BooleanExpression:
        return require_filter(f"{self.name} at snapshot {self.snapshot_id}", where, self.table.schema(), rows=rows)

    def _tasks(self, where: str, *, rows: bool) -> list[FileScanTask]:
        wanted = self._filter(where, rows=rows)
        try:
            with self.told(f"plan {where!r}" if where else "plan"):
                scan = self.table.scan(wanted)
                found = sorted(scan.plan_files(), key=lambda task: task.file.file_path)
        except AifaError:
            self._require_whole()
            raise
        for task in found:
            for file in (task.file, *task.delete_files):
                with self.told(f"read {file.file_path}"):
                    require_near(self.table.metadata_location, file.file_path)
        return found

    def _require_whole(self) -> None:
        """Names the file of the metadata that is damaged, which pyiceberg does not."""
        with self.told("plan"):
            for _ in manifests(self.metadata(), self.snapshot_id, self.read):
                pass

    def _selection(self, tasks: Sequence[FileScanTask], where: str) -> Selection:
        chosen = tuple(
            Chosen(location=task.file.file_path, size=task.file.file_size_in_bytes, rows=task.file.record_count)
            for task in tasks
        )
        all_files, all_bytes, all_rows = (where and self._totals()) or _count(
            self._tasks("", rows=False) if where else tasks
        )
        return Selection(files=chosen, all_files=all_files, all_bytes=all_bytes, all_rows=all_rows)

    def _totals(self) -> tuple[int, int, int] | None:
        """Files, bytes and rows as the snapshot tells them, so that manifests need not be read for them again."""
        snapshot = self.table.snapshot_by_id(self.snapshot_id)
        known = snapshot.summary.additional_properties if snapshot is not None and snapshot.summary else {}
        if known.get("total-delete-files") != "0":  # the bytes of these are counted, too
            return None
        found = [known.get(f"total-{key}", "") for key in ("data-files", "files-size", "records")]
        return (int(found[0]), int(found[1]), int(found[2])) if all(map(str.isdecimal, found)) else None


def _count(tasks: Sequence[FileScanTask]) -> tuple[int, int, int]:
    files = [task.file for task in tasks]
    return len(files), sum(file.file_size_in_bytes for file in files), sum(file.record_count for file in files)


def open_table(name: TableName) -> Pinned:
    """Opens a table and pins the snapshot that was meant.

    Raises:
        InputError: No such catalog, table, tag or snapshot, or the table has none.
        SiteError: The catalog does not answer.
    """
    with told(name, "open"):
        table = load_table(name)
    snapshot_id = _pin(name, table)
    return Pinned(name=name, table=_as_of(table, snapshot_id), snapshot_id=snapshot_id)


def _as_of(table: Table, snapshot_id: int) -> Table:
    """The table as it was: an earlier snapshot's columns have their names of then, in filters, too."""
    from pyiceberg.table import Table as Plain  # noqa: PLC0415 - heavy, and only here

    metadata, snapshot = table.metadata, table.snapshot_by_id(snapshot_id)
    if snapshot_id == metadata.current_snapshot_id or snapshot is None:
        return table
    schema = metadata.current_schema_id if snapshot.schema_id is None else snapshot.schema_id
    then = metadata.model_copy(update={"current_snapshot_id": snapshot_id, "current_schema_id": schema})
    return Plain(table.name(), then, table.metadata_location, table.io, table.catalog, table.config)


def _pin(name: TableName, table: Table) -> int:
    if not name.when:
        current = table.current_snapshot()
        if current is None:
            raise InputError(f"{name} has no snapshot: nothing was ever written to it.")
        return current.snapshot_id
    refs = table.refs()
    if name.when in refs:
        return refs[name.when].snapshot_id
    if name.when.isascii() and name.when.isdigit():
        return _existing(name, table, int(name.when))
    time = read_time(name.when)
    if time is None:
        near = difflib.get_close_matches(name.when, refs, 1)
        known = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(sorted(refs)) or 'neither'}."
        raise InputError(f"{name}: there is no tag or branch {name.when!r}, and it is no time.", hint=known)
    found = table.snapshot_as_of_timestamp(int(time.timestamp() * 1000))
    if found is None:
        first = min((one.timestamp_ms for one in table.snapshots()), default=None)
        raise InputError(
            f"{name} had no snapshot at {time.isoformat()} that is still kept.",
            hint="It is empty." if first is None else f"Its oldest one is of {_iso(first)}.",
        )
    return found.snapshot_id


def _existing(name: TableName, table: Table, snapshot_id: int) -> int:
    known = [one.snapshot_id for one in table.snapshots()]
    if snapshot_id not in known:
        latest = ", ".join(map(str, known[-_SHOWN:])) or "none"
        raise InputError(
            f"{name}: there is no snapshot {snapshot_id}: it never was, or it has expired.",
            hint=f"The latest ones are {latest}.",
        )
    return snapshot_id


def _read_bytes(file: DataFile, numbers: Collection[int]) -> int:
    """Bytes of the wanted columns, where the table knows them."""
    sizes = file.column_sizes or {}
    return sum(size for number, size in sizes.items() if number in numbers) or file.file_size_in_bytes


def _iso(milliseconds: int) -> str:
    import datetime  # noqa: PLC0415 - only in an error

    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).isoformat(timespec="seconds")


def _invalid(name: TableName, doing: str, error: Exception) -> AifaError:
    """What is wrong with the metadata, without its values: an answer of a catalog may hold keys."""
    from pydantic import ValidationError  # noqa: PLC0415 - heavy, and only here

    said = str(error)
    cause = error if isinstance(error, ValidationError) else error.__cause__
    if isinstance(cause, ValidationError):
        wrong = cause.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN]
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'all of it'}: {one['msg']}" for one in wrong)
    if doing == "open" and name.catalog:
        return SiteError(
            f"cannot {doing} for {name}: what catalog {name.catalog!r} answers is no table: {said}.",
            hint="Is its address that of a REST catalog, and no login page or proxy before it?",
        )
    return InputError(f"cannot {doing} for {name}: its metadata is damaged: {said}.")


@contextmanager
def told(name: TableName, doing: str) -> Iterator[None]:
    """What pyiceberg raises meanwhile, as whose fault it is; raises InputError or SiteError."""
    from pydantic import ValidationError  # noqa: PLC0415 - heavy, and only here
    from pyiceberg import exceptions  # noqa: PLC0415

    missing = (
        exceptions.NoSuchTableError,
        exceptions.NoSuchNamespaceError,
        exceptions.NoSuchIcebergTableError,
        exceptions.NoSuchIdentifierError,
    )
    try:
        yield
    except missing as error:
        raise InputError(f"{name}: the catalog has no such table: {error}.") from error
    except exceptions.NotInstalledError as error:
        raise InputError(f"{name}: {error}", hint="Install that beside aifa_hpc.") from error
    except FileNotFoundError as error:
        raise InputError(
            f"cannot {doing} for {name}: the file is gone: {error}.",
            hint="The snapshot may have expired meanwhile: name a newer one, or tag the one you need.",
        ) from error
    except AifaError as error:
        if isinstance(error, InputError) and str(name) not in error.message:
            raise InputError(f"cannot {doing} for {name}: {error.message}", hint=error.hint) from error
        raise
    except (ValidationError, exceptions.ValidationError) as error:
        raise _invalid(name, doing, error) from None
    except (exceptions.UnauthorizedError, exceptions.ForbiddenError, exceptions.AuthorizationExpiredError) as error:
        raise SiteError(
            f"cannot {doing} for {name}: {type(error).__name__}: {error}",
            hint=f"Are the credential or token of catalog {name.catalog!r} right, and may they read the table?",
        ) from error
    except (ValueError, TypeError) as error:
        hint = "pyiceberg finds catalogs in ~/.pyiceberg.yaml and in PYICEBERG_CATALOG__NAME__URI."
        raise InputError(f"cannot {doing} for {name}: {error}.", hint=hint if doing == "open" else "") from error
    except Exception as error:  # each kind of catalog and of storage has errors of its own
        raise SiteError(f"cannot {doing} for {name}: {type(error).__name__}: {error}") from error
