"""Bytes of objects on their way: ranges that are read, parts and whole objects that are sent and read back."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Protocol

from aifa_hpc.errors import TransferError
from aifa_hpc.staging.endpoints.base import Done, Feed, Lane, Pending, Reading
from aifa_hpc.staging.endpoints.s3_store import etag, explained
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.files import CHUNK
from aifa_hpc.staging.model import Found, Part, Partial, PartSum, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aifa_hpc.staging.endpoints.s3_store import Room


class Objects(Protocol):
    """What a lane asks of its endpoint."""

    room: Room

    def call(self, method: str, path: str, **words: Any) -> Any:
        """A request about one object."""

    def pull(self, body: Any, count: int) -> bytes:
        """The next bytes of an answer."""

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What is at each path."""

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]]) -> Iterator[list[PartSum]]:
        """Digests of what is there, by reading it."""


class S3Reading(Reading):
    """A range of an object."""

    def __init__(self, endpoint: Objects, path: str, part: Part) -> None:
        self._endpoint, self._path, self._part = endpoint, path, part

    def __iter__(self) -> Iterator[memoryview]:
        place, part = str(self._endpoint), self._part
        with explained("read", self._path, place):
            if not part.length:
                self.pin = self._endpoint.call("head_object", self._path)["ETag"].strip('"')
                return
            span = f"bytes={part.offset}-{part.offset + part.length - 1}"
            answer = self._endpoint.call("get_object", self._path, Range=span)
        left = part.length
        while left:
            with explained("read", self._path, place):
                data = self._endpoint.pull(answer["Body"], min(CHUNK, left))
            if not data:
                break
            left -= len(data)
            yield memoryview(data)
        self.pin = answer["ETag"].strip('"')


class S3Lane(Lane):
    """One thread's requests; all share the connections of one client."""

    def __init__(self, endpoint: Objects) -> None:
        self._endpoint, self._place = endpoint, str(endpoint)

    def read(self, path: str, part: Part) -> Reading:
        return S3Reading(self._endpoint, path, part)

    def write(self, partial: Partial, part: Part, feed: Feed) -> Pending:
        with self._endpoint.room.of(feed.length):
            body = _gather(feed)
            with explained("write", partial.path, self._place):
                answer = self._endpoint.call(
                    "upload_part", partial.path, UploadId=partial.token, PartNumber=part.index + 1, **body
                )
        self._require(partial.path, answer["ETag"], feed.sum.md5.hex())
        return Done()

    def store(self, target: Target, feed: Feed) -> Pending:
        with self._endpoint.room.of(feed.length):
            body = _gather(feed)
            with explained("write", target.path, self._place):
                answer = self._endpoint.call("put_object", target.path, **body)
        self._require(target.path, answer["ETag"], feed.sum.md5.hex())
        return Done(self._read_back(target, (feed.sum,), feed.sum.md5.hex()))

    def publish(self, partial: Partial, target: Target) -> Found:
        wanted = etag(target.sums, multipart=True)
        parts = [{"PartNumber": number, "ETag": f'"{found.md5.hex()}"'} for number, found in enumerate(target.sums, 1)]
        try:
            with explained("publish", target.path, self._place):
                self._endpoint.call(
                    "complete_multipart_upload", target.path, UploadId=partial.token, MultipartUpload={"Parts": parts}
                )
        except TransferError:
            # The answer to a completion that succeeded may have been lost; then the object is there.
            [found] = self._endpoint.stat([target.path])
            if found is None or not self._holds(found, target, target.sums, wanted):
                raise
            return found
        return self._read_back(target, target.sums, wanted)

    def close(self) -> None:
        return

    def _read_back(self, target: Target, sums: Sequence[PartSum], wanted: str) -> Found:
        """What the store says it has: some say yes to anything."""
        [found] = self._endpoint.stat([target.path])
        if found is None or found.size != target.size:
            raise TransferError(f"{target.path!r} was stored at {self._place} and is not there as it was sent.")
        if not self._holds(found, target, sums, wanted):
            self._require(target.path, found.pin, wanted)
        return found

    def _holds(self, found: Found, target: Target, sums: Sequence[PartSum], wanted: str) -> bool:
        """Whether an object is what was sent: by its ETag, or where that is of another make, by reading it."""
        if found.pin == wanted:
            return True
        if found.size != target.size or found.pin.partition("-")[2] == wanted.partition("-")[2]:
            return False
        [[whole]] = self._endpoint.sums([(target.path, [Part(index=0, offset=0, length=target.size)])])
        return whole.blocks == tuple(block for part in sums for block in part.blocks)

    def _require(self, path: str, got: str, wanted: str) -> None:
        if got.strip('"') != wanted:
            raise DamagedError(
                f"{path!r} at {self._place} has ETag {got}, where {wanted!r} was sent.",
                hint="Run the same command again. With SSE-KMS, ETags prove nothing: use a bucket without.",
            )


def _gather(feed: Feed) -> dict[str, Any]:
    """A request's body, which must be in memory to be signed and sent again, with its MD5."""
    data = bytearray(feed.length)
    at = 0
    for view in feed:
        data[at : at + len(view)] = view
        at += len(view)
    return {"Body": bytes(data), "ContentMD5": base64.b64encode(feed.sum.md5).decode("ascii")}
