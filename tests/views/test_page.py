"""The page as text: complete in itself, and safe whatever jobs are called."""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.views.history import history
from aifa_hpc.views.page import render_page
from aifa_hpc.views.summary import summarise
from tests.views.conftest import at, attempts, row

if TYPE_CHECKING:
    from aifa_hpc.tracker.records import Row

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a' b\" & c",
    "</title>",
    "{{ 7 * 7 }}",
    "\x1b[31m",
]


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(*rows: Row, budgets: Any = None) -> str:
    """The page of these jobs, an hour past noon."""
    histories = [history([(one, attempts(one))], at(60)) for one in rows]
    found = summarise(histories, budgets=budgets or {}, since=None, now=at(60))
    return render_page(found, zone=datetime.UTC)


@pytest.mark.parametrize("name", NASTY)
def test_names_and_reasons_are_text(name: str) -> None:
    """No name makes a tag, an attribute or a template expression; it is shown as it is."""
    clean = [tag for tag, _ in Seen(page(row("FAILED", start=0, end=9, reason="x", name="x", account="x"))).tags]
    nasty = Seen(page(row("FAILED", start=0, end=9, name=name, reason=name, account=name, job_id=name)))
    assert clean == [tag for tag, _ in nasty.tags]
    assert not [key for _, attributes in nasty.tags for key in attributes if key.startswith("on")]
    assert name.replace("\x1b[31m", "") in nasty.text


def test_the_page_asks_for_nothing() -> None:
    """No address in it but an empty icon, and a policy that forbids all requests and any script but its own."""
    text = page(row(start=0, end=9))
    seen = Seen(text)
    links = [value for _, attributes in seen.tags for key, value in attributes.items() if key in {"src", "href"}]
    assert ["data:,", "#timeline"] == links
    assert not re.search(r"url\(|@import|https?://", text)
    policy = next(one["content"] for _, one in seen.tags if one.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_many_jobs_are_grouped_by_day() -> None:
    """Forty are one group; of more, each day has its own, the latest first and open."""
    few = Seen(page(*(row(start=1, end=2, token=f"t{number}") for number in range(40))))
    many = Seen(
        page(*(row(submitted=-1440 * (number % 3), start=1, end=2, token=f"t{number}") for number in range(41)))
    )
    assert [1, 3] == [sum(tag == "details" for tag, _ in seen.tags) for seen in (few, many)]
    assert ["open" in attributes for tag, attributes in many.tags if tag == "details"] == [True, False, False]
    assert many.text.index("Tuesday, 24 November") < many.text.index("Sunday, 22 November")


def test_every_run_and_wait_has_a_mark() -> None:
    """A requeued job waits, runs, waits, runs; the words say so too."""
    one = row(start=40, end=50)
    past = history([(one, attempts(one, ("NODE_FAIL", 10, 20)))], at(60))
    found = summarise([past], budgets={}, since=None, now=at(60))
    text = render_page(found, zone=datetime.UTC)
    bar = text.split('<span class="bar"')[1].split("</li>")[0]
    assert ["wait", "wait", "bad", "ok"] == re.findall(r'<i class="(\w+)"', bar)
    assert "waited 30 min; ran 20 min; attempt 1: NODE_FAIL, 10 min; attempt 2: COMPLETED, 10 min; 1.33 GPU-h" in bar


def test_a_budget_is_drawn_and_said() -> None:
    """Half used, and one that is overdrawn."""
    text = page(row(start=0, end=60), budgets={"lumi": {"p1": {"GPU-h": 8.0}}})
    over = page(row(start=0, end=60), budgets={"lumi": {"p1": {"GPU-h": 3.0}}})
    assert ("width:50.00%" in text, "4 of 8 GPU-h used, 4 left" in text) == (True, True)
    assert ("width:100.00%" in over, "1 too many" in over) == (True, True)


def test_no_jobs_make_a_page_that_says_so() -> None:
    """No chart, no timeline, no division by zero."""
    seen = Seen(page())
    assert "No job is remembered for this period." in seen.text
    assert not [tag for tag, _ in seen.tags if tag in {"svg", "details"}]
