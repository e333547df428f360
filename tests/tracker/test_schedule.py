"""When to ask next."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.tracker.schedule import FIRST_SECONDS, interval, window


def test_young_jobs_are_asked_about_soon_and_old_ones_at_the_sites_pace() -> None:
    """The interval grows with age up to the site's own."""
    assert [2.0, 2.0, 5.0, 30.0] == [interval(age, 30.0) for age in (0, 10, 40, 10_000)]


@pytest.mark.parametrize(
    ("age", "since"), [(-40, "now-2days"), (0, "now-2days"), (1.5, "now-3days"), (30, "now-32days")]
)
def test_the_window_is_by_the_sites_clock(age: float, since: str) -> None:
    """It covers a job's life, also where this machine's clock was ahead when the job was submitted."""
    now = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
    assert since == window(now - datetime.timedelta(days=age), now)


@given(st.floats(0, 1e9), st.floats(0.1, 600))
def test_never_longer_than_the_sites_interval_and_never_hectic(age: float, site: float) -> None:
    """The interval lies between the floor and the site's pace; a site quicker than the floor sets it."""
    assert min(site, FIRST_SECONDS) <= interval(age, site) <= site
