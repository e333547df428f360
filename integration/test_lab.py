"""A lab's table synced to a cluster and to a bucket: no byte for what is unchanged, and no loss for a pinned run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from aifa_hpc.testing.proxy import Proxy
from aifa_hpc.testing.stores import Bucket
from integration.conftest import User, make_user, reroute
from tests.lakehouse.tables import catalog
from tests.object_store import moto
from tests.program import run_aifa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyiceberg.table import Table

ROWS = 200_000
LABS = """
[labs.lab]
class = "internal"

[labs.lab.data.t]
location = "iceberg:lab.d.t"
keep = 1
"""
ENV = {
    "AWS_ACCESS_KEY_ID": "aifa-test",
    "AWS_SECRET_ACCESS_KEY": "aifa-test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def rows(seed: int) -> pa.Table:
    """Rows that do not compress to nothing."""
    return pa.table({"n": [(number * 2654435761 + seed) % 2**61 for number in range(ROWS)]})


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table of this machine, about two megabytes."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/lab/catalog.db")
    made = catalog(tmp_path / "lab").create_table("d.t", schema=rows(0).schema)
    made.append(rows(0))
    return made


@pytest.mark.cluster
def test_a_lab_is_synced_to_a_cluster(clusters: None, table: Table, tmp_path: Path) -> None:
    """By the bytes on the wire, and by every file there; a pinned version outlives retention and is still whole."""
    user = make_user(tmp_path / "home", "lumi", "fabric", mfa=False)
    (user.home / "config" / "labs.toml").write_text(LABS)
    place = f"{user.site}:{user.folder}"
    files = f"cd '{user.folder}' && find . -type f -printf '%p %i %T@ %s\\n' | sort"

    def done(*words: str) -> Any:
        ran = user.aifa("lab", *words, "--json")
        assert 0 == ran.code, ran.err
        return next(found for line in ran.out.splitlines() if "data" in (found := json.loads(line)))

    with Proxy(user.connect["port"]) as proxy:
        reroute(user, proxy.port)
        proxy.arm(None)
        first = done("sync", "lab", place)
        went = proxy.passed("up")
        before = user.ssh(files)
        proxy.arm(None)
        second = done("sync", "lab", place)
        again = proxy.passed("up")
        after = user.ssh(files)
    reroute(user, user.connect["port"])
    pinned = done("pin", "lab/t", place, "--as", "run-7")
    table.overwrite(rows(1))
    third = done("sync", "lab", place)
    table.overwrite(rows(2))
    fourth = done("sync", "lab", place)
    status = user.aifa("lab", "status", "lab", place, "--json").json
    verified = user.aifa("stage", "verify", pinned["manifest"], "--json").json
    done("unpin", "lab/t", place, "run-7")
    fifth = done("sync", "lab", place)

    assert (0, False, first["version"]) == (second["bytes_sent"], second["changed"], second["version"])
    assert before == after
    print(f"bytes up: {went} for {first['bytes_sent']} of data, then {again} for none")
    # What is left is the login, the program that lists there, and questions.
    assert 1_000_000 < first["bytes_sent"] < went
    assert again < went / 5
    assert [third["version"]] == fourth["versions_removed"]
    assert [("kept", "run-7"), ("present", "")] == [(one["state"], one["pins"]) for one in status]
    assert (True, first["version"]) == (verified["ok"], pinned["version"])
    assert ([first["version"]], 0) == (fifth["versions_removed"], fifth["bytes_sent"])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket of moto's."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    with moto() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield Bucket(url, "labs-copy")


def test_a_lab_is_synced_to_a_bucket(bucket: Bucket, table: Table, tmp_path: Path) -> None:
    """By the store's own count of what was written: nothing the second time, and retention spares the pinned one."""
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    user = User(tmp_path, "", "", {})
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "labs.toml").write_text(LABS)
    place = f"s3://{bucket.name}/labs"

    def done(*words: str) -> Any:
        ran = run_aifa("lab", *words, "--json", env=user.env, cwd=tmp_path, timeout=120)
        assert 0 == ran.code, ran.err
        return next(found for line in ran.out.splitlines() if "data" in (found := json.loads(line)))

    def written() -> int:
        return len(bucket.client.list_object_versions(Bucket=bucket.name)["Versions"])

    first = done("sync", "lab", place)
    before = written()
    second = done("sync", "lab", place)
    after = written()
    pinned = done("pin", "lab/t", place, "--as", "run-7")
    table.overwrite(rows(1))
    middle = done("sync", "lab", place)
    table.overwrite(rows(2))
    last = done("sync", "lab", place)
    verified = run_aifa("stage", "verify", pinned["manifest"], "--json", env=user.env, cwd=tmp_path, timeout=120)

    assert (0, False, before) == (second["bytes_sent"], second["changed"], after)
    assert [middle["version"]] == last["versions_removed"]
    assert (0, first["version"]) == (verified.code, pinned["version"]), verified.err
