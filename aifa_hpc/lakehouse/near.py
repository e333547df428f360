"""A FileIO that reads files of this machine with Python's own ``open``: metadata needs no more.

pyiceberg's default brings Arrow's datasets with it, and they bring pandas: twice as long to import as all the rest of a
copy takes. Whatever is not read like this (files in a store, files that are written) is pyiceberg's choice, as before.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.io import PY_IO_IMPL, FileIO, InputFile, OutputFile, load_file_io

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.io import InputStream


def nearly(properties: Mapping[str, str]) -> dict[str, str]:
    """Properties of a catalog or table with this FileIO, unless they name one or give paths another meaning."""
    if "DEFAULT_SCHEME" in properties:
        return dict(properties)
    return {PY_IO_IMPL: f"{NearFileIO.__module__}.{NearFileIO.__qualname__}", **properties}


def full(io: FileIO, location: str) -> FileIO:
    """The FileIO that pyiceberg would have chosen: one that reads data with Arrow's own files."""
    return io.far(location) if isinstance(io, NearFileIO) else io


class NearFileIO(FileIO):
    """See the module."""

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        given: dict[str, Any] = dict(properties or {})
        super().__init__(given)
        self._inner = {key: value for key, value in given.items() if key != PY_IO_IMPL}
        self._opened: dict[str, FileIO] = {}

    def far(self, location: str) -> FileIO:
        """The one that pyiceberg would choose for that location."""
        scheme = location.partition("://")[0] if "://" in location else ""
        if scheme not in self._opened:
            self._opened[scheme] = load_file_io(self._inner, location)
        return self._opened[scheme]

    def new_input(self, location: str) -> InputFile:
        path = _path(location)
        return self.far(location).new_input(location) if path is None else _NearFile(location, path)

    def new_output(self, location: str) -> OutputFile:
        return self.far(location).new_output(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        name = location if isinstance(location, str) else location.location
        self.far(name).delete(name)


class _NearFile(InputFile):
    def __init__(self, location: str, path: Path) -> None:
        super().__init__(location)
        self._path = path

    @cached_property
    def _size(self) -> int:
        return self._path.stat().st_size

    def __len__(self) -> int:
        return self._size

    def exists(self) -> bool:
        return self._path.is_file()

    def open(self, seekable: bool = True) -> InputStream:
        del seekable  # it is
        return self._path.open("rb")


def _path(location: str) -> Path | None:
    """The path of a file of this machine, by the rules of pyiceberg; ``None`` for any other."""
    scheme, found, rest = location.partition("://")
    if not found:
        return Path(location) if location.startswith("/") else None
    return Path(rest) if scheme == "file" and rest.startswith("/") else None
