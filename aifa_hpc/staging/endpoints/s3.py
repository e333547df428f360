"""Objects of a bucket, by the low-level calls of s3fs: multipart uploads that are continued, ranges that are pinned.

An object appears by the completion of its upload, so there is no partial name to see. Parts are proven by MD5, the one
check that AWS and every Ceph have in common: it goes with each part (``Content-MD5``), comes back as its ETag, and the
ETag of the object is made of them. Keys end in the middle of long transfers and endpoints "succeed" without doing
anything (LUMI user guide, storage/lumio), so nothing is believed that was not asked of the store afterwards; what has
an ETag of another make is read back. A copy of some size finds out what its store checks
(:mod:`~aifa_hpc.staging.endpoints.s3_checks`): one that refuses a wrong SHA-256 gets that instead with each part, and
the MD5 in its answer is the store's alone, by which what it has is known again.

Credentials are the AWS environment's own (variables, ``~/.aws``); none is ever an argument here.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.manifest import is_ours, safe_path
from aifa_hpc.staging.endpoints.base import Endpoint, Lane
from aifa_hpc.staging.endpoints.s3_checks import DECLARED, JOBS, KNOWN, Checks, probe
from aifa_hpc.staging.endpoints.s3_lane import S3Lane, S3Reading
from aifa_hpc.staging.endpoints.s3_store import Store, code_of, etag, explained, is_md5
from aifa_hpc.staging.files import Sums
from aifa_hpc.staging.geometry import Limits, cut, part_size
from aifa_hpc.staging.model import Found, Part, Partial, PartSum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aifa_hpc.staging.endpoints.s3_checks import Check
    from aifa_hpc.staging.model import Kind

SMALLEST_PART = 16 * 2**20
LARGEST_PART = 5 * 2**30
"""Of a part, and of an object in one piece (Amazon S3 user guide, "multipart upload limits")."""

MAX_PARTS = 1000
"""LUMI-O's limit (LUMI-O-tools, rclone_util.go), kept to wherever nothing better is known."""

_PARTS_AT = {"amazonaws.com": 10_000, "amazonaws.com.cn": 10_000}
"""Most parts of an upload by the end of a host's name (Amazon S3 user guide, "multipart upload limits")."""

_ANYWHERE = 2**63
_LANES = 8


class S3Endpoint(Endpoint):
    """A prefix of a bucket, or one object.

    Args:
        bucket: Its name.
        prefix: What keys begin with, up to a ``/``; a final ``/`` says that it is meant as a folder.
        endpoint_url: Where the store is; ``AWS_ENDPOINT_URL`` or Amazon by default.
        max_parts: Most parts of an upload; by default what is known of the host.
        lanes: Requests at a time.
        store: The client, where there is one.
        checks: What is known of what stores check.
    """

    checks_md5 = True
    proof = "store-etag"

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        max_parts: int | None = None,
        lanes: int = _LANES,
        store: Store | None = None,
        checks: Checks = KNOWN,
    ) -> None:
        self._bucket = bucket
        self._folder = prefix.endswith("/") or not prefix
        self._root = prefix.strip("/")
        self._store = store or Store(endpoint_url, connections=2 * lanes)
        self.room = self._store.room
        self._max_parts = max_parts
        self._checks, self._where = checks, f"{endpoint_url or ''}/{bucket}"
        self._declared: set[str] = set()
        self._marks: dict[str, str] = {}
        self.lanes = lanes
        self.identity = f"s3://{endpoint_url or ''}/{bucket}/{self._root}".rstrip("/")

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._root}"

    @property
    def limits(self) -> Limits:  # type: ignore[override] # which store it is, is asked when it matters
        """What uploads there may be made of."""
        if self._max_parts is None:
            self._max_parts = parts_at(self._store.host)
        return Limits(part=SMALLEST_PART, parts=self._max_parts, largest=LARGEST_PART)

    @property
    def says_folder(self) -> bool:
        """Written with a final ``/``, or a whole bucket."""
        return self._folder

    def kind(self) -> Kind:
        """An object of that key is a file; keys that go on with ``/`` make a folder."""
        if self._root and self._head("") is not None:
            return "file"
        with explained("list", "", str(self)):
            page = self._store.call("list_objects_v2", Bucket=self._bucket, Prefix=self.key(""), MaxKeys=1)
        return "folder" if page.get("KeyCount", len(page.get("Contents", ()))) or not self._root else "absent"

    def split(self) -> tuple[S3Endpoint, str]:
        """The prefix above, and the name in it."""
        folder, _, name = self._root.rpartition("/")
        if not name:
            raise InputError(f"{self} is a whole bucket and cannot be the name of an object.")
        above = S3Endpoint(
            self._bucket, folder, store=self._store, max_parts=self._max_parts, lanes=self.lanes, checks=self._checks
        )
        above.identity, above._where = self.identity.rpartition("/")[0], self._where
        return above, name

    def scan(self) -> Iterator[Found]:
        """All objects below; markers of empty folders are left out."""
        with explained("list", "", str(self)):
            for page in self._pages(
                "list_objects_v2", "ContinuationToken", "NextContinuationToken", Prefix=self.key("")
            ):
                for item in page.get("Contents", ()):
                    path = item["Key"][len(self.key("")) :]
                    if path and not path.endswith("/") and not is_ours(path):
                        yield _found(path, item["Size"], item)

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """One request for each path, several at a time."""
        with ThreadPoolExecutor(2 * self.lanes) as pool:
            return list(pool.map(self._head, paths))

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """Reads them: a store does not hash for us."""
        for path, parts in wanted:
            found = self._head(path)
            if found is None:
                raise TransferError(f"cannot read {path!r} at {self}: there is no such object.")
            sums = []
            for part in parts:
                length = max(0, min(part.length, found.size - part.offset))
                hasher = Sums(md5)
                for view in S3Reading(self, path, Part(index=part.index, offset=part.offset, length=length)):
                    hasher.update(view)
                blocks, digest = hasher.finish()
                sums.append(PartSum(blocks=tuple(map(bytes.fromhex, blocks)), md5=bytes.fromhex(digest)))
            yield sums

    def matches(self, found: Found, sums: Sequence[PartSum]) -> bool:
        """By the ETag where it is the MD5 of one piece, or of these parts' MD5s; of any other make, by reading."""
        if found.pin in {etag(sums), etag(sums, multipart=True)}:
            return True
        if found.pin.partition("-")[2] == (str(len(sums)) if len(sums) > 1 else "") and is_md5(found.pin):
            return False
        parts = cut(found.size, part_size(found.size, self.limits))
        [there] = self.sums([(found.path, parts)], md5=True)
        return len(there) == len(sums) and all(mine.agrees(read) for mine, read in zip(sums, there, strict=True))

    def partial_sums(self, partial: Partial, parts: Sequence[Part]) -> list[PartSum]:
        """What the store has of an upload; a part of another length is as good as none."""
        held = self.parts(partial)
        return [_part_sum(part, held.get(part.index + 1)) for part in parts]

    def parts(self, partial: Partial) -> dict[int, dict[str, Any]]:
        """What the store tells of the parts of an upload, by their numbers."""
        held = {}
        with explained("list parts of", partial.path, str(self)):
            for page in self._pages(
                "list_parts", "PartNumberMarker", "NextPartNumberMarker",
                Key=self.key(partial.path), UploadId=partial.token,
            ):  # fmt: skip
                self._hear(partial.token, page)
                held.update({item["PartNumber"]: item for item in page.get("Parts", ())})
        return held

    def read_bytes(self, path: str) -> bytes | None:
        """A small object."""
        found = self._head(path)
        if found is None:
            return None
        return b"".join(bytes(view) for view in S3Reading(self, path, Part(index=0, offset=0, length=found.size)))

    def partials(self, folders: Sequence[str]) -> list[Partial]:
        """Uploads that were not completed. Some stores list none; :meth:`recall` finds ours there too."""
        found = []
        for folder in folders:
            prefix = f"{self.key(folder)}/" if folder else self.key("")
            here = f"{folder}/" if folder else ""
            found += [one for one in self._uploads(prefix, folder) if "/" not in one.path[len(here) :]]
        return found

    def strays(self) -> Iterator[Partial]:
        """All uploads below that were not completed."""
        yield from self._uploads(self.key(""), "")

    def recall(self, path: str, token: str) -> Partial | None:
        """An upload by its id."""
        try:
            page = self._store.call("list_parts", Bucket=self._bucket, Key=self.key(path), UploadId=token, MaxParts=1)
        except OSError as error:
            if code_of(error) in ("NoSuchUpload", "NoSuchKey") or isinstance(error, FileNotFoundError):
                return None
            with explained("look at the upload of", path, str(self)):
                raise
        self._hear(token, page)
        return Partial(path=path, token=token, size=_ANYWHERE)

    def begin(self, path: str, size: int, token: str) -> Partial:
        """A new upload; its id is the store's."""
        del size
        words = DECLARED if self.check == "sha256" else {}
        with explained("begin an upload of", path, str(self)):
            made = self.call("create_multipart_upload", path, Metadata={"aifa-token": token}, **words)
        self._marks[made["UploadId"]] = token
        if words:
            self._declared.add(made["UploadId"])
        return Partial(path=path, token=made["UploadId"])

    def adopt(self, partial: Partial, token: str) -> Partial:
        """As it is: an upload's id cannot change.

        Who else adds parts to it makes no wrong object, as its completion lists the ETags of the parts that were meant.
        """
        del token
        return partial

    def discard(self, partials: Sequence[Partial]) -> None:
        """Aborts uploads."""
        for partial in partials:
            try:
                self._store.call(
                    "abort_multipart_upload",
                    Bucket=self._bucket,
                    Key=self.key(partial.path),
                    UploadId=partial.token,
                )
            except OSError as error:
                if code_of(error) != "NoSuchUpload" and not isinstance(error, FileNotFoundError):
                    with explained("abort the upload of", partial.path, str(self)):
                        raise

    def remove(self, paths: Sequence[str]) -> None:
        """Deletes objects."""
        for path in paths:
            with explained("remove", path, str(self)):
                self.call("delete_object", path)

    def prepare(self, path: str, jobs: int) -> None:
        """Asks what the store checks, where that is little beside what is to come."""
        if jobs >= JOBS and self.check is None:
            with explained("write", path, str(self)):
                key = {"Bucket": self._bucket, "Key": self.key(path)}
                call, once = (functools.partial(ask, **key) for ask in (self._store.call, self._store.once))
                self._checks.learn(self._where, lambda: probe(call, once))

    @property
    def check(self) -> Check | None:
        """What the store is known to check of what it is sent."""
        return self._checks.known(self._where)

    def declared(self, partial: Partial) -> bool:
        """Whether parts of an upload have to have a SHA-256, as it was begun with them."""
        return partial.token in self._declared

    def made(self, found: Found, partial: Partial) -> bool:
        """Whether an object is the one of an upload that was begun here, by the mark that this has."""
        with explained("look at", found.path, str(self)):
            head = self.call("head_object", found.path)
        mark = self._marks.get(partial.token)
        return head["ETag"].strip('"') == found.pin and mark in head.get("Metadata", {}).values()

    def settle(self, folders: Sequence[str]) -> None:
        """Nothing to do: what the store acknowledged is stored."""

    def lane(self) -> Lane:
        """All lanes share the connections of one client."""
        return S3Lane(self)

    def close(self) -> None:
        """Connections end with the last endpoint that shares them."""

    def key(self, path: str) -> str:
        """The key of a path; of ``""``, what keys below begin with."""
        if path:
            safe_path(path)
            if not path.isascii():
                try:
                    path.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise TransferError(
                        f"cannot write {path!r} at {self}: its name is not UTF-8, and keys are.",
                        hint="Rename the file.",
                    ) from error
        return f"{self._root}/{path}" if self._root else path

    def call(self, method: str, path: str, **words: Any) -> Any:
        """A request about one object."""
        return self._store.call(method, Bucket=self._bucket, Key=self.key(path), **words)

    def _head(self, path: str) -> Found | None:
        key = self.key(path) if path else self._root
        try:
            with explained("look at", path, str(self)):
                head = self._store.call("head_object", Bucket=self._bucket, Key=key)
        except TransferError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return _found(path, head["ContentLength"], head)

    def _uploads(self, prefix: str, folder: str) -> Iterator[Partial]:
        """Uploads that were not completed, of keys that begin like that."""
        with explained("list uploads in", folder, str(self)):
            try:
                for page in self._pages("list_multipart_uploads", "KeyMarker", "NextKeyMarker", Prefix=prefix):
                    for item in page.get("Uploads", ()):
                        path = item["Key"][len(self.key("")) :]
                        if path and not path.endswith("/"):
                            self._hear(item["UploadId"], item)
                            since = int(item["Initiated"].timestamp()) * 10**9
                            yield Partial(path=path, token=item["UploadId"], size=_ANYWHERE, mtime_ns=since)
            except OSError as error:
                # rclone's server says so where there is none; a bucket that is not there says NoSuchBucket.
                if code_of(error) != "NoSuchUpload":
                    raise

    def _hear(self, upload: str, told: dict[str, Any]) -> None:
        """Notes of an upload that somebody else began whether it was with SHA-256."""
        parts = told.get("Parts", ())
        if told.get("ChecksumAlgorithm") == "SHA256" or any("ChecksumSHA256" in part for part in parts):
            self._declared.add(upload)

    def _pages(self, method: str, marker: str, following: str, **words: Any) -> Iterator[Any]:
        more: dict[str, Any] = {}
        while True:
            page = self._store.call(method, Bucket=self._bucket, **words, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {marker: page[following]}
            if "NextUploadIdMarker" in page:
                more["UploadIdMarker"] = page["NextUploadIdMarker"]


def parts_at(host: str) -> int:
    """How many parts an upload to that host may have."""
    return next((most for end, most in _PARTS_AT.items() if f".{host}".endswith(f".{end}")), MAX_PARTS)


def _found(path: str, size: int, item: dict[str, Any]) -> Found:
    mtime_ns = int(item["LastModified"].timestamp()) * 10**9
    return Found(path=path, size=size, pin=item["ETag"].strip('"'), mtime_ns=mtime_ns)


def _part_sum(part: Part, held: dict[str, Any] | None) -> PartSum:
    if held is None or held["Size"] != part.length:
        return PartSum()
    return PartSum(md5=bytes.fromhex(held["ETag"].strip('"')))
