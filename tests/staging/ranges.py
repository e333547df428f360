"""A web server with one file, which answers ranges, tells what it was asked for, and holds answers back."""

from __future__ import annotations

import http.server
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Web:
    """The server.

    Attributes:
        data: What the file holds.
        gate: Ranges from this byte on are answered only while ``free`` is set.
        url: Of the file.
        etag: What it says of it.
        status: Answers every question for the file with that, if it is not 0.
        asked: Where the ranges begin that it was asked for.
        connections: How many were made.
        rude: Ends each connection after an answer, without a word.
    """

    data: bytes
    gate: int
    url: str = ""
    etag: str = '"one"'
    status: int = 0
    connections: int = 0
    rude: bool = False
    asked: list[int] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks may be killed before the answer."""


@contextmanager
def serve(data: bytes, gate: int) -> Iterator[Web]:
    """Serves these bytes as ``/data/big.bin`` on the loopback."""
    web = Web(data, gate)
    web.free.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            web.connections += 1
            super().setup()

        def log_message(self, *words: Any) -> None:
            del words

        def do_HEAD(self) -> None:
            self.answer(200, b"", len(data))

        def do_GET(self) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if web.status or self.headers.get("If-Match", web.etag) != web.etag:
                self.answer(web.status or 412, b"", 0)
                return
            assert asked is not None
            first, last = int(asked[1]), int(asked[2])
            web.asked.append(first)
            if first >= gate:
                web.free.wait(60)
            self.answer(206, data[first : last + 1], last + 1 - first, f"bytes {first}-{last}/{len(data)}")

        def answer(self, status: int, body: bytes, length: int, span: str = "") -> None:
            self.send_response(status)
            words = {"Content-Length": str(length), "ETag": web.etag, "Accept-Ranges": "bytes"}
            for key, value in (words | ({"Content-Range": span} if span else {})).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = self.close_connection or web.rude

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}/data/big.bin"
    try:
        yield web
    finally:
        web.free.set()
        server.shutdown()
        thread.join()
        server.server_close()
