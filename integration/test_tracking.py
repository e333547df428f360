"""Jobs through everything that Slurm does to them, on both clusters at once, seen by the program as users run it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.testing.faults import without
from aifa_hpc.tracker.events import LOST_AFTER
from aifa_hpc.tracker.store import Store
from aifa_hpc.views.history import read_histories
from integration.chaos import make_victim
from integration.clusters.control import Cluster
from integration.conftest import SHAPES, SITES, User, begin_again, make_user, reroute, until
from integration.everywhere import on_all_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.tracker.records import Attempt

pytestmark = pytest.mark.cluster

AGAIN = '[ "${SLURM_RESTART_COUNT:-0}" -ge %d ] || sleep 100'
"""Ends well in the attempt after so many."""


@dataclasses.dataclass(frozen=True)
class Forgotten:
    """A job that ended well, of which a user has not heard since it was submitted."""

    user: User
    job: str
    token: str


@pytest.fixture(scope="module", autouse=True)
def forgotten(clusters: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Forgotten]:
    """One on each cluster, submitted before all other tests here: Slurm's queue takes a minute to forget it."""

    def begin(site: str) -> Forgotten:
        user = make_user(tmp_path_factory.mktemp(site), site, "openssh", mfa=False)
        ran = user.aifa("submit", user.job("true", name="forgotten"), "--site", user.site, "--json")
        assert 0 == ran.code, ran.err
        return Forgotten(user, str(ran.json["id"]), str(ran.json["token"]))

    with ThreadPoolExecutor(len(SITES)) as pool:
        return dict(zip(SITES, pool.map(begin, SITES), strict=True))


def hurry(user: User) -> None:
    """Has the user ask every two seconds, for as long as there is something to see: the cluster is our own."""
    with (user.home / "config" / "sites.toml").open("a") as file:
        file.write(f"[sites.{user.site}.scheduler]\npoll_seconds = 2.0\n")


def shown(user: User, job: str) -> dict[str, Any]:
    """What the list says of a job."""
    ran = user.aifa("jobs", "--json", "--all")
    assert 0 == ran.code, ran.err
    return next(one for one in ran.json if job in {one["id"], one["token"]})


def reach(user: User, job: str, *states: str) -> dict[str, Any]:
    """What the list says once the job is in one of these states; it must not end in another."""

    def look() -> dict[str, Any] | None:
        found = shown(user, job)
        assert found["state"] in states or found["state"] not in {"FAILED", "LOST", "NODE_FAIL", "REFUSED"}, found
        return found if found["state"] in states else None

    found: dict[str, Any] = until(look)
    return found


def attempts(user: User, token: str) -> list[Attempt]:
    """What is remembered of the runs of a job."""
    with contextlib.closing(Store(user.home / "state" / "jobs.sqlite3")) as store:
        return store.attempts(token)


def stubborn(user: User, times: int, node: str = "") -> dict[str, Any]:
    """A job that may be put back, submitted; on that node, if one is named."""
    path = Path(user.job("sh", "-c", AGAIN % times, **({"nodelist": node} if node else {})))
    path.write_text(f"requeue = true\n{path.read_text()}")
    ran = user.aifa("submit", str(path), "--site", user.site, "--json")
    assert 0 == ran.code, ran.err
    return dict(ran.json)


@on_all_sites
def test_a_lost_answer_is_settled_and_a_lost_memory_too(user: User) -> None:
    """The link dies under the answer: exit code 4, and later the job. Its receipt tells of it to an empty store."""
    victim = make_victim(user.home / "behind", user.machine, "openssh")
    someone, words = victim.user, ("--site", victim.user.site, "--json")
    name = f"doubtful-{secrets.token_hex(3)}"
    path = someone.job("true", name=name)
    assert 0 == (ran := someone.aifa("login", someone.site)).code, ran.err
    victim.proxy.delay = 1
    with ThreadPoolExecutor(1) as pool:
        submitting = pool.submit(someone.aifa, "submit", path, *words)
        user.ssh(f"until squeue --me -h -t all -o %j | grep -q '^{name}'; do sleep 0.05; done")
        victim.proxy.close()  # while the answer is under way
        unknown = submitting.result()
    (doubtful,) = someone.aifa("jobs", "--offline", "--json").json
    assert (4, "", "UNKNOWN") == (unknown.code, unknown.out, doubtful["state"]), unknown.err
    assert doubtful["token"] in unknown.err
    (away,) = (tried := someone.aifa("jobs", "settle", *words)).json
    assert (4, "UNKNOWN", True) == (tried.code, away["state"], "its answer was lost" in away["reason"])
    reroute(someone, someone.connect["port"])
    settled = someone.aifa("jobs", "settle", *words)
    (found,) = settled.json
    assert (0, doubtful["token"], "its receipt was found") == (settled.code, found["token"], found["reason"])
    (someone.home / "state" / "jobs.sqlite3").unlink()
    ghosts = {one["token"]: one["id"] for one in someone.aifa("jobs", "settle", "--receipts", *words).json}
    assert found["id"] == ghosts[doubtful["token"]]
    assert 0 == someone.aifa("jobs", "adopt", found["id"], *words).code
    reach(someone, found["id"], "COMPLETED")


@on_all_sites
def test_jobs_submitted_by_hand_are_followed(user: User) -> None:
    """A job and an array by sbatch alone, running and over; another's is refused, and then none is followed."""
    shape = SHAPES[user.machine]
    options = f"-A {user.connect['account']} -p {shape['partition']} --gres=gpu:{shape['gpus_per_node']} -t 5"
    folder = user.folder
    batch = f"cd {folder} && sbatch --parsable {options}"
    user.ssh(f"mkdir -p {folder}")
    plain = user.ssh(f"{batch} -J 'by hand' -o 'out %j' --wrap 'echo by hand; sleep 3'").strip()
    array = user.ssh(f"{batch} -J many -a 0-1 -o many_%a.out --wrap 'exit $SLURM_ARRAY_TASK_ID'").strip()
    words = ("sbatch", "--parsable", "-H", "-p", str(shape["partition"]), "-D", "/tmp", "--wrap", "true")
    others = Cluster(user.machine).admin(*words).strip()
    try:
        refused = user.aifa("jobs", "adopt", plain, others, "99999999", "--site", user.site)
    finally:
        Cluster(user.machine).admin("scancel", others)
    assert 2 == refused.code
    assert [] == [word for word in (f"{others}: is a job of root", "99999999: is not known") if word not in refused.err]
    assert [] == user.aifa("jobs", "--offline", "--json").json
    assert 0 == user.aifa("jobs", "adopt", plain, array, "--site", user.site).code
    assert (0, "by hand\n") == ((log := user.aifa("logs", plain, "-f")).code, log.out), log.err
    ended = until(lambda: one if (one := shown(user, array))["state"] == "FAILED" else None)
    assert ("by hand", "COMPLETED", "many", "1:0") == (
        (job := shown(user, plain))["name"],
        job["state"],
        ended["name"],
        ended["exit"],
    )


@on_all_sites
def test_a_full_site_is_topped_up_by_whoever_looks(user: User) -> None:
    """Two jobs at a time are all the site takes; the others wait here, and each later process sends what fits."""
    with two_at_a_time(user) as partition:
        paths = [user.job("true", name=f"fill-{number}", partition=partition, gpus_per_node=1) for number in range(5)]
        ran = user.aifa("submit", "--queue", *paths, "--site", user.site)
        assert 0 == ran.code, ran.err
        seen = [one["state"] for one in user.aifa("jobs", "--offline", "--json").json]
        assert (2, 3) == (seen.count("PENDING"), seen.count("QUEUED")), seen

        def over() -> list[dict[str, Any]]:
            there = user.ssh("squeue --me -h -t PD,R -o %j").split()
            assert 2 >= sum(name.startswith("fill-") for name in there), there
            rows: list[dict[str, Any]] = user.aifa("jobs", "--json").json
            return rows if {"COMPLETED"} == {row["state"] for row in rows} else []

        rows = until(over)
    names = {f"{row['name']}.{row['token']}": [row["id"]] for row in rows}

    def accounted() -> dict[str, list[str]] | None:
        there: dict[str, list[str]] = {}
        lines = user.ssh(f"sacct -X -n -P -S now-1hours --name={','.join(names)} -o JobName,JobID").split()
        for name, _, job in (line.partition("|") for line in lines):
            there.setdefault(name, []).append(job)
        return there if there.keys() == names.keys() else None

    assert (5, names) == (len(rows), until(accounted))


@contextlib.contextmanager
def two_at_a_time(user: User) -> Iterator[str]:
    """A partition that takes two jobs of a user: dev-g, as LUMI's profile knows; at JUPITER no profile knows of it."""
    if user.machine == "lumi":
        yield "dev-g"
        return
    admin = Cluster(user.machine).admin
    limit = ("sacctmgr", "-i", "modify", "qos", "normal", "set")
    before = admin("sacctmgr", "-n", "-P", "show", "qos", "normal", "format=MaxSubmitPU").strip()
    admin(*limit, "maxsubmitjobsperuser=2")
    try:
        yield str(SHAPES[user.machine]["partition"])
    finally:
        admin(*limit, f"maxsubmitjobsperuser={before or -1}")


@on_all_sites
def test_a_node_that_fails_ends_an_attempt(user: User) -> None:
    """Its job is put back and ends well elsewhere; what happened is remembered, with the node."""
    hurry(user)
    cluster, job = Cluster(user.machine), stubborn(user, 1)
    node = reach(user, job["id"], "RUNNING")["nodes"]
    cluster.admin("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        # The queue shows that it was put back, accounting tells a moment later why.
        waiting = until(lambda: one if "NODE_FAIL" in (one := reach(user, job["id"], "PENDING"))["reason"] else None)
    finally:
        with contextlib.suppress(RuntimeError):  # it may have come back by itself
            cluster.admin("scontrol", "update", f"nodename={node}", "state=resume")
    begin_again(Cluster(user.machine), job["id"])
    reach(user, job["id"], "COMPLETED")
    found = attempts(user, job["token"])
    assert (["NODE_FAIL", "COMPLETED"], node) == ([one.state for one in found], found[0].nodes)
    assert f"attempt 2, the one before ended as NODE_FAIL on {node}" in waiting["reason"]


@on_all_sites
def test_links_of_a_chain_are_runs_of_one_job(user: User) -> None:
    """One line in the list; each link has a run of its own in the job's past."""
    path = Path(user.job("sh", "-c", '[ $AIFA_CHAIN_LINK -lt 1 ] || : > "$AIFA_CHAIN_DONE"', time="00:02:00"))
    path.write_text(f'{path.read_text()}\n[chain]\ntotal = "00:06:00"\n')
    job = user.aifa("submit", str(path), "--site", user.site, "--json").json
    reach(user, job["id"], "COMPLETED")
    with contextlib.closing(Store(user.home / "state" / "jobs.sqlite3")) as store:
        (past,) = read_histories(store, None, datetime.datetime.now(datetime.UTC))
    assert [("link 1", "COMPLETED"), ("link 2", "COMPLETED")] == [(run.label, run.state) for run in past.runs]


@on_all_sites
def test_tasks_that_are_cancelled_while_they_wait_end_with_the_others(user: User) -> None:
    """Slurm keeps nothing of them: that the others are all there were is known a minute later, not a quarter hour."""
    hurry(user)
    path = Path(user.job("sleep", "3"))
    path.write_text(f"{path.read_text()}\n[array]\ncount = 5\nlimit = 1\n")
    job = user.aifa("submit", str(path), "--site", user.site, "--json").json
    reach(user, job["id"], "RUNNING")
    user.ssh(f"scancel {job['id']}_[2,4]")
    begin, told = time.monotonic(), reach(user, job["id"], "CANCELLED")
    assert "3 COMPLETED, 2 cancelled before they began" == told["reason"]
    assert time.monotonic() - begin < 0.5 * LOST_AFTER.total_seconds()


@contextlib.contextmanager
def refusing(cluster: Cluster, node: str) -> Iterator[None]:
    """A cluster where the prolog of a node refuses every job, which is then put back."""
    conf, script = "/etc/slurm/slurm.conf", 'cp "$1" "$1.before" && printf "%s" "$2" >> "$1"'
    lines = "Prolog=/bin/false\nSchedulerParameters=bf_interval=5,nohold_on_prolog_fail\n"
    with without(cluster, node), without(cluster, "slurmctld"):
        cluster.admin("sh", "-c", script, "aifa", conf, lines)
    try:
        yield
    finally:
        with without(cluster, node), without(cluster, "slurmctld"):
            cluster.admin("mv", f"{conf}.before", conf)


@on_all_sites
def test_a_job_that_a_prolog_refuses_is_said_to_go_round(user: User) -> None:
    """It seems to start again and again; the list says what happens, and where."""
    hurry(user)
    cluster = Cluster(user.machine)
    connection = cluster.connection()
    assert connection is not None
    node = connection.nodes[0]

    def refused() -> bool:
        """Slurm drains the node; an administrator who sees nothing wrong takes it back."""
        if "Prolog error" not in cluster.admin("sinfo", "-h", "-n", node, "-o", "%E"):
            return False
        cluster.admin("scontrol", "update", f"nodename={node}", "state=resume")
        return True

    with refusing(cluster, node):
        job = stubborn(user, 0, node)
        until(refused)
        reach(user, job["id"], "PENDING")
        begin_again(Cluster(user.machine), job["id"])
        until(refused)
        going_round = until(lambda: one if "put back 2 times" in (one := shown(user, job["id"]))["reason"] else None)
    begin_again(Cluster(user.machine), job["id"])
    reach(user, job["id"], "COMPLETED")
    assert ("PENDING", True) == (going_round["state"], node in going_round["reason"]), going_round
    assert [1, 2, 3] == [one.number for one in attempts(user, job["token"])]


SHIFT = """
UPDATE {cluster}_job_table SET time_submit = time_submit - {by}, time_eligible = time_eligible - {by},
time_start = time_start - {by}, time_end = {end}, state = {state} WHERE id_job = {job}
"""
RUNNING, COMPLETED = 1, 3  # as slurmdbd writes them


def test_accounting_that_is_late_and_of_yesterday(forgotten: dict[str, Forgotten]) -> None:
    """A job that left the queue while accounting has it running is late, never lost, until accounting knows its end.

    That was a moment before midnight, so that sacct tells of it only when it is asked for more than today.
    """
    with ThreadPoolExecutor(len(SITES)) as pool:
        list(pool.map(_late_and_of_yesterday, forgotten.values()))


def _late_and_of_yesterday(one: Forgotten) -> None:
    user, cluster, job = one.user, Cluster(one.user.machine), one.job
    accounted = ("env", "TZ=UTC0", "sacct", "-n", "-X", "-P", "--name", f"forgotten.{one.token}")
    ended = until(lambda: cluster.admin(*accounted, "-s", "CD", "-S", "now-1hours", "-E", "now", "-o", "End").strip())
    until(lambda: job not in cluster.admin("squeue", "-h", "-t", "all", "-o", "%i").split())
    name = cluster.admin("scontrol", "show", "config").partition("ClusterName")[2].split()[1]
    end = datetime.datetime.fromisoformat(ended).replace(tzinfo=datetime.UTC)
    midnight = end.replace(hour=0, minute=0, second=0)
    by = int((end - midnight).total_seconds()) + 5

    def write(state: int, at: int) -> None:
        query = SHIFT.format(cluster=name, job=job, by=by if state == RUNNING else 0, end=at, state=state)
        cluster.admin("mysql", "slurm_acct_db", "-e", query)

    write(RUNNING, 0)
    late = reach(user, job, "LAGGING")
    write(COMPLETED, int(midnight.timestamp()) - 5)
    assert "" == cluster.admin(*accounted)
    assert ("COMPLETED", "sacct") == ((found := reach(user, job, "COMPLETED"))["state"], found["proof"])
    assert "not yet in accounting" in late["reason"]
