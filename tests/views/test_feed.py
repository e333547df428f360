"""The threads behind the live view, with real jobs of the site `local`."""

from __future__ import annotations

import contextlib
import queue
import time
from typing import TYPE_CHECKING, TypeVar

from aifa_hpc.staging.ledger import Ledger, Remembered
from aifa_hpc.views.board import SiteState
from aifa_hpc.views.feed import Feed, Jobs, LogText, Look, Notice, read_transfers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from aifa_hpc.views.feed import News
    from tests.cli.conftest import Aifa

T = TypeVar("T")


class Heard:
    """What a feed told, as it comes."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.tell = self._news.put

    def wait(self, kind: type[T], fits: Callable[[T], bool] = lambda _: True) -> T:
        """The next of this kind that fits."""
        deadline = time.monotonic() + 60
        while True:
            news = self._news.get(timeout=max(0.1, deadline - time.monotonic()))
            if isinstance(news, kind) and fits(news):
                return news


@contextlib.contextmanager
def feeding(monkeypatch: pytest.MonkeyPatch, aifa: Aifa) -> Iterator[tuple[Feed, Heard]]:
    """A feed of this user, which ends with the test."""
    for name in ("AIFA_STATE_DIR", "AIFA_CONFIG_DIR"):
        monkeypatch.setenv(name, aifa.env[name])
    heard = Heard()
    feed = Feed(heard.tell)
    feed.start()
    try:
        yield feed, heard
    finally:
        feed.stop()


def test_a_job_is_followed_read_and_cancelled(aifa: Aifa, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state, its log as it grows, and its end, all without a question that waits for another."""
    path = aifa.job(command='["sh", "-c", "echo one; echo two; sleep 60"]')
    token = aifa("submit", path, "--site", "local", "--json").json["token"]
    with feeding(monkeypatch, aifa) as (feed, heard):
        jobs = heard.wait(Jobs, lambda news: news.jobs[0].row.status.state == "RUNNING")
        state = heard.wait(SiteState, lambda news: news.answered is not None)
        assert ("local", 1, "") == (state.name, state.jobs, state.trouble)
        look = Look(token=token, site="local", tail=1)
        feed.look(look)
        assert "two\n" == heard.wait(LogText, lambda news: bool(news.text)).text
        feed.look(Look(token=token, site="local", tail=0))
        assert "one\ntwo\n" == heard.wait(LogText, lambda news: news.look.tail == 0 and bool(news.text)).text
        feed.cancel(jobs.jobs[0].row)
        assert "asked local to cancel job" in heard.wait(Notice).text
        assert heard.wait(Jobs, lambda news: news.jobs[0].row.status.state == "CANCELLED")


def test_a_site_that_is_gone_is_told_and_asked_again(aifa: Aifa, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its site was taken out of sites.toml: the others go on, and the log says why there is none."""
    (aifa.home / "config").mkdir()
    sites = aifa.home / "config" / "sites.toml"
    sites.write_text('[sites.mine]\nextends = "local"\n')
    token = aifa("submit", aifa.job(command='["sleep", "60"]'), "--site", "mine", "--json").json["token"]
    sites.write_text("")
    with feeding(monkeypatch, aifa) as (feed, heard):
        state = heard.wait(SiteState, lambda news: bool(news.trouble))
        assert ("mine", True, True) == (
            state.name,
            "site 'mine' is not known" in state.trouble,
            state.again is not None,
        )
        feed.look(Look(token=token, site="mine", tail=9))
        jobs = heard.wait(Jobs)
        feed.cancel(jobs.jobs[0].row)
        assert heard.wait(Notice).bad
    sites.write_text('[sites.mine]\nextends = "local"\n')
    aifa("cancel", token)


def test_a_store_that_cannot_be_read_is_told(aifa: Aifa, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason, and no thread that dies in silence."""
    (aifa.home / "state").write_text("")
    with feeding(monkeypatch, aifa) as (_, heard):
        notice = heard.wait(Notice)
    assert (True, True) == (notice.bad, "$AIFA_STATE_DIR" in notice.text)


def test_transfers_are_those_of_the_ledger(aifa: Aifa, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking makes no ledger; what is in one is given, the newest first."""
    monkeypatch.setenv("AIFA_STATE_DIR", aifa.env["AIFA_STATE_DIR"])
    assert () == read_transfers()
    assert not (aifa.home / "state").exists()
    found = [
        Remembered(place=name, source="a", destination="b", begun=begun) for name, begun in (("p", 2.0), ("q", 1.0))
    ]
    with Ledger(aifa.home / "state" / "staging.sqlite3") as ledger:
        for one in reversed(found):
            ledger.note_copy(one)
    assert tuple(found) == read_transfers()
