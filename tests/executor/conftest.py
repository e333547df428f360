"""A connection to the embedded scheduler, in folders of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from aifa_hpc.cluster import Cluster
from aifa_hpc.embedded import EmbeddedTransport
from aifa_hpc.jobs.spec import Resources
from aifa_hpc.sites.load import load_site
from aifa_hpc.tracker.connection import Connection
from aifa_hpc.tracker.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.executor.executor import Executor
    from aifa_hpc.sites.model import Site

RESOURCES = Resources(time="00:05:00")  # type: ignore[arg-type] # as users write it


def hurried(site: Site) -> Site:
    """The site, which may be asked at any time."""
    return msgspec.structs.replace(site, scheduler=msgspec.structs.replace(site.scheduler, poll_seconds=0.05))


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """An open connection."""
    monkeypatch.setenv("AIFA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path / "config"))
    cluster = Cluster(hurried(load_site("local")), EmbeddedTransport(tmp_path / "embedded"))
    with Connection(cluster, Store(tmp_path / "jobs.sqlite3")) as connection:
        yield connection


@pytest.fixture
def executor(connection: Connection) -> Executor:
    """An executor of it."""
    return connection.executor(resources=RESOURCES)
