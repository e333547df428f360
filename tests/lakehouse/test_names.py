"""Names of tables."""

from __future__ import annotations

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.names import TableName, is_table, read_table_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("iceberg:lab.digits.train", TableName(catalog="lab", table="digits.train")),
        ("iceberg:lab.a.b.t@v1", TableName(catalog="lab", table="a.b.t", when="v1")),
        (
            "iceberg:lab.d.t@2026-11-01T12:00:00+01:00",
            TableName(catalog="lab", table="d.t", when="2026-11-01T12:00:00+01:00"),
        ),
        ("/lab/t/metadata/v3.metadata.json", TableName(catalog="", table="/lab/t/metadata/v3.metadata.json")),
        ("s3://b/t/v3.metadata.json@17", TableName(catalog="", table="s3://b/t/v3.metadata.json", when="17")),
        ("s3://b/t/v3.gz.metadata.json", TableName(catalog="", table="s3://b/t/v3.gz.metadata.json")),
        ("/lab/v3.metadata.json.gz@main", TableName(catalog="", table="/lab/v3.metadata.json.gz", when="main")),
    ],
)
def test_what_is_read_is_what_was_written(text: str, expected: TableName) -> None:
    """Each way to name a table, and back."""
    assert is_table(text)
    assert expected == read_table_name(text)
    assert text == str(expected)


@pytest.mark.parametrize(
    "text", ["iceberg:", "iceberg:lab", "iceberg:lab.t", "iceberg:lab..t", "iceberg:lab.d.t@", "x.parquet"]
)
def test_what_names_no_table(text: str) -> None:
    """A name that lacks something is refused with how it is written."""
    with pytest.raises(InputError, match="Write"):
        read_table_name(text)


@pytest.mark.parametrize("text", ["/data/metadata.json", "lumi:/scratch/x", "s3://bucket/prefix", "./iceberg"])
def test_other_locations_are_no_tables(text: str) -> None:
    """Files and folders stay what they are."""
    assert not is_table(text)
