"""What real object stores check, and how a copy to each is proven."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import MANIFEST, read_manifest
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.s3 import SMALLEST_PART, S3Endpoint
from aifa_hpc.staging.endpoints.s3_checks import JOBS, Checks
from aifa_hpc.staging.endpoints.s3_store import Store
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.progress import Progress
from aifa_hpc.testing.copies import StoppedError, stop_at
from aifa_hpc.testing.feeds import some_bytes
from aifa_hpc.testing.stores import Bucket, CephStore, ObjectStore, RcloneStore, StrictStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.staging.engine import Summary

BIG = 2 * SMALLEST_PART + 77
KINDS = (
    (CephStore, "md5", "store-md5"),
    (RcloneStore, "md5", "store-md5"),
    (StrictStore, "sha256", "store-sha256"),
)


class Counted(Store):
    """Counts requests, and what they have beside a body.

    Attributes:
        asked: How many there were of a kind, of that for an object, and of those with a digest.
        damages: A key of which a bit flips on the way.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, connections=4)
        self.asked: Counter[str] = Counter()
        self.damages = ""

    def request(self, client: Any, method: str, words: dict[str, Any]) -> Any:
        """One more."""
        key = words.get("Key", "")
        self.asked.update((method, f"{method} {key}"))
        self.asked.update(f"{digest} {key}" for digest in ("ContentMD5", "ChecksumSHA256") if digest in words)
        if self.damages == key and "Body" in words:
            body = bytearray(b"".join(map(bytes, iter(words["Body"].read, b""))))
            body[len(body) // 2] ^= 1
            words = words | {"Body": bytes(body)}
        return super().request(client, method, words)


class At:
    """A bucket of a store, and copies into it.

    Args:
        bucket: Where to.
        folder: What is copied, in ``src``, and ledgers.
    """

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket, self.folder, self.checks = bucket, folder, Checks()
        (folder / "src").mkdir()
        self.store = Counted(bucket.url)

    def fill(self, files: int) -> None:
        """Makes a large file and small ones."""
        (self.folder / "src" / "big").write_bytes(some_bytes(BIG))
        for number in range(files):
            (self.folder / "src" / f"small {number}").write_bytes(b"%d" % number)

    def copy(self, progress: Progress | None = None, *, ledger: str = "ledger") -> Summary:
        """All of it."""
        there = S3Endpoint(self.bucket.name, "x", endpoint_url=self.bucket.url, store=self.store, checks=self.checks)
        with Ledger(self.folder / f"{ledger}.sqlite") as opened:
            return copy(
                LocalEndpoint(self.folder / "src"), there,
                clearance=clear("open", outgoing=True), ledger=opened, progress=progress or Progress(), lanes=2,
            )  # fmt: skip

    @property
    def told(self) -> list[str]:
        """The levels in the manifest."""
        manifest = self.bucket.get(f"x/{MANIFEST}")
        assert manifest is not None
        return [one.level for one in read_manifest(manifest.decode("ascii")).sets]


@pytest.fixture(scope="module", params=KINDS, ids=[kind.__name__ for kind, *_ in KINDS])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ObjectStore, Any]]:
    """Each of them, and what it is known for."""
    kind, *known = request.param
    if lacking := kind.lacking():
        pytest.skip(f"there is no {lacking}; aifa_hpc.testing.stores says where it comes from")
    with kind.started(tmp_path_factory.mktemp("store")) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.env.items():
            patch.setenv(name, value)
        yield made, known


@pytest.fixture
def at(store: tuple[ObjectStore, Any], tmp_path: Path) -> Iterator[At]:
    """A bucket of its own."""
    bucket = Bucket(store[0].url, f"checks-{abs(hash(tmp_path)):x}"[:40])
    yield At(bucket, tmp_path)
    bucket.empty()


def test_a_copy_of_some_size_asks_what_is_checked(store: tuple[ObjectStore, Any], at: At) -> None:
    """Once; the manifest and the summary name it, all is there, and nothing else."""
    check, level = store[1]
    at.fill(JOBS)
    summary = at.copy()
    assert (check, level, [level]) == (at.checks.known(f"{at.bucket.url}/{at.bucket.name}"), summary.level, at.told)
    assert [] == at.bucket.uploads()
    assert at.store.asked["get_object x/big"] == 0  # not even where its ETag is of the whole
    # One digest for each part and object; only the key by which the store was asked has others too.
    sent, other = ("ChecksumSHA256", "ContentMD5") if check == "sha256" else ("ContentMD5", "ChecksumSHA256")
    counts = {"x/big": 3} | {f"x/small {number}": 1 for number in range(JOBS)}
    alone = {name for name in counts if not at.store.asked[f"{other} {name}"]}
    assert len(alone) == len(counts) - 1
    assert {name: counts[name] for name in alone} == {name: at.store.asked[f"{sent} {name}"] for name in alone}
    assert {f"x/{path.name}": path.read_bytes() for path in (at.folder / "src").iterdir()} == at.bucket.contents()
    begun = at.store.asked["create_multipart_upload"]
    (at.folder / "src" / "big").write_bytes(some_bytes(BIG, 2))
    assert (level, begun + 1) == (at.copy().level, at.store.asked["create_multipart_upload"])


@pytest.mark.parametrize("name", ["big", "small 5"])
def test_a_bit_that_flips_on_the_way_is_refused(store: tuple[ObjectStore, Any], at: At, name: str) -> None:
    """By each store, of a part and of an object; the next copy brings what is right."""
    at.fill(JOBS)
    at.store.damages = f"x/{name}"
    at.checks.learn(f"{at.bucket.url}/{at.bucket.name}", lambda: store[1][0])
    with pytest.raises(TransferError, match=rf"x/{name}|{name}"):
        at.copy()
    assert (None, None) == (at.bucket.get(f"x/{name}"), at.bucket.get(f"x/{MANIFEST}"))
    at.store.damages = ""
    at.copy()
    assert {f"x/{path.name}": path.read_bytes() for path in (at.folder / "src").iterdir()} == at.bucket.contents()


def test_a_small_copy_asks_nothing(at: At) -> None:
    """Each object is put and looked at, the large one in its parts."""
    at.fill(3)
    assert ("store-etag", ["store-etag"]) == (at.copy().level, at.told)
    sent = {name: at.store.asked[name] for name in ("create_multipart_upload", "upload_part", "abort_multipart_upload")}
    assert {"create_multipart_upload": 1, "upload_part": 3, "abort_multipart_upload": 0} == sent


@pytest.mark.parametrize("store", KINDS[-1:], ids=["strict"], indirect=True)
@pytest.mark.parametrize("ledger", ["ledger", "another"])
def test_an_upload_is_continued_as_it_was_begun(at: At, ledger: str) -> None:
    """By a process that knows nothing of the store; digests of parts that another one sent are the store's own."""
    at.fill(JOBS)
    with contextlib.suppress(StoppedError):
        at.copy(stop_at(2 * SMALLEST_PART + 50))
    assert ["x/big"] == at.bucket.uploads()
    for number in range(JOBS):
        (at.folder / "src" / f"small {number}").unlink()
    at.checks = Checks()
    summary = at.copy(ledger=ledger)
    assert summary.parts_resumed
    assert (None, "store-sha256") == (at.checks.known(f"{at.bucket.url}/{at.bucket.name}"), summary.level)
    head = at.bucket.client.head_object(Bucket=at.bucket.name, Key="x/big", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-3")
    assert some_bytes(BIG) == at.bucket.get("x/big")
