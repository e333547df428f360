"""Axes of time and what stands on them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.views.chart import Axis, activity, axis_of, steps
from aifa_hpc.views.history import Span, history
from tests.views.conftest import NOON, at, attempts, row


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (5, ["12:00", "12:01", "12:02", "12:03", "12:04", "12:05"]),
        (60, ["12:00", "12:10", "12:20", "12:30", "12:40", "12:50", "13:00"]),
        (24 * 60, ["12:00", "18:00", "25 Nov", "06:00", "12:00"]),
        (30 * 24 * 60, ["1 Dec", "8 Dec", "15 Dec", "22 Dec"]),
    ],
)
def test_ticks_stand_at_round_times(minutes: int, expected: list[str]) -> None:
    """Few enough to read, on times that people use; midnight is a date."""
    found = Axis(begin=NOON, end=at(minutes)).ticks(datetime.UTC)
    assert expected == [tick.label for tick in found]


@given(st.integers(60, 10**8), st.integers(1, 12))
def test_ticks_are_few_whatever_the_length(seconds: int, most: int) -> None:
    """They lie on the axis, from left to right."""
    axis = Axis(begin=NOON, end=NOON + datetime.timedelta(seconds=seconds))
    places = [tick.at for tick in axis.ticks(datetime.UTC, most)]
    assert len(places) <= most + 1
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


def test_a_span_is_cut_at_the_edges() -> None:
    """What lies outside has no width."""
    axis = Axis(begin=at(0), end=at(100))
    assert (10.0, 30.0) == axis.place(Span(start=at(10), end=at(40)))
    assert (0.0, 20.0) == axis.place(Span(start=at(-50), end=at(20)))
    assert (100.0, 0.0) == axis.place(Span(start=at(200), end=at(300)))


def test_an_axis_has_a_length() -> None:
    """A job that took no time has a minute around it; an empty axis does not exist."""
    one = row("CANCELLED")
    axis = axis_of([history([(one, attempts(one))], NOON)])
    assert 60 == axis.seconds
    with pytest.raises(ValueError, match="before it begins"):
        Axis(begin=NOON, end=NOON)


def test_activity_is_the_average_of_each_column() -> None:
    """Waiting fills the first column and half of the second, running the rest."""
    one = row(start=15, end=40)
    past = history([(one, attempts(one))], at(40))
    found = activity([past, past], Axis(begin=NOON, end=at(40)), 4)
    assert [(0.0, 2.0), (1.0, 1.0), (2.0, 0.0), (2.0, 0.0)] == [
        (pytest.approx(ran), pytest.approx(waited)) for ran, waited in found
    ]


def test_columns_stand_on_their_floors() -> None:
    """The outline goes along the tops and back along the floors."""
    assert "M0.0,0.00 500.0,0.00 500.0,50.00 1000.0,50.00 1000.0,100.00 500.0,100.00 500.0,50.00 0.0,50.00Z" == steps(
        [1.0, 1.0], [1.0, 0.0], 2.0
    )
