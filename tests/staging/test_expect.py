"""Lanes that will be needed begin before it is known what is to be sent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.testing.faults import descendants
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree

if TYPE_CHECKING:
    from aifa_hpc.command import Command
    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.transport.base import Channel


class _Counting(LocalTransport):
    """Counts what was started."""

    opened = 0

    def open(self, command: Command) -> Channel:
        self.opened += 1
        return super().open(command)


def test_conversations_that_were_expected_are_used(tmp_path: Path) -> None:
    """No more are begun than that, and the one for questions."""
    transport = _Counting()
    with SSHEndpoint(transport, str(tmp_path), channels=4) as endpoint:
        endpoint.kind()
        for _ in range(2):
            endpoint.expect(2)
        with endpoint.lane(), endpoint.lane():
            assert transport.opened == 3
        endpoint.expect(2)
    assert transport.opened == 3


def test_conversations_that_nobody_used_end(tmp_path: Path) -> None:
    """With the endpoint."""
    before = set(descendants(os.getpid()))
    with SSHEndpoint(LocalTransport(), str(tmp_path), channels=4) as endpoint:
        endpoint.kind()
        endpoint.expect(2)
    assert set() == set(descendants(os.getpid())) - before


class _Told(LocalEndpoint):
    """Keeps how many lanes it was told of."""

    lanes = first = 3

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.expected: list[int] = []

    def split(self) -> tuple[LocalEndpoint, str]:
        folder, name = super().split()
        above = _Told(Path(str(folder)))
        above.expected = self.expected
        return above, name

    def expect(self, lanes: int) -> None:
        self.expected.append(lanes)


def test_lanes_are_expected_where_all_must_be_sent(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Of a folder as many as the places begin with, of a file as many as it has parts; none where a copy is known."""
    make_tree(tmp_path, {"src/a": b"a", "src/b": bytes(BLOCK + 1)})
    expected = []
    for source, target in (("src", "new"), ("src", "new"), ("src/b", "b"), ("src/a", "a"), ("src/a", "a")):
        far = _Told(tmp_path / target)
        copy(_Told(tmp_path / source), far, clearance=clearance, ledger=ledger)
        expected.append(far.expected)
    assert [[3], [], [2], [1], [1]] == expected


def test_what_was_left_counts_only_while_it_is_there(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Of a folder that is gone again all must be sent."""
    make_tree(tmp_path, {"src/a": b"a"})
    expected = []
    for _ in range(2):
        far = _Told(tmp_path / "new")
        copy(_Told(tmp_path / "src"), far, clearance=clearance, ledger=ledger)
        expected.append(far.expected)
        shutil.rmtree(tmp_path / "new")
    assert [[3], [3]] == expected


def test_few_small_files_go_over_one_conversation(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Into a folder that is known another one only begins for bytes that are worth it; a look at it needs none."""
    opened = []
    for number, sizes in enumerate(((1, 2, 3, 4), (), (2 * BLOCK, 2 * BLOCK))):
        make_tree(tmp_path / "src", {f"{number}-{at}": bytes(size) for at, size in enumerate(sizes)})
        (tmp_path / "dst").mkdir(exist_ok=True)
        transport = _Counting()
        with SSHEndpoint(transport, str(tmp_path / "dst"), channels=2) as there:
            copy(LocalEndpoint(tmp_path / "src"), there, clearance=clearance, ledger=ledger)
        opened.append(transport.opened)
    assert [2, 1, 3] == opened


def test_a_small_file_is_read_without_a_conversation_of_its_own(tmp_path: Path) -> None:
    """By the one that answers questions."""
    make_tree(tmp_path, {"small": b"1234"})
    transport = _Counting()
    with SSHEndpoint(transport, str(tmp_path)) as endpoint:
        assert [b"1234", None] == [endpoint.read_bytes(path) for path in ("small", "none")]
    assert transport.opened == 1
