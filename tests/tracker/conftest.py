"""A connection to the embedded scheduler over a link that breaks when it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.cluster import Cluster
from aifa_hpc.embedded import EmbeddedTransport
from aifa_hpc.sites.load import load_site
from aifa_hpc.tracker.connection import Connection
from aifa_hpc.tracker.store import Store
from tests.tracker.linked import Hurried, Link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def link(tmp_path: Path) -> Link:
    """The way to the embedded scheduler."""
    return Link(EmbeddedTransport(tmp_path / "embedded"))


@pytest.fixture
def connection(tmp_path: Path, link: Link, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection over it, in a hurry."""
    monkeypatch.setenv("AIFA_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path / "config"))
    clock = Hurried()
    cluster = Cluster(load_site("local"), link, sleep=clock.sleep)
    with Connection(cluster, Store(tmp_path / "jobs.sqlite3"), sleep=clock.sleep, monotonic=clock) as connection:
        yield connection
