"""The test clusters' configuration follows the site's profile."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import msgspec
import pytest

from aifa_hpc.sites.load import load_site
from aifa_hpc.units import Walltime
from integration.clusters import conf
from integration.clusters.hosts import expand
from integration.clusters.shape import main_node_type, shape_of

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.sites.model import Site

SITES = ("lumi", "jupiter")


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A packaged profile, without any user's overrides."""
    return load_site(request.param, tmp_path)


@pytest.fixture
def lumi(tmp_path: Path) -> Site:
    """LUMI's profile."""
    return load_site("lumi", tmp_path)


@pytest.fixture
def jupiter(tmp_path: Path) -> Site:
    """JUPITER's profile."""
    return load_site("jupiter", tmp_path)


def slurm_conf(site: Site, *, declared: bool = True) -> str:
    """The text of ``slurm.conf``."""
    return conf.files(site, conf.Layout(port=17000, declared=declared))["slurm/slurm.conf"]


def blocks(text: str, kind: str) -> dict[str, dict[str, str]]:
    """The lines that begin with ``kind=``, by its value."""
    found = {}
    for line in text.splitlines():
        if line.startswith(f"{kind}="):
            words = dict(word.split("=", 1) for word in line.split())
            found[words[kind]] = words
    return found


def test_four_nodes_of_the_site_run(site: Site) -> None:
    """The first four names of the GPU node type have a slurmd, each with a port of its own."""
    shape = shape_of(site)
    names = expand(site.nodes[main_node_type(site)].hosts)
    assert tuple(names[:4]) == shape.real
    (line,) = (words for words in blocks(slurm_conf(site), "NodeName").values() if words["State"] == "UNKNOWN")
    assert list(shape.daemons) == expand(line["NodeName"])
    first, last = (int(port) for port in line["Port"].strip("[]").split("-"))
    assert len(shape.daemons) == last - first + 1
    assert conf.PORTS > last - 17000


def test_every_node_is_declared_once(site: Site) -> None:
    """No name is in two NodeName lines, and every partition's nodes are declared."""
    text = slurm_conf(site)
    names = [name for hosts in blocks(text, "NodeName") for name in expand(hosts)]
    assert len(set(names)) == len(names)
    used = {name for words in blocks(text, "PartitionName").values() for name in expand(words["Nodes"])}
    assert set(names) == used


def test_partitions_have_the_sites_size(site: Site) -> None:
    """Slurm judges requests by the real number of nodes, apart from those that a reservation of another took away."""
    held = sum(reservation.nodes for reservation in site.reservations.values())
    for name, hosts in shape_of(site).partitions.items():
        assert site.partitions[name].nodes - held <= len(hosts) <= site.partitions[name].nodes


def test_without_declared_nodes_only_real_ones_are_left(site: Site) -> None:
    """The small form has the running nodes and no others."""
    shape = shape_of(site, declared=False)
    assert set(shape.daemons) == set(shape.types)
    assert () == shape.declared
    assert "State=CLOUD" not in slurm_conf(site, declared=False)


def test_a_reserved_job_fits_on_running_nodes(jupiter: Site) -> None:
    """A job of the largest size allowed in a reservation never gets a node that is only declared."""
    shape = shape_of(jupiter)
    for name, reservation in jupiter.reservations.items():
        running = [host for host in shape.reserved[name] if host in shape.daemons]
        assert reservation.max_nodes == len(running)
        assert reservation.nodes == len(shape.reserved[name])
        assert not set(shape.reserved[name]) & set(shape.real)


def test_hardware_is_the_profiles(site: Site) -> None:
    """Cores, memory and GPUs of each node line are those of its node type."""
    text = slurm_conf(site)
    types = shape_of(site).types
    for hosts, words in blocks(text, "NodeName").items():
        node = site.nodes[types[expand(hosts)[0]]]
        assert node.cpus == int(words["Sockets"]) * int(words["CoresPerSocket"]) * int(words["ThreadsPerCore"])
        assert node.memory.mib == int(words["RealMemory"])
        assert (f"gpu:{node.gpu_type}:{node.gpus}" if node.gpus else None) == words.get("Gres")
        reserved = words.get("CpuSpecList")
        assert node.cpus - node.usable_cpus == (len(reserved.split(",")) if reserved else 0)


def test_limits_of_partitions(lumi: Site) -> None:
    """Time, size and sharing are said in the partition, limits per user in its QOS."""
    partitions = blocks(slurm_conf(lumi), "PartitionName")
    assert set(lumi.partitions) == set(partitions)
    for name, partition in lumi.partitions.items():
        words = partitions[name]
        assert str(partition.max_time) == words["MaxTime"]
        assert (str(partition.max_nodes) if partition.max_nodes else None) == words.get("MaxNodes")
        assert ("EXCLUSIVE" if partition.whole_node else "NO") == words["OverSubscribe"]
        assert partition.by_appointment == ("AllowGroups" in words)
        if partition.max_submitted is not None:
            assert f"part_{name}" == words["QOS"]
            expected = f"MaxJobsPerUser={partition.max_running} MaxSubmitJobsPerUser={partition.max_submitted}"
            assert f"add qos part_{name} Flags=DenyOnLimit {expected}" in conf.accounting(lumi).splitlines()
        limit = f"sacctmgr -i modify qos part_{name} set MaxTRESPerJob=gres/gpu={partition.max_gpus}"
        assert (partition.max_gpus is not None) == (limit in conf.admin(lumi, shape_of(lumi)).splitlines())


def test_limits_that_a_qos_carries_are_left_to_it(jupiter: Site) -> None:
    """JUPITER's walltime and size are refused in the name of the QOS, so the partition does not say them too."""
    booster = blocks(slurm_conf(jupiter), "PartitionName")["booster"]
    assert "MaxTime" not in booster
    assert "MaxNodes" not in booster
    assert "part_booster" == booster["QOS"]
    commands = conf.accounting(jupiter).splitlines()
    normal = jupiter.qos["normal"]
    limits = f"MaxWall={normal.max_time} MaxJobsPerUser={normal.max_running}"
    assert f"modify qos normal set Flags=DenyOnLimit {limits} MaxSubmitJobsPerUser={normal.max_submitted}" in commands
    assert "add qos part_booster Flags=DenyOnLimit MaxTRESPerJob=node=2048" in commands


def test_a_wider_qos_leaves_the_partitions_limit_in_force(jupiter: Site) -> None:
    """Where the QOS allows more time than the partition, the partition says its own limit."""
    normal = msgspec.structs.replace(jupiter.qos["normal"], max_time=Walltime(10 * 86400))
    wider = msgspec.structs.replace(jupiter, qos=jupiter.qos | {"normal": normal})
    booster = blocks(slurm_conf(wider), "PartitionName")["booster"]
    assert str(jupiter.partitions["booster"].max_time) == booster["MaxTime"]


def test_array_size_is_the_sites_or_slurms_own(lumi: Site, jupiter: Site) -> None:
    """An unknown MaxArraySize is left to Slurm."""
    assert f"MaxArraySize={jupiter.scheduler.max_array_size}" in slurm_conf(jupiter).splitlines()
    assert lumi.scheduler.max_array_size is None
    assert "MaxArraySize" not in slurm_conf(lumi)


def test_only_the_user_has_an_association(site: Site) -> None:
    """The account is the profile's example; the second user stays without one."""
    commands = conf.accounting(site)
    assert re.fullmatch(site.scheduler.account_pattern, conf.account_of(site))
    assert f"add user ada account={conf.account_of(site)}" in commands.splitlines()
    assert "bob" not in commands


def test_folders_lie_in_the_sites_areas(site: Site) -> None:
    """Project areas belong to the project, and every folder on the way to the work folder to the user."""
    rows = [line.split() for line in conf.folders(site).splitlines()]
    areas = {path for _, owner, _, path in rows if owner == "root"}
    assert {"2770"} == {mode for mode, *_ in rows}
    assert {conf.account_of(site)} == {group for _, _, group, _ in rows}
    own = [path for _, owner, _, path in rows if owner == "ada"]
    assert conf.workdir_of(site) == own[-1]
    assert all(any(path.startswith(f"{area}/") for area in areas) for path in own)
    assert not any("{" in path for path in (*areas, *own))


def test_jobs_are_held_to_their_memory_where_the_machine_can(site: Site) -> None:
    """Slurm confines jobs only where it is told so, and loads no plugin for cgroups elsewhere."""
    confined = conf.files(site, conf.Layout(port=17000, native=True, confined=True))
    assert "TaskPlugin=task/cgroup" in confined["slurm/slurm.conf"].splitlines()
    assert confined["slurm/cgroup.conf"] == "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n"
    free = conf.files(site, conf.Layout(port=17000))
    assert "TaskPlugin=task/none" in free["slurm/slurm.conf"].splitlines()
    assert free["slurm/cgroup.conf"] == "CgroupPlugin=disabled\n"


def test_settings_are_shell_words(site: Site) -> None:
    """Each line of ``settings`` is one assignment that a shell reads back to the same value."""
    lines = conf.files(site, conf.Layout(port=17000))["settings"].splitlines()
    values = dict(word.split("=", 1) for line in lines for word in shlex.split(line))
    assert len(lines) == len(values)
    assert list(shape_of(site).daemons) == values["NODES"].split()
    assert site.nodes[main_node_type(site)].gpus == len(values["DEVICES"].split())


def test_all_daemons_stay_on_the_loopback_interface(site: Site) -> None:
    """Nothing listens on an address of the network."""
    files = conf.files(site, conf.Layout(port=17000))
    assert "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" in files["slurm/slurm.conf"].splitlines()
    assert "DbdAddr=127.0.0.1" in files["slurm/slurmdbd.conf"].splitlines()
    assert "SSH_ADDRESS=127.0.0.1" in files["settings"].splitlines()
