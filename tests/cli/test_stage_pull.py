"""`aifa stage pull` on this computer's own scheduler: a job that fetches, and what is refused before one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.staging.ranges import serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Aifa


def test_a_job_fetches_and_the_same_call_tells(aifa: Aifa, tmp_path: Path) -> None:
    """It is waited for; then all is there, a repair knows where it came from, and nothing of the list is left."""
    data = os.urandom(1000)
    target = f"local:{tmp_path}/data/"
    with serve(data, 0) as web:
        ran = aifa("stage", "pull", web.url, target, "--class", "open", "--wait", "--json")
        assert (0, "done", 1000) == (ran.code, ran.json["state"], ran.json["fetch_bytes"]), ran
        (job,) = aifa("jobs", "--json").json
        assert ran.json["job"] == job["id"]
        assert data == (tmp_path / "data/big.bin").read_bytes()
        (tmp_path / "data/big.bin").write_bytes(b"damaged")
        ran = aifa("stage", "verify", f"{target}big.bin", "--repair", "--class", "open")
        assert (0, data) == (ran.code, (tmp_path / "data/big.bin").read_bytes()), ran
        ran = aifa("stage", "pull", web.url, target, "--class", "open")
        assert (0, True) == (ran.code, "all of 1 file" in ran.out), ran
    assert [] == list(tmp_path.rglob("tasks.jsonl"))


def test_what_a_site_cannot_fetch_is_said(aifa: Aifa, tmp_path: Path) -> None:
    """A failed job says why, and so does the command."""
    (tmp_path / "data").mkdir()
    with serve(b"x" * 1000, 0) as web:
        web.status = 403
        ran = aifa("stage", "pull", web.url, f"local:{tmp_path}/data/", "--class", "open", "--wait")
    assert 1 == ran.code
    assert "run the same command again, which signs new ones" in ran.out


@pytest.mark.parametrize(
    ("source", "target", "words", "says"),
    [
        ("/tmp/x", "local:/tmp/y", ["--class", "open"], "only s3:// and https:// have URLs"),
        ("iceberg:a.b.c", "local:/tmp/y", ["--class", "open"], "only s3:// and https:// have URLs"),
        ("https://host/x", "/tmp/y", ["--class", "open"], "is not on a site"),
        ("s3://lab/x", "local:/tmp/y", [], "--class open|internal"),
        ("s3://lab/x", "local:/tmp/y", ["--class", "sensitive"], "sensitive"),
    ],
)
def test_what_is_refused(aifa: Aifa, source: str, target: str, words: list[str], says: str) -> None:
    """Before anything is asked or sent."""
    ran = aifa("stage", "pull", source, target, *words)
    assert (2, True) == (ran.code, says in ran.err), ran
