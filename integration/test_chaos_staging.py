"""Copies between all kinds of places, broken in every way that ``aifa_hpc.testing.chaos`` knows.

``make chaos`` has every fault for all of the 42 pairs, of those whose target can have it. For each fault seven of them,
which have every kind of place as a source and as a target, and which go on by one from fault to fault, are broken more
often: 32 kill points each, 3 of other faults, and one of the other pairs. `make integration` has a sample: each fault
once, of four pairs.
"""

from __future__ import annotations

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
FOLDERS = TARGETS[:4]
SAMPLE = (("local", "agent"), ("agent", "rclone"), ("sftp", "shell"), ("url", "local"))

KILLED, QUOTA = "test_killed_anywhere", "test_a_quota_that_is_used_up"
FAULTS = [name for name in vars(CopyChaos) if name.startswith("test_")]
TARGETS_OF = {
    "test_what_the_far_disk_lost_is_sent_again": FOLDERS,
    "test_a_disk_that_is_full": FOLDERS,
    "test_leave_that_is_withdrawn": FOLDERS,
    QUOTA: (*FOLDERS, "ceph"),
    "test_answers_that_come_twice_and_out_of_order": ("agent",),
}
KILLS = 32
ROUNDS = 3


def every(fault: str) -> Iterator[tuple[tuple[str, str], int]]:
    """The pairs that meet a fault, and how often."""
    targets = TARGETS_OF.get(fault, TARGETS)
    begin = [name for name in FAULTS if TARGETS_OF.get(name, TARGETS) == targets].index(fault)
    for number, source in enumerate(SOURCES):
        often = targets[(begin + number) % len(targets)]
        for target in targets:
            yield (source, target), (KILLS if fault == KILLED else ROUNDS) if target == often else 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives each fault its pairs."""
    if "pair" not in metafunc.fixturenames:
        return
    fault = metafunc.function.__name__
    sample = [pytest.param((kinds, 1), id="-".join(kinds)) for kinds in SAMPLE]
    chaos = [
        pytest.param((kinds, rounds), id=f"{'-'.join(kinds)}-all", marks=pytest.mark.chaos)
        for kinds, rounds in every(fault)
    ]
    metafunc.parametrize("pair", sample + chaos, indirect=True)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pairs.Servers]:
    """All of them."""
    with pairs.Servers(tmp_path_factory.mktemp("servers")) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield made


@pytest.fixture
def pair(request: pytest.FixtureRequest, servers: pairs.Servers, tmp_path: Path) -> Iterator[Pair]:
    """Two places."""
    kinds, rounds = request.param
    for kind in {*kinds} & {*pairs.STORES}:
        if lacking := pairs.STORES[kind].lacking():
            pytest.skip(f"there is no {lacking}")
    quota = request.function.__name__ == QUOTA
    with pairs.pair(kinds, rounds, servers, tmp_path, quota=quota) as made:
        yield made


class TestCopies(CopyChaos):
    """Of every kind."""


def test_every_pair_meets_every_fault() -> None:
    """Often as a source of every kind and, where it can have the fault, as a target of every kind."""
    for fault in FAULTS:
        rounds = dict(every(fault))
        targets = TARGETS_OF.get(fault, TARGETS)
        assert {(source, target) for source in SOURCES for target in targets} == rounds.keys()
        sources, often = zip(*(kinds for kinds, number in rounds.items() if number > 1), strict=True)
        assert (set(SOURCES), set(targets)) == (set(sources), set(often))
    assert sum(dict(every(KILLED)).values()) >= 200
