"""A job whose data is not there is told so, file by file, before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.data import Data
from aifa_hpc.sites.load import load_site
from aifa_hpc.staging.demand import place_of, require_data
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.ledger import Ledger


@pytest.mark.parametrize(
    ("manifest", "place"),
    [
        ("/x/.aifa-manifest.jsonl", "/x/"),
        ("/x/.w.bin.aifa-manifest.jsonl", "/x/w.bin"),
        ("lumi:/x/.aifa-manifest.jsonl", "lumi:/x/"),
        (".aifa-manifest.jsonl", "./"),
        ("/x", "/x"),
    ],
)
def test_a_manifest_says_where_its_data_lies(manifest: str, place: str) -> None:
    """In its folder, or beside it."""
    assert place == place_of(manifest)


def test_what_is_missing_damaged_or_not_staged_is_told(tmp_path: Path, ledger: Ledger, clearance: Clearance) -> None:
    """All of it at once, with the command that brings it back; what is whole passes."""
    make_tree(tmp_path / "src", {f"f{number}": b"data" for number in range(9)})
    for name in ("good", "bad"):
        copy(LocalEndpoint(tmp_path / "src"), LocalEndpoint(tmp_path / name), clearance=clearance, ledger=ledger)
    for number in range(7):
        (tmp_path / "bad" / f"f{number}").unlink()
    (tmp_path / "bad" / "f7").write_bytes(b"gone")
    good, bad, none = (f"{tmp_path}/{name}/.aifa-manifest.jsonl" for name in ("good", "bad", "none"))
    site = load_site("local")
    require_data(Data(manifests=(good,)), site, LocalTransport(), ledger)
    with pytest.raises(InputError) as caught:
        require_data(Data(manifests=(good, bad, none)), site, LocalTransport(), ledger)
    told = [(problem.key, problem.rule) for problem in caught.value.problems]
    assert ("data.manifests[1]", "'f0': it is missing") in told
    assert ("data.manifests[1]", "and 3 more files") in told
    assert "data.manifests[2]" == told[-1][0]
    assert f"aifa stage ensure local:{bad}" in str(caught.value)
