"""Sources by URL keep the reading half of the contract: in memory, by file://, and from real web servers."""

from __future__ import annotations

import functools
import http.server
import io
import socket
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import fsspec
import pytest

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.url import URLEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.testing.endpoints import FolderPlace, Place, SourceContract, some_bytes
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.ledger import Ledger

FILES = {"a": b"hello", "empty": b"", "sub/big": some_bytes(2 * BLOCK + 77), "sub/it's ü & %2F": b"odd"}


class _Memory(Place):
    """Files of fsspec's memory, which is one for the process."""

    def __init__(self) -> None:
        self._fs = fsspec.filesystem("memory")
        self._fs.store.clear()

    def endpoint(self, path: str = "") -> URLEndpoint:
        """An endpoint there."""
        return URLEndpoint(f"memory://place/{path}".removesuffix("/") if not path else f"memory://place/{path}")

    def put(self, path: str, data: bytes) -> None:
        """Past the endpoint."""
        self._fs.pipe_file(f"/place/{path}", data)

    def get(self, path: str) -> bytes | None:
        """Likewise."""
        return self._fs.cat_file(f"/place/{path}") if self._fs.exists(f"/place/{path}") else None

    def names(self) -> set[str]:
        """Likewise."""
        return {name.removeprefix("/place/") for name in self._fs.store}


class TestMemory(SourceContract):
    """A file system that knows ranges."""

    @pytest.fixture
    def place(self) -> Place:
        """Empty."""
        return _Memory()


class TestFileURL(SourceContract):
    """This machine, by fsspec."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        """A folder."""
        return FolderPlace(tmp_path, lambda path: URLEndpoint(f"file://{path}"))


class _Plain(http.server.SimpleHTTPRequestHandler):
    """Whole files only."""

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Without a word when nobody listens any more."""
        with suppress(OSError):
            super().copyfile(source, outputfile)


class _Ranges(_Plain):
    """Ranges, and ETags."""

    seen: ClassVar[list[str | None]] = []

    def end_headers(self) -> None:
        """With the state of the file."""
        if (path := Path(self.translate_path(self.path))).is_file():
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        super().end_headers()

    def send_head(self) -> Any:
        """A range, where one is asked for."""
        wanted, path = self.headers.get("Range"), Path(self.translate_path(self.path))
        if self.command == "GET" and path.is_file():
            self.seen.append(wanted)
        if not wanted or not path.is_file():
            return super().send_head()
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        data = path.read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{path.stat().st_size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return io.BytesIO(data)


class _Sorted(_Ranges):
    """Knows folders by their slash alone, offers its lists in other orders, and cannot list one folder."""

    def send_head(self) -> Any:
        """Nothing without the slash."""
        if "?" in self.path or (Path(self.translate_path(self.path)).is_dir() and not self.path.endswith("/")):
            return self.send_error(404)
        if self.path.endswith("/broken/"):
            return self.send_error(500)
        return super().send_head()

    def list_directory(self, path: Any) -> Any:
        """With links as Apache has them, and one to a folder's archive."""
        page = super().list_directory(path)
        assert page is not None
        more = b'<a href="?C=N;O=D">Name</a> <a href="sub/?download=zip">zip</a> <a href="..">up</a>'
        return io.BytesIO(page.read().replace(b"<hr>", b"<hr>" + more, 1).replace(b'href="a"', b'href="./a"'))

    def send_header(self, keyword: str, value: str) -> None:
        """The length of the page is no longer what it was: the end of the connection tells."""
        if keyword != "Content-Length" or not self.path.endswith("/"):
            super().send_header(keyword, value)


@contextmanager
def serve(root: Path, kind: type[_Plain]) -> Iterator[str]:
    """A web server over a folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Web(SourceContract):
    server: type[_Plain]

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Place]:
        """A folder behind a server; folders have a final slash."""
        (tmp_path / "place").mkdir()
        with serve(tmp_path / "place", self.server) as url:
            yield FolderPlace(tmp_path / "place", lambda path: URLEndpoint(url + path[len(f"{tmp_path}/place") :]))

    def test_what_is_there_is_told(self, place: Place) -> None:
        """A folder shows only at its slash."""
        place.put("folder/file", b"x")
        kinds = [place.endpoint(path).kind() for path in ("folder/", "folder/file", "nothing")]
        assert kinds == ["folder", "file", "absent"]


class TestPlainServer(_Web):
    """Whole files only."""

    server = _Plain


class TestRangeServer(_Web):
    """Ranges, and ETags."""

    server = _Ranges


@pytest.mark.parametrize("server", [_Plain, _Ranges])
def test_a_folder_is_copied_and_resumed(server: Any, tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """All of it, and nothing twice, with or without ranges."""
    make_tree(tmp_path / "src", FILES)
    with serve(tmp_path / "src", server) as url:
        sent = [
            copy(URLEndpoint(f"{url}/"), LocalEndpoint(tmp_path / "dst"), clearance=clearance, ledger=ledger).bytes_sent
            for _ in range(2)
        ]
    assert (FILES, [sum(map(len, FILES.values())), 0]) == (tree(tmp_path / "dst"), sent)


def test_a_list_that_offers_other_orders(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Its own links are no files, and folders are found by their slash."""
    make_tree(tmp_path / "src", FILES)
    with serve(tmp_path / "src", _Sorted) as url:
        copy(URLEndpoint(f"{url}/"), LocalEndpoint(tmp_path / "dst"), clearance=clearance, ledger=ledger)
    assert tree(tmp_path / "dst") == FILES


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """An error, where a copy without it would pass for complete."""
    make_tree(tmp_path / "src", FILES | {"sub/broken/file": b"x"})
    with serve(tmp_path / "src", _Sorted) as url, pytest.raises(TransferError, match="cannot list"):
        copy(URLEndpoint(f"{url}/"), LocalEndpoint(tmp_path / "dst"), clearance=clearance, ledger=ledger)


def test_ranges_are_asked_for(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A file is never taken whole where its parts can be had."""
    make_tree(tmp_path / "src", {"big": FILES["sub/big"]})
    _Ranges.seen.clear()
    with serve(tmp_path / "src", _Ranges) as url:
        copy(URLEndpoint(f"{url}/big"), LocalEndpoint(tmp_path / "dst"), clearance=clearance, ledger=ledger)
    spans = {f"bytes={at}-{min(at + BLOCK, len(FILES['sub/big'])) - 1}" for at in range(0, 2 * BLOCK + 1, BLOCK)}
    assert (FILES["sub/big"], spans) == ((tmp_path / "dst").read_bytes(), set(_Ranges.seen))


def test_it_is_no_destination(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Said before anything is sent."""
    make_tree(tmp_path, {"a": b"hello"})
    fsspec.filesystem("memory").store.clear()
    with pytest.raises(InputError, match="can only be read from"):
        copy(LocalEndpoint(tmp_path / "a"), URLEndpoint("memory://x/a"), clearance=clearance, ledger=ledger)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://me:secret@host/x", "a password does not belong"),
        ("https://host/x?sig=secret", "a query may hold a secret"),
        ("nothing-like-it://x", "nothing-like-it"),
    ],
)
def test_bad_urls_are_refused_without_their_secrets(url: str, words: str) -> None:
    """By name and reason."""
    with pytest.raises(InputError, match=words) as caught:
        URLEndpoint(url)
    assert "secret@" not in str(caught.value)
    assert "sig=" not in str(caught.value)


def test_a_server_that_is_gone_is_no_missing_file() -> None:
    """An error with its cause, not `does not exist`."""
    with plain_server_port() as port, pytest.raises(TransferError, match=r"cannot look at.*onnect"):
        URLEndpoint(f"http://127.0.0.1:{port}/x").kind()


@contextmanager
def plain_server_port() -> Iterator[int]:
    """A port that nobody serves."""
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        yield end.getsockname()[1]
