"""Opening: each kind of location has its endpoint, with the slash that the user wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from aifa_hpc.staging.endpoints.opening import open_endpoint
from aifa_hpc.staging.location import parse_location
from aifa_hpc.transport.local import LocalTransport


@pytest.mark.parametrize(
    ("text", "shown", "folder", "local"),
    [
        ("/tmp/x", "/tmp/x", False, True),
        ("/tmp/x/", "/tmp/x", True, True),
        ("~/x", f"{Path.home()}/x", False, True),
        ("lumi:/scratch/p", "lumi:/scratch/p", False, False),
        ("lumi:/scratch/p/", "lumi:/scratch/p", True, False),
        ("s3://bucket/a/b", "s3://bucket/a/b", False, False),
        ("s3://bucket", "s3://bucket/", True, False),
    ],
)
def test_each_kind_has_its_endpoint(*, text: str, shown: str, folder: bool, local: bool) -> None:
    """Named as the user wrote it, and not connected yet."""
    asked = []

    def transport(site: str) -> LocalTransport:
        asked.append(site)
        return LocalTransport()

    with open_endpoint(parse_location(text, ["lumi"]), transport=transport) as endpoint:
        assert (shown, folder, local) == (str(endpoint), endpoint.says_folder, endpoint.local)
    assert (["lumi"] if text.startswith("lumi:") else []) == asked
