"""`aifa sites doctor` and `aifa submit --dry-run` on real Slurm, whose clusters are made from the profiles."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.conftest import ROOT, SITES, User, make_user
from integration.everywhere import on_all_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

# A limit that no other test uses: where it is, how it is moved and put back, and its row before and after.
LIMITS = {
    "lumi": (
        ("scontrol", "update", "partitionname=largemem", "maxtime={}"),
        ("1-00:00:00", "12:00:00"),
        "partitions.largemem.max_time",
    ),
    "jupiter": (
        ("sacctmgr", "-i", "modify", "qos", "nocont", "set", "MaxSubmitJobsPerUser={}"),
        ("64", "63"),
        "qos.nocont.max_submitted",
    ),
}


# A limit that the profile has and Slurm need not have: taken away, and put back.
GONE = {
    "lumi": (
        ("sacctmgr", "-i", "modify", "qos", "part_largemem", "set", "MaxJobsPerUser={}"),
        "-1",
        "20",
        "partitions.largemem.max_running",
    ),
    "jupiter": (
        ("sacctmgr", "-i", "modify", "qos", "lowcont", "set", "MaxSubmitJobsPerUser={}"),
        "-1",
        "64",
        "qos.lowcont.max_submitted",
    ),
}


def admin(machine: str, *words: str) -> None:
    """Runs a command as the cluster's administrator."""
    program = [sys.executable, "-m", "integration.cluster", "admin", machine, "--", *words]
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True, timeout=120)


@contextmanager
def moved_limit(machine: str) -> Iterator[tuple[str, str, str]]:
    """Moves a limit of the cluster, and puts it back; gives its key, and its value before and after."""
    words, (before, after), key = LIMITS[machine]
    admin(machine, *(word.format(after) for word in words))
    try:
        yield key, before, after
    finally:
        admin(machine, *(word.format(before) for word in words))


def drifted(user: User) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code of the doctor, and what drifts: profile and site by key."""
    ran = user.aifa("sites", "doctor", user.site, "--json")
    assert ran.code in {0, 1}, ran.err
    return ran.code, {row["key"]: (row["profile"], row["site"]) for row in ran.json if row["status"] == "drift"}


@on_all_sites
def test_a_cluster_made_from_the_profile_is_as_the_profile_says(user: User) -> None:
    """No drift; limits of partitions, QOS, nodes and folders are confirmed, and disputes settled."""
    ran = user.aifa("sites", "doctor", user.site, "--json")
    assert 0 == ran.code, ran.err
    rows = {row["key"]: row for row in ran.json}
    disputed = {"lumi": "partitions.dev-g.max_time", "jupiter": "partitions.booster.max_time"}[user.machine]
    for key in (disputed, "access.account", "access.workdir", "tools.sbatch", "scheduler.cluster_name"):
        assert "confirmed" == rows[key]["status"], rows[key]
    assert "settles a conflict of sources" in rows[disputed]["note"]
    assert 30 < sum(row["status"] == "confirmed" for row in rows.values())


@on_all_sites
def test_a_limit_that_moves_is_found_written_and_followed(user: User) -> None:
    """Drift; `--write` keeps the user's file and adds to it; the next run is clean; put back, it drifts again."""
    path = user.home / "config" / "sites.toml"
    mine = path.read_text()
    with moved_limit(user.machine) as (key, before, after):
        assert (1, {key: (before, after)}) == drifted(user)
        assert 0 == (ran := user.aifa("sites", "doctor", user.site, "--write")).code, ran.err
        assert path.read_text().startswith(mine)
        assert (0, {}) == drifted(user)
    assert (1, {key: (after, before)}) == drifted(user)
    assert 0 == user.aifa("sites", "doctor", user.site, "--write").code
    assert (0, {}) == drifted(user)


@on_all_sites
def test_a_limit_that_is_gone_is_taken_away_and_put_back(user: User) -> None:
    """The site has none any more: `--write` takes it from the profile; when it is back, that is found, too."""
    words, none, before, key = GONE[user.machine]
    admin(user.machine, *(word.format(none) for word in words))
    try:
        code, found = drifted(user)
        assert (1, "none") == (code, found[key][1])
        assert 0 == (ran := user.aifa("sites", "doctor", user.site, "--write")).code, ran.err
        assert (0, {}) == drifted(user)
    finally:
        admin(user.machine, *(word.format(before) for word in words))
    assert 0 == user.aifa("sites", "doctor", user.site, "--write").code
    rows = user.aifa("sites", "doctor", user.site, "--json").json
    assert [before] == [row["profile"] for row in rows if row["key"] == key and row["status"] == "confirmed"]


@on_all_sites
def test_facts_that_the_user_set_wrong_are_found(user: User) -> None:
    """The user's own override is compared too; it is explained and left to the user, and goes on to hold."""
    path = user.home / "config" / "sites.toml"
    partition = {"lumi": "debug", "jupiter": "booster"}[user.machine]
    text = path.read_text() + f'[sites.{user.site}.partitions.{partition}]\nmax_time = "00:07:00"\nmax_nodes = 3\n'
    path.write_text(text)
    wrong = {f"partitions.{partition}.{field}" for field in ("max_time", "max_nodes")}
    code, found = drifted(user)
    assert (1, wrong) == (code, set(found))
    ran = user.aifa("sites", "doctor", user.site, "--write")
    assert (1, True) == (ran.code, "you wrote this in sites.toml yourself" in ran.err), ran.err
    assert path.read_text().startswith(text)
    assert (1, wrong) == (drifted(user)[0], set(drifted(user)[1]))


@on_all_sites
def test_host_keys_are_those_of_the_sshd_that_answers(user: User) -> None:
    """The key that the connection was checked against is the one that is confirmed; a published other one is drift."""
    path = user.home / "config" / "sites.toml"
    text = path.read_text()
    (line,) = subprocess.run(
        ["ssh-keygen", "-lf", user.connect["known_hosts"]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    seen = line.split()[1]
    for fingerprint, status, expected in ((seen, "confirmed", 0), (f"SHA256:{'A' * 43}", "drift", 1)):
        keys = f'host_keys = [{{ type = "ssh-ed25519", fingerprint = "{fingerprint}" }}]'
        path.write_text(f'{text}[sites.{user.site}.login]\nhosts = ["{user.connect["host"]}"]\n{keys}\n')
        ran = user.aifa("sites", "doctor", user.site, "--json")
        assert ran.code in {0, 1}, ran.err
        (row,) = (row for row in ran.json if row["key"] == "login.host_keys")
        assert (expected, status) == (ran.code, row["status"]), row
    assert seen in row["note"]


@on_all_sites
def test_an_account_that_is_not_ours_is_told(user: User) -> None:
    """The right form, and no association: drift that no override mends."""
    path = user.home / "config" / "sites.toml"
    other = {"lumi": "project_465000999", "jupiter": "e-aif-2026fl01-999"}[user.machine]
    path.write_text(path.read_text().replace(user.connect["account"], other))
    code, found = drifted(user)
    assert (1, (other, user.connect["account"])) == (code, found["access.account"])


@on_all_sites
def test_a_dry_run_tells_and_submits_nothing(user: User) -> None:
    """Slurm's verdict and its estimate; the queue has no such job, and nothing is remembered."""
    job = user.job("hostname", name="dry-run-only", kind="srun", nodes=2)
    ran = user.aifa("submit", job, "--site", user.site, "--dry-run", "--json")
    assert 0 == ran.code, ran.err
    assert ran.json["accepted"] is True
    assert ran.json["estimated_start"].startswith("20")
    assert "" == user.ssh("squeue --noheader --format=%j | grep dry-run-only || true")
    assert [] == user.aifa("jobs", "--all", "--json").json


@pytest.mark.parametrize("transport", ["fabric"])
def test_the_doctor_over_fabric(clusters: None, tmp_path: Path, transport: str) -> None:
    """The other transport carries the same question and the same answer."""
    for machine in SITES:
        user = make_user(tmp_path / machine, machine, transport, mfa=False)
        assert (0, {}) == drifted(user)


@on_all_sites
def test_a_dry_run_shows_slurm_every_submission(user: User) -> None:
    """A chain and an array in chunks: one question, and each script passes; an account that is not ours, none does."""
    limit = int(user.ssh("scontrol show config | sed -n 's/^MaxArraySize *= *//p'"))
    for more, count in (('[chain]\ntotal = "00:15:00"', 3), (f'[array]\ntasks = "0,{limit}"', 2)):
        path = user.home / "parts.toml"
        path.write_text(f"{Path(user.job('hostname')).read_text()}{more}\n")
        ran = user.aifa("submit", str(path), "--site", user.site, "--dry-run", "--json")
        assert (0, count) == (ran.code, ran.json["submissions"]), ran.err
    other = {"lumi": "project_465000999", "jupiter": "e-aif-2026fl01-999"}[user.machine]
    path.write_text(f"{Path(user.job('hostname', account=other)).read_text()}{more}\n")
    ran = user.aifa("submit", str(path), "--site", user.site, "--dry-run")
    assert (3, True) == (ran.code, "(2 of 2 submissions, the first is 1): Invalid account" in ran.err), ran.err
    assert [] == user.aifa("jobs", "--all", "--json").json


SHARES = {
    "lumi": [
        ({"partition": "small-g", "gpus_per_node": 1}, 7, "0.5 x max(ceil(7/8), ceil(60/64), 1) x 1 h"),
        (
            {"partition": "small-g", "gpus_per_node": 2, "nodes": 2, "cpus_per_task": 5},
            20,
            "0.5 x max(ceil(20/8), ceil(240/64), 4) x 1 h",
        ),
        (
            {"partition": "small", "gpus_per_node": 0, "tasks_per_node": 3, "cpus_per_task": 4, "memory": "30G"},
            12,
            "1 x max(12, ceil(30/2)) x 1 h",
        ),
        ({"partition": "standard-g", "nodes": 2}, 112, "4 x 2 nodes x 1 h"),
    ],
    "jupiter": [({"gpus_per_node": 1}, 288, "288 x 1 node x 1 h"), ({"nodes": 2}, 576, "288 x 2 nodes x 1 h")],
}


@on_all_sites
def test_what_is_billed_is_what_slurm_would_give(user: User) -> None:
    """The cores in a quote's working are those that sbatch says the job would get; whole nodes are whole."""
    for resources, cores, working in SHARES[user.machine]:
        job = user.job("hostname", kind="srun", time="01:00:00", **resources)
        ran = user.aifa("submit", job, "--site", user.site, "--dry-run", "--json")
        assert 0 == ran.code, ran.err
        assert (cores, working) == (ran.json["processors"], ran.json["quote"]["working"])


@on_all_sites
def test_a_dry_run_tells_the_sites_refusal(user: User) -> None:
    """What only the site knows: an account of the right form that is not ours; exit code 3, with Slurm's words."""
    other = {"lumi": "project_465000999", "jupiter": "e-aif-2026fl01-999"}[user.machine]
    ran = user.aifa("submit", user.job("hostname", account=other), "--site", user.site, "--dry-run")
    assert (3, "") == (ran.code, ran.out)
    assert "would refuse job 'job': Invalid account or account/partition combination specified" in ran.err


@on_all_sites
def test_a_dry_run_of_a_job_with_problems_asks_nobody(user: User) -> None:
    """Exit code 2."""
    ran = user.aifa("submit", user.job("hostname", time="9-00:00:00"), "--site", user.site, "--dry-run")
    assert (2, True) == (ran.code, "resources.time" in ran.err), ran.err
