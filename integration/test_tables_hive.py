"""A table of Hive's metastore: staged, gone on with, and appended to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from aifa_hpc.runtime import shards
from tests.program import Ran, run_aifa

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("thrift", reason="thrift is not installed, which pyiceberg needs for Hive")

from pyiceberg.catalog import load_catalog

from aifa_hpc.lakehouse.append import append
from aifa_hpc.lakehouse.names import read_table_name
from integration.hive import metastore

TABLE = "iceberg:lab.d.t"


def test_hive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, only what is new, a name that is none, and rows that are appended once."""
    for name, value in {"STATE": "state", "CONFIG": "config"}.items():
        monkeypatch.setenv(f"AIFA_{name}_DIR", str(tmp_path / value))

    def stage(source: str, *words: str) -> Ran:
        line = ("stage", "copy", source, f"{tmp_path}/copy", "--class", "open", "--json", *words)
        return run_aifa(*line, env=dict(os.environ), cwd=tmp_path, timeout=300)

    with metastore(tmp_path / "hive") as uri:
        monkeypatch.setenv("PYICEBERG_CATALOG__LAB__TYPE", "hive")
        monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", uri)
        catalog = load_catalog("lab", type="hive", uri=uri, warehouse=f"file://{tmp_path}/warehouse")
        catalog.create_namespace("d", {"location": f"file://{tmp_path}/warehouse/d"})
        rows = pa.table({"n": pa.array(range(1000), pa.int64())})
        catalog.create_table("d.t", schema=rows.schema).append(rows)
        first = stage(TABLE)
        more = pa.table({"n": pa.array([1000, 1001], pa.int64())})
        appended = [append(read_table_name(TABLE), lambda: more, token="run-7") for _ in range(2)]
        second = stage(TABLE, "--mode", "incremental")
        other = stage("iceberg:lab.d.u")

    assert (0, 0) == (first.code, second.code), first.err + second.err
    assert [(2, False), (2, True)] == [(one.rows, one.again) for one in appended]
    assert 0 < json.loads(second.out)["bytes_sent"]
    assert (2, True) == (other.code, "iceberg:lab.d.u: the catalog has no such table" in other.err), other.err
    with shards(tmp_path / "copy", rank=0, world=1).batches() as batches:
        assert list(range(1002)) == sorted(number for batch in batches for number in batch["n"].to_pylist())
