"""Data that shrink go packed over a slow link, by a real sshd; what does not shrink is left as it is."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.testing.proxy import Proxy
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.transport.openssh import OpenSSHTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RATE = 12.5e6
"""Bytes a second: a link of 100 Mbit/s."""

ROWS = 1_000_000
LENGTH = 40 * 2**20


def csv() -> bytes:
    """Rows of numbers, which zlib packs to less than a half."""
    lines = [f"{n},{n * 7919 % 104729},{n * 31 % 997 / 10:.1f},beech,2024-{n % 12 + 1:02}-01\n" for n in range(ROWS)]
    return "".join(lines).encode()[:LENGTH]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server."""
    with Sshd.started(tmp_path_factory.mktemp("packing")) as server:
        yield server


@pytest.fixture
def carry(sshd: Sshd, tmp_path: Path) -> Callable[[float | None, bytes, bool], tuple[int, int]]:
    """Copies bytes up or down over a link of that rate: how many passed it with the data, and how many were saved."""

    def copied(rate: float | None, data: bytes, up: bool) -> tuple[int, int]:
        here, there = tmp_path / "here", tmp_path / "there"
        for folder in (here, there):
            folder.mkdir()
        ((here if up else there) / "data").write_bytes(data)
        with Proxy(sshd.port, rate=rate) as link:
            sshd.write_config(f"Port {link.port}", f"HostKeyAlias [127.0.0.1]:{sshd.port}")
            transport = OpenSSHTransport(host=sshd.alias, ssh_config=str(sshd.ssh_config), control_dir=tmp_path / "c")
            far = SSHEndpoint(transport, str(there), channels=2, label="far")
            ends = (LocalEndpoint(str(here)), far)
            with far, Ledger(tmp_path / "ledger.sqlite") as ledger:
                begin = functools.partial(copy, ledger=ledger, clearance=clear("open", outgoing=True), lanes=2)
                summary = begin(*(ends if up else ends[::-1]))
            transport.logout()
            assert data == ((there if up else here) / "data").read_bytes()
            return link.passed("up" if up else "down"), summary.bytes_packed

    return copied


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_csv_over_a_slow_link_goes_packed(carry: Callable[..., tuple[int, int]], up: bool) -> None:
    """But for the first bytes of each conversation, from which the link's pace is learned."""
    data = csv()
    passed, saved = carry(RATE, data, up)
    assert passed < 0.7 * len(data)
    assert passed + saved > len(data)


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_what_does_not_shrink_is_left(carry: Callable[..., tuple[int, int]], up: bool) -> None:
    """Parquet."""
    data = os.urandom(20 * 2**20)
    passed, saved = carry(RATE, data, up)
    assert 0 == saved
    assert passed > len(data)
