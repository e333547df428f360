"""This rank's share of a data set of Parquet files, from a folder or from the manifest that came with it.

::

    share = shards("/scratch/project_465000001/digits", seed=1, epoch=epoch)
    with share.batches(columns=["pixels", "label"], size=256, resume=state) as batches:
        for batch in batches:
            ...
            state = share.state(batches)  # into the checkpoint, as JSON
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import MANIFEST, read_manifest
from aifa_hpc.runtime.batches import Batches, open_parquet
from aifa_hpc.runtime.deletes import kept, require_rows
from aifa_hpc.runtime.folders import folder_of
from aifa_hpc.runtime.ranks import given_or_here
from aifa_hpc.runtime.shares import RowGroup, cut, line_of, shuffled
from aifa_hpc.runtime.table import METADATA, Files, metadata_of, present_of, table_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aifa_hpc.manifest import Manifest
    from aifa_hpc.runtime.folders import Here, Root, There
    from aifa_hpc.runtime.shares import Rows

_APART = re.compile(r"\?.*\bapart=([0-9a-f]{12})$", re.ASCII)
"""The end of a source of which each version's files have names of their own (:mod:`aifa_hpc.lakehouse.names`)."""

_READERS = 16
"""Footers are small and far away: a parallel file system answers many at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The rows of one rank in one epoch.

    Attributes:
        root: Folder of the data set, or its URL.
        line: The rows, in the order in which they are read.
        seed: Of the order; ``None`` for that of the paths.
        epoch: From 0.
        rank: Whose share it is.
        world: Of how many.
        total: Rows of the data set.
        names: Of a table, its columns' names by their ids.
        deleted: Of a table, which rows of its files are deleted, by path. Such rows are not counted anywhere else.
    """

    root: Root
    line: tuple[Rows, ...]
    seed: int | None
    epoch: int
    rank: int
    world: int
    total: int
    names: dict[int, str] | None = None
    deleted: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def first(self) -> int:
        """Number of its first row, counted from 0 over all ranks in the order of this epoch."""
        return self.total * self.rank // self.world

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(map(len, self.line))

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it reads from, relative to the root."""
        return tuple(dict.fromkeys(rows.path for rows in self.line))

    def batches(
        self,
        *,
        columns: Sequence[str] | None = None,
        size: int = 1024,
        ahead: int = 2,
        resume: Mapping[str, Any] | None = None,
    ) -> Batches:
        """Its rows as Arrow batches, read ahead; see :class:`Batches`.

        Args:
            columns: Names; all by default.
            size: Rows of a batch.
            ahead: Batches to read before they are asked for.
            resume: What :meth:`state` gave; reading goes on behind it.

        Raises:
            InputError: The state is of another share.
        """
        start = 0 if resume is None else self._start(resume)
        return Batches(
            self.root,
            self.line,
            columns=columns,
            names=self.names,
            deleted=self.deleted,
            size=size,
            ahead=ahead,
            start=start,
        )

    def state(self, batches: Batches) -> dict[str, int | None]:
        """Where its reader is, for a checkpoint; plain JSON."""
        return self._identity() | {"position": batches.position}

    def part(self, number: int, of: int) -> Share:
        """A piece of it, for one of several readers in this task."""
        return replace(self, line=cut(self.line, number=number, of=of))

    def _identity(self) -> dict[str, int | None]:
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "rank": self.rank,
            "world": self.world,
            "total": self.total,
        }

    def _start(self, resume: Mapping[str, Any]) -> int:
        for key, value in self._identity().items():
            if resume.get(key) != value:
                raise InputError(
                    f"the position was remembered with {key} = {resume.get(key)}, and this share has {value}:"
                    " it says nothing about these rows.",
                    hint="Resume with the same data, seed, epoch and number of ranks, or begin the epoch anew.",
                )
        position = resume.get("position")
        if not isinstance(position, int) or not 0 <= position <= self.rows:
            raise InputError(f"position = {position!r} must be a whole number from 0 to {self.rows}.")
        return position


def shards(
    source: Root,
    *,
    seed: int | None = None,
    epoch: int = 0,
    rank: int | None = None,
    world: int | None = None,
) -> Share:
    """The share of this rank.

    Args:
        source: A folder of Parquet files, a manifest in one, or a single file, of this machine or behind a URL that
            fsspec reads, such as ``s3://bucket/digits`` (keys as AWS's tools find them). With a manifest, also one
            that lies in the folder, only what it lists counts; without one, all ``*.parquet`` whose names, and whose
            folders' names, do not begin with ``.`` or ``_``. Of an Iceberg table, its folder or a ``.metadata.json``
            in it, the rows of the present snapshot.
        seed: Shuffles row groups; without one they come in the order of their paths.
        epoch: Another order for each.
        rank: By default that of this task.
        world: By default that of this job.

    Raises:
        InputError: No such folder, no Parquet in it, a file cannot be read, or a table has equality
            deletes.
        ParseError: The manifest is damaged.
        TransferError: A store cannot be read now.
    """
    rank, world = given_or_here(rank, world)
    files = _files(source)
    groups = row_groups(files.root, files.paths, files.deleted)
    line = line_of(shuffled(groups, seed=seed, epoch=epoch))
    own = cut(line, number=rank, of=world)
    return Share(
        root=files.root,
        line=own,
        seed=seed,
        epoch=epoch,
        rank=rank,
        world=world,
        total=sum(map(len, line)),
        names=files.names,
        deleted={rows.path: files.deleted[rows.path] for rows in own if rows.path in files.deleted},
    )


def row_groups(root: Root, paths: Iterable[str], deleted: Mapping[str, bytes] | None = None) -> list[RowGroup]:
    """The row groups of files, from their footers; their rows are those that are not deleted.

    Raises:
        InputError: A file cannot be read.
    """

    def read(path: str) -> list[RowGroup]:
        bits = (deleted or {}).get(path)
        file = open_parquet(root, path)
        try:
            whole = file.metadata
            if bits is not None:
                require_rows(f"{root}/{path}", bits, whole.num_rows)
            found, first = [], 0
            for number in range(whole.num_row_groups):
                rows = whole.row_group(number).num_rows
                left = rows if bits is None else kept(bits, first, rows).true_count
                found.append(RowGroup(path=path, group=number, rows=left))
                first += rows
            return found
        finally:
            file.close()

    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only when reading

    with ThreadPoolExecutor(_READERS) as pool:
        return [one for groups in pool.map(read, paths) for one in groups]


def _files(source: Root) -> Files:
    folder: Here | There = folder_of(source)
    is_folder, name = folder.is_folder(), folder.name
    if _is_parquet(name) and not is_folder:
        return Files(root=folder.parent.root, paths=[name])
    if not is_folder and name.endswith(METADATA):
        return table_files(folder.parent.parent, f"{folder.parent.name}/{name}")
    table = present_of(folder) if is_folder else None
    if table is not None:
        return table_files(folder, table)
    root, manifest = (folder, MANIFEST) if is_folder else (folder.parent, name)
    listed = root.read(manifest)
    if listed is not None:
        entries = _present(root, read_manifest(listed.decode("ascii")))
        metadata = [path for path in entries if path.startswith("metadata/") and path.endswith(METADATA)]
        if metadata:  # a lab's version of a table: its manifest has one, and files of deleted rows, too
            return table_files(root, metadata[0] if len(metadata) == 1 else metadata_of(root) or metadata[-1])
        paths = [path for path in entries if _is_parquet(path)]
    elif is_folder:
        metadata_of(folder)  # without a hint it does not say which is meant
        paths = sorted(path for path in folder.find(".parquet") if _is_parquet(path))
    else:
        raise InputError(f"{folder} is neither a folder nor a manifest.")
    if not paths:
        raise InputError(f"{folder} has no Parquet files.", hint="Their names end in .parquet.")
    return Files(root=root.root, paths=paths)


def _present(folder: Here | There, manifest: Manifest) -> list[str]:
    """Paths of its files; of files that were made of chosen rows for each version, those of the last copy.

    Raises:
        InputError: Such files came from several sources.
    """
    apart = [_APART.search(one.source) for one in manifest.sets]
    if sum(mark is not None for mark in apart) > 1:
        raise InputError(
            f"{folder} holds rows that were chosen of several sources: which are meant?",
            hint="Read those of one version by its manifest; `aifa lab status` names versions.",
        )
    found = []
    for entry in manifest.entries:
        mark = apart[entry.set]
        if mark is None or entry.path.endswith(f"-{mark[1]}.parquet"):
            found.append(entry.path)
    return found


def _is_parquet(path: str) -> bool:
    return path.endswith(".parquet") and not any(name.startswith((".", "_")) for name in path.split("/"))
