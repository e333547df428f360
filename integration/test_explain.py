"""Explanations of real jobs on real Slurm: why they wait, why they were refused, why they failed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration.conftest import SHAPES, SITES, User, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster


@pytest.fixture(params=SITES)
def someone(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> Iterator[User]:
    """A user of each cluster, whose jobs are cancelled afterwards."""
    user = make_user(tmp_path, request.param, "openssh", mfa=False)
    yield user
    for job in user.aifa("jobs", "--json", "--all").json:
        if job["id"]:
            user.ssh(f"scancel {job['id']}")


def submit(user: User, *command: str, extra: str = "", **asked: Any) -> str:
    """Submits a job and returns its id, or its token when it was refused."""
    path = user.job(*command, **asked)
    Path(path).write_text(Path(path).read_text() + extra)
    ran = user.aifa("submit", path, "--site", user.site, "--json")
    if ran.code == 0:
        return str(ran.json["id"])
    (row,) = user.aifa("jobs", "--json", "--offline").json
    return str(row["token"])


def explained(user: User, job: str) -> dict[str, Any]:
    """What `aifa explain` says to machines, and that it says it to people."""
    ran = user.aifa("explain", job, "--json")
    assert 0 == ran.code, ran.err
    people = user.aifa("explain", job)
    assert (0, True) == (people.code, people.out.startswith(f"job {ran.json['id'] or job} ")), people.err
    return dict(ran.json)


def names(found: dict[str, Any]) -> list[str]:
    """Of the findings."""
    return [one["name"] for one in found["findings"]]


def until(user: User, job: str, *states: str) -> None:
    """Waits until a job is in one of these states."""
    deadline = time.monotonic() + 90
    while (known := {one["id"]: one["state"] for one in user.aifa("jobs", "--json").json})[job] not in states:
        assert time.monotonic() < deadline, known
        time.sleep(0.5)


def test_a_held_job_and_its_dependant(someone: User) -> None:
    """The first needs somebody; the second waits for it, and has no hope once it is cancelled."""
    sbatch = "sbatch --parsable -p {} -A {} -t 5 --wrap true".format(
        SHAPES[someone.machine]["partition"], someone.connect["account"]
    )
    first = someone.ssh(f"{sbatch} --hold").strip()
    # Jobs of ours would be cancelled when they can no longer begin; those of other tools wait for good.
    second = someone.ssh(f"{sbatch} --dependency=afterok:{first}").strip()
    assert 0 == (ran := someone.aifa("jobs", "adopt", first, second, "--site", someone.site)).code, ran.err
    until(someone, first, "PENDING")
    held = explained(someone, first)
    assert ("person", True, None) == (held["hope"], names(held)[0].startswith("reason-JobHeld"), held["position"])
    waits = explained(someone, second)
    assert ("waits", "dependency") == (waits["hope"], names(waits)[1])
    assert f"it waits for job {first} (afterok)" in waits["findings"][1]["text"]
    someone.ssh(f"scancel {first}")
    deadline = time.monotonic() + 60
    while "DependencyNeverSatisfied" not in someone.ssh(f"squeue -h -j {second} -o %r"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    never = explained(someone, second)
    assert (True, True) == (never["hopeless"], "no longer" in " ".join(one["text"] for one in never["findings"]))


def test_a_job_that_waits_for_nodes_has_a_place(someone: User) -> None:
    """All nodes are taken: it is told how many are ahead and when Slurm thinks that it begins."""
    first = submit(someone, "sleep", "600", nodes=4)
    second = submit(someone, "true", nodes=4, name="second")
    until(someone, first, "RUNNING")
    until(someone, second, "PENDING")
    deadline = time.monotonic() + 60
    while not (found := explained(someone, second))["expected_start"]:  # the backfill scheduler has to come by
        assert time.monotonic() < deadline
        time.sleep(1)
    place = found["position"]
    assert ("waits", SHAPES[someone.machine]["partition"], True) == (
        found["hope"],
        place["partition"],
        place["ahead"] < place["of"],
    )


def test_a_refusal_is_taken_apart(clusters: None, tmp_path: Path) -> None:
    """LUMI's debug partition takes two jobs of a user: the third is refused, and that is said, not "some limit"."""
    if "lumi" not in SITES:
        pytest.skip("AIFA_CLUSTERS leaves LUMI out")
    user = make_user(tmp_path, "lumi", "openssh", mfa=False)
    asked = {"partition": "debug", "gpus_per_node": 0}
    jobs = [user.ssh("sbatch --parsable -A project_465000001 -p debug -t 5 --hold --wrap true").strip() for _ in "ab"]
    try:
        found = explained(user, submit(user, "true", **asked))
    finally:
        user.ssh(f"scancel {' '.join(jobs)}")
    assert ("REFUSED", False) == (found["state"], "refused-policy" in names(found))
    assert "reason-QOSMaxSubmitJobPerUserLimit" in names(found)
    (limit,) = [one for one in found["findings"] if one["name"] == "limit-submitted"]
    assert ("limit 2, in the queue 2", True) == (limit["evidence"], "QOS part_debug allows 2" in limit["text"])


@pytest.mark.parametrize(
    ("command", "name", "evidence"),
    [
        (("python3", "-c", "import not_there"), "python-module-missing", "No module named 'not_there'"),
        (("python3", "-c", "raise ValueError('mine')"), "exception", "ValueError: mine"),
        (("not-a-program",), "file-missing", "not-a-program: command not found"),
        (("sh", "-c", "kill -9 $$"), "signal", "exit 137"),
    ],
)
def test_a_failure_is_explained_by_its_log(
    clusters: None, tmp_path: Path, command: tuple[str, ...], name: str, evidence: str
) -> None:
    """With the line that says it, and where that line stands."""
    user = make_user(tmp_path, SITES[-1], "openssh", mfa=False)
    job = submit(user, *command)
    until(user, job, "FAILED")
    found = explained(user, job)
    (one,) = [one for one in found["findings"] if one["name"] == name]
    assert (True, "FAILED", {}) == (evidence in one["evidence"], found["state"], found["silent"])
    assert (f"/{job}.out", found["log"]) == (found["log"][-len(job) - 5 :], user.aifa("jobs", "--json").json[0]["log"])


def test_of_an_array_the_tasks_that_failed_explain_it(someone: User) -> None:
    """One of three tasks has the line."""
    script = 'test "$AIFA_ARRAY_TASK_ID" != 1 || { echo "CUDA out of memory"; exit 1; }'
    job = submit(someone, "sh", "-c", script, extra="[array]\ncount = 3\n")
    until(someone, job, "FAILED")
    found = explained(someone, job)
    assert ("gpu-memory", True) == (names(found)[0], found["findings"][0]["origin"].endswith(f"{job}_1.out"))
