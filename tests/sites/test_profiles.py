"""The packaged profiles: they decode, refer to what they hold, and say where every fact comes from."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.sites.launching import KINDS
from aifa_hpc.sites.load import facts, load_sites, profile_names
from aifa_hpc.sites.topology import cpu_mask, mask_cpus, parse_cpus
from aifa_hpc.units import parse_memory, parse_size, parse_walltime

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.sites.model import Fact, Site

SITES = load_sites()
FACTS = [(f"{site.name}:{key}", fact) for site in SITES.values() for key, fact in facts(site)]
PARTITIONS = [(site, name) for site in SITES.values() for name in site.partitions]


def host_names(text: str) -> set[str]:
    """Names of a host list with at most one bracket, written apart from the program's own reader."""
    prefix, _, ranges = text.rstrip("]").partition("[")
    names = set()
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        names |= {f"{prefix}{number:0{len(first)}}" for number in range(int(first), int(last or first) + 1)}
    return names


def test_the_four_sites_are_packaged() -> None:
    """Each profile carries the name of its file."""
    assert profile_names() == ("jupiter", "local", "lumi", "lumi2")
    assert list(profile_names()) == [site.name for site in SITES.values()]


@pytest.mark.parametrize(("key", "fact"), FACTS, ids=[key for key, _ in FACTS])
def test_every_fact_has_a_source_and_a_day(key: str, fact: Fact) -> None:
    """A source a person can look up, a day that has been, and a note where the sources leave a doubt."""
    assert len(fact.source) > 10, key
    assert dt.date(2025, 1, 1) <= fact.checked_on <= dt.datetime.now(tz=dt.UTC).date()
    assert fact.note or fact.status == "verified"


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
def test_facts_finds_every_source_of_the_file(site: Site) -> None:
    """The walk misses no table: as many facts as the file has `source` keys."""
    from aifa_hpc.sites import load  # noqa: PLC0415 - only its folder is wanted

    text = (load._PROFILES / f"{site.name}.toml").read_text("utf-8")
    assert len(re.findall(r"^source = ", text, re.MULTILINE)) == len(facts(site))


def test_facts_names_keys_as_the_profile_does() -> None:
    """Keys are dotted paths, also into nested tables."""
    keys = [key for key, _ in facts(SITES["lumi"])]
    assert {"scheduler", "login", "partitions.dev-g", "container", "container.modules", "variables.HF_HOME"} <= {*keys}
    assert len(keys) == len(set(keys))


def test_doubtful_facts_are_marked() -> None:
    """The values on which public sources disagree are the careful ones, and the note has the other side."""
    dev = SITES["lumi"].partitions["dev-g"]
    assert ("conflict", parse_walltime("2:00:00"), 8) == (dev.status, dev.max_time, dev.max_nodes)
    assert "3 h and 32 nodes" in dev.note
    booster = SITES["jupiter"].partitions["booster"]
    assert (booster.status, booster.max_nodes) == ("conflict", 2048)
    assert "up to system size" in booster.note


@pytest.mark.parametrize(("site", "name"), PARTITIONS, ids=[f"{site.name}-{name}" for site, name in PARTITIONS])
def test_billing_covers_every_partition(site: Site, name: str) -> None:
    """Whole nodes are billed by the node, shares by what a share is made of."""
    partition = site.partitions[name]
    rule = site.billing[partition.billing]
    if partition.whole_node:
        assert rule.per == "node"
    if rule.per == "share":
        assert rule.share_cpus
        assert rule.share_memory is not None
        assert rule.share_gpus == (site.nodes[partition.node].gpus > 0)


@pytest.mark.parametrize(("site", "name"), PARTITIONS, ids=[f"{site.name}-{name}" for site, name in PARTITIONS])
def test_limits_agree_with_each_other(site: Site, name: str) -> None:
    """No job may be larger than its partition, run more jobs than it may submit, or start longer than it may run."""
    partition = site.partitions[name]
    assert (partition.max_nodes or 1) <= partition.nodes
    assert (partition.max_running or 0) <= (partition.max_submitted or 0)
    assert partition.default_time is None or partition.default_time <= partition.max_time
    assert all(kind.memory >= site.node_types(name)[0].memory for kind in site.node_types(name) if not kind.gpus)


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
def test_nodes_are_described_consistently(site: Site) -> None:
    """Four names at least; cores beside GPUs are disjoint, usable, and as many lists as GPUs."""
    for name, node in site.nodes.items():
        assert len(host_names(node.hosts)) >= 4, name
        assert 0 < node.usable_cpus <= node.cpus
        assert node.cpus % node.sockets == 0
        assert bool(node.gpu_type) == (node.gpus > 0)
        if node.gpu_cpus:
            rows = [parse_cpus(text) for text in node.gpu_cpus]
            beside = [cpu for row in rows for cpu in row]
            assert node.gpus == len(rows)
            assert len(beside) == len(set(beside)) <= node.usable_cpus
            assert max(beside) < node.cpus


def test_partitions_lie_within_their_node_types() -> None:
    """LUMI's host lists hold as many nodes as the partitions drawn from them."""
    lumi = SITES["lumi"]
    open_to_all = [item for item in lumi.partitions.values() if not item.by_appointment]
    for name in ("gpu", "cpu", "largemem", "lumid"):
        assert sum(item.nodes for item in open_to_all if item.node == name) <= len(host_names(lumi.nodes[name].hosts))


def test_lumi_masks_are_the_published_ones() -> None:
    """The masks of the cores beside each GCD are those printed in LUMI's binding course, in the order of GCDs."""
    published = (
        "0xfe000000000000,0xfe00000000000000,0xfe0000,0xfe000000,0xfe,0xfe00,0xfe00000000,0xfe0000000000"  # GCD 0 to 7
    )
    cores = SITES["lumi"].nodes["gpu"].gpu_cpus
    assert published == ",".join(f"{cpu_mask(text):#x}" for text in cores)
    # The same table's second form: one core of each, and which CCD it is.
    assert [parse_cpus(text)[0] for text in cores] == [49, 57, 17, 25, 1, 9, 33, 41]
    assert [parse_cpus(text)[0] // 8 for text in cores] == [6, 7, 2, 3, 0, 1, 4, 5]


def test_lumi_keeps_the_first_core_of_each_ccd() -> None:
    """The 56 usable cores are all but core 0 of each CCD of 8."""
    beside = sum(cpu_mask(text) for text in SITES["lumi"].nodes["gpu"].gpu_cpus)
    assert {cpu for cpu in range(64) if cpu % 8} == {*mask_cpus(beside)}


def test_lumi_bills_as_published() -> None:
    """The examples of the billing page: a shared job pays for the largest share, a whole node for all of it."""
    lumi = SITES["lumi"]
    share = lumi.billing["gpu-share"]
    assert share.share_memory is not None
    # 16 cores, 256 GB and one GCD pay for four GCDs: 2 GPU-h an hour (training materials, 201-Slurm.md).
    shares = max(-(-16 // (share.share_cpus or 0)), parse_memory("256G").bytes // share.share_memory.bytes, 1)
    assert (shares, share.rate * shares) == (4, 2.0)
    assert 8 * share.rate == lumi.billing["gpu-node"].rate
    assert lumi.nodes["cpu"].cpus == lumi.billing["cpu-node"].rate
    assert lumi.nodes["largemem"].cpus == lumi.billing["largemem"].min_shares


def test_lumi_object_store_takes_fewer_parts_than_s3() -> None:
    """Part sizes must be made for 1000 parts and path-style addresses there."""
    store = SITES["lumi"].object_stores["lumio"]
    assert store.max_parts == 1000
    assert store.path_style
    assert store.max_put == parse_size("5 GB")


def test_jupiter_jobs_are_whole_nodes() -> None:
    """Nothing is asked for in parts there: no memory request, whole nodes only, 72 core-hours for a GPU-hour."""
    jupiter = SITES["jupiter"]
    node = jupiter.nodes["booster"]
    assert jupiter.memory_request == "never"
    assert all(partition.whole_node for partition in jupiter.partitions.values())
    assert (jupiter.billing["node"].rate, jupiter.billing["node"].rate / node.gpus) == (288.0, 72.0)


def test_jupiter_has_no_development_partition() -> None:
    """Short tests go to the reservation, which stays within its partition."""
    jupiter = SITES["jupiter"]
    devel = jupiter.reservations["develbooster"]
    assert {"booster"} == {name for name, found in jupiter.partitions.items() if not found.by_appointment}
    assert ("booster", 4, parse_walltime("2:00:00")) == (devel.partition, devel.max_nodes, devel.max_time)


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
def test_accounts_look_as_in_the_example(site: Site) -> None:
    """Where an account is demanded, the example is one the pattern takes, and an injected word is not."""
    scheduler = site.scheduler
    if scheduler.account_pattern:
        assert re.fullmatch(scheduler.account_pattern, scheduler.account_example)
        assert not re.fullmatch(scheduler.account_pattern, scheduler.account_example + "\n#SBATCH --qos=x")


def test_published_host_keys_are_fingerprints() -> None:
    """Each is the base64 of a SHA-256 as `ssh-keygen -l` prints it."""
    keys = [key for site in SITES.values() for key in site.login.host_keys]
    assert len(keys) == 3
    assert all(re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", key.fingerprint) for key in keys)


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
def test_files_lie_where_compute_nodes_see_them(site: Site) -> None:
    """Every area that compute nodes see, and the folder of jobs, is below a path root."""
    paths = [area.path for area in site.areas.values() if area.compute]
    paths += [site.access.workdir] if site.access.workdir else []
    for path in paths:
        assert any(path == root or path.startswith(root.rstrip("/") + "/") for root in site.path_roots), path


@pytest.mark.parametrize("name", [name for name, site in SITES.items() if not site.draft])
def test_working_sites_launch_all_kinds(name: str) -> None:
    """Each kind has a shape, and masks are asked for only where the cores beside GPUs are known."""
    site = SITES[name]
    # The scheduler inside this program has no salloc.
    assert set(KINDS) - ({"interactive"} if name == "local" else set()) == {*site.launch}
    if "masks" in {shape.bind for shape in site.launch.values()}:
        assert any(node.gpu_cpus for node in site.nodes.values())


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
def test_variables_expand_in_a_strict_shell(site: Site) -> None:
    """Each value stands between double quotes in a shell that refuses unset variables, and leaves no `$` behind."""
    environment = {"PATH": os.environ["PATH"], "USER": "ada", "SLURM_JOB_ID": "7", "SLURM_JOB_ACCOUNT": "project_1"}
    for name, variable in site.variables.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        script = f'printf %s "{variable.value}"'
        done = subprocess.run(["sh", "-euc", script], env=environment, capture_output=True, check=True, text=True)
        assert done.stdout
        assert not set("$\"'`\n ") & set(done.stdout)


def test_jupiter_resolves_the_master_address(tmp_path: Path) -> None:
    """The script prints the IPv4 address of the host in $1, and fails where there is none."""
    (tmp_path / "getent").write_text('#!/bin/sh\n[ "$1 $2" = "ahostsv4 jpbo-001-01" ] || exit 2\ncat "$0.txt"\n')
    (tmp_path / "getent.txt").write_text("10.128.0.1  STREAM jpbo-001-01\n10.128.0.1  DGRAM\n10.128.0.1  RAW\n")
    (tmp_path / "getent").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for kind in ("srun", "torchrun", "ray", "dask"):
        argv = ["sh", "-c", SITES["jupiter"].launch[kind].master_addr, "aifa"]
        found = subprocess.run([*argv, "jpbo-001-01"], env=environment, capture_output=True, check=True, text=True)
        assert found.stdout == "10.128.0.1\n"
        missing = subprocess.run([*argv, "jpbo-999-99"], env=environment, capture_output=True, check=False)
        assert missing.returncode
        real = subprocess.run([*argv, "localhost"], capture_output=True, check=True, text=True)
        assert real.stdout == "127.0.0.1\n"


def test_lumi2_is_a_draft_with_nothing_made_up() -> None:
    """It says why, lists public statements each with its source, and has nothing to render with."""
    draft = SITES["lumi2"]
    assert "not public" in draft.draft
    assert all(re.search(r" \[[^\]]+\]$", statement) for statement in draft.known)
    assert (draft.partitions, draft.nodes, draft.launch, draft.path_roots) == ({}, {}, {}, ())
    assert not any(site.draft for name, site in SITES.items() if name != "lumi2")


def test_local_asks_for_nothing() -> None:
    """This computer takes jobs without an account, for a day, and sends no bill."""
    local = SITES["local"]
    assert (
        local.access.transport,
        local.scheduler.account_required,
        local.scheduler.default_partition,
    ) == ("embedded", False, "local")
    assert parse_walltime("24:00:00") == local.partitions["local"].max_time
    assert local.billing["free"].rate == 0
