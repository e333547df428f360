"""Events reach their sinks at least once, whatever fails in between."""

from __future__ import annotations

import datetime
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import DeliveryError
from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.outbox import Outbox, deliver
from aifa_hpc.tracker.sinks.base import EventSink
from aifa_hpc.tracker.sinks.jsonlines import JsonLines
from aifa_hpc.tracker.sinks.prometheus import Prometheus
from aifa_hpc.tracker.sinks.webhook import Secret, Webhook
from aifa_hpc.tracker.store import Store
from tests.tracker.receiving import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aifa_hpc.tracker.records import Event
    from aifa_hpc.tracker.sinks.base import Sink

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


def later(minutes: float) -> datetime.datetime:
    """So many minutes after noon."""
    return NOW + datetime.timedelta(minutes=minutes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with three events of one job."""
    store = Store(tmp_path / "jobs.sqlite3")
    store.intend(token="t0k3n", site="lumi", name="digits", folder="/f", now=NOW, rate=16.0, unit="GPU-h")
    store.update("t0k3n", Status(state="PENDING"), now=later(1), job_id="7")
    store.update("t0k3n", Status(state="FAILED", exit=ExitStatus(1), elapsed_seconds=1800), now=later(2))
    yield store
    store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server."""
    with Receiver() as receiver:
        yield receiver


def states(path: Path) -> list[str]:
    """The states in a file of JSON lines."""
    return [json.loads(line)["state"] for line in path.read_text().splitlines()]


def test_each_sink_gets_every_event_once(tmp_path: Path, store: Store, receiver: Receiver) -> None:
    """In order, each sink at its own pace; what was delivered is not delivered again."""
    sinks = [JsonLines("a", tmp_path / "a"), Webhook("b", receiver.url)]
    for _ in range(2):
        done = deliver(sinks, store)
    wanted = ["SUBMITTING", "PENDING", "FAILED"]
    assert (wanted, wanted) == (states(tmp_path / "a"), [body["state"] for _, body in receiver.got])
    assert [("a", 0, None), ("b", 0, None)] == [(one.sink, one.count, one.error) for one in done]


def test_an_event_names_its_job_and_its_key(store: Store, receiver: Receiver) -> None:
    """Machines get every field, people a sentence."""
    deliver([Webhook("b", receiver.url)], store)
    headers, body = receiver.got[1]
    assert {
        "key": "t0k3n-2",
        "event": 2,
        "at": "2026-11-24T12:01:00+00:00",
        "site": "lumi",
        "id": "7",
        "name": "digits",
        "token": "t0k3n",
        "state": "PENDING",
        "previous": "SUBMITTING",
        "reason": "",
        "text": "job 7 (digits) on lumi: SUBMITTING -> PENDING",
    } == body
    assert ("t0k3n-2", "application/json") == (headers["Idempotency-Key"], headers["Content-Type"])


@pytest.mark.parametrize("code", [500, 503, 429, 408, 0])
def test_what_may_pass_is_tried_again(store: Store, receiver: Receiver, code: int) -> None:
    """With growing waits; the same event has the same key."""
    receiver.answers = [code, code]
    waits: list[float] = []
    (done,) = deliver([Webhook("b", receiver.url)], store, sleep=waits.append)
    assert (3, None, 2, True) == (done.count, done.error, len(waits), waits[1] > 1)
    assert ["t0k3n-1"] * 3 + ["t0k3n-2", "t0k3n-3"] == receiver.keys


@pytest.mark.parametrize("code", [301, 307, 400, 401, 404])
def test_what_stays_wrong_is_told_and_kept(store: Store, receiver: Receiver, code: int) -> None:
    """A refusal, or an address that sends us elsewhere, is not tried again at once, and loses nothing."""
    receiver.answers = [200, code]
    (done,) = deliver([Webhook("b", receiver.url)], store, sleep=lambda _: pytest.fail("waited"))
    assert (True, 2) == (f"answered {code}" in str(done.error), len(receiver.got))
    deliver([Webhook("b", receiver.url)], store)
    assert ["t0k3n-1", "t0k3n-2", "t0k3n-2", "t0k3n-3"] == receiver.keys


def test_a_sink_that_fails_holds_up_no_other(tmp_path: Path, store: Store) -> None:
    """Nobody listens at one of them."""
    sinks = [Webhook("b", "http://127.0.0.1:9/x"), JsonLines("a", tmp_path / "a")]
    failed, done = deliver(sinks, store, sleep=lambda _: None)
    assert (True, 3) == ("cannot be reached" in str(failed.error), len(states(tmp_path / "a")))
    assert done.error is None


def test_earlier_events_are_passed_over(tmp_path: Path, store: Store) -> None:
    """Those before ``since``; they are not counted."""
    (done,) = deliver([JsonLines("a", tmp_path / "a", since=later(1.5))], store)
    assert (["FAILED"], 1) == (states(tmp_path / "a"), done.count)


def test_half_a_line_is_not_left(tmp_path: Path, store: Store) -> None:
    """A writer that was killed left part of a line: it is cut, and its event comes whole."""
    path = tmp_path / "a"
    path.write_text('{"state": "OLD"}\n{"state": "HA' + "x" * 5000)
    deliver([JsonLines("a", path)], store)
    assert (["OLD", "SUBMITTING", "PENDING", "FAILED"], 0o600 & path.stat().st_mode) == (states(path), 0o600)


def test_a_token_goes_in_a_header_only(tmp_path: Path, store: Store, receiver: Receiver) -> None:
    """It is read from a file that only its owner can read, and stands in no message."""
    path = tmp_path / "token"
    path.write_text("s3cr3t\n")
    path.chmod(0o644)
    sink = Webhook("b", receiver.url, token=Secret(file=path))
    (done,) = deliver([sink], store)
    assert (True, False) == ("has mode 0644" in str(done.error), "s3cr3t" in str(done.error))
    path.chmod(0o600)
    deliver([sink], store)
    assert "Bearer s3cr3t" == receiver.got[0][0]["Authorization"]


def test_metrics_are_written_whole(tmp_path: Path, store: Store) -> None:
    """Jobs by site and state, billed hours, and the age of the last answer; nothing else is left in the folder."""
    asking = Asking(store, "lumi")
    asking.claim(now=NOW, floor=0, pace=30)
    asking.answered(now=NOW, seconds=0)
    path = tmp_path / "prom" / "aifa.prom"
    (done,) = deliver([Prometheus("m", path)], store)
    assert "No such file" in str(done.error)
    path.parent.mkdir()
    deliver([Prometheus("m", path)], store, clock=lambda: later(1))
    lines = path.read_text().splitlines()
    assert {
        'aifa_jobs{site="lumi",state="FAILED"} 1',
        'aifa_billed_hours{site="lumi",unit="GPU-h"} 8',
        f'aifa_last_answer_timestamp_seconds{{site="lumi"}} {NOW.timestamp():.0f}',
        'aifa_last_answer_age_seconds{site="lumi"} 60',
    } == {line for line in lines if not line.startswith("#")}
    assert ([path], 0o644) == (list(path.parent.iterdir()), path.stat().st_mode & 0o777)


class Broken(EventSink):
    """A sink that always fails, and counts how often."""

    kind = "broken"
    tries = 0

    def __init__(self, error: Exception) -> None:
        super().__init__("broken")
        self._error = error

    def send(self, events: Sequence[Event], store: Store) -> None:
        """Fails."""
        self.tries += 1
        raise self._error


@pytest.mark.parametrize("error", [DeliveryError("no"), ValueError("a library's own")])
def test_whoever_asks_a_site_is_never_failed_by_a_sink(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """The fault is logged, once in an outage, and the sink is left alone for a while; others get what is theirs."""
    now, broken = 0.0, Broken(error)
    outbox = Outbox(lambda: [JsonLines("a", tmp_path / "a"), broken], monotonic=lambda: now)
    for _ in range(5):
        outbox.flush(store)
    assert 3 == len(states(tmp_path / "a"))
    if isinstance(error, DeliveryError):
        now = 6.0
        outbox.flush(store)
        assert (2, 1) == (broken.tries, len(caplog.records))


def test_a_wrong_configuration_is_told_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else comes of it."""

    def load() -> list[Sink]:
        raise DeliveryError("events.toml cannot be used")

    outbox = Outbox(load)
    for _ in range(3):
        outbox.flush(store)
    assert ["events are not delivered: events.toml cannot be used"] == [one.getMessage() for one in caplog.records]


KILLED = """
import os, signal, sys
from pathlib import Path
from aifa_hpc.tracker.outbox import deliver
from aifa_hpc.tracker.sinks.jsonlines import JsonLines
from aifa_hpc.tracker.sinks.webhook import Webhook
from aifa_hpc.tracker.store import Store
store, path, url, number = Store(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
steps = 0
def trace(frame, event, arg):
    global steps
    if "aifa_hpc/tracker/" in frame.f_code.co_filename:
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
deliver([JsonLines("a", path), Webhook("b", url)], store)
sys.settrace(None)
"""


def test_nothing_is_lost_when_the_deliverer_is_killed(tmp_path: Path, store: Store, receiver: Receiver) -> None:
    """Killed with -9 at lines all over its way: every event arrives, and what comes twice has the same key."""
    path, number, killed = tmp_path / "a", 5, 0
    while True:
        words = [sys.executable, "-c", KILLED, str(store.path), str(path), receiver.url, str(number)]
        code = subprocess.run(words, check=False).returncode
        if code == 0:
            break
        assert -signal.SIGKILL == code
        number, killed = number + 37, killed + 1
        if killed < 8:  # something new is due each time
            store.intend(token=f"t{killed}", site="lumi", name="digits", folder="/f", now=NOW)
    events = {f"{event.token}-{event.id}" for event in store.events()}
    written = [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert (events, events, True) == (set(written), set(receiver.keys), killed > 5)
