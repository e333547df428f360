"""Sites fetch from an object store themselves: as jobs that are killed and put back, and on the login node."""

from __future__ import annotations

import json
import os
import re
import shlex
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.endpoints.s3 import S3Endpoint
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.pull import PIECE
from aifa_hpc.testing.faults import requeue
from aifa_hpc.testing.stores import CephStore, ObjectStore, RcloneStore
from integration.clusters.control import Cluster
from integration.conftest import User, begin_again, make_user, until
from integration.everywhere import on_all_sites
from tests.object_store import moto
from tests.readme import README
from tests.staging.conftest import make_tree, tree
from tests.staging.ranges import serve
from tests.staging.test_puller import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T")

pytestmark = pytest.mark.cluster

SECRET = "a-key-that-stays-here"
FILES = {"a b'ü.txt": b"hello", "empty": b"", "deep/er/big.bin": os.urandom(BLOCK + 5), "deep/x": b"x" * 1000}
JOB = {"lumi": ["--partition", "standard-g", "--gpus", "8"], "jupiter": ["--partition", "booster", "--gpus", "4"]}


@pytest.fixture(scope="module", autouse=True)
def store() -> Iterator[None]:
    """An object store with the files, and its keys in the environment."""
    with moto() as url, pytest.MonkeyPatch.context() as patch:
        words = {"ENDPOINT_URL": url, "SECRET_ACCESS_KEY": SECRET}
        words |= {"ACCESS_KEY_ID": "key", "DEFAULT_REGION": "eu-north-1", "EC2_METADATA_DISABLED": "true"}
        for name, value in words.items():
            patch.setenv(f"AWS_{name}", value)
        lab = S3Endpoint("lab", "train")
        lab._store.call("create_bucket", Bucket="lab", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        for path, data in FILES.items():
            lab.call("put_object", path, Body=data)
        yield


@on_all_sites
def test_a_site_fetches_by_itself(user: User) -> None:
    """As an array and on the login node: the files, a manifest that verifies, no key there; a job like any other."""
    array = ["--tasks", "2", *JOB[user.machine]]
    # LUMI's jobs are for the tests below.
    for words in ([array] if user.machine == "jupiter" else []) + [["--on", "login"]]:
        target = f"{user.site}:{user.folder}-{words[0][2:]}"
        ran = user.aifa("stage", "pull", "s3://lab/train", target, "--class", "open", *words, "--wait")
        assert 0 == ran.code, ran
        proof = user.aifa("stage", "verify", target, "--json")
        assert (0, len(FILES)) == (proof.code, proof.json["files"]), proof
    ran = user.aifa("stage", "pull", "s3://lab/train", target, "--class", "open", "--json")
    assert (2, True) == (ran.code, "partition" in ran.err), ran
    ran = user.aifa("stage", "pull", "s3://lab/train", target, "--class", "open", *words, "--json")
    assert (0, "there") == (ran.code, ran.json["state"]), ran
    for job in user.aifa("jobs", "--json", "--offline").json:
        assert ("COMPLETED", True) == (job["state"], job["name"].startswith("pull-")), job
    assert "" == user.ssh(f"grep -rl {SECRET} {user.connect['workdir']} || true")


def test_a_job_that_is_killed_and_put_back_goes_on(clusters: None, tmp_path: Path) -> None:
    """Ranges that arrived before kill -9 and before a requeue are not asked for again; one call at a time works."""
    del clusters
    user = make_user(tmp_path, "lumi", "fabric", mfa=False)
    target = f"{user.site}:{user.folder}/"
    words = ("stage", "pull", "{}", target, "--class", "open", *JOB["lumi"], "--json")
    with serve(os.urandom(4 * PIECE), 2 * PIECE) as web:
        words = tuple(web.url if word == "{}" else word for word in words)
        web.free.clear()
        first = user.aifa(*words).json
        assert ("running", True, 4 * PIECE) == (first["state"], first["new"], first["fetch_bytes"])
        beat = until(lambda: working(user, 2 * PIECE))
        again = user.aifa(*words).json
        assert ("running", False, first["job"]) == (again["state"], again["new"], again["job"])
        user.ssh(f"kill -9 {beat['pid']}")
        until(lambda: user.aifa("jobs", "--json").json[-1]["state"] == "FAILED")

        second = user.aifa(*words).json
        assert ("running", True) == (second["state"], second["new"])
        until(lambda: working(user, 2 * PIECE))
        cluster = Cluster("lumi")
        requeue(cluster, second["job"])
        begin_again(cluster, second["job"])
        web.free.set()
        ended = user.aifa(*words, "--wait")
        assert 0 == ended.code, ended
        assert ended.json["state"] in {"done", "there"}  # it may be over before this looks
        assert [1, 1] == [web.asked.count(at) for at in (0, PIECE)]
        assert 0 == user.aifa("stage", "verify", f"{target}big.bin").code
    found = user.aifa("stage", "gc", target, "--older", "0", "--json").json
    assert [] == found


def test_the_page_of_the_readme(clusters: None, tmp_path: Path) -> None:
    """Its commands as they stand there, with another folder, and a partition that has nodes here."""
    del clusters
    user = make_user(tmp_path, "lumi", "fabric", mfa=False)
    make_tree(user.home / "shards", FILES)
    page = README.read_text("utf-8").partition("## Moving data")[2].partition("\n## ")[0]
    lines = "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL)).splitlines()
    for line in lines:
        words = shlex.split(line.replace("lumi:/scratch/project_465000001", f"{user.site}:{user.folder}"))[2:]
        at = words.index("--partition") if "--partition" in words else len(words)
        ran = user.aifa(*words[:at], *(JOB["lumi"] if words[at:] else ()), *words[at + 2 :])
        assert 0 == ran.code, (line, ran)
    for folder in ("digits", "pulled"):
        proof = user.aifa("stage", "verify", f"{user.site}:{user.folder}/{folder}", "--json")
        assert (0, len(FILES)) == (proof.code, proof.json["files"]), proof
    assert 10 == len(lines)


@pytest.mark.parametrize("kind", [CephStore, RcloneStore])
def test_real_stores_take_the_urls(kind: type[ObjectStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They check signatures; the site's program reads ranges with nothing but them."""
    if lacking := kind.lacking():
        pytest.skip(f"there is no {lacking}; aifa_hpc.testing.stores says where it comes from")
    with kind.started(tmp_path / "store") as store, Ledger(tmp_path / "ledger") as ledger:
        for name, value in (store.env | {"AWS_ENDPOINT_URL": store.url}).items():
            monkeypatch.setenv(name, value)
        lab = S3Endpoint("lab", "train")
        lab._store.call("create_bucket", Bucket="lab")
        for path, data in FILES.items():
            lab.call("put_object", path, Body=data)
        site = Site(tmp_path / "pull", tmp_path / "data")
        site.put_from(lab, ledger, bucket="lab")
        assert 0 == (ran := site.run())[0], ran
    assert tree(tmp_path / "data") == FILES


def working(user: User, size: int) -> dict[str, Any] | None:
    """What the program tells of itself, when it has so many bytes."""
    name = user.aifa("jobs", "--json", "--offline").json[-1]["name"].removeprefix("pull-")
    text = user.ssh(f"cat {user.connect['workdir']}/pulls/{name}/beat.*.json 2>/dev/null || true")
    for line in text.replace("}{", "}\n{").splitlines():
        beat: dict[str, Any] = json.loads(line)
        if beat["state"] == "running" and beat["fetched"] + beat["resumed"] == size:
            return beat
    return None
