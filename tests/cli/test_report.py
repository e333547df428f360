"""`aifa report`: jobs that really ran here, as tables, as JSON and as a page."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.cli.report import read_since
from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


def test_jobs_that_ran_are_summed_up(aifa: Aifa) -> None:
    """One ended well and one did not; units against a budget, and the reason of the failure."""
    (aifa.home / "config").mkdir()
    (aifa.home / "config" / "sites.toml").write_text("[sites.local.budget.lab]\ncore-h = 5\n")
    account = 'account = "lab"'
    for name, command in (("good", '["true"]'), ("bad", '["false"]')):
        aifa("submit", aifa.job(name, command=command, resources=account), "--site", "local", "--wait")
    fields = aifa("report", "--json").json
    assert (2, {"COMPLETED": 1, "FAILED": 1}, ["bad"]) == (
        fields["jobs"],
        fields["states"],
        [one["name"] for one in fields["failures"]],
    )
    (usage,) = fields["usage"]
    assert ("local", "lab", "core-h", 2, 5.0) == tuple(
        usage[key] for key in ("site", "account", "unit", "jobs", "budget")
    )
    assert 5 >= usage["left"] > 4.9
    text = aifa("report").out
    assert "2 jobs: 1 COMPLETED, 1 FAILED" in text
    head, last = text.splitlines()[-2:]
    assert ("FAILED", ["bad", "FAILED", "exit", "1:0"]) == (head.split()[0], last.split()[2:])


def test_a_page_is_written(aifa: Aifa) -> None:
    """It names its file; without jobs it says that there are none; a folder that is not there is an error."""
    ran = aifa("report", "--html", "report.html")
    assert (0, "wrote report.html: 0 jobs\n") == (ran.code, ran.out)
    assert "No job is remembered" in (aifa.home / "report.html").read_text()
    assert 2 == aifa("report", "--html", "none/report.html").code


def test_wrong_options_are_named(aifa: Aifa) -> None:
    """A time that is none, one that lies ahead, a site that is none."""
    for words, said in (
        (("--since", "yesterday"), "Write 12h"),
        (("--since", "2999-01-01"), "lies ahead"),
        (("--site", "lokal"), "did you mean 'local'"),
    ):
        ran = aifa("report", *words)
        assert (2, True) == (ran.code, said in ran.err), ran.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", None),
        ("12h", NOW - datetime.timedelta(hours=12)),
        ("4w", NOW - datetime.timedelta(days=28)),
        ("2026-11-01T00:00:00+02:00", datetime.datetime(2026, 10, 31, 22, 0, tzinfo=datetime.UTC)),
    ],
)
def test_the_beginning_of_a_period(text: str, expected: datetime.datetime | None) -> None:
    """So long ago, a date, or no beginning."""
    assert expected == read_since(text, NOW)


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "999999w", "0001-01-01"])
def test_what_is_no_period(text: str) -> None:
    """Also what is too long ago for a calendar."""
    with pytest.raises(InputError, match="--since"):
        read_since(text, NOW)
