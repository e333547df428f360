"""Bytes of objects on their way: ranges that are read, parts and whole objects that are sent and read back."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.base import Done, Feed, Lane, Pending, Reading
from aifa_hpc.staging.endpoints.s3_checks import digests
from aifa_hpc.staging.endpoints.s3_store import etag, explained, is_md5
from aifa_hpc.staging.endpoints.s3_wire import Body
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.files import CHUNK
from aifa_hpc.staging.model import Found, Part, Partial, PartSum, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aifa_hpc.staging.endpoints.s3_checks import Check
    from aifa_hpc.staging.endpoints.s3_wire import Room


_PROOFS: dict[Check | None, str] = {
    "sha256": "store-sha256", "md5": "store-md5", "": "store-etag", None: "store-etag"
}  # fmt: skip


class Objects(Protocol):
    """What a lane asks of its endpoint."""

    room: Room

    @property
    def check(self) -> Check | None:
        """What the store is known to check."""

    def declared(self, partial: Partial) -> bool:
        """Whether parts of an upload have to have a SHA-256."""

    def parts(self, partial: Partial) -> dict[int, dict[str, Any]]:
        """What the store tells of the parts of an upload, by their numbers."""

    def call(self, method: str, path: str, **words: Any) -> Any:
        """A request about one object."""

    def made(self, found: Found, partial: Partial) -> bool:
        """Whether an object is the one of an upload, as far as that can be told without reading it."""

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
        with contextlib.closing(answer["Body"]) as body:
            while left:
                with explained("read", self._path, place):
                    data = body.read(min(CHUNK, left))
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
        # Who continues an upload that another process began so does not know yet whether the store looks at a SHA-256.
        declared = self._endpoint.declared(partial)
        believed = declared and self._endpoint.check == "sha256"
        with self._endpoint.room.of(feed.length) as room:
            body, md5 = _gather(feed, room, md5=not believed, sha256=declared)
            with explained("write", partial.path, self._place):
                answer = self._endpoint.call(
                    "upload_part", partial.path, UploadId=partial.token, PartNumber=part.index + 1, **body
                )
        return Done(md5=self._told(partial.path, answer["ETag"], md5))

    def store(self, target: Target, feed: Feed) -> Pending:
        check = self._endpoint.check
        with self._endpoint.room.of(feed.length) as room:
            body, md5 = _gather(feed, room, md5=check != "sha256", sha256=check == "sha256")
            with explained("write", target.path, self._place):
                answer = self._endpoint.call("put_object", target.path, **body)
        told = self._told(target.path, answer["ETag"], md5)
        [found] = self._endpoint.stat([target.path])
        return Done(self._accepted(found, target, (feed.sum,), told.hex(), _PROOFS[check]), md5=told)

    def publish(self, partial: Partial, target: Target) -> Found:
        wanted = etag(target.sums, multipart=True)
        declared, check = self._endpoint.declared(partial), self._endpoint.check
        proof = _PROOFS["sha256" if declared else "" if check == "sha256" else check]
        try:
            parts = self._listed(partial, target, declared=declared)
            with explained("publish", target.path, self._place):
                answer = self._endpoint.call(
                    "complete_multipart_upload", target.path, UploadId=partial.token, MultipartUpload={"Parts": parts}
                )
        except TransferError:
            # The answer to a completion that succeeded may have been lost; then the object is there.
            [found] = self._endpoint.stat([target.path])
            if found is None or not self._holds(found, target, target.sums, wanted):
                raise
            return _proven(found, wanted, proof)
        [found] = self._endpoint.stat([target.path])
        if found is not None and answer.get("ETag", "").strip('"') == wanted and proof != _PROOFS[None]:
            # Some give an upload's object an ETag of another make in the end (rclone's server: the MD5 of the whole).
            # Where wrong digests of parts are refused, and these parts were told to be in it, it need not be read back:
            # an ETag of parts is no digest of the object either. Only that it is this upload's is to be seen.
            other = found.size == target.size and not _same_make(found.pin, wanted)
            if other and self._endpoint.made(found, partial):
                return replace(found, proof=proof)
        return self._accepted(found, target, target.sums, wanted, proof)

    def close(self) -> None:
        return

    def _listed(self, partial: Partial, target: Target, *, declared: bool) -> list[dict[str, Any]]:
        """The parts that a completion names.

        With their SHA-256 where the upload was begun with it, those too of parts that an earlier process sent: as the
        store tells it, which it compared with what came.
        """
        told = self._endpoint.parts(partial) if declared else {}
        parts = []
        for number, found in enumerate(target.sums, 1):
            sha256 = told.get(number, {}).get("ChecksumSHA256")
            more = {"ChecksumSHA256": sha256} if sha256 else {}
            parts.append({"PartNumber": number, "ETag": f'"{found.md5.hex()}"', **more})
        return parts

    def _accepted(self, found: Found | None, target: Target, sums: Sequence[PartSum], wanted: str, proof: str) -> Found:
        """What the store says it has, once it says so: some say yes to anything."""
        if found is None or found.size != target.size:
            raise TransferError(f"{target.path!r} was stored at {self._place} and is not there as it was sent.")
        if not self._holds(found, target, sums, wanted):
            self._require(target.path, found.pin, wanted)
        return _proven(found, wanted, proof)

    def _holds(self, found: Found, target: Target, sums: Sequence[PartSum], wanted: str) -> bool:
        """Whether an object is what was sent: by its ETag, or where that is of another make, by reading it."""
        if found.pin == wanted:
            return True
        if found.size != target.size or _same_make(found.pin, wanted):
            return False
        [[whole]] = self._endpoint.sums([(target.path, [Part(index=0, offset=0, length=target.size)])])
        return whole.blocks == tuple(block for part in sums for block in part.blocks)

    def _told(self, path: str, got: str, md5: bytes) -> bytes:
        """The MD5 of what arrived, as its ETag tells it; any, where the store compared it by SHA-256 instead."""
        tag = got.strip('"')
        self._require(path, tag, md5.hex() if md5 or not is_md5(tag) or "-" in tag else tag)
        return bytes.fromhex(tag)

    def _require(self, path: str, got: str, wanted: str) -> None:
        if got.strip('"') != wanted:
            raise DamagedError(
                f"{path!r} at {self._place} has ETag {got}, where {wanted!r} was sent.",
                hint="Run the same command again. With SSE-KMS, ETags prove nothing: use a bucket without.",
            )


def _same_make(pin: str, wanted: str) -> bool:
    """Whether two ETags are of as many parts, so that they are equal or one is of other content."""
    return pin.partition("-")[2] == wanted.partition("-")[2]


def _proven(found: Found, wanted: str, proof: str) -> Found:
    """What was published, with what it is proven by: when its ETag is of another make, by having been read."""
    return replace(found, proof=proof) if found.pin == wanted else found


def _gather(feed: Feed, room: memoryview, *, md5: bool, sha256: bool) -> tuple[dict[str, Any], bytes]:
    """A request's body, which must be in memory as its digests go before it, and with these; also the MD5, if asked.

    They are made of what passes and not of the room, so that what goes wrong in between is found too.
    """
    ours = hashlib.md5(usedforsecurity=False)
    whole = hashlib.sha256()
    several = feed.length > BLOCK
    at = 0
    for view in feed:
        if md5:
            ours.update(view)
        if sha256 and several:
            whole.update(view)
        room[at : at + len(view)] = view
        at += len(view)
    mine = ours.digest() if md5 else b""
    if not sha256:
        return {"Body": Body(room), **digests(md5=mine)}, mine
    blocks = feed.sum.blocks
    return {"Body": Body(room), **digests(md5=mine, sha256=blocks[0] if len(blocks) == 1 else whole.digest())}, mine
