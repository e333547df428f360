"""A table in an object store that names files of the machine that stages it."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from aifa_hpc.testing.stores import Bucket
from tests.lakehouse.tables import get
from tests.object_store import moto
from tests.program import run_aifa

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "AWS_ACCESS_KEY_ID": "aifa-test",
    "AWS_SECRET_ACCESS_KEY": "aifa-test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.mark.parametrize("words", [(), ("--mode", "pushdown"), ("--mode", "incremental")])
def test_a_table_that_reaches_for_files_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Whoever writes a lab's tables gets no file of those who stage them, though path and size are right."""
    secret = tmp_path / "secret.parquet"
    pq.write_table(pa.table({"n": [42]}), secret)
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    with moto() as url:
        bucket = Bucket(url, "lab-hostile")
        uri = f"sqlite:///{tmp_path}/catalog.db"
        settings = {"uri": uri, "s3.endpoint": url, "s3.region": "us-east-1"}
        catalog = SqlCatalog("lab", **settings, warehouse=f"s3://{bucket.name}/warehouse")
        catalog.create_namespace("d")
        table = catalog.create_table("d.t", schema=pa.schema([("n", pa.int64())]))
        table.append(pa.table({"n": [1]}))
        snapshot = table.current_snapshot()
        assert snapshot is not None
        (manifest,) = snapshot.manifests(table.io)
        reader = fastavro.reader(io.BytesIO(get(table, manifest.manifest_path)))
        entries = [dict(one) for one in reader]  # type: ignore[call-overload]
        for entry in entries:
            entry["data_file"] |= {"file_path": str(secret), "file_size_in_bytes": secret.stat().st_size}
        header = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
        out = io.BytesIO()
        fastavro.writer(out, json.loads(reader.metadata["avro.schema"]), entries, codec="deflate", metadata=header)
        key = manifest.manifest_path.removeprefix(f"s3://{bucket.name}/")
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=out.getvalue())
        env = os.environ | {
            "AIFA_STATE_DIR": str(tmp_path / "state"),
            "AIFA_CONFIG_DIR": str(tmp_path / "config"),
            "AWS_ENDPOINT_URL": url,
            "PYICEBERG_CATALOG__LAB__URI": uri,
        }
        line = ("stage", "copy", "iceberg:lab.d.t", f"{tmp_path}/copy", "--class", "open", *words)
        ran = run_aifa(*line, env=env, cwd=tmp_path, timeout=120)

    assert 2 == ran.code, ran.err
    assert f"iceberg:lab.d.t@{snapshot.snapshot_id}" in ran.err
    assert f"{secret} is a file of this machine" in ran.err
    assert not list(tmp_path.glob("copy/**/*.parquet"))
