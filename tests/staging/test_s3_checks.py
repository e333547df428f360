"""What a store checks is found out by what it refuses, once, and only where that is little beside what is to come."""

from __future__ import annotations

import base64
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.manifest import BLOCK, LEVELS, BlockHasher, weakest
from aifa_hpc.staging.endpoints.s3_checks import Check, Checks, digests, probe
from aifa_hpc.staging.model import PartSum

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
        open: Uploads that are there.
        asked: Requests, in their order.
    """

    checks: Sequence[str] = ()
    word: str = "BadDigest"
    no_algorithms: str = ""
    drops: bool = False
    forgets: bool = False
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
        return {"ETag": right[MD5].hex()}


@pytest.mark.parametrize(
    ("store", "check"),
    [
        (Answers(checks=(SHA256, MD5)), "sha256"),
        (Answers(checks=(SHA256,), word="XAmzContentChecksumMismatch"), "sha256"),
        (Answers(checks=(MD5,)), "md5"),
        (Answers(checks=(MD5,), drops=True), "md5"),
        (Answers(checks=(MD5,), no_algorithms="NotImplemented"), "md5"),
        (Answers(checks=(SHA256, MD5), forgets=True), "md5"),
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


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_the_digests_of_a_part(size: int) -> None:
    """Those of all its bytes, whether it is a block or several."""
    body = b"x" * size
    hasher = BlockHasher()
    hasher.update(memoryview(body))
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    words = digests(PartSum(blocks=hasher.finish(), md5=md5), body, sha256=True)
    assert hashlib.sha256(body).digest() == base64.b64decode(words.pop(SHA256))
    assert (md5, "SHA256") == (base64.b64decode(words.pop(MD5)), words.pop("ChecksumAlgorithm"))
    assert not words
    assert [MD5] == list(digests(PartSum(md5=md5), body, sha256=False))


@given(st.lists(st.sampled_from([*LEVELS, "what a later version says"])))
def test_the_weakest_level_tells_of_all(levels: list[str]) -> None:
    """One that is not known may be weaker than any."""
    order = [*LEVELS, "what a later version says"]
    assert order[max(map(order.index, levels), default=0)] == weakest(levels)
