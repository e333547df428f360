"""Callbacks, ``await`` and ``as_completed`` on the embedded scheduler."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.cluster import Cluster
from aifa_hpc.embedded import EmbeddedTransport
from aifa_hpc.errors import AifaError, InputError, JobFailedError, NotSentError, OutcomeUnknownError
from aifa_hpc.sites.load import load_site
from aifa_hpc.tracker.connection import Connection
from aifa_hpc.tracker.store import Store
from aifa_hpc.tracker.waiting import as_completed, wait_all
from aifa_hpc.transport.refusals import PersonNeededError
from tests.tracker.linked import Hurried, Link, job

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.tracker.events import Status

PATIENCE = 60.0  # seconds; only failures take them


def test_a_fault_of_our_own_leaves_nobody_waiting(connection: Connection, link: Link) -> None:
    """What nobody foresaw ends the wait with its words, and does not hang it."""
    handle = connection.submit(job("sleep 60"))
    link.failures = [ZeroDivisionError("nobody foresaw it")]
    with pytest.raises(AifaError, match="ZeroDivisionError: nobody foresaw it"):
        wait_all([handle], timeout=PATIENCE)
    handle.cancel()


def test_await_gives_the_last_status_and_the_loop_goes_on(connection: Connection) -> None:
    """Two jobs are awaited at once while something else runs."""
    handles = [connection.submit(job(f"sleep 0.3; exit {code}")) for code in (0, 3)]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def both() -> list[Status]:
        ticking = asyncio.ensure_future(tick())
        found = await asyncio.wait_for(asyncio.gather(*handles), PATIENCE)
        ticking.cancel()
        return list(found)

    assert ["COMPLETED", "FAILED"] == [status.state for status in asyncio.run(both())]
    assert (["COMPLETED", "FAILED"], True) == ([handle.status.state for handle in handles], ticks > 10)


def test_statuses_come_from_now_to_the_last(connection: Connection, tmp_path: Path) -> None:
    """The first is the present one; a job that is over has one."""
    seen = tmp_path / "seen"  # the job ends once its first status has been seen
    handle = connection.submit(job(f"while ! [ -e '{seen}' ]; do sleep 0.05; done"))

    async def states() -> list[str]:
        found = []
        async for status in handle.statuses():
            found.append(status.state)
            seen.touch()
        return found

    found = asyncio.run(states())
    assert ("COMPLETED", True) == (found[-1], len(found) > 1)
    assert ["COMPLETED"] == asyncio.run(states())


def test_await_ends_where_a_person_is_needed(connection: Connection, link: Link) -> None:
    """A login that only a person can open is an error for whoever waits."""
    handle = connection.submit(job("sleep 5"))
    link.failures = [PersonNeededError("no login")]

    async def wait() -> Status:
        return await handle

    with pytest.raises(PersonNeededError):
        asyncio.run(wait())
    handle.cancel()


def test_await_bears_an_outage(connection: Connection, link: Link) -> None:
    """The link is down for five commands; the end comes all the same."""
    handle = connection.submit(job("true"))
    link.failures = [NotSentError("refused")] * 3 + [OutcomeUnknownError("silence")] * 2

    async def wait() -> Status:
        return await handle

    clock = threading.Timer(0.2, lambda: connection.pause(400))  # patience has passed on this clock
    clock.start()
    assert asyncio.run(wait()).ok
    clock.join()


def test_callbacks_hear_every_change_and_one_end(connection: Connection) -> None:
    """Each in the watcher's thread, where the job may be asked for its log; a fault of one is not the others'."""
    handle = connection.submit(job("echo hello; sleep 0.2"))
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    changes: list[str] = []

    def broken(status: Status) -> None:
        raise ValueError(status.state)

    handle.on_end(broken)
    handle.on_change(lambda status: changes.append(status.state))
    handle.on_end(lambda status: heard.put(f"{status.state} {handle.logs()}"))
    assert "COMPLETED hello\n" == heard.get(timeout=PATIENCE)
    handle.on_end(lambda status: heard.put(status.state))
    assert ("COMPLETED", True) == (heard.get(timeout=PATIENCE), heard.empty())
    assert ("COMPLETED", len(changes)) == (changes[-1], len(set(changes)))


def test_a_callback_can_be_taken_back(connection: Connection) -> None:
    """It hears nothing after that."""
    handle = connection.submit(job("sleep 0.1"))
    heard: list[Status] = []
    handle.on_end(heard.append)()
    assert ("COMPLETED", []) == (handle.wait().state, heard)


def test_jobs_come_as_they_end_and_ask_together(tmp_path: Path, connection: Connection, link: Link) -> None:
    """The last one last, each once; one question serves all of them."""
    gate = tmp_path / "gate"
    last, *others = [connection.submit(job(script)) for script in (f"until [ -e {gate} ]; do sleep 0.1; done", *"::::")]
    before, got = link.questions, []
    for handle in as_completed([last, *others, last], timeout=PATIENCE):
        got.append(handle)
        if len(got) == 4:
            asked = link.questions - before
            gate.touch()
    assert (5, last, {"COMPLETED"}) == (len(got), got[-1], {handle.status.state for handle in got})
    assert asked <= 3  # one a tick, not one a job


def test_jobs_of_several_sites_are_waited_for_at_once(tmp_path: Path, connection: Connection) -> None:
    """A site that is away holds up nobody who waits for another."""
    away = Link(EmbeddedTransport(tmp_path / "other"))
    clock = Hurried()
    cluster = Cluster(load_site("local"), away, sleep=clock.sleep)
    with Connection(cluster, Store(tmp_path / "other.sqlite3"), sleep=clock.sleep, monotonic=clock) as other:
        far, near = other.submit(job("true")), connection.submit(job("true"))
        away.failures = [NotSentError("refused")] * 100
        coming = as_completed([far, near], timeout=PATIENCE)
        assert near is next(coming)
        away.failures = []
        other.pause(400)
        assert [far] == list(coming)


def test_waiting_for_all_names_what_failed(connection: Connection) -> None:
    """The statuses come in the order of the jobs; with check all failures are in one error."""
    handles = [connection.submit(job(f"exit {code}", name=f"job{code}")) for code in (3, 0, 4)]
    assert ["FAILED", "COMPLETED", "FAILED"] == [status.state for status in wait_all(handles, timeout=PATIENCE)]
    with pytest.raises(JobFailedError, match=r"2 of 3 jobs did not end well: 1 \(job3\).*3 \(job4\)"):
        wait_all(handles, check=True)


def test_waiting_for_all_gives_up_on_time(connection: Connection) -> None:
    """The error says how each of the others is."""
    handles = [connection.submit(job(script)) for script in ("sleep 30", "true")]
    wait_all(handles[1:], timeout=PATIENCE)
    with pytest.raises(TimeoutError, match=r"1 of 2 jobs are not over after 0\.1 s: 1 is (RUNNING|PENDING)"):
        wait_all(handles, timeout=0.1)
    handles[0].cancel()


def test_closing_ends_the_thread_and_tells_who_waits(connection: Connection) -> None:
    """Nobody waits for ever on a connection that is gone."""
    handle = connection.submit(job("sleep 30"))
    coming = as_completed([handle])
    waiting: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def wait() -> None:
        try:
            next(coming)
        except InputError as error:
            waiting.put(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not connection.watcher.busy and time.monotonic() < deadline:
        connection.pause(1)
    handle.cancel()
    connection.close()
    assert "the connection to local was closed." == str(waiting.get(timeout=PATIENCE))
    with pytest.raises(InputError, match="closed"):
        handle.on_end(print)
