"""Copies between every two kinds of places, broken in every way that ``aifa_hpc.testing.chaos`` knows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.testing.chaos import CopyChaos
from integration import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.testing.copies import Pair

SOURCES = ("local", "agent", "shell", "sftp", "rclone", "ceph", "url")
TARGETS = ("local", "agent", "shell", "sftp", "rclone", "ceph")
SAMPLE = (("local", "agent"), ("agent", "rclone"), ("sftp", "shell"), ("url", "local"))
ROUNDS = 5
"""Kill points of each pair: 210 together."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pairs.Servers]:
    """All of them."""
    with pairs.Servers(tmp_path_factory.mktemp("servers")) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield made


def _params() -> Iterator[object]:
    for kinds in SAMPLE:
        yield pytest.param((kinds, 1), id="-".join(kinds))
    for kinds in itertools.product(SOURCES, TARGETS):
        yield pytest.param((kinds, ROUNDS), id=f"{'-'.join(kinds)}-all", marks=pytest.mark.chaos)


@pytest.fixture(params=_params())
def pair(request: pytest.FixtureRequest, servers: pairs.Servers, tmp_path: Path) -> Iterator[Pair]:
    """Two places."""
    kinds, rounds = request.param
    for kind in {*kinds} & {*pairs.STORES}:
        if lacking := pairs.STORES[kind].lacking():
            pytest.skip(f"there is no {lacking}")
    with pairs.pair(kinds, rounds, servers, tmp_path) as made:
        yield made


class TestCopies(CopyChaos):
    """Of every kind."""
