"""Waiting, events and logs on both clusters at once: what users see of jobs, and what it costs the sites."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from integration.conftest import ON, SHAPES, User, make_user, submit, until
from tests.tracker.receiving import Receiver

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

SECONDS = 60.0
PRELUDE = """
import asyncio, json, sys
import aifa_hpc as aifa

def counted(connection):
    "The connection, whose transport writes down what it is asked."
    run, asked = connection.cluster.transport.run, []
    def counting(command):
        asked.append("logs" if " ls -dniL " in command.line else "jobs" if "squeue" in command.line else "other")
        return run(command)
    connection.cluster.transport.run = counting
    return asked

shapes = json.loads(sys.argv[1])
def job(site, script, **more):
    resources = aifa.Resources(nodes=1, time="00:05:00", **shapes[site.partition("-")[0]])
    return aifa.Job(name="faces", resources=resources, launch=aifa.Launch(command=("sh", "-c", script)), **more)
sites = sys.argv[2:]
"""


def python(user: User, script: str) -> dict[str, Any]:
    """What a user's script prints as JSON."""
    words = [
        sys.executable,
        "-c",
        PRELUDE + script,
        json.dumps(SHAPES),
        *(f"{name}-{kind}" for name, kind in ON.items()),
    ]
    ran = subprocess.run(words, env=user.env, cwd=user.home, capture_output=True, text=True, timeout=180, check=False)
    assert 0 == ran.returncode, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_jobs_of_both_clusters_are_awaited_together(both: User) -> None:
    """as_completed, await and callbacks over both; each cluster is asked about all of its jobs at once."""
    found = python(
        both,
        """
with aifa.connect(sites[0]) as one, aifa.connect(sites[1]) as two:
    asked = [counted(connection) for connection in (one, two)]
    jobs = [connection.submit(job(site, f"sleep 1; exit {code}"))
            for connection, site in ((one, sites[0]), (two, sites[1])) for code in (0, 0, 3)]
    ended = []
    jobs[0].on_end(lambda status: ended.append(status.state))
    before = [list(one).count("jobs") for one in asked]
    async def wait():
        return await asyncio.gather(*jobs[:2])
    awaited = [status.state for status in asyncio.run(wait())]
    states = {}
    for handle in aifa.as_completed(jobs, timeout=120):
        states.setdefault(handle.row.site, []).append(handle.status.state)
    questions = [one.count("jobs") - first for one, first in zip(asked, before)]
    seen = list(one.events())
    print(json.dumps({"states": states, "awaited": awaited, "ended": ended, "questions": questions,
                      "events": len(seen), "tokens": len({event.token for event in seen})}))
""",
    )
    assert [["COMPLETED", "COMPLETED", "FAILED"]] * 2 == [sorted(states) for states in found["states"].values()]
    assert (["COMPLETED"] * 2, ["COMPLETED"]) == (found["awaited"], found["ended"])
    assert (3, True) == (found["tokens"], found["events"] >= 9)
    # At most one question each two seconds, whatever number of jobs; a busy cluster takes its time.
    assert all(count <= 40 for count in found["questions"]), found


def test_every_rank_of_jobs_on_both_clusters_in_one_question_a_look(both: User) -> None:
    """Two jobs of two nodes with a log for each rank: one remote command of each cluster a look reads all of them."""
    found = python(
        both,
        """
import msgspec
with aifa.connect(sites[0]) as one, aifa.connect(sites[1]) as two:
    asked = [counted(connection) for connection in (one, two)]
    jobs = []
    for connection, site in ((one, sites[0]), (two, sites[1])):
        plain = job(site, "for i in 1 2 3; do echo $SLURM_PROCID:$i; sleep 1; done")
        resources = msgspec.structs.replace(plain.resources, nodes=2, tasks_per_node=2)
        launch = msgspec.structs.replace(plain.launch, kind="srun", log_per_rank=True)
        jobs.append(connection.submit(msgspec.structs.replace(plain, resources=resources, launch=launch)))
    lines, looks, pause = {}, 0, one.pause
    def counting_pause(seconds):
        global looks
        looks += 1
        pause(seconds)
    one.pause = two.pause = counting_pause
    for piece in aifa.read_logs(jobs, follow=True):
        lines.setdefault(f"{piece.site} {piece.name.partition('.')[2]}", []).append(piece.data.decode())
    last = [list(aifa.read_logs([job], rank=3, tail=1))[-1].data.decode() for job in jobs]
    print(json.dumps({"lines": {key: "".join(text) for key, text in lines.items()}, "last": last,
                      "logs": [one.count("logs") for one in asked], "looks": looks}))
""",
    )
    ranks = {key: text for key, text in found["lines"].items() if "rank" in key}
    assert (8, ["3:3\n"] * 2) == (len(ranks), found["last"]), found
    assert {"".join(f"{rank}:{number}\n" for number in (1, 2, 3)) for rank in range(4)} == set(ranks.values())
    assert all(count <= found["looks"] + 8 for count in found["logs"]), found


def test_a_log_that_is_cut_is_read_from_its_beginning(both: User) -> None:
    """As LUMI cuts logs at a requeue: what comes then is shown and said to come anew; what came before stays."""
    site, folder = f"lumi-{ON['lumi']}", f"{both.folder}-{secrets.token_hex(4)}"
    script = 'echo before; until [ -e "$0/go" ]; do sleep 0.2; done; echo after it grew past the old end'
    job = submit(both, site, "sh", "-c", script, folder)
    both.ssh(f"mkdir -p {folder}")
    words = [sys.executable, "-c", "from aifa_hpc.cli import main; main()", "logs", "-f", job["id"], "--json"]
    following = subprocess.Popen(words, env=both.env, cwd=both.home, stdout=subprocess.PIPE, text=True)
    assert following.stdout is not None
    first = json.loads(following.stdout.readline())
    both.ssh(f": > {job['log']}; touch {folder}/go")
    out, _ = following.communicate(timeout=SECONDS)
    both.ssh(f"rm -r {folder}")
    rest = [json.loads(line) for line in out.splitlines()]
    assert ("before\n", "after it grew past the old end\n") == (first["log"], "".join(piece["log"] for piece in rest))
    assert [False, True] == [first["anew"], rest[0]["anew"]]


def test_a_log_that_is_replaced_and_cut_loses_and_repeats_no_line(both: User) -> None:
    """Another file under its name, as rotation leaves it, shorter and longer than the old one; then cut, and longer."""
    site = f"jupiter-{ON['jupiter']}"
    there = make_user(both.home / "there", "jupiter", "openssh", mfa=False)
    job = submit(both, site, "sh", "-c", "echo before; until [ -e go ]; do sleep 0.2; done")
    words = [sys.executable, "-c", "from aifa_hpc.cli import main; main()", "logs", "-f", job["id"], "--json"]
    following = subprocess.Popen(words, env=both.env, cwd=both.home, stdout=subprocess.PIPE, text=True)
    assert following.stdout is not None
    pieces = [json.loads(following.stdout.readline())]
    longer = "a line that is longer than all of the old file"
    log = f'cd "$(dirname {job["log"]})" && log="$(basename {job["log"]})"'
    for change in (
        'mv "$log" "$log.1" && echo one > "$log"',  # shorter than what was read of the old one
        'echo two >> "$log"',
        f'mv "$log" "$log.2" && echo {longer} > "$log"',
        f': > "$log" && echo and {longer} >> "$log"',
    ):
        there.ssh(f"{log} && {change}")
        pieces.append(json.loads(following.stdout.readline()))
    there.ssh(f"{log} && touch go")
    out, _ = following.communicate(timeout=SECONDS)
    assert [
        ("before\n", False),
        ("one\n", True),
        ("two\n", False),
        (f"{longer}\n", True),
        (f"and {longer}\n", True),
    ] == [(piece["log"], piece["anew"]) for piece in pieces]
    assert "" == out


def test_events_outlive_the_process_that_saw_them(both: User) -> None:
    """A waiting process is killed with -9 while a webhook fails: in the end each event has come, under its own key."""
    site, path = f"jupiter-{ON['jupiter']}", both.home / "events.jsonl"
    with Receiver() as receiver:
        receiver.answers = [0, 500, 503] * 5
        (both.home / "config" / "events.toml").write_text(
            f'[sinks.file]\nkind = "jsonl"\npath = "{path}"\n'
            f'[sinks.hook]\nkind = "webhook"\nurl = "{receiver.url}"\n'
            f'[sinks.metrics]\nkind = "prometheus"\npath = "{both.home}/aifa.prom"\n'
        )
        there = dataclasses.replace(both, machine="jupiter")
        words = ["submit", there.job("sleep", "3"), "--site", site, "--wait"]
        program = [sys.executable, "-c", "from aifa_hpc.cli import main; main()", *words]
        waiting = subprocess.Popen(program, env=both.env, cwd=both.home, stderr=subprocess.DEVNULL)
        until(lambda: bool(receiver.got))
        waiting.send_signal(signal.SIGKILL)
        waiting.wait()
        until(lambda: both.aifa("jobs", "--json").json[0]["state"] == "COMPLETED")
        receiver.answers = [503]
        assert 0 == (ran := both.aifa("events", "deliver")).code, ran.err
        keys = [json.loads(line)["key"] for line in both.aifa("events", "--json").out.splitlines()]
        written = [json.loads(line)["key"] for line in path.read_text().splitlines()]
        assert (keys, keys) == (list(dict.fromkeys(written)), list(dict.fromkeys(receiver.keys)))
    assert f'aifa_jobs{{site="{site}",state="COMPLETED"}} 1\n' in (both.home / "aifa.prom").read_text()


MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
if len(sys.argv) == 2:
    print(client.create_run(client.create_experiment("training")).info.run_id)
else:
    own = client.search_runs([client.get_experiment_by_name("aifa").experiment_id])
    runs = [*own, client.get_run(sys.argv[2])]
    print(json.dumps([[run.info.status, run.data.tags, run.data.metrics] for run in runs]))
"""


def test_runs_of_mlflow_know_their_jobs(tmp_path: Path, clusters: None) -> None:
    """A job that names its run is found there; another has a run of its own, which ends as the job does."""
    user = make_user(tmp_path / "lumi", "lumi", "openssh", mfa=False)
    quiet = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    uri = f"file://{tmp_path}/mlruns"

    def mlflow(*words: str) -> str:
        program = [sys.executable, "-c", MLFLOW, uri, *words]
        return subprocess.run(
            program, env=os.environ | quiet, capture_output=True, text=True, check=True
        ).stdout.strip()

    run = mlflow()
    jobs = [
        submit(user, user.site, "sh", "-c", f"exit {code}", more=more)
        for code, more in ((3, ""), (0, f'[env]\nMLFLOW_RUN_ID = "{run}"\n'))
    ]
    until(lambda: all(job["state"] in {"COMPLETED", "FAILED"} for job in user.aifa("jobs", "--json").json))
    (user.home / "config" / "events.toml").write_text(f'[sinks.runs]\nkind = "mlflow"\nuri = "{uri}"\n')
    ran = subprocess.run(
        [sys.executable, "-c", "from aifa_hpc.cli import main; main()", "events", "deliver"],
        env=user.env | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr
    own, named = json.loads(mlflow(run))
    assert ("FAILED", "FAILED", jobs[0]["id"]) == (own[0], own[1]["aifa.state"], own[1]["aifa.job_id"])
    assert ("RUNNING", "COMPLETED", jobs[1]["id"]) == (named[0], named[1]["aifa.state"], named[1]["aifa.job_id"])
    assert {"aifa.elapsed_seconds"} <= set(own[2]), own
