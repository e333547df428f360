"""What a scheduler does to jobs that are followed: requeues, preempts, loses its accounting. None of that is an end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from aifa_hpc.slurm.states import is_terminal
from aifa_hpc.testing.faults import requeue, without
from aifa_hpc.tracker.schedule import FIRST_SECONDS
from aifa_hpc.transport.openssh import OpenSSHTransport
from integration.chaos import Victim, make_victim
from integration.conftest import SHAPES, SITES, begin_again

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.testing.faults import Clock
    from aifa_hpc.testing.plugin import Figures
    from integration.clusters.control import Cluster

pytestmark = pytest.mark.cluster
chaos = pytest.mark.chaos

# Asks as fast as it can until no job is left, and tells of each command that it sent.
ASK = """
import json, sys, time
from aifa_hpc.tracker.connection import connect
with connect(sys.argv[1]) as connection:
    transport, sent, tries = connection.cluster.transport, 0, 0
    run = transport.run
    def counting(command):
        global sent
        sent += 1
        return run(command)
    transport.run = counting
    while not all(row.status.over for row in connection.store.rows()):
        connection.poll()
        tries += 1
        time.sleep(0.02)
    print(json.dumps({"sent": sent, "tries": tries, "states": [row.status.state for row in connection.store.rows()]}))
"""


@pytest.fixture(params=[f"{site}-openssh" for site in SITES])
def victim(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> Iterator[Victim]:
    """A user of each cluster, who is logged in."""
    found = make_victim(tmp_path / "user", *request.param.split("-"))
    with found.proxy:
        yield found
        transport = found.transport()
        assert isinstance(transport, OpenSSHTransport)
        transport.logout()


def stubborn(victim: Victim, attempts: int) -> Job:
    """A job that may be put back, and ends well in the attempt after so many."""
    script = f'[ "${{SLURM_RESTART_COUNT:-0}}" -ge {attempts} ] || sleep 100'
    return msgspec.structs.replace(victim.job(1, "sh", "-c", script), requeue=True)


def attempts(victim: Victim) -> list[str]:
    """The states in which the attempts of the only job ended, the last first known as the job's own."""
    (row,) = victim.rows()
    store = victim.store()
    try:
        told = [event.state for event in store.events()]
        found = [attempt.state for attempt in store.attempts(row.token)]
    finally:
        store.close()
    assert [row.status.state] == [state for state in told if is_terminal(state) or state == "LOST"], told
    return found


@pytest.mark.parametrize("times", [pytest.param(1, id="sample"), pytest.param(3, marks=chaos, id="all")])
def test_a_requeued_job_goes_on(victim: Victim, aifa_clock: Clock, aifa_figures: Figures, times: int) -> None:
    """Each time it is put back an attempt is over; the job is when the last one is."""
    victim.submit_job(stubborn(victim, times), aifa_clock)
    job = str(victim.rows()[0].job_id)
    for _ in range(times):
        victim.follow(until=("RUNNING",))
        requeue(victim.cluster, job)
        victim.follow(until=("PENDING",))
        begin_again(victim.cluster, job)
    states, ended = victim.follow(), attempts(victim)
    aifa_figures(requeues=times, attempts=",".join(ended), job=states[0])
    assert (["COMPLETED"], ["REQUEUED"] * times + ["COMPLETED"]) == (states, ended)


@contextlib.contextmanager
def preempting(cluster: Cluster) -> Iterator[str]:
    """A cluster where jobs of a QOS, whose name it gives, put others back into the queue."""
    conf = "/etc/slurm/slurm.conf"
    script = 'cp "$1" "$1.before" && printf "PreemptType=preempt/qos\\nPreemptMode=REQUEUE\\n" >> "$1"'
    with without(cluster, "slurmctld"):
        cluster.admin("sh", "-c", script, "aifa", conf)
    try:
        cluster.admin("sacctmgr", "-i", "add", "qos", "urgent", "preempt=normal")
        cluster.admin("sacctmgr", "-i", "modify", "user", "ada", "set", "qos+=urgent")
        yield "urgent"
    finally:
        cluster.admin("sacctmgr", "-i", "delete", "qos", "urgent")
        with without(cluster, "slurmctld"):
            cluster.admin("mv", f"{conf}.before", conf)


def test_a_preempted_job_goes_on(victim: Victim, aifa_clock: Clock, aifa_figures: Figures) -> None:
    """A more urgent job takes its node; that ended an attempt, and the job runs again afterwards."""
    connect, shape = victim.user.connect, SHAPES[victim.user.machine]
    with preempting(victim.cluster) as qos:
        victim.submit_job(stubborn(victim, 1), aifa_clock)
        job = str(victim.rows()[0].job_id)
        victim.follow(until=("RUNNING",))
        where = f"-A {connect['account']} -p {shape['partition']} --gres=gpu:{shape['gpus_per_node']} -t 5 --qos={qos}"
        node = victim.user.ssh(f"squeue -h -j {job} -o %N").strip()
        urgent = victim.user.ssh(f"sbatch --parsable {where} -w {node} -o /dev/null --wrap true").strip()
        victim.follow(until=("PENDING",))
        begin_again(victim.cluster, job)
        states, ended = victim.follow(), attempts(victim)
        deadline = time.monotonic() + 60
        while victim.user.ssh(f"squeue -h -t PD,R,CG -j {urgent} -o %i || true").strip():
            assert time.monotonic() < deadline
            time.sleep(0.5)
    aifa_figures(preemptions=1, attempts=",".join(ended), job=states[0])
    assert (["COMPLETED"], ["PREEMPTED", "COMPLETED"]) == (states, ended)


@pytest.mark.parametrize("rounds", [pytest.param(8, marks=chaos, id="all")])
def test_accounting_that_is_away_while_jobs_end(
    victim: Victim, aifa_random: random.Random, aifa_clock: Clock, aifa_figures: Figures, rounds: int
) -> None:
    """The queue forgets them after ten seconds and nobody else knows them: they are late, and never lost."""
    for number in range(rounds):
        victim.submit_job(victim.job(number, "sleep", f"{aifa_random.uniform(0, 5):.1f}"), aifa_clock)
        time.sleep(aifa_random.uniform(0, 2))
        with without(victim.cluster, "slurmdbd"):
            victim.follow_for(aifa_random.uniform(0, 30))
    states = victim.follow()
    store = victim.store()
    try:
        told = [event.state for event in store.events()]
    finally:
        store.close()
    aifa_figures(outages=rounds, states=",".join(sorted(set(states))), late=told.count("LAGGING"))
    assert ["COMPLETED"] * rounds == states
    assert {"COMPLETED"} == {state for state in told if is_terminal(state) or state == "LOST"}


@pytest.mark.parametrize("processes", [pytest.param(2, id="sample"), pytest.param(6, marks=chaos, id="all")])
def test_processes_that_ask_at_once_make_one_question(
    victim: Victim, aifa_clock: Clock, aifa_figures: Figures, processes: int
) -> None:
    """However often they try, together they ask as often as one may, and all of them learn the end."""
    for number in range(2):
        victim.submit_job(victim.job(number, "sleep", "5"), aifa_clock)
    began = time.monotonic()
    argv = (sys.executable, "-c", ASK, victim.user.site)
    running = [subprocess.Popen(argv, env=victim.user.env, stdout=subprocess.PIPE) for _ in range(processes)]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    seconds = time.monotonic() - began
    sent, tries = (sum(one[key] for one in told) for key in ("sent", "tries"))
    aifa_figures(processes=processes, seconds=round(seconds), tries=tries, commands_sent=sent)
    assert [["COMPLETED"] * 2] * processes == [one["states"] for one in told]
    assert 1 <= sent <= seconds / FIRST_SECONDS + 1 < tries
