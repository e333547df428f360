"""`aifa quote` and the line of it in `aifa check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa

LUMI = 'partition = "dev-g"\ngpus_per_node = 8\naccount = "project_465000001"'


def test_a_quote_shows_its_working(aifa: Aifa) -> None:
    """Units, formula, the time that may pass and the time that is expected, and the source."""
    ran = aifa("quote", aifa.job(time='"00:30:00"', resources=LUMI), "--site", "lumi", "--elapsed", "00:15:00")
    assert 0 == ran.code, ran.err
    assert "2 GPU-h at 00:30:00: 0.5 x max(ceil(56/8), ceil(480/64), 8) x 0.5 h" in ran.out
    assert "1 GPU-h if it takes 00:15:00" in ran.out
    assert "billing.md]" in ran.out


def test_a_quote_for_machines(aifa: Aifa) -> None:
    """The same as one JSON object."""
    ran = aifa("quote", aifa.job(time='"00:30:00"', resources=LUMI), "--site", "lumi", "--json")
    assert (0, "GPU-h", 2.0, 1, None) == (ran.code, *(ran.json[key] for key in ("unit", "amount", "runs", "elapsed")))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--site", "lumi2"), "is a draft"),
        (("--site", "jupiter"), "jupiter has no partition 'dev-g', so there is no price"),
        (("--site", "lumi", "--elapsed", "soon"), "is not a walltime"),
    ],
)
def test_what_has_no_price_exits_with_2(aifa: Aifa, words: tuple[str, ...], said: str) -> None:
    """Drafts, partitions of other sites, and times that are none."""
    ran = aifa("quote", aifa.job(resources=LUMI), *words)
    assert (2, "", True) == (ran.code, ran.out, said in ran.err), ran.err


def test_check_tells_the_cost(aifa: Aifa) -> None:
    """A note of one line; none where nobody sends a bill."""
    priced = aifa("check", aifa.job(resources=LUMI), "--site", "lumi")
    assert "cost: at most 0.133333 GPU-h at 00:02:00: 0.5 x" in priced.err
    assert "cost" not in aifa("check", aifa.job(), "--site", "local").err
