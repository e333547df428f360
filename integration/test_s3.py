"""Staging to and from object stores that are servers: Ceph's gateway, rclone's, and one that checks every digest."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.staging.endpoints.s3_checks import JOBS
from aifa_hpc.testing.endpoints import EndpointContract
from aifa_hpc.testing.housekeeping import HousekeepingContract
from aifa_hpc.testing.stores import Bucket, CephStore, ObjectStore, RcloneStore, StrictStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="class")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """The one of the class, with its credentials in the environment."""
    kind: type[ObjectStore] = request.cls.kind
    if lacking := kind.lacking():
        # rclone comes with the test extra, ministack with `make integration`; Ceph, some 60 MB of Debian packages, is
        # for those who have it.
        pytest.skip(f"there is no {lacking}; aifa_hpc.testing.stores says where it comes from")
    with kind.started(tmp_path_factory.mktemp("store")) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.env.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def place(store: ObjectStore, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """A fresh bucket."""
    bucket = Bucket(store.url, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:40])
    yield bucket
    bucket.empty()


class TestCeph(EndpointContract, HousekeepingContract):
    """The contract by Ceph's gateway."""

    kind = CephStore
    fences = False


class TestRclone(EndpointContract, HousekeepingContract):
    """The contract by rclone, whose ETag of an object in parts is the MD5 of the whole."""

    kind = RcloneStore
    fences = False
    impossible_names = MappingProxyType({"new\nline": "rclone 1.75 calls it new␊line once it reads its folder again"})


class TestStrict(EndpointContract, HousekeepingContract):
    """The contract by a store that checks SHA-256, and is known to."""

    kind = StrictStore
    fences = False

    @pytest.fixture
    def place(self, place: Bucket) -> Bucket:
        """A bucket whose store was asked."""
        endpoint = place.endpoint()
        endpoint.prepare("asked", JOBS)
        assert (endpoint.check, set()) == ("sha256", place.names())
        return place
