"""The commands of a job's life, on the embedded scheduler."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa


def test_a_job_from_file_to_log(aifa: Aifa) -> None:
    """Check, render, submit and wait, list, read the log: each answers and exits with 0."""
    path = aifa.job(command='["sh", "-c", "echo out; echo err >&2"]')
    checked = aifa("check", path, "--site", "local")
    rendered = aifa("render", path, "--site", "local")
    submitted = aifa("submit", path, "--site", "local", "--wait", "--json")
    listed = aifa("jobs", "--json")
    log = aifa("logs", submitted.json["id"])
    assert [0, 0, 0, 0, 0] == [ran.code for ran in (checked, rendered, submitted, listed, log)]
    assert "nothing to object to" in checked.err
    assert rendered.out.startswith("#!/bin/bash\n#SBATCH --job-name=hello\n")
    assert ("COMPLETED", "0:0", "sacct") == tuple(submitted.json[key] for key in ("state", "exit", "proof"))
    assert [submitted.json] == listed.json
    assert "out\nerr\n" == log.out


def test_a_failed_job_gives_exit_code_1_and_its_own_code(aifa: Aifa) -> None:
    """`submit --wait` passes on that the job failed, and tells with what."""
    ran = aifa("submit", aifa.job(command='["sh", "-c", "exit 7"]'), "--site", "local", "--wait", "--json")
    assert (1, "FAILED", "7:0") == (ran.code, ran.json["state"], ran.json["exit"])


@pytest.mark.parametrize("count", [1, 2])
def test_machines_are_told_how_it_goes_on_while_a_job_is_waited_for(aifa: Aifa, count: int) -> None:
    """On standard error, a value a line: when it was submitted, then each change but the end, which is the result."""
    paths = [aifa.job(f"n{number}", command='["sleep", "4"]') for number in range(count)]
    ran = aifa("submit", *paths, "--site", "local", "--wait", "--json")
    told = [json.loads(line) for line in ran.err.splitlines()]
    ends = {one["name"]: one["state"] for one in map(json.loads, ran.out.splitlines())}
    assert (0, dict.fromkeys((f"n{number}" for number in range(count)), "COMPLETED")) == (ran.code, ends)
    for name in ends:
        mine = [(one["event"], one["state"]) for one in told if one["name"] == name]
        assert ("submitted", "status") == (mine[0][0], mine[1][0])
        assert ("status", "RUNNING") == mine[-1]


def test_cancel_ends_a_running_job(aifa: Aifa) -> None:
    """A cancelled job is shown as CANCELLED; cancelling it again says that it is over."""
    job = aifa("submit", aifa.job(command='["sleep", "60"]'), "--site", "local", "--json").json["id"]
    assert 0 == aifa("cancel", job).code
    followed = aifa("logs", job, "-f")
    again = aifa("cancel", job, "--json")
    assert (0, 0, "CANCELLED") == (followed.code, again.code, again.json["state"])


def test_logs_follow_to_the_end(aifa: Aifa) -> None:
    """`logs -f` prints everything until the job is over, each byte once."""
    job = aifa(
        "submit",
        aifa.job(command='["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done"]'),
        "--site",
        "local",
        "--json",
    )
    followed = aifa("logs", job.json["token"], "-f")
    assert (0, "1\n2\n3\n") == (followed.code, followed.out)
    assert "COMPLETED" in followed.err


def test_the_job_outlives_the_process_that_submitted_it(aifa: Aifa) -> None:
    """A submitter that is killed while it waits loses nothing: the next command knows the job."""
    path = aifa.job(command='["sh", "-c", "sleep 1; echo done"]')
    waiting = subprocess.Popen(
        ["aifa", "submit", path, "--site", "local", "--wait"],
        env=aifa.env | {"PATH": f"{Path(sys.executable).parent}:{aifa.env['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    line = waiting.stderr.readline()
    waiting.kill()
    waiting.communicate()
    job = line.split()[1]
    assert (0, "done\n") == ((ran := aifa("logs", job, "-f")).code, ran.out)


def test_render_into_a_file(aifa: Aifa) -> None:
    """`-o` writes the script that would have been printed."""
    path = aifa.job()
    printed = aifa("render", path, "--site", "local").out
    assert 0 == aifa("render", path, "--site", "local", "-o", "job.sbatch").code
    assert printed == (aifa.home / "job.sbatch").read_text()


def test_the_site_may_come_from_the_environment(aifa: Aifa) -> None:
    """`$AIFA_SITE` stands for `--site`."""
    assert 0 == aifa("check", aifa.job(), env={"AIFA_SITE": "local"}).code


BAD = {
    "unknown key": ({"rest": "[resource]\nnodes = 1"}, ["resource", "resources"]),
    "unknown key in a table": ({"resources": "node = 2"}, ["resources.node", "nodes"]),
    "unknown partition": ({"resources": 'partition = "lokal"'}, ["resources.partition", "lokal", "local"]),
    "wrong unit": ({"time": '"half an hour"'}, ["resources.time", "half an hour", "H:M:S"]),
    "time over the limit": ({"time": '"9-00:00:00"'}, ["resources.time", "9-00:00:00", "1-00:00:00"]),
    "number for a time": ({"time": "30"}, ["resources.time"]),
    "too many nodes": ({"resources": "nodes = 100000"}, ["resources.nodes", "100000", "nearest legal value"]),
    "unknown launch kind": ({"kind": '"mpirun"'}, ["launch.kind", "mpirun"]),
    "a shell line for a command": ({"command": '"python train.py"'}, ["launch.command"]),
    "a name that smuggles": ({"rest": ""}, ["name"]),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_jobs_are_refused_with_the_key_and_the_nearest_value(aifa: Aifa, what: str) -> None:
    """Exit code 2, the key, the value and what is legal; nothing is submitted."""
    changes, words = BAD[what]
    name = "a b\n#SBATCH -N9" if what == "a name that smuggles" else "hello"
    path = aifa.job("hello", **changes)
    if name != "hello":
        text = (aifa.home / "hello.toml").read_text().replace('name = "hello"', 'name = "a b\\n#SBATCH -N9"')
        (aifa.home / "hello.toml").write_text(text)
    for command in (("check",), ("render",), ("submit",)):
        ran = aifa(*command, path, "--site", "local")
        said = ran.out + ran.err
        assert (2, []) == (ran.code, [word for word in words if word not in said]), said
    assert [] == aifa("jobs", "--json", "--offline").json


def test_a_missing_job_file_is_named(aifa: Aifa) -> None:
    """The path and the reason are in the error."""
    ran = aifa("check", "nowhere.toml", "--site", "local")
    assert (2, True) == (ran.code, "'nowhere.toml' cannot be read: No such file" in ran.err)


def test_an_unknown_site_is_answered_with_the_nearest(aifa: Aifa) -> None:
    """A typo in the site's name costs one look."""
    ran = aifa("check", aifa.job(), "--site", "jupyter")
    assert (2, True) == (ran.code, "jupiter" in ran.err)


def test_a_missing_account_is_refused_before_anything_is_sent(aifa: Aifa) -> None:
    """LUMI's rule is told with an example, and no connection is tried."""
    path = aifa.job(resources='partition = "standard-g"\ngpus_per_node = 8')
    ran = aifa("submit", path, "--site", "lumi")
    assert (2, True) == (ran.code, "resources.account" in ran.err and "project_465000001" in ran.err)


def test_a_draft_site_refuses_with_what_is_known(aifa: Aifa) -> None:
    """LUMI 2 has no public facts to render for; the refusal says so and lists what there is."""
    ran = aifa("render", aifa.job(), "--site", "lumi2")
    assert (2, True, True) == (ran.code, "draft" in ran.err, "MI430X" in ran.err)


def test_errors_are_json_for_machines(aifa: Aifa) -> None:
    """With --json the error is one JSON object on standard error, and standard output stays empty."""
    ran = aifa("submit", aifa.job(time='"9-00:00:00"'), "--site", "local", "--json")
    said = json.loads(ran.err)
    assert ("", 2, "resources.time") == (ran.out, said["exit_code"], said["problems"][0]["key"])


def test_an_unreachable_site_gives_exit_code_3(aifa: Aifa) -> None:
    """A refused connection says host and port, and the job is remembered as not sent."""
    config = aifa.home / "config"
    config.mkdir()
    (config / "sites.toml").write_text(
        '[sites.nowhere]\nextends = "lumi"\nhost = "127.0.0.1"\nport = 1\naccount = "project_465000001"\n'
        f'workdir = "/scratch/x"\nssh_config = "{config}/none"\n'
    )
    (config / "none").write_text("")
    path = aifa.job(resources='partition = "standard-g"\ngpus_per_node = 8')
    ran = aifa("submit", path, "--site", "nowhere")
    assert (3, True) == (ran.code, "127.0.0.1" in ran.err), ran.err


def test_without_an_ssh_program_the_error_names_the_other_transport(aifa: Aifa) -> None:
    """A machine without ssh learns of transport = "fabric"."""
    path = aifa.job(resources='partition = "standard-g"\ngpus_per_node = 8\naccount = "project_465000001"')
    ran = aifa("submit", path, "--site", "lumi", env={"PATH": str(aifa.home)})
    assert (3, True) == (ran.code, "fabric" in ran.err), ran.err


def test_several_jobs_are_submitted_together(aifa: Aifa) -> None:
    """Each has a line of its own; the exit code is the worst of what became of them."""
    paths = [aifa.job(name, command=f'["sh", "-c", "exit {code}"]') for name, code in (("a", 0), ("b", 3))]
    ran = aifa("submit", *paths, "--site", "local", "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert (0, ["a", "b"], True) == (ran.code, [line["name"] for line in lines], all(line["id"] for line in lines))
    assert 1 == aifa("submit", *paths, "--site", "local", "--wait").code
    bad = aifa("submit", *paths, aifa.job("c", time='"900-00:00:00"', kind='"mpi"'), "--site", "local")
    assert (2, 4) == (bad.code, len(aifa("jobs", "--json").json))


def test_a_job_of_other_means_is_adopted(aifa: Aifa) -> None:
    """By its id; one that nobody knows is an error, and nothing is in doubt afterwards."""
    script = "#!/bin/bash\n#SBATCH --job-name=hand --output=hand.out\necho by hand\n"
    command = [sys.executable, "-c", EMBEDDED.format(script=script)]
    job = subprocess.run(
        command, env=aifa.env, cwd=aifa.home, capture_output=True, text=True, check=True
    ).stdout.strip()
    adopted = aifa("jobs", "adopt", job, "--site", "local", "--json")
    assert (0, "hand") == (adopted.code, adopted.json["name"])
    log = aifa("logs", job, "-f")
    assert (0, "by hand\n") == (log.code, log.out)
    unknown = aifa("jobs", "adopt", "9999", "--site", "local")
    assert (2, True) == (unknown.code, "9999: is not known to local" in unknown.err)
    assert (0, []) == ((ran := aifa("jobs", "settle", "--json")).code, ran.json)


def test_receipts_of_all_sites_are_told(aifa: Aifa) -> None:
    """Of a job that was forgotten here; a site that is none is no site without doubts."""
    jobs = [aifa("submit", aifa.job(name), "--site", "local", "--json").json for name in "ab"]
    with contextlib.closing(sqlite3.connect(aifa.home / "state/jobs.sqlite3")) as store, store:
        store.execute("DELETE FROM jobs WHERE token = ?", (jobs[0]["token"],))
    for more in ((), ("--site", "local")):
        (ghost,) = aifa("jobs", "settle", "--receipts", "--json", *more).json
        assert (jobs[0]["token"], jobs[0]["id"], "local") == (ghost["token"], ghost["id"], ghost["site"])
    ran = aifa("jobs", "settle", "--site", "lokal")
    assert (2, True) == (ran.code, "did you mean 'local'" in ran.err), ran.err


def test_a_token_nobody_knows_is_no_question_to_a_site(aifa: Aifa) -> None:
    """Whatever is asked for, the word comes back with what lists the known ones."""
    job = aifa("submit", aifa.job(), "--site", "local", "--wait", "--json").json
    wrong = job["token"][::-1]
    for words in (("logs",), ("cancel",), ("explain",), ("jobs", "settle")):
        ran = aifa(*words, wrong)
        assert (2, "") == (ran.code, ran.out), (words, ran.err)
        assert f"no job {wrong!r} is known here. `aifa jobs --all` lists" in ran.err


def test_a_store_of_a_newer_version_is_left_as_it_is(aifa: Aifa) -> None:
    """No command reads, writes or submits anything; the error names the file, and the newer version finds it whole."""
    assert 0 == aifa("submit", aifa.job(), "--site", "local", "--wait").code
    path = aifa.home / "state" / "jobs.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    submit = ("submit", aifa.job(), "--site", "local")
    for words in (("jobs",), ("jobs", "--offline"), ("jobs", "settle"), ("logs", "1"), ("cancel", "1"), submit):
        ran = aifa(*words)
        assert (2, "") == (ran.code, ran.out), (words, ran.err)
        assert f"{path} was written by a newer aifa_hpc" in ran.err
    assert before == path.read_bytes()


EMBEDDED = """
from aifa_hpc.command import Command
from aifa_hpc.cluster import open_transport
from aifa_hpc.sites.load import load_site
command = Command(argv=("sbatch", "--parsable"), stdin={script!r}.encode())
print(open_transport(load_site("local")).run(command).out.strip())
"""
