"""Bytes that change on the way: noticed by either side, sent again, and given up when it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.testing.endpoints import some_bytes
from aifa_hpc.testing.scramble import PassingChannel
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.command import Command
    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.transport.base import Channel

FILES = {"a": some_bytes(100_000), "big": some_bytes(2 * BLOCK + 100_000), "c": some_bytes(70_000, seed=3)}
TOTAL = sum(map(len, FILES.values()))


class _Noisy(LocalTransport):
    """A link that flips bits in long pieces of data, so many times, in one direction."""

    def __init__(self, flips: int, *, up: bool) -> None:
        super().__init__()
        self.flips, self.up = flips, up

    def open(self, command: Command) -> Channel:
        """With noise on it."""
        return _NoisyChannel(super().open(command), self)


class _NoisyChannel(PassingChannel):
    def __init__(self, inner: Channel, noise: _Noisy) -> None:
        super().__init__(inner)
        self._noise = noise

    def send(self, data: bytes | bytearray | memoryview) -> None:
        if self._noise.up and self._noise.flips and len(data) > 50_000:
            self._noise.flips -= 1
            data = bytearray(data)
            for at in range(1000, len(data), 60_000):  # small files may leave together, and none is to be spared
                data[at] ^= 1
        super().send(data)

    def receive_into(self, view: memoryview) -> int:
        count = super().receive_into(view)
        if not self._noise.up and self._noise.flips and count > 10_000 and len(view) > 50_000:
            self._noise.flips -= 1
            view[1000] ^= 1
        return count


@pytest.mark.parametrize("up", [True, False])
def test_damage_is_noticed_and_sent_again(*, tmp_path: Path, ledger: Ledger, clearance: Clearance, up: bool) -> None:
    """By the far side on the way up, by us on the way down; the rest goes on meanwhile."""
    make_tree(tmp_path / "src", FILES)
    noise = _Noisy(2, up=up)
    with SSHEndpoint(noise, str(tmp_path / ("dst" if up else "src")), channels=1) as far:
        ends = (LocalEndpoint(tmp_path / "src"), far) if up else (far, LocalEndpoint(tmp_path / "dst"))
        summary = copy(*ends, clearance=clearance, ledger=ledger)
    assert (FILES, 0) == (tree(tmp_path / "dst"), noise.flips)
    assert summary.bytes_sent > TOTAL


@pytest.mark.parametrize("up", [True, False])
def test_a_link_that_only_damages_is_given_up(
    *, tmp_path: Path, ledger: Ledger, clearance: Clearance, up: bool
) -> None:
    """After three attempts, with the file's name; nothing wrong is published."""
    make_tree(tmp_path / "src", FILES)
    with SSHEndpoint(_Noisy(10**9, up=up), str(tmp_path / ("dst" if up else "src")), channels=1) as far:
        ends = (LocalEndpoint(tmp_path / "src"), far) if up else (far, LocalEndpoint(tmp_path / "dst"))
        with pytest.raises(TransferError, match=r"'\w+' .*another SHA-256"):
            copy(*ends, clearance=clearance, ledger=ledger)
    seen = {path for path in tree(tmp_path / "dst") if not path.endswith(".aifa-part")}
    assert seen == set()
