"""What a data set is proven by: the weakest of what was published now and what of it was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.manifest import BLOCK, MANIFEST, DataSet, read_manifest
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.testing.copies import StoppedError, stop_at
from aifa_hpc.testing.feeds import some_bytes
from tests.staging.conftest import make_tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.engine import Summary
    from aifa_hpc.staging.ledger import Ledger


class _Told(LocalEndpoint):
    """A place where what is there is proven by less."""

    proof = "store-etag"


def _sets(folder: Path) -> tuple[DataSet, ...]:
    return read_manifest((folder / MANIFEST).read_text("ascii")).sets


@pytest.fixture
def run(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> Any:
    """Copies the folder ``src``, or another one, to ``dst``."""

    def once(name: str = "src", **words: Any) -> Summary:
        ends = LocalEndpoint(tmp_path / name), LocalEndpoint(tmp_path / "dst")
        return copy(*ends, clearance=clearance, ledger=ledger, lanes=1, **words)

    return once


def test_what_was_acknowledged_is_less_than_verified_until_it_is_sent_again(run: Any, tmp_path: Path) -> None:
    """Files that come later change nothing in that, nor does a copy that finds everything there."""
    make_tree(tmp_path / "src", {"big": some_bytes(3 * BLOCK)})
    with pytest.raises(StoppedError):
        run(progress=stop_at(2 * BLOCK + 5))
    assert ("durable", True) == ((first := run(trust="durable")).level, first.parts_resumed > 0)
    make_tree(tmp_path / "src", {"later": b"x"})
    assert ["durable", "durable"] == [run().level, run().level]
    assert ["durable"] == [one.level for one in _sets(tmp_path / "dst")]
    (tmp_path / "src" / "big").write_bytes(some_bytes(3 * BLOCK, 2))
    (tmp_path / "src" / "later").write_bytes(b"y")
    assert ("verified", ["verified"]) == (run().level, [one.level for one in _sets(tmp_path / "dst")])


def test_other_data_sets_of_a_folder_keep_theirs(run: Any, tmp_path: Path) -> None:
    """What came from elsewhere says nothing of what came from here."""
    make_tree(tmp_path / "theirs", {"big": some_bytes(3 * BLOCK)})
    make_tree(tmp_path / "src", {"a": b"a"})
    with pytest.raises(StoppedError):
        run("theirs", progress=stop_at(2 * BLOCK + 5))
    run("theirs", trust="durable")
    assert run().level == "verified"
    assert {"src": "verified", "theirs": "durable"} == {
        one.source.rpartition("/")[2]: one.level for one in _sets(tmp_path / "dst")
    }


def test_what_was_there_without_a_manifest_is_as_good_as_its_place(
    tmp_path: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """It was compared, as that place can."""
    for name in ("src", "dst"):
        make_tree(tmp_path / name, {"a": b"a"})
    ends = LocalEndpoint(tmp_path / "src"), _Told(tmp_path / "dst")
    summary = copy(*ends, clearance=clearance, ledger=ledger)
    assert (0, "store-etag") == (summary.bytes_sent, summary.level)
