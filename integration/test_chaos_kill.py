"""Processes that are killed with SIGKILL at random moments, clocks that jump, a controller that restarts."""

from __future__ import annotations

import collections
import datetime
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.testing.faults import kill_after, without
from aifa_hpc.tracker.store import Store
from aifa_hpc.transport.openssh import OpenSSHTransport
from integration.chaos import Victim, make_victim
from integration.conftest import SITES
from integration.test_tracking import hurry, two_at_a_time

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from aifa_hpc.testing.faults import Clock
    from aifa_hpc.testing.plugin import Figures

chaos = pytest.mark.chaos

SUBMIT = """
import sys, time
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.tracker.connection import connect
site, text = sys.argv[1:]
with connect(site) as connection:
    job = read_job(text, "a job", site=())
    connection.cluster.prepare(job, "warm")
    print("ready", flush=True)
    begun = time.monotonic()
    connection.submit(job)
    print(time.monotonic() - begun)
"""
FOLLOW = """
import datetime, sys, time
from aifa_hpc.testing.faults import Clock
from aifa_hpc.tracker.connection import connect
from aifa_hpc.tracker.poller import Poller
with connect(sys.argv[1]) as connection:
    print("ready", flush=True)
    while True:
        connection.poll()
        time.sleep(0.05)
"""
FEED = """
import datetime, sys, time
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.testing.faults import Clock
from aifa_hpc.tracker.connection import connect
from aifa_hpc.tracker.poller import Poller
site, minutes, *texts = sys.argv[1:]
clock = Clock()
clock.jump(datetime.timedelta(minutes=int(minutes)))
with connect(site) as connection:
    jobs = [read_job(text, "a job", site=()) for text in texts]
    poller = Poller(connection.cluster, connection.store, clock=clock)
    connection.cluster.prepare(jobs[0], "warm")
    print("ready", flush=True)
    poller.queue.put(jobs)
    while True:
        poller.poll()
        time.sleep(0.05)
"""
REMEMBER = """
import datetime, itertools, sys
from pathlib import Path
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.store import Store
store = Store(Path(sys.argv[1]))
now = datetime.datetime.now(datetime.UTC)
print("ready", flush=True)
with open(sys.argv[2], "a") as told:
    for number in itertools.count():
        token = f"{sys.argv[3]}-{number}"
        store.intend(token=token, site="s", name="n", folder=f"/f/{token}", now=now)
        for state in ("PENDING", "RUNNING", "COMPLETED"):
            store.update(token, Status(state=state, proof="a test"), now=now, job_id=str(number))
            told.write(f"{token} {state}\\n")
            told.flush()
"""


@pytest.fixture(params=[f"{site}-openssh" for site in SITES])
def victim(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> Iterator[Victim]:
    """A user of each cluster with an open connection, as a person has who logged in."""
    found = make_victim(tmp_path / "user", *request.param.split("-"))
    # What other tests have left counts for the limit of submitted jobs: a full site refuses, and rightly.
    found.user.ssh('scancel --me; until [ -z "$(squeue --me --noheader)" ]; do sleep 0.2; done')
    with found.proxy:
        transport = found.transport()
        assert isinstance(transport, OpenSSHTransport)
        with found.connection(transport) as connection:
            connection.cluster.transport.run(found.nothing())
        yield found
        transport.logout()


@pytest.mark.cluster
@pytest.mark.parametrize("rounds", [pytest.param(4, id="sample"), pytest.param(100, marks=chaos, id="all")])
def test_a_submission_that_is_killed_left_one_job_or_none(
    victim: Victim, aifa_random: random.Random, aifa_figures: Figures, aifa_clock: Clock, rounds: int
) -> None:
    """Killed at any time from its first thought to its end: a later question says which, and Slurm says the same."""
    text = Path(victim.user.job("true", name="NAME")).read_text("utf-8")
    argv = (sys.executable, "-c", SUBMIT, victim.user.site)
    env = victim.user.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
    whole = (*argv, text.replace("NAME", f"{victim.run}-0"))
    took = subprocess.run(whole, env=env, capture_output=True, text=True, check=True).stdout.split()[-1]
    longest = 1.2 * float(took)
    killed = 0
    for number in range(1, rounds + 1):
        words = (*argv, text.replace("NAME", f"{victim.run}-{number}"))
        # Alone, so that its ssh goes on with what it holds; and with its ssh, as when a machine loses its power.
        alone = bool(number % 2)
        left = kill_after(words, aifa_random.uniform(0, longest), env=env, ready=b"ready", children=not alone)
        killed += left is None
    aifa_clock.jump(datetime.timedelta(minutes=10))
    victim.settle(aifa_clock)
    rows = victim.rows()
    there = victim.count()
    remembered = {row.name: [row.job_id] for row in rows if row.job_id}
    states = {row.name: row.status.state for row in rows if not row.job_id}
    aifa_figures(
        submissions=rounds,
        killed=killed,
        jobs=len(there),
        doubled=sum(len(found) > 1 for found in there.values()),
        unknown=sum(state != "NOT_SENT" for state in states.values()),
        killed_before_they_were_written_down=rounds + 1 - len(rows),
        not_sent=len(states),
    )
    assert remembered == there
    assert set() == set(states.values()) - {"NOT_SENT"}
    assert killed


@pytest.mark.cluster
@pytest.mark.parametrize("rounds", [pytest.param(5, id="sample"), pytest.param(60, marks=chaos, id="all")])
def test_a_queue_whose_feeders_are_killed_goes_on(
    victim: Victim, aifa_random: random.Random, aifa_figures: Figures, aifa_clock: Clock, rounds: int
) -> None:
    """Each process puts three jobs behind those of others, two at a time are taken, and each job is there once.

    They are killed while they write down, submit, wait or top up; the next one goes on with what all before it left.
    """
    env = victim.user.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
    hurry(victim.user)
    with two_at_a_time(victim.user) as partition:
        for number in range(rounds):
            names = [f"{victim.run}-{number}.{one}" for one in range(3)]
            paths = [victim.user.job("true", name=name, partition=partition, gpus_per_node=1) for name in names]
            # Later than the one before by what makes it give up on what that one had under way.
            words = (victim.user.site, str(5 * number), *(Path(path).read_text("utf-8") for path in paths))
            argv, alone = (sys.executable, "-c", FEED, *words), bool(number % 2)
            longest = aifa_random.choice((0.5, 3))  # it submits within the first half second
            assert None is kill_after(
                argv, aifa_random.uniform(0, longest), env=env, ready=b"ready", children=not alone
            ), f"feeder {number} ended by itself"
        left = collections.Counter(row.status.state for row in victim.rows())
        aifa_clock.jump(datetime.timedelta(minutes=5 * rounds))
        states = victim.follow(aifa_clock, patience=120 + 15 * rounds)
    rows, there = victim.rows(), victim.count()
    aifa_figures(
        feeders_killed=rounds,
        jobs=len(rows),
        left_by_the_last_killed=",".join(f"{count} {state}" for state, count in left.items()),
        doubled=sum(len(found) > 1 for found in there.values()),
        forgotten=len({row.name for row in rows} ^ there.keys()),
        killed_before_they_were_written_down=3 * rounds - len(rows),
    )
    assert {row.name: [row.job_id] for row in rows} == there
    assert ["COMPLETED"] * len(rows) == states
    # All of a process's jobs were taken, or none.
    assert {3} >= set(collections.Counter(row.name.rpartition(".")[0] for row in rows).values())


@pytest.mark.cluster
@pytest.mark.parametrize("rounds", [pytest.param(2, id="sample"), pytest.param(30, marks=chaos, id="all")])
def test_followers_that_are_killed_lose_no_job(
    victim: Victim, aifa_random: random.Random, aifa_figures: Figures, rounds: int
) -> None:
    """Whoever polls next goes on where the killed one was."""
    for number in range(3):
        victim.submit(number)
    env = victim.user.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(rounds):
        kill_after((sys.executable, "-c", FOLLOW, victim.user.site), aifa_random.uniform(0, 2), env=env, ready=b"ready")
    states = victim.follow(hurry=1.0)
    aifa_figures(followers_killed=rounds, jobs=len(states), states=",".join(sorted(set(states))))
    assert ["COMPLETED"] * 3 == states


@pytest.mark.parametrize("rounds", [pytest.param(4, id="sample"), pytest.param(100, marks=chaos, id="all")])
def test_a_store_whose_writer_is_killed_is_whole(
    tmp_path: Path, aifa_random: random.Random, aifa_figures: Figures, rounds: int
) -> None:
    """Everything that was told to be written is there, in order, each change with its event."""
    path, told = tmp_path / "state" / "jobs.sqlite3", tmp_path / "told"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for number in range(rounds):
        argv = (sys.executable, "-c", REMEMBER, str(path), str(told), str(number))
        assert None is kill_after(argv, aifa_random.uniform(0, 0.5), env=env, ready=b"ready")
    with sqlite3.connect(path) as raw:
        assert [("ok",)] == raw.execute("PRAGMA integrity_check").fetchall()
    raw.close()
    store = Store(path)
    rows = {row.token: row for row in store.rows()}
    last: dict[str, str] = {}
    seen, events = 0, 0
    while batch := store.events(after=seen, limit=1000):
        for event in batch:
            assert last.get(event.token, "") == event.previous
            last[event.token] = event.state
        seen, events = batch[-1].id, events + len(batch)
    store.close()
    lines = [line.split() for line in told.read_text("utf-8").splitlines() if line.count(" ") == 1]
    order = ("SUBMITTING", "PENDING", "RUNNING", "COMPLETED")
    late = [token for token, state in lines if order.index(rows[token].status.state) < order.index(state)]
    aifa_figures(writers_killed=rounds, rows=len(rows), events=events, told=len(lines), lost=len(late))
    assert [] == late
    assert {token: row.status.state for token, row in rows.items()} == last


@pytest.mark.cluster
def test_a_clock_that_jumps_ends_no_job_and_stops_no_question(victim: Victim, aifa_clock: Clock) -> None:
    """A laptop that slept for three days, then a clock set right by a week: the job is followed to its real end."""
    victim.submit_job(victim.job(1, "sleep", "6"), aifa_clock)
    for jump in (datetime.timedelta(days=3), datetime.timedelta(days=-7), datetime.timedelta(hours=1)):
        aifa_clock.jump(jump)
        assert "LOST" not in victim.follow(aifa_clock, until=("PENDING", "RUNNING", "COMPLETED"))
    assert ["COMPLETED"] == victim.follow(aifa_clock)


@pytest.mark.cluster
@pytest.mark.parametrize("rounds", [pytest.param(1, id="sample"), pytest.param(15, marks=chaos, id="all")])
def test_a_controller_that_restarts_during_submissions(
    victim: Victim, aifa_random: random.Random, aifa_figures: Figures, rounds: int
) -> None:
    """It goes away before, while or after sbatch speaks with it: one job for each submission."""
    ids: dict[str, list[str]] = {}
    for number in range(rounds):

        def submit(number: int = number) -> None:
            ids[f"{victim.run}-{number}"] = [victim.submit(number, logout=False)]

        thread = threading.Thread(target=submit)
        pause = aifa_random.uniform(0, 0.6)
        thread.start()
        time.sleep(pause)
        with without(victim.cluster, "slurmctld"):
            time.sleep(aifa_random.uniform(0, 2))
        thread.join(180)
        assert not thread.is_alive()
    there = victim.count()
    aifa_figures(
        restarts=rounds,
        jobs=sum(map(len, there.values())),
        not_sent_and_tried_again=victim.given_up,
        unknown_for_a_while=victim.settled,
    )
    assert ids == there
