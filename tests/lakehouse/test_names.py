"""Names of tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.names import Mode, TableName, Wanted, is_table, read_table_name, read_wanted


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


@pytest.mark.parametrize(
    "text",
    [
        "/data/metadata.json",
        "lumi:/x/v3.metadata.json",
        "/a?mode=files",
        "lumi:/scratch/x",
        "s3://bucket/prefix",
        "./iceberg",
    ],
)
def test_other_locations_are_no_tables(text: str) -> None:
    """Files and folders stay what they are."""
    assert not is_table(text)


WORDS = st.text(min_size=1, max_size=12).filter(lambda text: not set(text) & {"\0"})


@given(
    table=st.one_of(
        st.just(TableName(catalog="lab", table="d.t", when="v1")),
        st.just(TableName(catalog="", table="/a b/?c/v3.metadata.json")),
        WORDS,
    ),
    columns=st.lists(WORDS, max_size=3),
    where=st.one_of(st.just(""), WORDS),
    incremental=st.booleans(),
    relocate=st.booleans(),
)
def test_one_text_says_all_that_is_wanted(
    table: TableName | str, columns: list[str], where: str, incremental: bool, relocate: bool
) -> None:
    """Whatever is wanted can be written down and read again: manifests and plans hold it as a text."""
    iceberg = not isinstance(table, str)
    mode: Mode = "pushdown" if columns else "incremental" if incremental and iceberg else "files"
    wanted = Wanted(table=table, columns=tuple(columns), where=where, mode=mode, relocate=relocate or not iceberg)
    assert wanted == read_wanted(str(wanted))
    assert is_table(str(wanted))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iceberg:lab.d.t?colums=a", "'colums' says nothing about a table"),
        ("iceberg:lab.d.t?mode=all", "Modes are files, pushdown, incremental"),
        ("iceberg:lab.d.t?where=a&where=b", "'where' is there twice"),
        ("iceberg:lab.d.t?columns=a", "Use --mode pushdown"),
        ("parquet:/x?mode=incremental", "is a folder of Parquet files"),
        ("parquet:/x?relocate=no", "is a folder of Parquet files"),
    ],
)
def test_what_cannot_be_wanted(text: str, said: str) -> None:
    """Unknown words, and what cannot be had together."""
    with pytest.raises(InputError) as caught:
        read_wanted(text)
    assert said in f"{caught.value.message} {caught.value.hint}"
