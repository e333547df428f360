"""Bodies of objects on connections of their own, one for each lane, and the memory that they are in meanwhile.

s3fs has one thread for all connections, which copies what it sends and is handed what it receives in small pieces. That
thread is the bottleneck of a fast way: sending a GiB took 7.2 s of processors, and 3.1 s by the same botocore without a
loop in between, two thirds of it the digests. So requests with large bodies are botocore's own, blocking ones: what the
kernel takes it takes from the buffer that was hashed, and while it does, other lanes run.

A body goes unsigned (``UNSIGNED-PAYLOAD``), over TLS or not, as its digest is among the headers that are signed;
botocore would hash it once more where there is no TLS. Nor is the store asked beforehand whether it will take it
(``Expect: 100-continue``, one more round trip for each part): whether the keys hold is known from the requests before.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKING = frozenset({"get_object", "put_object", "upload_part"})
"""Requests with bodies."""

TIMEOUT_SECONDS = 30
"""Of one read or write on a connection, and of its beginning."""

_PIECE = 256 * 2**10
"""Bytes that are handed to a socket at a time: its timeout is for all of them."""

_ROOM_BYTES = 160 * 2**20


class Body:
    """Bytes that botocore sends from where they are; it takes no views, but whatever can be read.

    Args:
        view: They stay as they are until the answer is there.
    """

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, count: int = -1) -> memoryview:
        """The next piece, of a size that suits a socket, whatever was asked for; at the end, none."""
        del count
        piece = self._view[self._at : self._at + _PIECE]
        self._at += len(piece)
        return piece

    def seek(self, at: int) -> None:
        """Goes back, for another attempt."""
        self._at = at

    def tell(self) -> int:
        """How much was read."""
        return self._at


class Room:
    """Memory for parts on their way to a store, so that large parts go by fewer at a time.

    Buffers are used again: to get fresh pages from the kernel costs as much as to fill them.

    Args:
        most: Bytes at a time; a single part that is larger goes alone.
    """

    def __init__(self, most: int = _ROOM_BYTES) -> None:
        self._most, self._used = most, 0
        self._spare: list[bytearray] = []
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[memoryview]:
        """Waits until there is room for so many bytes, and lends it."""
        # Powers of two, which all parts but the last of a file are: so that many sizes do not mean many buffers.
        length = 1 << max(size - 1, 0).bit_length()
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + length <= self._most)
            self._used += length
            buffer = self._taken(length)
        try:
            yield memoryview(buffer)[:size]
        finally:
            with self._changed:
                self._used -= length
                if length <= self._most:
                    self._spare.append(buffer)
                self._changed.notify_all()

    @property
    def held(self) -> int:
        """Bytes of buffers that wait to be used again."""
        return sum(map(len, self._spare))

    def _taken(self, length: int) -> bytearray:
        for number, spare in enumerate(self._spare):
            if len(spare) == length:
                return self._spare.pop(number)
        while self._spare and self._used + self.held > self._most:
            del self._spare[0]
        return bytearray(length)


def blocking_client(fs: Any, session: Any, config: dict[str, Any]) -> Any:
    """A client of botocore's that asks the same store with the same keys as an s3fs file system does.

    Args:
        fs: The file system.
        session: A botocore session of its own.
        config: The client's settings that the file system has too.
    """
    from botocore import UNSIGNED  # noqa: PLC0415 - heavy, and not needed by most
    from botocore.config import Config  # noqa: PLC0415
    from botocore.handlers import add_expect_header  # noqa: PLC0415
    from fsspec.asyn import sync  # noqa: PLC0415

    sync(fs.loop, fs.set_session)
    # What describes S3, some megabytes, is read once for both.
    session.register_component("data_loader", fs.session.get_component("data_loader"))
    unsigned = {"signature_version": UNSIGNED} if fs.anon else {}
    style = config.get("s3", {}) | {"payload_signing_enabled": False}
    times = {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}
    client = session.create_client(
        "s3", endpoint_url=fs.endpoint_url, config=Config(**{**config, **unsigned, **times, "s3": style}),
        aws_access_key_id=fs.key, aws_secret_access_key=fs.secret, aws_session_token=fs.token,
    )  # fmt: skip
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client
