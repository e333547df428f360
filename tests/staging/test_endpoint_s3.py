"""The S3 endpoint keeps the contract against a real HTTP server (moto's), and continues uploads."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from aifa_hpc.errors import TransferError
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.s3 import SMALLEST_PART, S3Endpoint, parts_at
from aifa_hpc.staging.endpoints.s3_checks import JOBS
from aifa_hpc.staging.endpoints.s3_store import Store
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger, Unfinished
from aifa_hpc.staging.progress import Progress
from aifa_hpc.staging.strays import find_strays, remove_strays
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.copies import StoppedError, stop_at
from aifa_hpc.testing.endpoints import EndpointContract
from aifa_hpc.testing.feeds import some_bytes
from aifa_hpc.testing.housekeeping import HousekeepingContract
from aifa_hpc.testing.stores import Bucket
from aifa_hpc.transport.local import LocalTransport
from tests.object_store import moto
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance

FILES = {"a": b"hello", "empty": b"", "sub/big": some_bytes(SMALLEST_PART + 77), "it's ü & %2F": b"odd"}
TOTAL = sum(map(len, FILES.values()))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A store on a free loopback port, in threads of this process."""
    with moto() as url:
        yield url


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials come from the environment, as they do for users; nothing is asked of a metadata service."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def place(server: str, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """A fresh bucket."""
    bucket = Bucket(server, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:40])
    yield bucket
    bucket.empty()


class TestS3(EndpointContract, HousekeepingContract):
    """The contract, by objects."""

    fences = False
    impossible_names = MappingProxyType({"new\nline": "moto's routes do not match a newline"})


def test_there_and_back(place: Bucket, tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Small objects and multipart ones; verified there; down again; twice does nothing in either direction."""
    make_tree(tmp_path / "src", FILES)
    store = place.endpoint("data/x")
    up = [copy(LocalEndpoint(tmp_path / "src"), store, clearance=clearance, ledger=ledger) for _ in range(2)]
    assert {f"data/x/{path}": data for path, data in FILES.items()} == place.contents()
    assert verify(store).ok
    down = [copy(store, LocalEndpoint(tmp_path / "back"), clearance=clearance, ledger=ledger) for _ in range(2)]
    assert tree(tmp_path / "back") == FILES
    assert [TOTAL, 0, TOTAL, 0] == [summary.bytes_sent for summary in (*up, *down)]


def test_between_store_and_machine(place: Bucket, tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """From another machine's agent into the store and back, with nothing on a disk in between."""
    make_tree(tmp_path / "src", FILES)
    with SSHEndpoint(LocalTransport(), str(tmp_path / "src"), channels=2) as far:
        copy(far, place.endpoint("x/"), clearance=clearance, ledger=ledger)
    with SSHEndpoint(LocalTransport(), str(tmp_path / "dst"), channels=2) as far:
        copy(place.endpoint("x/"), far, clearance=clearance, ledger=ledger)
    assert tree(tmp_path / "dst") == FILES


def test_a_single_object(place: Bucket, tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A key is a file, and goes where it is told."""
    make_tree(tmp_path, {"a": b"hello"})
    copy(LocalEndpoint(tmp_path / "a"), place.endpoint("x/"), clearance=clearance, ledger=ledger)
    copy(LocalEndpoint(tmp_path / "a"), place.endpoint("y/b"), clearance=clearance, ledger=ledger)
    copy(place.endpoint("y/b"), LocalEndpoint(tmp_path / "c"), clearance=clearance, ledger=ledger)
    assert {"x/a": b"hello", "y/b": b"hello"} == place.contents()
    assert (True, b"hello") == (verify(place.endpoint("y/b")).ok, (tmp_path / "c").read_bytes())


@pytest.mark.parametrize("lost", [False, True])
def test_an_upload_is_continued(
    place: Bucket,
    tmp_path: Path,
    clearance: Clearance,
    lost: bool,
) -> None:
    """By its id in the ledger; without a ledger by the store's list and the parts' MD5."""
    files = FILES | {"sub/big": some_bytes(3 * SMALLEST_PART + 77)}
    make_tree(tmp_path / "src", files)

    def run(progress: Progress) -> Any:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            return copy(
                LocalEndpoint(tmp_path / "src"), place.endpoint("x"),
                clearance=clearance, ledger=ledger, progress=progress, lanes=1,
            )  # fmt: skip

    with pytest.raises(StoppedError):
        run(stop_at(2 * SMALLEST_PART + 500))
    assert [b"hello", None, ["x/sub/big"]] == [place.get("x/a"), place.get("x/sub/big"), place.uploads()]
    if lost:
        (tmp_path / "l.sqlite").unlink()
    summary = run(Progress())
    assert ({f"x/{path}": data for path, data in files.items()}, 2) == (place.contents(), summary.parts_resumed)
    assert summary.bytes_sent == SMALLEST_PART + 77


def test_a_lost_ledger_costs_hashing_not_sending(place: Bucket, tmp_path: Path, clearance: Clearance) -> None:
    """ETags say what the store has: nothing is sent or fetched to know that it is the same."""
    make_tree(tmp_path / "src", FILES)
    for number, sent in ((1, TOTAL), (2, 0)):
        with Ledger(tmp_path / f"l{number}.sqlite") as ledger:
            summary = copy(LocalEndpoint(tmp_path / "src"), place.endpoint("x"), clearance=clearance, ledger=ledger)
        assert sent == summary.bytes_sent
    with Ledger(tmp_path / "l3.sqlite") as ledger:
        summary = copy(place.endpoint("x"), LocalEndpoint(tmp_path / "src"), clearance=clearance, ledger=ledger)
    assert summary.bytes_sent == 0


def test_an_object_that_changes_is_an_error(
    place: Bucket, tmp_path: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """Ranges of two versions are never put together."""
    place.put("x/big", some_bytes(SMALLEST_PART + 5))

    class Overwrite(Progress):
        done = False

        def advance(self, size: int) -> None:
            if not self.done:
                self.done = True
                place.put("x/big", some_bytes(SMALLEST_PART + 5, seed=9))

    with pytest.raises(TransferError, match=r"'big' at s3://.* changed while it was copied"):
        copy(
            place.endpoint("x"), LocalEndpoint(tmp_path / "dst"),
            clearance=clearance, ledger=ledger, progress=Overwrite(), lanes=1,
        )  # fmt: skip
    assert not (tmp_path / "dst/big").exists()


def test_an_upload_whose_id_was_never_noted_is_ours(place: Bucket, ledger: Ledger) -> None:
    """Killed between the store's answer and the note: the ledger says of which key, and other keys' uploads stay."""
    store = place.endpoint("data")
    token = f"{'f' * 16}-12345678"
    ledger.note_unfinished(
        store.identity, "ours", Unfinished(token=token, fingerprint="f" * 16, part=SMALLEST_PART, version=1, sums={})
    )
    for path in ("ours", "theirs"):
        store.begin(path, 2 * SMALLEST_PART, token)
    now = datetime.now(UTC) + timedelta(hours=1)
    strays = find_strays(store, ledger=ledger, older=60, now=now)
    assert {("ours", True), ("theirs", False)} == {(stray.partial.path, stray.ours) for stray in strays}
    remove_strays(store, strays, ledger=ledger)
    assert (["data/theirs"], []) == (place.uploads(), ledger.all_unfinished())


def test_no_such_bucket_is_told(server: str) -> None:
    """With what to check."""
    with pytest.raises(TransferError, match=r"s3://no-such-bucket/.*[Bb]ucket.*Check the bucket's name"):
        S3Endpoint("no-such-bucket", "x", endpoint_url=server).kind()


def test_no_credentials_are_told(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With where they are looked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(TransferError, match="AWS_ACCESS_KEY_ID"):
        S3Endpoint("b", "x", endpoint_url=server).kind()


def test_new_keys_are_taken_up_while_it_runs(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys of a file that ended are read again from it; the same ones are refused as before."""
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = x\n")
    asked: list[str] = []

    class Ending(Store):
        """Refuses the first keys from the second request on."""

        def request(self, client: Any, method: str, words: dict[str, Any]) -> Any:
            asked.append(self._keys[0])
            if self._keys[0] == "first" and len(asked) > 1:
                raise PermissionError from ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, method)
            return super().request(client, method, words)

    store = Ending(server, connections=2)
    store.call("create_bucket", Bucket="keys-that-end")
    with pytest.raises(PermissionError):
        store.call("head_bucket", Bucket="keys-that-end")
    file.write_text("[default]\naws_access_key_id = second\naws_secret_access_key = x\n")
    store.call("head_bucket", Bucket="keys-that-end")
    assert ["first", "first", "first", "second"] == asked


@pytest.mark.parametrize(
    ("host", "most"),
    [("s3.eu-north-1.amazonaws.com", 10_000), ("lumidata.eu", 1000), ("notamazonaws.com", 1000), ("127.0.0.1", 1000)],
)
def test_parts_are_as_many_as_the_store_takes(host: str, most: int) -> None:
    """LUMI-O takes a thousand, and so may any other that is not known."""
    assert parts_at(host) == most


def test_a_store_that_checks_nothing_is_known_for_it(place: Bucket) -> None:
    """It took parts under wrong digests; what was sent is compared with what it tells of it, and nothing is left."""
    store = place.endpoint("x")
    store.prepare("first", JOBS - 1)
    assert store.check is None
    store.prepare("first", JOBS)
    assert ("", set()) == (store.check, place.names())


def test_an_object_is_of_the_upload_whose_mark_it_has(place: Bucket) -> None:
    """Another one of the same size under that name is not, nor one that was written since it was looked at."""
    store = place.endpoint("x")
    upload = store.begin("ours", 5, f"{'f' * 16}-12345678")
    sent = store.call("upload_part", "ours", UploadId=upload.token, PartNumber=1, Body=b"hello")
    parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
    store.call("complete_multipart_upload", "ours", UploadId=upload.token, MultipartUpload=parts)
    [found] = store.stat(["ours"])
    assert found is not None
    later = place.endpoint("x")
    assert (True, False) == (store.made(found, upload), later.made(found, upload))
    place.put("x/ours", b"other")
    [other] = store.stat(["ours"])
    assert other is not None
    assert (False, False) == (store.made(found, upload), store.made(other, upload))
