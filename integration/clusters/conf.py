"""The configuration of a test cluster, generated from the site's own profile.

Pure: a :class:`Site` and a :class:`Layout` go in, the files of the cluster's ``/cluster`` folder come out. What users
can see of the site (names, limits, refusals) is kept; what only administrators see is chosen for one small machine.
Options are explained in slurm.conf(5), gres.conf(5), slurmdbd.conf(5) and sacctmgr(1).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from integration.clusters.hosts import compress
from integration.clusters.shape import Shape, main_node_type, qos_of_partition, reserved_cpus, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aifa_hpc.sites.model import Modules, NodeType, Partition, Qos, Site
    from aifa_hpc.units import Walltime

USER = "ada"
STRANGER = "bob"
_MODULE = "#%Module1.0\n"
_UIDS = {USER: 5001, STRANGER: 5002}
_ACCOUNT = "project"
PORTS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a cluster listens.

    Attributes:
        port: First of ``PORTS`` free TCP ports in a row on the loopback interface.
        ssh_address: Address sshd binds inside.
        ssh_port: Port sshd binds inside; ``port`` by default.
        declared: Declare the site's other nodes too.
        native: For the Slurm of this machine's packages (22.05), not for the image's (24.11).
        confined: Jobs that take more memory than they asked for are killed, as on the sites.
    """

    port: int
    ssh_address: str = "127.0.0.1"
    ssh_port: int = 0
    declared: bool = True
    native: bool = False
    confined: bool = False


def account_of(site: Site) -> str:
    """The account that exists on the test cluster."""
    return site.scheduler.account_example or _ACCOUNT


def fill(path: str, site: Site, user: str = USER) -> str:
    """A path of the profile for the test cluster's account and a user."""
    account = account_of(site)
    return path.replace("{account}", account).replace("{project}", account).replace("{user}", user)


def workdir_of(site: Site) -> str:
    """The folder for job folders: the profile's own, else the user's home."""
    return fill(site.access.workdir or _home(site, USER) + "/aifa", site)


def files(site: Site, layout: Layout) -> dict[str, str]:
    """Every generated file by its path below ``/cluster``."""
    shape = shape_of(site, declared=layout.declared)
    return {
        "settings": settings(site, layout, shape),
        "slurm/slurm.conf": slurm_conf(site, layout, shape),
        "slurm/gres.conf": gres_conf(site, shape),
        "slurm/cgroup.conf": cgroup_conf(layout),
        "slurm/slurmdbd.conf": slurmdbd_conf(layout),
        "accounting": accounting(site),
        "admin": admin(site, shape),
        "users": users(site),
        "folders": folders(site),
        **{f"modules/{name}": _MODULE for name in module_names(site)},
    }


def settings(site: Site, layout: Layout, shape: Shape) -> str:
    """What the entrypoint reads as shell assignments."""
    values = {
        "CLUSTER": site.scheduler.cluster_name,
        "HOSTNAME": host_name(site),
        "SSH_ADDRESS": layout.ssh_address,
        "SSH_PORT": str(layout.ssh_port or layout.port),
        "DBD_PORT": str(layout.port + 1),
        "CTLD_PORT": str(layout.port + 2),
        "NODES": " ".join(shape.daemons),
        "DEVICES": " ".join(_devices(site)),
        "MODULE_FOLDERS": " ".join(folder for recipe in _recipes(site) for folder in recipe.use),
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def module_names(site: Site) -> list[str]:
    """Modules that jobs of the site load; the test cluster has them, empty."""
    return sorted({name for recipe in _recipes(site) for name in recipe.load})


def _recipes(site: Site) -> list[Modules]:
    recipes = (site.modules, site.container.modules if site.container else None)
    return [recipe for recipe in recipes if recipe is not None]


def host_name(site: Site) -> str:
    """The name of the login host inside."""
    return f"{site.name}-login"


def slurm_conf(site: Site, layout: Layout, shape: Shape) -> str:
    """``slurm.conf``."""
    host = host_name(site)
    lines = [
        f"ClusterName={site.scheduler.cluster_name}",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={layout.port + 2}",
        # Programs of jobs listen at 10000 + id % 10000, and all clusters here are one machine: far from each other's
        # jobs, and from the daemons' own ports.
        f"FirstJobId={(layout.port + 5000) % 10000 + 1}",
        "SlurmUser=slurm",
        "AuthType=auth/munge",
        "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
        "SlurmctldPidFile=/run/cluster/slurmctld.pid",
        "SlurmctldLogFile=/var/log/cluster/slurmctld.log",
        "StateSaveLocation=/var/spool/slurmctld",
        "SlurmdPidFile=/run/cluster/%n.pid",
        "SlurmdLogFile=/var/log/cluster/slurmd-%n.log",
        "SlurmdSpoolDir=/var/spool/slurmd/%n",
        "SlurmdParameters=config_overrides",
        "ProctrackType=proctrack/linuxproc",
        f"TaskPlugin={'task/cgroup' if layout.confined else 'task/none'}",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=5",
        "MpiDefault=none",
        "PropagateResourceLimits=NONE",
        "ReturnToService=2",
        "SlurmdTimeout=60",
        "SlurmctldTimeout=30",
        "KillWait=5",
        # Short, so that tests see jobs leave squeue and live on in sacct alone, as they do on the sites after minutes.
        "MinJobAge=10",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=5",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        # Called as `MailProg -s SUBJECT USER`; writes down what would be sent.
        "MailProg=/usr/local/sbin/entrypoint",
        # Declared nodes are powered-down ones of a cloud, which Slurm counts, does not ping and never powers up here.
        "SuspendProgram=/bin/true",
        "ResumeProgram=/bin/true",
        "SuspendTime=INFINITE",
        "PrivateData=cloud",
        "GresTypes=gpu",
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={layout.port + 1}",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageEnforce=associations,limits,qos",
        # Refuse at once what can never run, as the sites do; else such jobs wait for ever.
        "EnforcePartLimits=ALL",
    ]
    if site.scheduler.max_array_size is not None:
        lines.append(f"MaxArraySize={site.scheduler.max_array_size}")
    lines += _node_lines(site, layout, shape)
    lines += [_partition_line(name, partition, site, shape) for name, partition in site.partitions.items()]
    return "\n".join(lines) + "\n"


def _node_lines(site: Site, layout: Layout, shape: Shape) -> list[str]:
    lines = []
    declared = set(shape.declared)
    for kind, node in site.nodes.items():
        names = [host for host, own in shape.types.items() if own == kind]
        hardware = _hardware(node)
        real = [host for host in names if host in shape.daemons]
        rest = [host for host in names if host not in shape.daemons]
        if real:
            first = layout.port + 3
            ports = f"{first}" if len(real) == 1 else f"[{first}-{first + len(real) - 1}]"
            # The order of names fixes the ports: compress keeps it.
            where = f"NodeAddr=127.0.0.1 NodeHostname={host_name(site)} Port={ports}"
            lines.append(f"NodeName={compress(real)} {where} {hardware} State=UNKNOWN Weight=1")
        for state in ("CLOUD", "DOWN"):  # the rest of a reservation is down, so that jobs with access to it wait
            hosts = [host for host in rest if (host in declared) == (state == "CLOUD")]
            if hosts:
                lines.append(f"NodeName={compress(hosts)} NodeAddr=127.0.0.1 {hardware} State={state} Weight=100")
    return lines


def _hardware(node: NodeType) -> str:
    words = [
        f"Sockets={node.sockets}",
        f"CoresPerSocket={node.cpus // node.sockets}",
        "ThreadsPerCore=1",
        f"RealMemory={node.memory.mib}",
    ]
    if node.gpus:
        words.append(f"Gres={_gres(node)}")
    reserved = reserved_cpus(node)
    if reserved:
        words.append("CpuSpecList=" + ",".join(map(str, reserved)))
    return " ".join(words)


def _gres(node: NodeType) -> str:
    return ":".join(["gpu", *([node.gpu_type] if node.gpu_type else []), str(node.gpus)])


def _partition_line(name: str, partition: Partition, site: Site, shape: Shape) -> str:
    default = site.qos.get(site.scheduler.default_qos or "")
    own = site.qos.get(f"part_{name}")
    words = [f"PartitionName={name}", f"Nodes={compress(shape.partitions[name])}"]
    words.append(f"Default={'YES' if name == site.scheduler.default_partition else 'NO'}")
    # A limit that a QOS carries is left to it: users then get the refusal they know from the site.
    if not (default and _no_wider(default.max_time, partition.max_time)):
        words.append(f"MaxTime={_time(partition.max_time)}")
    if partition.default_time is not None:
        words.append(f"DefaultTime={_time(partition.default_time)}")
    by_qos = own is not None and own.max_nodes is not None
    if partition.max_nodes is not None and not by_qos:
        words.append(f"MaxNodes={partition.max_nodes}")
    words.append("OverSubscribe=" + ("EXCLUSIVE" if partition.whole_node else "NO"))
    if not partition.whole_node:
        node = site.nodes[partition.node]
        words.append(f"DefMemPerCPU={node.memory.mib // node.cpus}")
    qos = qos_of_partition(name, partition, site)
    if qos:
        words.append(f"QOS={qos}")
    if partition.by_appointment:
        words.append("AllowGroups=root")
    return " ".join([*words, "State=UP"])


def _no_wider(limit: Walltime | None, other: Walltime) -> bool:
    return limit is not None and limit <= other


def _time(value: Walltime) -> str:
    return str(value)


def gres_conf(site: Site, shape: Shape) -> str:
    """``gres.conf``: character devices that stand for the GPUs."""
    lines = ["AutoDetect=off"]
    for kind, node in site.nodes.items():
        hosts = [host for host in shape.daemons if shape.types[host] == kind]
        if node.gpus and hosts:
            model = f" Type={node.gpu_type}" if node.gpu_type else ""
            lines.append(f"NodeName={compress(hosts)} Name=gpu{model} File=/dev/fakegpu[0-{node.gpus - 1}]")
    return "\n".join(lines) + "\n"


def cgroup_conf(layout: Layout) -> str:
    """``cgroup.conf``; 22.05 wants to load a plugin for cgroups also where nothing uses them."""
    lines = [f"CgroupPlugin={'cgroup/v1' if layout.native else 'disabled'}"]
    if layout.confined:
        lines.append("ConstrainRAMSpace=yes")
    return "\n".join(lines) + "\n"


def _devices(site: Site) -> list[str]:
    node = site.nodes[main_node_type(site)]
    return [f"/dev/fakegpu{number}" for number in range(node.gpus)]


def slurmdbd_conf(layout: Layout) -> str:
    """``slurmdbd.conf``; the database knows the slurm user by its socket, so there is no password."""
    lines = [
        "AuthType=auth/munge",
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={layout.port + 1}",
        "SlurmUser=slurm",
        "PidFile=/run/cluster/slurmdbd.pid",
        "LogFile=/var/log/cluster/slurmdbd.log",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=slurm",
        "StorageLoc=slurm_acct_db",
        "CommunicationParameters=NoInAddrAny",
    ]
    return "\n".join(lines) + "\n"


def accounting(site: Site) -> str:
    """Commands for sacctmgr: QOS, the account, its user. The stranger stays without an association."""
    account = account_of(site)
    lines = [f"add cluster {site.scheduler.cluster_name}"]
    qos = dict(site.qos)
    for name, partition in site.partitions.items():
        key = qos_of_partition(name, partition, site)
        if key:
            lines.append(_qos_line(key, qos.pop(key, None), partition))
    lines += [_qos_line(key, limits, None) for key, limits in qos.items()]
    usable = [key for key in qos if not key.startswith("part_")] or ["normal"]
    default = site.scheduler.default_qos or usable[0]
    grants = f"qos={','.join(usable)} defaultqos={default}"
    lines.append(f"add account {account} Description=test Organization=test")
    lines.append(f"modify account {account} set {grants}")
    lines.append(f"add user {USER} account={account}")
    return "\n".join(lines) + "\n"


def _qos_line(name: str, qos: Qos | None, partition: Partition | None) -> str:
    """A partition's limits per user over those of the QOS of its name."""
    limits: dict[str, str] = {}
    running = submitted = None
    if qos is not None:
        running, submitted = qos.max_running, qos.max_submitted
        if qos.max_time is not None:
            limits["MaxWall"] = _time(qos.max_time)
        if qos.max_nodes is not None:
            limits["MaxTRESPerJob"] = f"node={qos.max_nodes}"
    if partition is not None:
        running, submitted = partition.max_running or running, partition.max_submitted or submitted
    if running is not None:
        limits["MaxJobsPerUser"] = str(running)
    if submitted is not None:
        limits["MaxSubmitJobsPerUser"] = str(submitted)
    values = " ".join(f"{key}={value}" for key, value in limits.items())
    # Slurm makes `normal` by itself.
    verb = f"modify qos {name} set" if name == "normal" else f"add qos {name}"
    return f"{verb} Flags=DenyOnLimit {values}".rstrip()


def admin(site: Site, shape: Shape) -> str:
    """Commands for the running controller: limits of GPUs, the site's standing reservations, and one for nobody.

    The database knows of GPUs when the controller has told it of them. The last reservation holds the nodes that are
    only declared, so that no job is ever given one.
    """
    limits = {name: partition.max_gpus for name, partition in site.partitions.items() if partition.max_gpus is not None}
    lines = [f"sacctmgr -i modify qos part_{name} set MaxTRESPerJob=gres/gpu={most}" for name, most in limits.items()]
    if shape.declared:
        lines.append(_reservation("declared", shape.declared, "Users=root", "Flags=MAINT,IGNORE_JOBS"))
    for name, reservation in site.reservations.items():
        whom = (f"PartitionName={reservation.partition}", f"Accounts={account_of(site)}", "Flags=IGNORE_JOBS")
        lines.append(_reservation(name, shape.reserved[name], *whom))
    return "".join(f"{line}\n" for line in lines)


def _reservation(name: str, hosts: Iterable[str], *more: str) -> str:
    words = [f"ReservationName={name}", f"Nodes={compress(hosts)}", "StartTime=now", "Duration=UNLIMITED", *more]
    return "scontrol create reservation " + shlex.join(words)


def users(site: Site) -> str:
    """``NAME UID HOME GROUP...``; only the user is in the project's group."""
    groups = {USER: (account_of(site),), STRANGER: ()}
    rows = [(name, str(_UIDS[name]), _home(site, name), *groups[name]) for name in groups]
    return _rows(rows)


def _home(site: Site, user: str) -> str:
    area = site.areas.get("home")
    return fill(area.path, site, user) if area else f"/home/{user}"


def folders(site: Site) -> str:
    """``MODE OWNER GROUP PATH`` of every project area, then of the user's work folder in one of them."""
    account = account_of(site)
    areas = [fill(area.path, site) for key, area in site.areas.items() if key != "home" and area.path.startswith("/")]
    rows = [("2770", "root", account, path) for path in areas]
    work = PurePosixPath(workdir_of(site))
    own = [path for path in (*reversed(work.parents), work) if any(path.is_relative_to(area) for area in areas)]
    rows += [("2770", USER, account, str(path)) for path in own if str(path) not in areas]
    return _rows(rows)


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(" ".join(row) + "\n" for row in rows)
