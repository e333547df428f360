"""Plain Parquet files in a folder, hive-partitioned or not: which of them a query needs, and just its rows and columns.

The filter is written as for Iceberg tables. Files are left out by their partition's values (``day=3/``) and by the
statistics of their row groups.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.lakehouse.filters import columns_of, require_columns, require_filter
from aifa_hpc.lakehouse.groups import row_groups
from aifa_hpc.lakehouse.iceberg import Chosen, Selection
from aifa_hpc.staging.endpoints.source import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import pyarrow as pa
    import pyarrow.dataset as ds

    from aifa_hpc.staging.endpoints.base import Endpoint, Lane
    from aifa_hpc.staging.model import Found, Kind, Part, PartSum


_UNREADABLE = (OSError, ValueError, NotImplementedError)
"""Arrow's errors are of these kinds: of the file, of what it holds (ArrowInvalid), of a conversion it does not have."""

_READERS = 16
"""Footers are small and far away: a parallel file system or a store answers many at once."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Parquet files below a location.

    Attributes:
        location: As the user wrote it.
        root: As the file system names it.
        dataset: pyarrow's.
    """

    location: str
    root: str
    dataset: ds.Dataset

    def schema(self, columns: Sequence[str]) -> pa.Schema:
        """Of these columns; all by default.

        Raises:
            InputError: There is no such column.
        """
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables

        known = self.dataset.schema
        require_columns(self.location, columns, known.names)
        return pa.schema([known.field(name) for name in columns or known.names])

    def select(self, where: str) -> tuple[Selection, list[Fragment]]:
        """The files that may hold what is asked for.

        Raises:
            InputError: The filter is none, or asks for a column that is not there.
            TransferError: A file cannot be read, or is no Parquet.
        """
        expression = self.expression(where)
        chosen, whole = [], []
        inside = {one.path for one in self.dataset.get_fragments(filter=expression)}  # by partitions
        for fragment in sorted(self.dataset.get_fragments(), key=lambda one: one.path):
            one = self._fragment(fragment, expression, inside)
            whole.append(one)
            if one.groups:
                chosen.append(one)
        if not where:
            chosen = whole
        return Selection(
            files=tuple(Chosen(location=one.path, size=one.size, rows=one.rows) for one in chosen),
            all_files=len(whole),
            all_bytes=sum(one.size for one in whole),
            all_rows=sum(one.rows for one in whole),
        ), chosen

    def expression(self, where: str) -> Any:
        """The filter as pyarrow takes it; ``None`` for all rows."""
        if not where:
            return None
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables
        from pyiceberg.expressions.visitors import bind  # noqa: PLC0415
        from pyiceberg.io.pyarrow import (  # noqa: PLC0415
            UnsupportedPyArrowTypeException,
            expression_to_pyarrow,
            pyarrow_to_schema,
        )
        from pyiceberg.table.name_mapping import MappedField, NameMapping  # noqa: PLC0415

        known = {field.name: field for field in self.dataset.schema if not pa.types.is_nested(field.type)}
        asked = columns_of(where)
        require_columns(f"the filter {where!r}: {self.location}", asked, list(known))
        dotted = next((name for name in asked if "." in name), None)
        if dotted is not None:  # Arrow would look for a field in a column
            raise InputError(f"{self.location}: no filter can ask {dotted!r}, whose name has a dot.")
        # Of others, some have types that no Iceberg table has.
        fields = [known[name].with_type(_comparable(known[name].type)) for name in asked]
        mapping = NameMapping(
            [
                MappedField.model_validate({"field-id": number, "names": [one.name]})
                for number, one in enumerate(fields, 1)
            ]
        )
        try:
            schema = pyarrow_to_schema(pa.schema(fields), mapping)
            wanted = require_filter(self.location, where, schema, rows=True)
            return expression_to_pyarrow(bind(schema, wanted, case_sensitive=True), schema)
        except InputError:
            raise
        except (ValueError, TypeError, UnsupportedPyArrowTypeException) as error:
            raise InputError(f"{self.location}: the filter {where!r} cannot be used: {error}.") from error

    def read(self, fragment: Fragment, columns: Sequence[str], expression: Any) -> Iterator[pa.RecordBatch]:
        """Rows of a file."""
        return self._told(fragment.path, self._rows(fragment, list(columns) or self.dataset.schema.names, expression))

    def _rows(self, fragment: Fragment, columns: list[str], expression: Any) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables

        text = "" if expression is None else str(expression)
        asked = [name for name in self.dataset.schema.names if name in text and name not in columns]
        # Arrow's scanner is not told the filter: it would leave out row groups again, see `groups`.
        for batch in fragment.fragment.to_batches(
            schema=self.dataset.schema, columns=columns + asked, batch_readahead=2
        ):
            if expression is None:
                yield batch
            else:
                yield from pa.Table.from_batches([batch]).filter(expression).select(columns).to_batches()

    def relative(self, path: str) -> str:
        """A file's path below the location."""
        return path.removeprefix(self.root).lstrip("/")

    def _fragment(self, fragment: Any, expression: Any, inside: Collection[str]) -> Fragment:
        try:
            fragment.ensure_complete_metadata()
            size = fragment.filesystem.get_file_info(fragment.path).size
            kept = fragment
            if expression is not None:
                found = row_groups(fragment, expression, self.dataset.schema) if fragment.path in inside else []
                kept = fragment.subset(row_group_ids=found)
        except _UNREADABLE as error:
            raise TransferError(f"cannot read {fragment.path!r} of {self.location}: {error}.") from error
        return Fragment(
            path=fragment.path,
            size=int(size or 0),
            rows=sum(group.num_rows for group in fragment.row_groups),
            groups=len(kept.row_groups),
            fragment=kept,
        )

    def _told(self, path: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except _UNREADABLE as error:
            raise TransferError(f"cannot read {path!r} of {self.location}: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """A file.

    Attributes:
        path: As the file system names it.
        size: Bytes.
        rows: All rows of it.
        groups: Row groups that may hold what is asked for.
        fragment: pyarrow's, with these row groups only.
    """

    path: str
    size: int
    rows: int
    groups: int
    fragment: Any


def _comparable(kind: pa.DataType) -> pa.DataType:
    """The type of an Iceberg table whose values are compared like this one's."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables

    if pa.types.is_dictionary(kind):
        return _comparable(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    if kind in (pa.uint8(), pa.uint16(), pa.uint32()):
        return pa.int64()
    return kind


def open_folder(location: str, path: str, names: Iterable[str], filesystem: Any = None) -> Folder:
    """Parquet files below a location.

    Args:
        location: As the user wrote it.
        path: As the file system names it.
        names: Files below it.
        filesystem: fsspec's or pyarrow's; of this machine by default.

    Raises:
        InputError: There is no Parquet file, or columns of one name have types that have nothing in common.
        TransferError: A file is no Parquet.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables
    import pyarrow.dataset as ds  # noqa: PLC0415
    import pyarrow.fs as pafs  # noqa: PLC0415

    if filesystem is None:
        fs: Any = pafs.LocalFileSystem()
    else:
        fs = (
            filesystem if isinstance(filesystem, pafs.FileSystem) else pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
        )
    root = path.rstrip("/")
    files = sorted(f"{root}/{name}" for name in names if _is_parquet(name))
    if not files:
        raise InputError(f"{location} has no Parquet file.", hint="Their names end with .parquet or .pq.")
    try:
        dataset = ds.dataset(files, filesystem=fs, format="parquet", partitioning="hive", partition_base_dir=root)
        fragments = list(dataset.get_fragments())
        with ThreadPoolExecutor(_READERS) as pool:
            schemas = list(pool.map(lambda one: one.physical_schema, fragments))
    except pa.ArrowTypeError as error:
        raise InputError(
            f"{location}: a folder's name and the files in it say of one column what does not go together: {error}.",
            hint="Copy it whole, or choose one of its folders.",
        ) from error
    except (OSError, ValueError) as error:
        raise TransferError(f"cannot read {location} as Parquet: {error}.") from error
    partitions = {key for one in fragments for key in ds.get_partition_keys(one.partition_expression)}
    whole = dataset.schema
    for schema, own in {schema: one.path for schema, one in zip(schemas, fragments, strict=True)}.items():
        whole = _with_all(f"{location}: {own}", whole, schema, partitions)
    dataset = ds.FileSystemDataset(fragments, whole, dataset.format, fs)
    return Folder(location=location, root=root, dataset=dataset)


def _is_parquet(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.endswith((".parquet", ".pq")) and not last.startswith((".", "_"))


def _with_all(name: str, known: pa.Schema, schema: pa.Schema, partitions: Collection[str]) -> pa.Schema:
    """Columns that are known, and those of one more file.

    Raises:
        InputError: They do not go together; it names the file.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only for tables

    own = pa.schema([field for field in schema if field.name not in partitions])
    try:
        return pa.unify_schemas([known, own], promote_options="permissive").with_metadata(known.metadata)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"{name} does not go with the files before it: {error}.",
            hint="Copy it whole, or choose a folder whose files have their columns alike.",
        ) from error


class Some(Source):
    """Those files of another source that were chosen, copied as they are.

    Args:
        inner: The source.
        paths: Files of it.
        text: What it is, as it can be named again.
    """

    def __init__(self, inner: Endpoint, paths: Iterable[str], text: str) -> None:
        self._inner, self._paths, self._text = inner, frozenset(paths), text
        self.identity, self.limits = inner.identity, inner.limits
        self.lanes, self.first = inner.lanes, inner.first
        self.local, self.checks_md5 = inner.local, inner.checks_md5

    def __str__(self) -> str:
        return self._text

    @property
    def says_folder(self) -> bool:
        """As the source it is of."""
        return self._inner.says_folder

    def kind(self) -> Kind:
        """As the source it is of."""
        return self._inner.kind()

    def split(self) -> tuple[Endpoint, str]:
        """As the source it is of."""
        return self._inner.split()

    def scan(self) -> Iterator[Found]:
        """The files that were chosen."""
        return (found for found in self._inner.scan() if found.path in self._paths)

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """As the source it is of."""
        return self._inner.stat(paths)

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """As the source it is of."""
        return self._inner.sums(wanted, md5=md5)

    def matches(self, found: Found, sums: Sequence[PartSum]) -> bool:
        """As the source it is of."""
        return self._inner.matches(found, sums)

    def lane(self) -> Lane:
        """As the source it is of."""
        return self._inner.lane()

    def close(self) -> None:
        """Closes the source."""
        self._inner.close()
