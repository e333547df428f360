"""What a training made goes back into a lab's table: Parquet files as one commit, exactly once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.append import Appended, append
from aifa_hpc.lakehouse.names import TableName, is_table, read_wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from aifa_hpc.labs.registry import LabData


def append_files(data: LabData, paths: Sequence[str | Path], *, token: str = "") -> Appended:
    """Appends the rows of Parquet files to a data set, which is a table of a catalog.

    Args:
        data: The data set.
        paths: Files of this machine, or folders of them; results of a site are fetched first (``aifa stage copy``).
        token: Names this append for ever; made of what the files hold by default, so that the same files are
            appended once, whoever repeats it.

    Raises:
        InputError: The data set is no such table, there are no files, or their rows do not fit; nothing was appended.
        OutcomeUnknownError: The commit may have landed; repeating it is safe.
    """
    name = table_of(data)
    files = find_files(paths)
    token = token or token_of(name, files)
    return append(name, lambda: _read(files), token=token)


def table_of(data: LabData) -> TableName:
    """The table that a data set is.

    Raises:
        InputError: It is none that can be written to.
    """
    table = read_wanted(data.source).table if is_table(data.source) else None
    if not isinstance(table, TableName) or not table.catalog or table.when:
        raise InputError(
            f"{data} cannot be appended to: it is {data.source}.",
            hint="A table of a catalog can, without '@': location = \"iceberg:CATALOG.SPACE.TABLE\".",
        )
    return table


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """The Parquet files that paths name, those of a folder in the order of their names.

    Raises:
        InputError: A path is not there, or has none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise InputError(
                f"{str(path)!r} has no Parquet files." if path.is_dir() else f"there is no file {str(path)!r}.",
                hint="Results at a site are fetched first: `aifa stage copy SITE:/path DIR`.",
            )
        found += files
    return found


def token_of(name: TableName, files: Sequence[Path]) -> str:
    """A token of what is appended to what: of the table, and of what the files hold, in any order."""
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join([str(name), *sorted(digests)]).encode()).hexdigest()[:32]


def _read(files: Sequence[Path]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"the files cannot be read together: {error}") from error
