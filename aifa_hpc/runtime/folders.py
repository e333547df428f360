"""A data set's folder: on this machine's file systems, or behind a URL that fsspec reads (``s3://``, ``https://``).

S3 is read by Arrow's own client, which needs no other package and is faster than s3fs; it finds address and keys by the
usual variables and files (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``~/.aws/config``). Whoever configures S3 for
fsspec (``FSSPEC_S3_*``, ``~/.config/fsspec``) gets s3fs with that, and any other URL is fsspec's.
"""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from aifa_hpc.errors import AifaError, InputError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

Root: TypeAlias = Path | str
"""Of a data set: a folder of this machine, or a URL without a final slash."""

_FILES = (".parquet", ".json", ".jsonl")
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_REGION = "us-east-1"
"""What stores that have no regions expect in signatures."""


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
        if not self.name.endswith(_FILES):
            return True
        with explained(str(self)):
            return not self._fs.get_file_info(self._inside).is_file

    def read(self, path: str) -> bytes | None:
        """All bytes of a file in it; ``None`` where there is none.

        Raises:
            TransferError: It cannot be read.
        """
        with explained(f"{self}/{path}"):
            try:
                with self._fs.open_input_stream(f"{self._inside}/{path}") as stream:
                    data: bytes = stream.read()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return data

    def find(self, end: str, path: str = "") -> list[str]:
        """All files below, or below a folder in it, whose names end so; relative to it.

        Raises:
            TransferError: They cannot be listed.
        """
        import pyarrow.fs as pafs  # noqa: PLC0415 - heavy, and only here

        base = f"{self._inside}/{path}".rstrip("/")
        with explained(f"{self}/{path}".rstrip("/")):
            found = self._fs.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
        return [one.path[len(self._inside) :].lstrip("/") for one in found if one.is_file and one.path.endswith(end)]


def folder_of(source: Root) -> Here | There:
    """A folder or a file.

    Raises:
        InputError: Nothing reads such a URL here.
    """
    return There(str(source)) if is_url(source) else Here(Path(source))


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, Arrow's, one for each process, and the path as it names it.

    Raises:
        InputError: Nothing reads such a URL here.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415 - heavy, and only here

    scheme, _, path = url.partition("://")
    if scheme == "s3" and not _configured_for_fsspec() and hasattr(pafs, "S3FileSystem"):
        # A forked worker must not share connections with the process that it came from.
        return _arrow_s3(os.getpid(), tuple(sorted(s3_settings().items()))), path
    try:
        import fsspec  # noqa: PLC0415 - not needed by those whose data is elsewhere

        fs, inside = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{shown(url)} cannot be read here: {error}.") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), str(inside)


def _configured_for_fsspec() -> bool:
    try:
        from fsspec.config import conf  # noqa: PLC0415 - may not be installed
    except ImportError:
        return False
    return bool(conf.get("s3"))


@functools.lru_cache(1)
def _arrow_s3(process: int, settings: tuple[tuple[str, str], ...]) -> Any:
    import pyarrow.fs as pafs  # noqa: PLC0415 - heavy, and only here

    del process
    return pafs.S3FileSystem(**dict(settings))


def s3_settings() -> dict[str, str]:
    """Where S3 is by the environment or the profile: ``endpoint_override`` and ``region``; empty for Amazon's.

    Amazon is found without, and the region of each bucket there.
    """
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")
    return dict(_s3_settings(tuple(os.environ.get(name, "") for name in names)))


@functools.lru_cache(1)
def _s3_settings(environment: tuple[str, ...]) -> dict[str, str]:
    every, own, *regions = environment[:-1]
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - may not be installed
        from botocore.session import Session  # noqa: PLC0415
    except ImportError:
        url, region = own or every, next(filter(None, regions), _REGION)
        return {"endpoint_override": url, "region": region} if url else {}
    try:
        session = Session()
        region = session.get_config_variable("region") or _REGION
        # Nothing is signed. With a key given, the machine's metadata service is not asked for one.
        client = session.create_client("s3", region, aws_access_key_id="-", aws_secret_access_key="-")  # noqa: S106
    except (BotoCoreError, ValueError):  # a broken profile: what needs it says so
        return {}
    url = str(client.meta.endpoint_url)
    amazon = (urlsplit(url).hostname or "").endswith(_AMAZON)
    return {} if amazon else {"endpoint_override": url, "region": region}


def shown(url: str) -> str:
    """A URL for messages: without a password or a signature."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What fsspec's packages raise, as an error that names the file.

    Raises:
        InputError: It is not there, or damaged.
        TransferError: It cannot be read now.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now

    try:
        yield
    except AifaError:
        raise
    except pa.ArrowInvalid as error:
        raise InputError(f"{what} is no whole Parquet file: {error}.") from error
    except FileNotFoundError as error:
        raise InputError(f"{what} cannot be read: there is no such file.") from error
    except Exception as error:  # each file system has errors of its own
        raise TransferError(
            f"{what} cannot be read: {type(error).__name__}: {error}.",
            hint="Are the store's address and keys set where this runs (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID)?",
        ) from error
