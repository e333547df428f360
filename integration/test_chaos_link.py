"""The link is cut in the middle of a submission: there is one job, by the scheduler's own count, wherever it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.testing.proxy import Cut
from integration.chaos import Victim, make_victim
from integration.conftest import SITES

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.testing.plugin import Figures
    from aifa_hpc.testing.proxy import Direction

pytestmark = pytest.mark.cluster
chaos = pytest.mark.chaos
DIRECTIONS: tuple[Direction, ...] = ("up", "down")


@pytest.fixture(params=[f"{site}-{transport}" for site in SITES for transport in ("openssh", "fabric")])
def victim(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> Iterator[Victim]:
    """A user of each cluster over each transport, behind a proxy."""
    found = make_victim(tmp_path / "user", *request.param.split("-"))
    with found.proxy:
        yield found


def measure(victim: Victim) -> dict[Direction, tuple[int, int]]:
    """Bytes and messages of a submission that nothing disturbs, login and all."""
    victim.proxy.arm(None)
    victim.submit(0)
    return {way: (victim.proxy.passed(way), victim.proxy.passed(way, "messages")) for way in DIRECTIONS}


def suffer(victim: Victim, cuts: list[Cut], figures: Figures) -> None:
    """One submission for each cut, and then the count."""
    ids = {}
    before = victim.proxy.cuts
    for number, cut in enumerate(cuts, 1):
        victim.proxy.arm(cut)
        ids[f"{victim.run}-{number}"] = [victim.submit(number)]
    struck = victim.proxy.cuts - before
    compare(victim, ids, struck, figures)
    assert struck >= len(cuts) / 2  # a submission that passes fewer bytes than the measured one may end before its cut


def compare(victim: Victim, ids: dict[str, list[str]], cuts: int, figures: Figures) -> None:
    """What the user was told against what the scheduler has."""
    victim.proxy.arm(None)
    there = victim.count()
    there.pop(f"{victim.run}-0", None)
    figures(
        submissions=len(ids),
        cuts=cuts,
        jobs=sum(map(len, there.values())),
        doubled=sum(len(found) > 1 for found in there.values()),
        lost=len(ids.keys() - there.keys()),
        not_sent_and_tried_again=victim.given_up,
        unknown_for_a_while=victim.settled,
    )
    assert ids == there


@pytest.mark.parametrize("share", [pytest.param(8, id="sample"), pytest.param(1, marks=chaos, id="all")])
def test_a_cut_behind_any_message(
    victim: Victim, aifa_random: random.Random, aifa_figures: Figures, share: int
) -> None:
    """Login, request, script, answer: each message of them is the last one once, in either direction."""
    sizes = measure(victim)
    cuts = [Cut(direction=way, after=end, unit="messages") for way in DIRECTIONS for end in range(sizes[way][1])]
    suffer(victim, sorted(aifa_random.sample(cuts, len(cuts) // share), key=cuts.index), aifa_figures)


@pytest.mark.parametrize("rounds", [pytest.param(2, id="sample"), pytest.param(200, marks=chaos, id="all")])
def test_a_cut_at_a_random_byte(victim: Victim, aifa_random: random.Random, aifa_figures: Figures, rounds: int) -> None:
    """Anywhere, also within a message."""
    sizes = measure(victim)
    ways = [aifa_random.choice(DIRECTIONS) for _ in range(rounds)]
    cuts = [Cut(direction=way, after=aifa_random.randrange(sizes[way][0])) for way in ways]
    suffer(victim, cuts, aifa_figures)


@pytest.mark.parametrize("rounds", [pytest.param(1, id="sample"), pytest.param(40, marks=chaos, id="all")])
def test_a_cut_while_many_are_submitted_at_once(
    victim: Victim, aifa_random: random.Random, aifa_figures: Figures, rounds: int
) -> None:
    """Ten jobs in one command: whichever of them had begun, there is one of each in the end."""
    victim.proxy.arm(None)
    ids = victim.submit_batch(range(1, 11))
    sizes = {way: victim.proxy.passed(way) for way in DIRECTIONS}
    before = victim.proxy.cuts
    for number in range(1, rounds + 1):
        way = aifa_random.choice(DIRECTIONS)
        victim.proxy.arm(Cut(direction=way, after=aifa_random.randrange(sizes[way])))
        ids |= victim.submit_batch(range(10 * number + 1, 10 * number + 11))
    struck = victim.proxy.cuts - before
    compare(victim, ids, struck, aifa_figures)
    assert struck >= rounds // 2
