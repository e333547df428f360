"""Host lists: what Slurm itself expands and compresses, round trips, and hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.hostlist import compress_hostlist, expand_hostlist


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("login", ["login"]),
        ("a[1-3,07],b1", ["a1", "a2", "a3", "a07", "b1"]),
        ("nid[001-003,7]", ["nid001", "nid002", "nid003", "nid7"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("r[1-2]-x", ["r1-x", "r2-x"]),
        ("127.0.0.[1-4]", ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]),
        ("nid005000,jpbo-001-[01-02]", ["nid005000", "jpbo-001-01", "jpbo-001-02"]),
    ],
)
def test_expands(text: str, names: list[str]) -> None:
    """Lists expand in their own order, with their zeros."""
    assert names == expand_hostlist(text)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a1", "a2", "a3"], "a[1-3]"),
        (["a1"], "a1"),
        (["login"], "login"),
        (["nid001", "nid002", "nid003", "nid7"], "nid[001-003,7]"),
        (["n9", "n10"], "n[9-10]"),
        (["n09", "n10", "n010"], "n[09-10,010]"),
        (["a2", "a1"], "a[2,1]"),
        (["a1", "b1", "a2"], "a1,b1,a2"),
        (["127.0.0.1", "127.0.0.2"], "127.0.0.[1-2]"),
        (["a", "a1"], "a,a1"),
    ],
)
def test_compresses(names: list[str], text: str) -> None:
    """Runs of numbers become ranges; order and zeros stay."""
    assert text == compress_hostlist(names)


HOSTS = st.from_regex(r"[a-z0-9.-]{0,6}[0-9]{0,4}", fullmatch=True).filter(bool)


@given(st.lists(HOSTS, max_size=40))
def test_round_trip(names: list[str]) -> None:
    """Whatever the names, what is compressed expands to them."""
    assert names == expand_hostlist(compress_hostlist(names))


@given(st.integers(0, 2000), st.integers(1, 300), st.integers(1, 5))
def test_runs_compress_to_one_range(first: int, count: int, width: int) -> None:
    """A run of numbers of one width is one range."""
    names = [f"n{number:0{width}}" for number in range(first, first + count)]
    text = compress_hostlist(names)
    assert names == expand_hostlist(text)
    assert text.count(",") == 0


@given(st.text(alphabet="a1-9[],", max_size=30))
def test_any_text_expands_or_is_refused(text: str) -> None:
    """Nothing but a ParseError leaves the parser, and what it returns stays below the limit."""
    try:
        names = expand_hostlist(text, limit=1000)
    except ParseError:
        return
    assert len(names) <= 1000


@pytest.mark.parametrize(
    "text",
    ["a[1", "a1]", "a[[1]]", "a[]", "a[1-]", "a[x]", "a[3-1]", "a[1,,2]", "a[0-99999999999]", "a[1-999][1-999][1-999]"],
)
def test_refuses(text: str) -> None:
    """Unpaired brackets, other words and lists beyond the limit are refused before anything large is built."""
    with pytest.raises(ParseError):
        expand_hostlist(text)


@pytest.mark.parametrize("name", ["", "a,b", "a[1]", "a b"])
def test_refuses_names_that_cannot_be_in_a_list(name: str) -> None:
    """A name that would read as something else is refused."""
    with pytest.raises(ParseError):
        compress_hostlist([name])
