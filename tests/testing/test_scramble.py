"""Acknowledgements that come twice and out of order change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.manifest import BLOCK
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.testing.feeds import some_bytes
from aifa_hpc.testing.scramble import Scrambled
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    import random
    from pathlib import Path

FILES = {"big": some_bytes(4 * BLOCK + 999), **{f"small/{number}": some_bytes(5000, number) for number in range(100)}}


def test_a_copy_whose_answers_are_scrambled(tmp_path: Path, aifa_random: random.Random) -> None:
    """There and back, file by file."""
    make_tree(tmp_path / "src", FILES)
    transport = Scrambled(LocalTransport(), aifa_random)
    for source, target in (("src", "there"), ("there", "back")):
        up = source == "src"
        near = LocalEndpoint(tmp_path / (source if up else target))
        far = SSHEndpoint(transport, str(tmp_path / (target if up else source)), channels=2)
        with near, far, Ledger(tmp_path / "l.sqlite") as ledger:
            ends = (near, far) if up else (far, near)
            sent = copy(*ends, clearance=clear("open", outgoing=True), ledger=ledger).bytes_sent
        assert sum(map(len, FILES.values())) == sent
    assert (FILES, FILES) == (tree(tmp_path / "there"), tree(tmp_path / "back"))
    assert transport.reordered
    assert transport.doubled
