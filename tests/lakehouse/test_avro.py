"""Texts of Avro files are replaced where they stand, or not at all."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.lakehouse.avro import put_texts, read_avro

SCHEMA = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "before", "type": ["null", "string"]},
        {"name": "number", "type": "long"},
        {"name": "name", "type": "string"},
        {"name": "after", "type": {"type": "array", "items": "bytes"}},
    ],
}


def written(records: list[dict[str, Any]], codec: str = "deflate", interval: int = 16_000) -> bytes:
    """A file of these records; a small interval makes many blocks."""
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, records, codec=codec, sync_interval=interval, metadata={"own": "é"})
    return out.getvalue()


def named(names: list[str]) -> list[dict[str, Any]]:
    """Records of these names."""
    return [{"before": None, "number": -1 - at, "name": name, "after": [b"x" * at]} for at, name in enumerate(names)]


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("interval", [1, 16_000])
def test_names_become_others_and_nothing_else_does(codec: str, interval: int) -> None:
    """Also in files of many blocks, and with names of other lengths."""
    old = [f"s3://lab/é/data/{'p' * (7 * at)}.parquet" for at in range(40)]
    new = [f"/scratch/{at}" * (1 + at) for at in range(40)]
    made = put_texts(written(named(old), codec, interval), list(zip(old, new, strict=True)))
    assert made is not None
    found, expected = read_avro(made, "made"), read_avro(written(named(new), codec), "expected")
    assert (found.records, found.schema, found.codec, found.header) == (
        expected.records,
        expected.schema,
        expected.codec,
        expected.header,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("before", "/lab/t/x"), ("after", [b"/lab/t/x"]), ("after", [b"\x10/lab/t/a"])],
)
def test_what_looks_like_a_name_is_a_reason_to_leave_it(field: str, value: object) -> None:
    """Another field holds what the names begin with."""
    records = named(["/lab/t/a", "/lab/t/b"])
    records[0][field] = value
    assert put_texts(written(records), [("/lab/t/a", "/x"), ("/lab/t/b", "/y")]) is None


def test_other_names_than_those_that_stand_there_are_none() -> None:
    """In another order, of another length, without any, or packed in another way."""
    data = written(named(["/lab/a", "/lab/b"]))
    assert put_texts(data, [("/lab/b", "/x"), ("/lab/a", "/y")]) is None
    assert put_texts(data, [("/lab/a", "/x"), ("/lab/bb", "/y")]) is None
    assert put_texts(data, []) is None
    assert put_texts(written(named(["/lab/a"]), "bzip2"), [("/lab/a", "/x")]) is None


_TEXTS = st.text(st.sampled_from("/ab\x04\x06é"), max_size=6)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "before": st.none() | _TEXTS,
                "number": st.integers(-(2**63), 2**63 - 1),
                "name": _TEXTS,
                "after": st.lists(_TEXTS.map(str.encode), max_size=2),
            }
        ),
        max_size=4,
    ),
    end=_TEXTS,
)
def test_it_is_the_file_with_other_names_or_nothing(rows: list[dict[str, Any]], end: str) -> None:
    """However alike the texts are, and what stands around them."""
    new = [row | {"name": row["name"] + end} for row in rows]
    names = [(old["name"], one["name"]) for old, one in zip(rows, new, strict=True)]
    made = put_texts(written(rows), names)
    assert made is None or list(read_avro(made, "made").records) == new
