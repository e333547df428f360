"""Bodies go from where they are, unsigned and unasked, and the memory that they are in is used again."""

from __future__ import annotations

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.staging.endpoints.s3_wire import Body, Room, blocking_client
from aifa_hpc.testing.feeds import some_bytes
from tests.object_store import moto

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A store on a free loopback port."""
    with moto() as url:
        yield url


@given(st.binary(max_size=3 * MIB), st.integers(min_value=1))
def test_a_body_is_read_in_pieces_and_again(data: bytes, count: int) -> None:
    """All of it, as often as it takes, and never more than a socket takes at once."""
    body = Body(memoryview(data))
    for _ in range(2):
        pieces = list(iter(lambda: bytes(body.read(count)), b""))
        assert (data, len(data), len(data)) == (b"".join(pieces), len(body), body.tell())
        assert max(map(len, pieces), default=0) <= MIB
        body.seek(0)


def test_large_parts_go_by_fewer_at_a_time() -> None:
    """What is under way stays within its room, and a part that is larger than that goes alone."""
    room, lock = Room(100), threading.Lock()
    under_way, seen = 0, []

    def send(size: int) -> None:
        nonlocal under_way
        with room.of(size) as view:
            assert size == len(view)
            with lock:
                under_way += size
                seen.append(under_way)
            with lock:
                under_way -= size

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, [60, 40, 30, 250, 100, 1] * 20))
    assert (120, 250) == (len(seen), max(seen))
    assert {size for size in seen if size > 100} <= {250, 100}


@given(st.lists(st.integers(min_value=0, max_value=300), max_size=40))
def test_memory_is_used_again_and_stays_within_its_bounds(sizes: list[int]) -> None:
    """However sizes follow each other, and what is kept is no more than may be in use."""
    room = Room(128)
    for size in sizes:
        with room.of(size) as view:
            assert size == len(view)
            view[:] = b"x" * size
        assert room.held <= 128
    with room.of(64):
        pass
    kept = room.held
    with room.of(33):
        assert kept - 64 == room.held


def test_a_body_is_signed_by_its_digest(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not hashed for a signature, and sent without a question; what it is compared with is signed."""
    from s3fs import S3FileSystem  # noqa: PLC0415 - as the package does it

    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-1"}.items():
        monkeypatch.setenv(name, value)
    fs = S3FileSystem(endpoint_url=server, skip_instance_cache=True)
    client = blocking_client(fs, Session(), {"s3": {"addressing_style": "path"}})
    client.create_bucket(Bucket="wire", CreateBucketConfiguration={"LocationConstraint": "eu-1"})
    sent: list[Any] = []
    client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request))
    data = some_bytes(MIB + 7)
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
    client.put_object(Bucket="wire", Key="x", Body=Body(memoryview(data)), ContentMD5=md5)
    assert data == client.get_object(Bucket="wire", Key="x")["Body"].read()
    headers = {name.lower(): value for name, value in sent[0].headers.items()}
    assert b"UNSIGNED-PAYLOAD" == headers["x-amz-content-sha256"]
    assert (str(len(data)), "expect" in headers) == (headers["content-length"], False)
    assert b"content-md5;" in headers["authorization"]
