"""What is wanted of a table, opened as a source that the staging engine copies from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.parquet import Some, open_folder
from aifa_hpc.lakehouse.rewrite import Input, rewrite, spool
from aifa_hpc.lakehouse.source import TableSource, made_item, open_source, open_verbatim
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from aifa_hpc.lakehouse.iceberg import Pinned, Selection
    from aifa_hpc.lakehouse.names import Wanted
    from aifa_hpc.staging.endpoints.base import Endpoint


def open_wanted(
    wanted: Wanted,
    *,
    root: str,
    there: Endpoint,
    base: Path,
    plain: Callable[[str], tuple[Endpoint, str, Any]],
    told: Callable[[str], None],
) -> Endpoint:
    """Opens a table as a source.

    Args:
        wanted: What of it.
        root: The destination, as readers of the copy will name it.
        there: The destination.
        base: Folder for files that are made and not copied.
        plain: Opens a location of Parquet files: as a source, and as a path of a file system of fsspec's (``None``:
            this machine's).
        told: Told what was chosen, and how far making is.

    Raises:
        InputError: No such table, snapshot or column, a filter that is none, or what cannot be moved.
        SiteError: The catalog or the store does not answer.
        TransferError: A file cannot be read.
    """
    wanted.require_sense()
    if isinstance(wanted.table, str):
        return _open_parquet(wanted, wanted.table, base=base, plain=plain, told=told)
    pinned = open_table(wanted.table)
    wanted = replace(wanted, table=wanted.table.at(pinned.snapshot_id))
    # What it is called from here on: pinned, and so that a repair finds all of it.
    text = str(replace(wanted, mode="files") if wanted.mode == "incremental" else wanted)
    if wanted.mode == "pushdown":
        return _pushdown(wanted, pinned, base=base, told=told)
    if not wanted.relocate:
        return open_verbatim(pinned, text=text)
    only = None
    if wanted.where:
        selection = pinned.select(where=wanted.where)
        told(_report(text, selection))
        only = {file.location for file in selection.files}
    return open_source(
        pinned,
        text=text,
        root=root,
        there=there,
        only=only,
        new_only=wanted.mode == "incremental",
    )


def _pushdown(wanted: Wanted, pinned: Pinned, *, base: Path, told: Callable[[str], None]) -> Endpoint:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    rows = pinned.rows(where=wanted.where, columns=wanted.columns, scratch=base)
    told(_report(str(wanted), rows.selection, wanted=sum(rows.sizes)))
    inputs = [Input(size=size, key=task) for task, size in zip(rows.tasks, rows.sizes, strict=True)]
    identity = f"iceberg:{pinned.table.metadata.table_uuid}"
    about = str(replace(wanted, apart=""))
    # A column of the present snapshot may get another name without a new one.
    folder = spool(base, [identity, about, str(rows.schema)])
    files = rewrite(inputs, rows.schema, rows.batches, folder, about={"source": about}, told=told)
    snapshot = pinned.table.snapshot_by_id(pinned.snapshot_id)
    time_ns = snapshot.timestamp_ms * 10**6 if snapshot is not None else 0
    return _made(wanted, identity, files, time_ns)


def _open_parquet(
    wanted: Wanted,
    location: str,
    *,
    base: Path,
    plain: Callable[[str], tuple[Endpoint, str, Any]],
    told: Callable[[str], None],
) -> Endpoint:
    inner, path, filesystem = plain(location)
    if inner.kind() != "folder":
        what = "is a single file" if inner.kind() == "file" else "is not there"
        raise InputError(f"{location} {what}: rows and columns are chosen of a folder of Parquet files.")
    # As the engine lists it, so that both know the same files.
    names = [one.path for one in inner.scan() if one.size >= 0]
    found = open_folder(location, path, names, filesystem)
    schema = found.schema(wanted.columns)
    selection, chosen = found.select(wanted.where)
    text = str(wanted)
    told(_report(text, selection))
    if wanted.mode == "files":
        return Some(inner, [found.relative(one.path) for one in chosen], text)
    # The pins of all files that are read: of other files, other rows are made.
    pins = {one.path: one.pin for one in inner.stat([found.relative(one.path) for one in chosen]) if one is not None}
    about = str(replace(wanted, apart=""))
    folder = spool(base, [inner.identity, pins, about])
    expression = found.expression(wanted.where)
    inputs = [Input(size=one.size, key=one) for one in chosen]
    files = rewrite(
        inputs,
        schema,
        lambda one: found.read(one, schema.names, expression),
        folder,
        about={"source": about},
        told=told,
    )
    inner.close()
    return _made(wanted, inner.identity, files, 0)


def _made(wanted: Wanted, identity: str, files: list[Path], time_ns: int) -> TableSource:
    items = [made_item(file.name, file, time_ns or file.stat().st_mtime_ns) for file in files]
    if wanted.apart:
        held = "".join(f"{one.found.path} {one.found.pin}\n" for one in items)
        mark = hashlib.sha256(held.encode("ascii")).hexdigest()[:12]
        wanted = replace(wanted, apart=mark)
        end = f"-{mark}.parquet"
        items = [
            replace(one, found=replace(one.found, path=one.found.path.removesuffix(".parquet") + end)) for one in items
        ]
    return TableSource(text=str(wanted), identity=identity, items={one.found.path: one for one in items})


def _report(text: str, selection: Selection, *, wanted: int | None = None) -> str:
    moved = selection.bytes if wanted is None else min(wanted, selection.bytes)
    return (
        f"{text}: {len(selection.files)} of {selection.all_files} files, "
        f"{selection.rows} of {selection.all_rows} rows, {show_size(moved)}; "
        f"{show_size(selection.all_bytes - moved)} need not move"
    )
