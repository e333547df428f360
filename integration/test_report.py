"""The report in a real browser: of jobs that ran on real clusters, of names meant to do harm, and of 5,000 jobs."""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import time
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.store import Store
from aifa_hpc.views.words import amount
from integration.browser import Browser, open_browser
from integration.conftest import make_user
from tests.program import run_aifa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NASTY = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "a' & b",
    "{{7*7}}",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all of these tests."""
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def fill(state: Path, jobs: int, days: float) -> None:
    """Remembers jobs as a site would have told of them: reproducible, of every kind."""
    chance = random.Random(jobs)
    now = datetime.datetime.now(datetime.UTC)
    store = Store(state / "jobs.sqlite3")
    with store.together():
        for number in range(jobs):
            created = now - datetime.timedelta(days=chance.uniform(0.01, days))
            start = created + datetime.timedelta(seconds=chance.expovariate(1 / 1800))
            end = start + datetime.timedelta(seconds=chance.expovariate(1 / 7200))
            token, name = f"t{number:011}", chance.choice(("digits", "llama-sft", *NASTY))
            store.intend(
                token=token, site=chance.choice(("lumi", "jupiter")), name=name, folder=f"/x/{token}", now=created,
                account="project_465000001", rate=8.0, unit="GPU-h", limit_seconds=86400,
            )  # fmt: skip
            store.update(token, Status(state="PENDING"), now=created, job_id=str(8_000_000 + number))
            state_word = chance.choices(("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"), (8, 1, 1, 1))[0]
            status = Status(state="PENDING", reason=name)
            if start < now:
                status = Status(state="RUNNING", start=f"{start:%Y-%m-%dT%H:%M:%S}")
            if end < now:
                status = Status(
                    state=state_word, reason=name, exit=ExitStatus(0), start=f"{start:%Y-%m-%dT%H:%M:%S}",
                    end=f"{end:%Y-%m-%dT%H:%M:%S}", elapsed_seconds=int((end - start).total_seconds()),
                )  # fmt: skip
            store.update(token, status, now=min(end, now))
    store.close()


def remembered(home: Path, jobs: int, days: float) -> tuple[Path, float]:
    """A page of so many remembered jobs, and the seconds it took to write."""
    (home / "config").mkdir()
    (home / "state").mkdir()
    budget = "[sites.lumi.budget.project_465000001]\nGPU-h = 100\n"
    (home / "config" / "sites.toml").write_text(budget)
    fill(home / "state", jobs, days)
    env = os.environ | {"AIFA_STATE_DIR": str(home / "state"), "AIFA_CONFIG_DIR": str(home / "config")}
    begin = time.monotonic()
    ran = run_aifa("report", "--html", "report.html", "--since", "all", env=env, cwd=home, timeout=60)
    assert (0, f"wrote report.html: {jobs:,} jobs\n") == (ran.code, ran.out), ran.err
    return home / "report.html", time.monotonic() - begin


def sound(browser: Browser, page: Path) -> None:
    """Nothing complained, nothing was fetched but the page, and nothing a job is called was run."""
    assert [] == browser.complaints
    ours = ("data:", "chrome:")  # the icon that is none, and what the browser itself is made of
    assert {page.as_uri()} == {url for url in browser.requests if not url.startswith(ours)}
    assert browser.driver.title.startswith("Jobs, ")


def fits(browser: Browser) -> None:
    """Nothing is wider than the window, on a telephone and on a desk."""
    for width in (360, 1280):
        browser.resize(width)
        assert width >= browser.js("document.documentElement.scrollWidth"), f"{width} pixels"
        outside = "element => element.getBoundingClientRect().right > innerWidth && !element.closest('.scroll')"
        assert 0 == browser.js(f"[...document.querySelectorAll('main *')].filter({outside}).length")


def contrast(browser: Browser, selector: str) -> float:
    """How far a text stands off the card it is on (WCAG 2.2, 1.4.3 wants 4.5)."""

    def light(colour: str) -> float:
        parts = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    text = browser.js("getComputedStyle(document.querySelector(arguments[0])).color", selector)
    card = browser.js("getComputedStyle(document.querySelector('section')).backgroundColor")
    low, high = sorted((light(text), light(card)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.cluster
@pytest.mark.parametrize("machine", ["lumi"])
def test_jobs_of_a_real_cluster(machine: str, clusters: None, tmp_path: Path, browser: Browser) -> None:
    """One that ended well and one that failed: rows, reasons, units and totals of the page."""
    user = make_user(tmp_path, machine, "openssh")
    with (user.home / "config" / "sites.toml").open("a") as sites:
        sites.write(f"[sites.{user.site}.budget.project_465000001]\nGPU-h = 50\n")
    good = user.aifa("submit", user.job("sleep", "2", name="good"), "--site", user.site, "--wait", "--json")
    assert 0 == good.code, good.err
    bad = user.aifa("submit", user.job("sh", "-c", "sleep 2; exit 7", name="bad"), "--site", user.site, "--wait")
    assert 1 == bad.code, bad.err
    ids = [one["id"] for one in user.aifa("jobs", "--all", "--json").json]
    page = user.home / "report.html"
    ran = user.aifa("report", "--html", str(page), "--json")
    assert 0 == ran.code, ran.err
    browser.open(page)
    sound(browser, page)
    assert "2" == browser.texts("#total")[0]
    rows = browser.texts(".jobs li")
    assert ["bad FAILED", "good COMPLETED"] == sorted(
        f"{line.split()[0]} {'FAILED' if 'FAILED' in line else 'COMPLETED'}" for line in rows
    )
    (failure,) = browser.texts("#failures tbody tr")
    assert ("bad", True, True) == (failure.split()[0], "FAILED" in failure, "exit 7:0" in failure)
    (usage,) = browser.texts("#usage tbody tr")
    (fields,) = ran.json["usage"]
    assert ("project_465000001", "GPU-h", 50.0) == (fields["account"], fields["unit"], fields["budget"])
    # LUMI bills a GCD as half a GPU-hour; a node of eight makes four an hour, for what accounting says they ran.
    ran_for = [int(text) for text in user.ssh(f"sacct -X -n -P -j {','.join(ids)} -o ElapsedRaw").split()]
    assert fields["used"] == pytest.approx(4 * sum(ran_for) / 3600)
    said = f"{amount(fields['used'])} of 50 GPU-h used, {amount(50 - fields['used'])} left"
    assert ("project_465000001" in usage, said in usage) == (True, True), usage
    runs = browser.js("document.querySelectorAll('.bar i.ok, .bar i.bad').length")
    assert 2 == runs
    begin = datetime.datetime.fromisoformat(good.json["submitted_at"])
    assert datetime.datetime.now(datetime.UTC) - begin < datetime.timedelta(minutes=10)
    fits(browser)


def test_names_that_mean_harm_do_none(tmp_path: Path, browser: Browser) -> None:
    """They are shown as they are; the page reads well in both schemes, at both widths, and prints."""
    page, _ = remembered(tmp_path, 60, 3)
    for dark in (False, True):
        browser.open(page, dark=dark)
        sound(browser, page)
        for selector in ("h1", ".muted", ".told", "td", ".state.ok", ".state.bad", ".state.late", ".state.run"):
            if browser.js("document.querySelector(arguments[0]) !== null", selector):
                assert 4.5 <= contrast(browser, selector), (selector, dark)
        fits(browser)
    text = browser.js("document.body.textContent")
    assert [] == [name for name in NASTY if name not in text]
    assert 0 == browser.js("document.querySelectorAll('img, body script:not(:last-child)').length")
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert printed["data"].startswith("JVBERi0")  # %PDF-


def test_the_page_is_used_without_a_mouse(tmp_path: Path, browser: Browser) -> None:
    """Tab reaches the filter and the groups, keys open them; the filter finds, and leaves all when emptied."""
    page, _ = remembered(tmp_path, 60, 3)
    browser.open(page)
    body = browser.driver.switch_to.active_element
    seen = []
    for _ in range(12):
        body.send_keys(Keys.TAB)
        body = browser.driver.switch_to.active_element
        seen.append(body.get_attribute("id") or body.tag_name)
    assert "filter" in seen
    assert "summary" in seen[seen.index("filter") :]
    assert "solid" == browser.js("getComputedStyle(document.activeElement).outlineStyle")
    group = browser.driver.find_elements("css selector", "details.group")[1]
    summary = group.find_element("css selector", "summary")
    summary.send_keys(Keys.ENTER)
    assert "true" == group.get_attribute("open")
    shown = "[...document.querySelectorAll('.jobs li')].filter(e => !e.hidden).length"
    field = browser.driver.find_element("id", "filter")
    field.send_keys("failed lumi")
    found = browser.js(shown)
    assert f"{found} found" == browser.texts("#found")[0]
    assert 0 < found < 60
    assert all("FAILED" in line and "lumi" in line for line in browser.texts(".jobs li:not([hidden])"))
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE)
    assert (60, "") == (browser.js(shown), browser.texts("#found")[0])


def test_five_thousand_jobs(tmp_path: Path, browser: Browser) -> None:
    """Written and open in seconds, a few megabytes; every job is there, and a filter answers as one types."""
    page, written = remembered(tmp_path, 5000, 30)
    begin = time.monotonic()
    browser.open(page)
    opened = time.monotonic() - begin
    assert 5000 == browser.js("document.querySelectorAll('.jobs li').length")
    assert "5,000" == browser.texts("#total")[0]
    sound(browser, page)
    filtered = browser.js(
        "(() => { const field = document.getElementById('filter'), begin = performance.now();"
        " field.value = 'failed'; field.dispatchEvent(new Event('input')); document.body.offsetHeight;"
        " return performance.now() - begin })()"
    )
    megabytes = page.stat().st_size / 1e6
    figures = {"write s": written, "open s": opened, "filter ms": filtered, "MB": megabytes}
    print(json.dumps({key: round(value, 2) for key, value in figures.items()}))
    assert megabytes < 4
    fits(browser)
