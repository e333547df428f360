"""Lanes are added while that pays, taken back when it does not, and not asked for where they are refused."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.staging.jobs import Jobs
from aifa_hpc.staging.pace import REST_TICKS, Pace

if TYPE_CHECKING:
    from collections.abc import Callable


def run(pace: Pace, rate: Callable[[int], float], ticks: int) -> list[int]:
    """How many lanes there are after each look at a link of that kind."""
    return [pace.look(rate(pace.wanted)) for _ in range(ticks)]


def test_a_long_link_gets_all_lanes() -> None:
    """Where each lane brings its window, more are worth having."""
    assert run(Pace(2, 16), lambda lanes: 50.0 * lanes, 12)[-1] == 16


def test_a_full_link_keeps_what_it_has() -> None:
    """One step up is tried, brings nothing and is taken back."""
    seen = run(Pace(4, 16), lambda _: 100.0, 8)
    assert (6, 4) == (max(seen), seen[-1])


def test_it_stops_where_it_no_longer_pays() -> None:
    """A link that is full with six lanes does not get nine."""
    seen = run(Pace(2, 16), lambda lanes: 50.0 * min(lanes, 6), 30)
    assert seen[-1] == 6


def test_what_was_found_is_tried_again_later() -> None:
    """A link that gets better is noticed after a rest."""
    pace = Pace(4, 16)
    run(pace, lambda _: 100.0, 5)
    assert run(pace, lambda lanes: 50.0 * lanes, REST_TICKS + 10)[-1] == 16


def test_what_is_refused_is_not_asked_for() -> None:
    """A server with three sessions to give keeps three."""
    pace = Pace(2, 16)
    pace.wanted = 4
    pace.refused(3)
    assert {3} == set(run(pace, lambda lanes: 50.0 * lanes, 3 * REST_TICKS))


@given(st.integers(1, 64), st.integers(1, 64), st.lists(st.floats(0, 1e12), max_size=80))
def test_there_is_always_one_and_never_too_many(first: int, most: int, rates: list[float]) -> None:
    """Whatever the rates are."""
    pace = Pace(first, most)
    assert all(1 <= pace.look(rate) <= most for rate in rates)


def test_jobs_come_in_order_and_end() -> None:
    """Taken as they were put; nothing after the last."""
    jobs: Jobs[int] = Jobs(10)
    for number in range(3):
        assert jobs.put(number)
    jobs.close()
    assert [0, 1, 2, None] == [jobs.take(wait=True) for _ in range(4)]


def test_nothing_now_is_not_the_end() -> None:
    """Who does not wait is told that there is none."""
    assert Jobs[int](1).take(wait=False) is None


@pytest.mark.parametrize("room", [1, 2, 7])
def test_a_full_queue_waits_for_room(room: int) -> None:
    """All arrive, however little room there is."""
    jobs: Jobs[int] = Jobs(room)
    got: list[int] = []

    def work() -> None:
        while (item := jobs.take(wait=True)) is not None:
            got.append(item)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(500):
        assert jobs.put(number)
    jobs.close()
    for thread in threads:
        thread.join()
    assert list(range(500)) == sorted(got)


def test_after_a_stop_nothing_is_taken() -> None:
    """Neither given nor taken, and who waits is told."""
    jobs: Jobs[int] = Jobs(1)
    jobs.put(1)
    waiting = threading.Thread(target=jobs.put, args=(2,))
    waiting.start()
    jobs.stop()
    waiting.join()
    assert (False, None, True) == (jobs.put(3), jobs.take(wait=True), jobs.stopped)
