"""Locations: what people write is read one way, and what cannot be meant is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.staging.location import Location, parse_location

SITES = ("lumi", "jupiter", "local")


@pytest.mark.parametrize(
    ("text", "kind", "site", "path"),
    [
        ("data", "local", "", "data"),
        ("./a:b", "local", "", "./a:b"),
        ("/a:b/c", "local", "", "/a:b/c"),
        ("folder/", "local", "", "folder/"),
        (":odd", "local", "", ":odd"),
        ("~/x", "local", "", "~/x"),
        ("lumi:/scratch/p/data", "site", "lumi", "/scratch/p/data"),
        ("jupiter:/e/x:y/", "site", "jupiter", "/e/x:y/"),
        ("s3://bucket/a/b", "s3", "", "bucket/a/b"),
        ("s3://bucket", "s3", "", "bucket"),
        ("https://host/a?b", "url", "", "https://host/a?b"),
    ],
)
def test_locations_are_read(text: str, kind: str, site: str, path: str) -> None:
    """By their form alone; ``str`` gives the text back."""
    found = parse_location(text, SITES)
    assert (kind, site, path, text) == (found.kind, found.site, found.path, str(found))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a location"),
        ("a\0b", "not a location"),
        ("lmui:/x", r"no site 'lmui'.*Did you mean lumi:/x\?.*'\./lmui:/x'"),
        ("xyz:/x", r"no site 'xyz'.*jupiter, local, lumi"),
        ("lumi:data", r"absolute.*lumi:/data"),
        ("lumi:~/data", r"absolute.*lumi:/data.*`~` is not expanded"),
        ("lumi:", "absolute"),
        ("lumi:/a/../b", r"without '\.\.'"),
        ("s3:///x", "'' is not a bucket's name"),
        ("s3://b_/x?", None),
    ],
)
def test_what_cannot_be_meant_is_told(text: str, message: str | None) -> None:
    """With what to write instead."""
    if message is None:
        assert parse_location(text, SITES).prefix == "x?"
        return
    with pytest.raises(InputError, match=message):
        parse_location(text, SITES)


def test_bucket_and_prefix() -> None:
    """The first component is the bucket."""
    found = parse_location("s3://bucket/a/b/", SITES)
    assert (found.bucket, found.prefix) == ("bucket", "a/b/")


@given(st.text(max_size=30))
def test_reading_what_was_printed_changes_nothing(text: str) -> None:
    """For every text that is a location at all."""
    try:
        found = parse_location(text, SITES)
    except InputError:
        return
    assert (text, found) == (str(found), parse_location(str(found), SITES))
    assert isinstance(found, Location)
