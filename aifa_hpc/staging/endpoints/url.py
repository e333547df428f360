"""Files behind any URL that fsspec can read (``https://``, ``gs://``, ``hf://``, ...), as a source only.

What a file system can do differs: some tell an ETag, some a time, some only a size; some serve ranges, some only whole
files. The pin is made of all that is told, and a range of a file that comes whole is taken from a stream that a lane
keeps open, so that parts in order cost one request.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.manifest import is_ours
from aifa_hpc.staging.endpoints.base import Lane, Reading
from aifa_hpc.staging.endpoints.source import Source, SourceLane
from aifa_hpc.staging.files import CHUNK
from aifa_hpc.staging.model import Found, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aifa_hpc.staging.model import Kind

_STATE = (
    "ETag", "etag", "Content-MD5", "Last-Modified", "md5Hash", "md5", "crc32c", "generation", "version_id",
    "sha256", "blob_id", "mtime", "LastModified", "last_modified", "updated", "modified", "created",
)  # fmt: skip
"""What file systems call that which changes with a file."""

_PIECE = 8 * CHUNK
"""Bytes of one request: at a round trip of 40 ms, eight lanes ask for 1.6 GB a second."""

_LANES = 8
_GONE = (404, 410)


class URLEndpoint(Source):
    """A folder or a file behind a URL.

    Args:
        url: With its scheme; a final ``/`` says that it is meant as a folder.

    Raises:
        InputError: No such scheme, a package that it needs is not installed, or the URL holds a password or a query.
    """

    lanes = _LANES
    ranges = True
    """A web server gives ranges, as far as is known; where it does not, files are read from a stream."""

    def __init__(self, url: str, *, fs: Any = None) -> None:
        scheme, _, rest = url.partition("://")
        web = scheme in ("http", "https")
        if "@" in rest.partition("/")[0]:
            raise InputError(
                f"{scheme}://...@{rest.partition('/')[0].rpartition('@')[2]}: a password does not belong in a URL.",
                hint="Put it where fsspec looks: ~/.config/fsspec/conf.json, or the environment of its package.",
            )
        if web and ("?" in rest or "#" in rest):
            raise InputError(
                f"{scheme}://{re.split('[?#]', rest)[0]}: a URL with a query may hold a secret and names no file.",
                hint="Name the file itself, or download it with a tool of its own first.",
            )
        self._fs = fs if fs is not None else _file_system(scheme, url)
        self._url, self.web = url.rstrip("/"), web
        self._folder = url.endswith("/")
        self._root: str = self._fs._strip_protocol(url).rstrip("/")  # noqa: SLF001 - fsspec's own interface
        self.identity = self._url

    def __str__(self) -> str:
        return self._url

    @property
    def says_folder(self) -> bool:
        """Written with a final ``/``."""
        return self._folder

    def kind(self) -> Kind:
        """What is there; a web server has folders only where it lists them, at a ``/``."""
        if self.web and self._folder:
            with self.told("list", ""):
                self._fs.ls(f"{self._root}/", detail=False)
            return "folder"
        info = self._info("")
        if info is None:
            return "absent"
        return "folder" if info["type"] == "directory" else "file"

    def split(self) -> tuple[URLEndpoint, str]:
        """The folder above, and the name in it."""
        folder, _, name = self._url.rpartition("/")
        if not name or folder.endswith(":/"):
            raise InputError(f"{self} cannot be the name of a file.")
        return URLEndpoint(folder, fs=self._fs), unquote(name) if self.web else name

    def scan(self) -> Iterator[Found]:
        """All files below; what is listed without a size is asked about."""
        if self.web:
            with self.told("list", ""):
                bare = [path for path in self._walk("") if not is_ours(path)]
        else:
            with self.told("list", ""):
                listed = self._fs.find(self._root, detail=True)
            bare = []
            for name, info in listed.items():
                path = name[len(self._root) :].lstrip("/")
                if not name.startswith(self._root) or not path or path.endswith("/") or is_ours(path):
                    continue
                if info.get("size") is None:
                    bare.append(path)
                else:
                    yield _found(path, info)
        for path, found in zip(bare, self.stat(bare), strict=True):
            if found is None:
                raise TransferError(f"{path!r} is listed at {self} and cannot be read.")
            yield found

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What is at each path, several questions at a time."""
        with ThreadPoolExecutor(2 * self.lanes) as pool:
            return list(pool.map(self.state, paths))

    def state(self, path: str) -> Found | None:
        """What is at a path."""
        info = self._info(path)
        if info is None:
            return None
        if info["type"] != "directory" and info.get("size") is None:
            raise TransferError(
                f"cannot read {path!r} at {self}: its server does not tell how long it is.",
                hint="Download it with a tool of its own first.",
            )
        return _found(path, info)

    def lane(self) -> Lane:
        """A way for one thread."""
        return _URLLane(self)

    @property
    def fs(self) -> Any:
        """The file system."""
        return self._fs

    def full(self, path: str) -> str:
        """A path as the file system wants it."""
        if any(name in ("", ".", "..") for name in path.split("/")):
            raise InputError(f"{path!r} at {self} leaves the folder.")
        return f"{self._root}/{quote(path) if self.web else path}"

    @contextmanager
    def told(self, doing: str, path: str) -> Iterator[None]:
        """Explains what the file system refuses meanwhile."""
        import aiohttp  # noqa: PLC0415 - comes with s3fs, and is slow to import

        try:
            yield
        except (OSError, ValueError, RuntimeError, aiohttp.ClientError) as error:
            name = f" {path!r}" if path else ""
            said = f"{error}".strip() or type(error).__name__
            raise TransferError(
                f"cannot {doing}{name} at {self}: {said}.", hint="Run the same command again; what arrived is kept."
            ) from error

    def _walk(self, folder: str) -> Iterator[str]:
        """Files that a web server lists in a folder (its path with a final ``/``) and below.

        Not by fsspec's ``find``, which asks for folders without their slash and leaves out what it cannot list.
        """
        here = f"{self._root}/{quote(folder)}"
        for name in self._fs.ls(here, detail=False):
            # Lists also offer themselves in another order (`?C=N`), and lead up and elsewhere; `./a:b` is no scheme.
            below = name.removeprefix(here).removeprefix("./")
            if (
                not name.startswith(here)
                or "?" in below
                or "#" in below
                or "/" in below.rstrip("/")
                or not below.rstrip("/")
            ):
                continue
            if below.endswith("/"):
                yield from self._walk(f"{folder}{unquote(below)}")
            else:
                yield f"{folder}{unquote(below)}"

    def _info(self, path: str) -> dict[str, Any] | None:
        with self.told("look at", path):
            try:
                info: dict[str, Any] = self._fs.info(self.full(path) if path else self._root)
            except (FileNotFoundError, NotADirectoryError) as error:
                # Over HTTP, fsspec calls every failure so; what the server said is its cause.
                if error.__cause__ is None or getattr(error.__cause__, "status", 0) in _GONE:
                    return None
                raise OSError(str(error.__cause__)) from error
        return info


class _URLReading(Reading):
    def __init__(self, lane: _URLLane, endpoint: URLEndpoint, path: str, part: Part) -> None:
        self._lane, self._endpoint, self._path, self._part = lane, endpoint, path, part

    def __iter__(self) -> Iterator[memoryview]:
        before = self._endpoint.state(self._path)
        if before is None:
            raise TransferError(f"cannot read {self._path!r} at {self._endpoint}: there is no such file.")
        at, end = self._part.offset, min(self._part.offset + self._part.length, before.size)
        while at < end:
            with self._endpoint.told("read", self._path):
                data = self._lane.pull(before, at, min(at + _PIECE, end))
            if not data:
                break
            at += len(data)
            view = memoryview(data)
            for begin in range(0, len(view), CHUNK):
                yield view[begin : begin + CHUNK]
        after = self._endpoint.state(self._path)
        self.pin = before.pin if after == before else ""


class _URLLane(SourceLane):
    def __init__(self, endpoint: URLEndpoint) -> None:
        super().__init__(endpoint)
        self._endpoint = endpoint
        self._file: Any = None
        self._state: Found | None = None
        self._streaming = False

    def read(self, path: str, part: Part) -> Reading:
        return _URLReading(self, self._endpoint, path, part)

    def pull(self, found: Found, at: int, end: int) -> bytes:
        """Bytes of a file from there on, at most up to ``end``."""
        endpoint = self._endpoint
        full = endpoint.full(found.path)
        data: bytes
        if not endpoint.web:
            data = endpoint.fs.cat_file(full, start=at, end=end)
            return data
        # Not cat_file: over HTTP it takes the whole file into memory where a server knows no ranges.
        if self._state != found or self._streaming == endpoint.ranges or (self._streaming and self._file.tell() > at):
            self._open(found, full)
        if self._streaming:
            while self._file.tell() < at and self._file.read(min(CHUNK, at - self._file.tell())):
                continue  # what comes before is dropped
            data = self._file.read(min(CHUNK, end - at))
            return data
        try:
            self._file.seek(at)
            data = self._file.read(end - at)
        except ValueError:  # "doesn't appear to support range requests"
            endpoint.ranges = False
            return self.pull(found, at, end)
        return data

    def _open(self, found: Found, full: str) -> None:
        self.close()
        self._streaming = not self._endpoint.ranges
        words = {"block_size": 0} if self._streaming else {"block_size": _PIECE, "cache_type": "none"}
        self._file = self._endpoint.fs.open(full, "rb", size=found.size, **words)
        self._state = found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._state = None


def _file_system(scheme: str, url: str) -> Any:
    import fsspec  # noqa: PLC0415 - only here

    try:
        kind = fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}.", hint="Install that package beside aifa_hpc.") from error
    try:
        return kind(**kind._get_kwargs_from_urls(url), skip_instance_cache=True, use_listings_cache=False)  # noqa: SLF001
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{url} cannot be opened: {error}.") from error


def _found(path: str, info: dict[str, Any]) -> Found:
    if info["type"] == "directory":
        return Found(path=path, size=-1, pin="")
    told = (info[key] for key in _STATE if info.get(key) is not None)
    # A listing may tell the same time as a number that a question tells as a datetime.
    state = "/".join(str(one.timestamp() if hasattr(one, "timestamp") else one) for one in told)
    return Found(path=path, size=int(info["size"]), pin=f"{info['size']}:{state}", mtime_ns=_mtime_ns(info))


def _mtime_ns(info: dict[str, Any]) -> int:
    """The time a file system tells, or 1970."""
    told: Any = next(
        (info[key] for key in ("mtime", "LastModified", "last_modified", "updated") if info.get(key)), None
    )
    if info.get("Last-Modified"):
        told = parsedate_to_datetime(info["Last-Modified"])
    if hasattr(told, "timestamp"):
        return int(told.timestamp()) * 10**9
    return int(told * 10**9) if isinstance(told, float | int) else 0
