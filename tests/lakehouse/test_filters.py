"""Filters are held against the columns of a table, and what pyiceberg would misread is refused."""

from __future__ import annotations

import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DateType,
    DecimalType,
    DoubleType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    UUIDType,
)

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.filters import require_columns, require_filter

SCHEMA = Schema(
    NestedField(1, "n", LongType()),
    NestedField(2, "score", DoubleType()),
    NestedField(3, "price", DecimalType(9, 2)),
    NestedField(4, "seen", TimestampType()),
    NestedField(5, "zoned", TimestamptzType()),
    NestedField(6, "day", DateType()),
    NestedField(7, "uid", UUIDType()),
    NestedField(8, "tags", ListType(9, StringType())),
    NestedField(10, "at", StructType(NestedField(11, "x", LongType()))),
    NestedField(12, "a b", LongType()),
    NestedField(13, "a.dot", LongType()),
)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("n = 3.5", "'n' is long, and 3.5 is no whole number. Write 3."),
        ("score > 1 and (n < 2.5 or n = 1)", "'n' is long, and 2.5 is no whole number"),
        ("not n = '3.7'", "'n' is long, and 3.7 is no whole number"),
        ("at.x >= 0.5", "'at.x' is long, and 0.5 is no whole number"),
        ("n = 'x'", "'n' is long: "),
        ("N = 3", "has no column 'N'. Did you mean 'n'?"),
        ("scor = 3", "Did you mean 'score'?"),
        ("price = 1.005", "Write it with 2 digits behind the point."),
        ("seen > '2026-01-01T00:00:00+01:00'", "'2026-01-31T12:00:00', without a zone"),
        ("zoned > '2026-01-01T00:00:00Z'", "'2026-01-31T12:00:00+00:00', with its zone in hours"),
        ("day = 'tomorrow'", "Write it like '2026-01-31'."),
        ("uid = '00000000-0000-0000-0000-000000000000'", "rows cannot be chosen by 'uid', which is uuid"),
        ("tags is null", "rows cannot be chosen by 'tags', which is list<string>"),
        ("at = 3", "'at' is struct"),
    ],
)
def test_what_cannot_be_asked(where: str, said: str) -> None:
    """The filter, the column and its type are named, and how it may be written."""
    with pytest.raises(InputError) as caught:
        require_filter("iceberg:lab.d.t", where, SCHEMA, rows=True)
    assert said in str(caught.value)
    assert "iceberg:lab.d.t" in str(caught.value)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        "", "n = 3", "n = 3.0", "n = '3'", "score = 3.5", "score is nan or score is null", "price = 1.05",
        "zoned >= '2026-01-01T00:00:00+01:00'", "seen < '2026-01-01T00:00:00'", "at.x = 1", "at is null",
        '"a b" = 1', "a.dot = 1", "n in (1, 2)", "n between 1 and 2", "true", "n > 99999999999999999999",
    ],
)  # fmt: skip
def test_what_can(where: str) -> None:
    """Filters that mean what is written."""
    require_filter("t", where, SCHEMA, rows=True)


def test_files_may_be_chosen_by_more_than_rows() -> None:
    """Statistics tell of columns that no row can be compared by."""
    require_filter("t", "tags is null and uid is not null", SCHEMA, rows=False)


def test_many_columns_are_not_all_told() -> None:
    """A table may have thousands."""
    with pytest.raises(InputError, match=r"c0, .* and 980 more"):
        require_columns("t", ["zzz"], [f"c{number}" for number in range(1000)])
