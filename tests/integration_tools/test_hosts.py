"""Host lists of the test clusters' generator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.clusters.hosts import compress, expand

NAMES = st.lists(
    st.one_of(
        st.integers(0, 30).map(lambda number: f"nid{number:06}"),
        st.tuples(st.integers(1, 3), st.integers(1, 9)).map(lambda pair: f"jpbo-{pair[0]:03}-{pair[1]:02}"),
        st.sampled_from(["login", "a", "x12y"]),
    ),
    min_size=1,
)


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("nid[005001-005003]", ["nid005001", "nid005002", "nid005003"]),
        ("nid[000009-000010,000012]", ["nid000009", "nid000010", "nid000012"]),
        ("a,b[1-2],c7", ["a", "b1", "b2", "c7"]),
        ("jpbo-101-[08-10]", ["jpbo-101-08", "jpbo-101-09", "jpbo-101-10"]),
    ],
)
def test_a_host_list_and_its_names(hosts: str, names: list[str]) -> None:
    """Zeros are kept, terms and ranges stay in order, and both ways agree."""
    assert names == expand(hosts)
    assert hosts == compress(names)


@given(NAMES)
def test_names_survive_a_host_list(names: list[str]) -> None:
    """Any names, repeated or out of order, come back as they were."""
    assert names == expand(compress(names))


@pytest.mark.parametrize("hosts", ["nid[1-2", "[1-2]", "a[1-2]b", "a,,b"])
def test_other_forms_are_refused(hosts: str) -> None:
    """What is not a host list of this form is an error, never a wrong list."""
    with pytest.raises(ValueError, match="host list"):
        expand(hosts)
