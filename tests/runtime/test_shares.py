"""Every row is dealt once, evenly, and the same on every run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.runtime.shares import RowGroup, Rows, between, cut, line_of, shuffled

GROUPS = st.lists(
    st.builds(RowGroup, path=st.sampled_from("abc"), group=st.integers(0, 50), rows=st.integers(0, 300)),
    max_size=30,
    unique_by=lambda one: (one.path, one.group),
)


def _rows(pieces: tuple[Rows, ...]) -> list[tuple[str, int, int]]:
    return [(one.path, one.group, number) for one in pieces for number in range(one.start, one.stop)]


@given(groups=GROUPS, world=st.integers(1, 9), seed=st.none() | st.integers(0, 5), epoch=st.integers(0, 3))
def test_pieces_are_the_line(groups: list[RowGroup], world: int, seed: int | None, epoch: int) -> None:
    """All pieces together are the line, in its order, and differ by one row at most."""
    line = line_of(shuffled(groups, seed=seed, epoch=epoch))
    pieces = [cut(line, number=number, of=world) for number in range(world)]

    assert _rows(line) == [row for piece in pieces for row in _rows(piece)]
    sizes = [sum(map(len, piece)) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


@given(groups=GROUPS, world=st.integers(1, 5), data=st.data())
def test_reading_goes_on_where_it_stopped(groups: list[RowGroup], world: int, data: st.DataObject) -> None:
    """What was read before a stop and what is read after it are the whole piece."""
    piece = cut(line_of(groups), number=0, of=world)
    total = sum(map(len, piece))
    stop = data.draw(st.integers(0, total))

    assert _rows(piece) == _rows(between(piece, 0, stop)) + _rows(between(piece, stop, total))


def test_orders_of_epochs() -> None:
    """An epoch has an order of its own, which a seed fixes for good; this one is written down."""
    groups = [RowGroup(path=name, group=0, rows=1) for name in "abcdef"]
    first = [one.path for one in shuffled(groups, seed=7, epoch=0)]
    second = [one.path for one in shuffled(groups, seed=7, epoch=1)]

    assert "abfdec" == "".join(first)
    assert first != second
    assert sorted(first) == sorted(second)
    assert list("abcdef") == [one.path for one in shuffled(reversed(groups), seed=None, epoch=3)]


def test_no_such_piece() -> None:
    """A rank beyond the last one is refused."""
    with pytest.raises(InputError, match="no piece 4 of 4"):
        cut((), number=4, of=4)
