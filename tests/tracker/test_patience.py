"""Outages are told of once and borne; what only a person can mend is raised."""

from __future__ import annotations

import pytest

from aifa_hpc.errors import AifaError, HostKeyError, NotSentError, OutcomeUnknownError, SiteError, TransportError
from aifa_hpc.tracker.patience import Patience
from aifa_hpc.tracker.schedule import outage_seconds
from aifa_hpc.transport.refusals import PersonNeededError


def fail(patience: Patience, error: AifaError, kind: type[AifaError] = TransportError) -> None:
    """Meets an error while failures of a kind are borne."""
    with patience.bearing(kind):
        raise error


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_told_once_and_its_end_too() -> None:
    """Three failures in a row are one sentence with the first reason; the answer after them is another."""
    told: list[str] = []
    patience = Patience("lumi", trouble=told.append, monotonic=Hand())
    patience.answered()
    for reason in ("refused", "no route", "no route"):
        fail(patience, NotSentError(reason))
    patience.answered()
    patience.answered()
    assert ["lumi cannot be asked now and is asked again until it can: refused", "lumi answers again"] == told


def test_a_site_that_failed_is_left_alone_for_longer_each_time() -> None:
    """After a failure nobody asks for the seconds that the schedule says; an answer begins anew."""
    clock = Hand()
    patience = Patience("lumi", trouble=lambda text: None, monotonic=clock)
    for failures in (1, 2, 3):
        fail(patience, SiteError("not whole"), SiteError)
        clock.now += outage_seconds(failures) - 0.1
        assert not patience.ready()
        clock.now += 0.1
        assert patience.ready()
    patience.answered()
    fail(patience, SiteError("not whole"), SiteError)
    clock.now += outage_seconds(1)
    assert patience.ready()


def test_the_pauses_double_up_to_five_minutes() -> None:
    """The tenth pause is as long as the thousandth."""
    assert [5.0, 10.0, 20.0, 300.0, 300.0] == [outage_seconds(failures) for failures in (1, 2, 3, 10, 1000)]


@pytest.mark.parametrize("error", [HostKeyError("changed"), PersonNeededError("no login"), SiteError("no file")])
def test_what_waiting_does_not_mend_is_raised(error: AifaError) -> None:
    """An unknown host key, a missing login, and kinds that were not named."""
    with pytest.raises(type(error)):
        fail(Patience("lumi"), error)


def test_silence_is_borne() -> None:
    """A link that broke in the middle of an answer is an outage like any other."""
    told: list[str] = []
    fail(Patience("lumi", trouble=told.append), OutcomeUnknownError("the link broke"))
    assert 1 == len(told)
