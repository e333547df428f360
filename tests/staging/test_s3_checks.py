"""What a store checks is found out by what it refuses, once, and only where that is little beside what is to come."""

from __future__ import annotations

import base64
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.manifest import BLOCK, LEVELS, weakest
from aifa_hpc.staging.endpoints.s3_checks import Check, Checks, probe
from aifa_hpc.staging.endpoints.s3_lane import S3Lane
from aifa_hpc.staging.endpoints.s3_wire import Room
from aifa_hpc.staging.failures import DamagedError
from aifa_hpc.staging.model import Found, Part, Partial, Target
from aifa_hpc.testing.feeds import GivenFeed, some_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

SHA256, MD5 = "ChecksumSHA256", "ContentMD5"


def refusal(code: str) -> OSError:
    """As s3fs raises it."""
    error = OSError(code)
    error.__cause__ = ClientError({"Error": {"Code": code}}, "PutObject")
    return error


@dataclass
class Answers:
    """A store that checks some digests, and says so in a word of its own.

    Attributes:
        checks: Keys of the digests that it looks at.
        word: Of a wrong one.
        no_algorithms: What it says of an upload with an algorithm, if it knows none.
        drops: An upload of which a part was refused is gone.
        forgets: It does not list the digests of parts.
        ciphered: Its ETags are no MD5.
        open: Uploads that are there.
        asked: Requests, in their order.
    """

    checks: Sequence[str] = ()
    word: str = "BadDigest"
    no_algorithms: str = ""
    drops: bool = False
    forgets: bool = False
    ciphered: bool = False
    open: set[str] = field(default_factory=set)
    part: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, method: str, **words: Any) -> Any:
        """One request."""
        self.asked.append(method)
        if method == "create_multipart_upload":
            if "ChecksumAlgorithm" in words and self.no_algorithms:
                raise refusal(self.no_algorithms)
            self.open.add(made := f"upload {len(self.asked)}")
            return {"UploadId": made}
        if words["UploadId"] not in self.open:
            raise refusal("NoSuchUpload")
        if method == "abort_multipart_upload":
            self.open.remove(words["UploadId"])
            return {}
        if method == "list_parts":
            return {"Parts": [self.part] if self.part and not self.forgets else []}
        body = words["Body"]
        right = {SHA256: hashlib.sha256(body).digest(), MD5: hashlib.md5(body, usedforsecurity=False).digest()}
        for key in self.checks:
            if key in words and base64.b64decode(words[key]) != right[key]:
                self.open -= {words["UploadId"]} if self.drops else set()
                raise refusal(self.word)
        self.part = {key: words[key] for key in (SHA256,) if key in words}
        return {"ETag": (right[MD5][::-1] if self.ciphered else right[MD5]).hex()}


@pytest.mark.parametrize(
    ("store", "check"),
    [
        (Answers(checks=(SHA256, MD5)), "sha256"),
        (Answers(checks=(SHA256,), word="XAmzContentChecksumMismatch"), "sha256"),
        (Answers(checks=(MD5,)), "md5"),
        (Answers(checks=(MD5,), drops=True), "md5"),
        (Answers(checks=(MD5,), no_algorithms="NotImplemented"), "md5"),
        (Answers(checks=(SHA256, MD5), forgets=True), "md5"),
        (Answers(checks=(SHA256, MD5), ciphered=True), "md5"),
        (Answers(checks=(SHA256, MD5), drops=True), "md5"),
        (Answers(checks=(SHA256, MD5), word="InternalError"), ""),
        (Answers(no_algorithms="InvalidArgument"), ""),
        (Answers(), ""),
    ],
)
def test_the_strongest_digest_that_is_refused_when_it_is_wrong(store: Answers, check: Check) -> None:
    """By eight requests at most, and nothing stays of them; one that an upload cannot be continued with is none."""
    assert (check, set()) == (probe(store, store), store.open)
    assert len(store.asked) <= 8


def test_a_store_that_cannot_be_reached_is_no_answer() -> None:
    """It is asked again."""

    def down(method: str, **words: Any) -> Any:
        raise ConnectionError(f"{method} {len(words)}")

    checks, store = Checks(), Answers(checks=(MD5,))
    for call, once in ((down, down), (store, down)):
        with pytest.raises(ConnectionError):
            checks.learn("here", functools.partial(probe, call, once))
    assert (None, set()) == (checks.known("here"), store.open)
    assert checks.learn("here", lambda: probe(store, store)) == "md5"


def test_a_bucket_is_asked_once() -> None:
    """By however many threads; another one is another store."""
    checks, store = Checks(), Answers(checks=(SHA256,))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: checks.learn("here", lambda: probe(store, store)), range(50)))
    assert ({"sha256"}, 1) == (set(found), store.asked.count("create_multipart_upload"))
    assert ("sha256", None) == (checks.known("here"), checks.known("there"))


class Objects:
    """A store of one object that answers with that ETag, or the right one.

    Args:
        check: What it checks.
        etag: Of all that comes.
    """

    def __init__(self, check: Check | None, etag: str = "") -> None:
        self.room, self.check, self.etag = Room(), check, etag
        self.words: dict[str, Any] = {}

    def declared(self, partial: Partial) -> bool:
        """By its token."""
        return partial.token == "declared"

    def call(self, method: str, path: str, **words: Any) -> Any:
        """Takes a body."""
        del method, path
        self.words = words
        self.body = b"".join(map(bytes, iter(words.pop("Body").read, b"")))
        return {"ETag": f'"{self.etag or hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'}

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What came last."""
        pin = self.etag or hashlib.md5(self.body, usedforsecurity=False).hexdigest()
        return [Found(path=path, size=len(self.body), pin=pin) for path in paths]

    parts = made = sums = None  # asked of no single body


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize(
    ("check", "token", "sent"),
    [
        ("sha256", "declared", {SHA256}),
        ("sha256", "", {MD5}),
        (None, "declared", {SHA256, MD5}),
        ("md5", "", {MD5}),
        ("", "", {MD5}),
        (None, "", {MD5}),
    ],
)
def test_the_digests_of_a_part(size: int, check: Check | None, token: str, sent: set[str]) -> None:
    """Those of all its bytes, whether it is a block or several; an MD5 only where a SHA-256 is not known to do."""
    store, body = Objects(check), some_bytes(size)
    feed, part = GivenFeed(body), Part(index=0, offset=0, length=size)
    done = S3Lane(cast("Any", store)).write(Partial(path="a", token=token), part, feed)
    right = {SHA256: hashlib.sha256(body).digest(), MD5: hashlib.md5(body, usedforsecurity=False).digest()}
    assert {name: right[name] for name in sent} == {
        name: base64.b64decode(store.words[name]) for name in (SHA256, MD5) if name in store.words
    }
    assert (SHA256 in sent) == ("ChecksumAlgorithm" in store.words)
    assert (body, right[MD5]) == (store.body, done.md5)


@pytest.mark.parametrize(("check", "sent"), [("sha256", SHA256), ("md5", MD5), ("", MD5), (None, MD5)])
def test_the_digest_of_an_object(check: Check | None, sent: str) -> None:
    """One."""
    store, target = Objects(check), Target(path="a", size=3, mtime_ns=None, executable=False)
    done = S3Lane(cast("Any", store)).store(target, GivenFeed(b"abc"))
    assert ([sent], done.md5) == (
        [name for name in (SHA256, MD5) if name in store.words],
        hashlib.md5(b"abc", usedforsecurity=False).digest(),
    )


@pytest.mark.parametrize(("check", "etag"), [("md5", "0" * 32), ("sha256", "0" * 32 + "-1"), ("sha256", "opaque")])
def test_an_etag_that_is_not_the_md5_of_what_was_sent(check: Check | None, etag: str) -> None:
    """Is refused: what is there already is compared with it. Where SHA-256 was checked, it need only be one."""
    partial, part = Partial(path="a", token="declared"), Part(index=0, offset=0, length=3)
    with pytest.raises(DamagedError, match="has ETag"):
        S3Lane(cast("Any", Objects(check, etag))).write(partial, part, GivenFeed(b"abc"))


@given(st.lists(st.sampled_from([*LEVELS, "what a later version says"])))
def test_the_weakest_level_tells_of_all(levels: list[str]) -> None:
    """One that is not known may be weaker than any."""
    order = [*LEVELS, "what a later version says"]
    assert order[max(map(order.index, levels), default=0)] == weakest(levels)
