"""A data set's folder: on this machine's file systems, or behind a URL that fsspec reads (``s3://``, ``https://``).

What is behind a URL is reached as fsspec's packages find it: for S3 by the usual variables and files
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``~/.aws/config``; https://s3fs.readthedocs.io, "Credentials").
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from aifa_hpc.errors import AifaError, InputError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

Root: TypeAlias = Path | str
"""Of a data set: a folder of this machine, or a URL without a final slash."""


def is_url(source: Root) -> bool:
    """Whether it is behind a URL."""
    return isinstance(source, str) and "://" in source


class Here:
    """A folder, or a file, of this machine."""

    def __init__(self, path: Path) -> None:
        self.root: Root = path
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self._path.name

    @property
    def parent(self) -> Here:
        """The folder that it lies in."""
        return Here(self._path.parent)

    def is_folder(self) -> bool:
        """Whether it is one."""
        return self._path.is_dir()

    def read(self, path: str) -> bytes | None:
        """All bytes of a file in it; ``None`` where there is none.

        Raises:
            InputError: It cannot be read.
        """
        try:
            return (self._path / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{self._path / path} cannot be read: {error.strerror}.") from error

    def find(self, end: str, path: str = "") -> list[str]:
        """All files below, or below a folder in it, whose names end so; relative to it."""
        return [one.relative_to(self._path).as_posix() for one in (self._path / path).rglob(f"*{end}")]


class There:
    """The same behind a URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.root: Root = self._url
        self._fs, self._inside = file_system(self._url)

    def __str__(self) -> str:
        return shown(self._url)

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self._url.rpartition("/")[2]

    @property
    def parent(self) -> There:
        """The folder that it lies in."""
        return There(self._url.rpartition("/")[0])

    def is_folder(self) -> bool:
        """Whether it is one, or there is nothing at all: object stores know no folders."""
        with explained(str(self)):
            return not self._fs.isfile(self._inside)

    def read(self, path: str) -> bytes | None:
        """All bytes of a file in it; ``None`` where there is none.

        Raises:
            TransferError: It cannot be read.
        """
        with explained(f"{self}/{path}"):
            try:
                data: bytes = self._fs.cat_file(f"{self._inside}/{path}")
            except (FileNotFoundError, NotADirectoryError):
                return None
        return data

    def find(self, end: str, path: str = "") -> list[str]:
        """All files below, or below a folder in it, whose names end so; relative to it.

        Raises:
            TransferError: They cannot be listed.
        """
        with explained(f"{self}/{path}".rstrip("/")):
            found = self._fs.find(f"{self._inside}/{path}".rstrip("/"))
        return [name[len(self._inside) :].lstrip("/") for name in found if name.endswith(end)]


def folder_of(source: Root) -> Here | There:
    """A folder or a file.

    Raises:
        InputError: Nothing reads such a URL here.
    """
    return There(str(source)) if is_url(source) else Here(Path(source))


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, one for each process, and the path as it names it.

    Raises:
        InputError: Nothing reads such a URL here.
    """
    import fsspec  # noqa: PLC0415 - not needed by those whose data is on a file system

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{shown(url)} cannot be read here: {error}.") from error
    return fs, str(path)


def shown(url: str) -> str:
    """A URL for messages: without a password or a signature."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What fsspec's packages raise, as an error that names the file.

    Raises:
        InputError: It is not there.
        TransferError: It cannot be read now.
    """
    try:
        yield
    except AifaError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{what} cannot be read: there is no such file.") from error
    except Exception as error:  # each file system has errors of its own
        raise TransferError(
            f"{what} cannot be read: {type(error).__name__}: {error}.",
            hint="Are the store's address and keys set where this runs (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID)?",
        ) from error
