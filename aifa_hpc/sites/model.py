"""A site as a value: every fact that rendering, checking, billing and reaching it need.

The fields mirror the TOML of ``sites/profiles``. Facts carry their ``source`` and the day they were checked; a value
that public sources dispute is ``status = "conflict"``, holds the more careful reading, and says so in ``note``.
Only :class:`Access` is the user's own and may be overridden in ``sites.toml``.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from aifa_hpc.sites.facts import Count, Fact, Status, Table
from aifa_hpc.sites.launching import (
    KINDS,
    ContainerRuntime,
    Image,
    LaunchKind,
    LaunchShape,
    Modules,
    Variable,
)
from aifa_hpc.units import ByteSize, Memory, Walltime  # noqa: TC001 - msgspec reads annotations at run time

__all__ = [
    "KINDS",
    "Access",
    "Area",
    "BillingRule",
    "ContainerRuntime",
    "Count",
    "Fact",
    "HostKey",
    "Image",
    "LaunchKind",
    "LaunchShape",
    "Login",
    "Modules",
    "NodeType",
    "ObjectStore",
    "Partition",
    "Port",
    "Qos",
    "Reservation",
    "Scheduler",
    "Site",
    "Status",
    "Table",
    "TransportKind",
    "Variable",
]

TransportKind: TypeAlias = Literal["openssh", "fabric", "local", "embedded"]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Units: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1e12)]


class Access(Table, frozen=True, kw_only=True):
    """How this user reaches the site; the keys of ``[sites.NAME]`` in ``sites.toml``.

    Attributes:
        host: The only login host to use; empty means the profile's, of which the first is preferred.
        user: Remote user name; empty leaves it to ``ssh_config`` or the local name.
        port: TCP port of sshd; 0 leaves it to ``ssh_config``.
        ssh_config: OpenSSH configuration file used instead of ``~/.ssh/config``.
        identity_file: Private key.
        host_key_alias: Name under which known_hosts has the keys of all login hosts; empty is each host's own.
        account: Project that jobs are billed to when a job names none.
        transport: How commands travel.
        mfa: Whether the site asks this user for a second factor, where that differs from the profile.
        workdir: Absolute folder on the site for job folders and receipts; may hold ``{account}`` and ``{user}``.
        default_class: Class of the data that goes there, where a copy states none.
        budget: For each account, what it was granted, by unit (``GPU-h``, ``core-h``); reports compare it with jobs.
    """

    host: str = ""
    user: str = ""
    port: Port = 0
    ssh_config: str = ""
    identity_file: str = ""
    host_key_alias: str = ""
    account: str = ""
    transport: TransportKind = "openssh"
    mfa: bool | None = None
    workdir: str = ""
    default_class: Literal["", "open", "internal"] = ""
    budget: dict[str, dict[str, Units]] = msgspec.field(default_factory=dict)


class Scheduler(Fact, frozen=True, kw_only=True):
    """The site's Slurm.

    Attributes:
        cluster_name: ``ClusterName`` of slurm.conf.
        version: Last version seen, ``""`` when not public.
        account_required: A job without ``--account`` is refused.
        account_pattern: Regular expression of account names; empty accepts all.
        account_example: A name of that form, for error messages.
        default_partition: Partition a job gets when it names none; ``None`` when there is none.
        default_qos: QOS that limits a plain job, a key of ``Site.qos``.
        max_array_size: ``MaxArraySize``: one more than the highest array index; ``None`` when not known.
        mail: ``--mail-*`` works.
        poll_seconds: Shortest polite interval between two questions.
    """

    cluster_name: str
    version: str = ""
    account_required: bool = True
    account_pattern: str = ""
    account_example: str = ""
    default_partition: str | None = None
    default_qos: str | None = None
    max_array_size: Count | None = None
    mail: bool = False
    poll_seconds: float = 30.0


class HostKey(Table, frozen=True, kw_only=True):
    """A published host key: OpenSSH key type and ``SHA256:`` fingerprint."""

    type: str
    fingerprint: str


class Login(Fact, frozen=True, kw_only=True):
    """The machines people log in to.

    Attributes:
        hosts: Names, the preferred first.
        host_keys: Published fingerprints; empty when none are public.
        mfa: A second factor is asked for, so a human opens the connection (``aifa login``).
        mfa_prompt: How it asks.
        inet_only: Only IPv4 answers.
        python: ``python3`` found on the login nodes.
    """

    hosts: tuple[str, ...] = ()
    host_keys: tuple[HostKey, ...] = ()
    mfa: bool = False
    mfa_prompt: str = ""
    inet_only: bool = False
    python: str = ""


class NodeType(Fact, frozen=True, kw_only=True):
    """One kind of compute node, as Slurm counts it.

    Attributes:
        hosts: Slurm host list of the site's naming scheme, at least four names long.
        arch: ``x86_64`` or ``aarch64``.
        cpus: ``CPUs`` of the node.
        usable_cpus: Cores a job can really use (some are reserved for the system).
        sockets: CPU sockets.
        memory: What a job can ask for on the whole node.
        gpus: Schedulable GPUs (a GCD counts as one on MI250X).
        gpu_type: Type in the gres name (``gpu:TYPE:N``).
        gpu_model: What a person calls it.
        gpu_cpus: For each GPU in the order of local ranks, the cores beside it, as a CPU list (``49-55``).
    """

    hosts: str
    arch: Literal["x86_64", "aarch64"]
    cpus: Count
    usable_cpus: Count
    memory: Memory
    sockets: Count = 1
    gpus: Count = 0
    gpu_type: str = ""
    gpu_model: str = ""
    gpu_cpus: tuple[str, ...] = ()


class Partition(Fact, frozen=True, kw_only=True):
    """A partition and its limits.

    Attributes:
        node: Key of ``Site.nodes``: what most of its nodes are, and what a plain job gets.
        more_nodes: Keys of the other node types in it, such as ones with more memory, which jobs get by asking for it.
        nodes: Nodes in it.
        whole_node: Jobs get and pay for whole nodes.
        max_time: Longest walltime.
        default_time: Walltime of a job that asks for none; ``None`` when the site demands one.
        max_nodes: Most nodes of one job; ``None`` is the partition's size.
        max_gpus: Most GPUs of one job; ``None`` is all of its nodes'.
        max_running: Most running jobs of a user.
        max_submitted: Most jobs of a user, waiting or running; an array task counts as one.
        billing: Key of ``Site.billing``.
        by_appointment: Ordinary jobs cannot use it.
    """

    node: str
    more_nodes: tuple[str, ...] = ()
    nodes: Count
    whole_node: bool
    max_time: Walltime
    default_time: Walltime | None = None
    max_nodes: Count | None = None
    max_gpus: Count | None = None
    max_running: Count | None = None
    max_submitted: Count | None = None
    billing: str
    by_appointment: bool = False


class Qos(Fact, frozen=True, kw_only=True):
    """A quality of service: limits that follow the account or the partition, not the nodes.

    Attributes:
        partition: The partition it is attached to; jobs cannot ask for it. Empty for one that jobs can ask for.
        max_time: Longest walltime.
        max_nodes: Most nodes of one job.
        max_running: Most running jobs of a user.
        max_submitted: Most jobs of a user, waiting or running.
    """

    partition: str = ""
    max_time: Walltime | None = None
    max_nodes: Count | None = None
    max_running: Count | None = None
    max_submitted: Count | None = None


class Reservation(Fact, frozen=True, kw_only=True):
    """A standing reservation that users may name."""

    partition: str
    nodes: Count
    max_time: Walltime | None = None
    max_nodes: Count | None = None
    max_submitted: Count | None = None


class Area(Fact, frozen=True, kw_only=True):
    """A place for files.

    Attributes:
        path: Absolute; may hold ``{account}``, ``{project}`` and ``{user}``.
        compute: Compute nodes see it.
        purge_days: Age at which files may be deleted; ``None`` is never.
        backup: It is backed up.
        bytes: Usual quota.
        files: Usual inode quota.
        lustre_targets: Storage targets (OSTs) that a file on Lustre may be striped over; ``None`` for no Lustre.
        fast: Why data for training belongs here rather than in the site's other areas; empty where it does not.
    """

    path: str
    compute: bool = True
    purge_days: Count | None = None
    backup: bool = False
    bytes: ByteSize | None = None
    files: Count | None = None
    lustre_targets: Count | None = None
    fast: str = ""


class ObjectStore(Fact, frozen=True, kw_only=True):
    """An S3 service of the site and the limits in which it differs from others.

    Attributes:
        endpoint: URL of the service.
        path_style: Buckets are in the path, not in the host name.
        max_parts: Most parts of one multipart upload; ``None`` is S3's 10 000.
        max_put: Largest object in one PUT; ``None`` is S3's 5 GiB.
        bytes: Usual quota.
        objects_per_bucket: Most objects in one bucket; ``None`` when there is no limit.
    """

    endpoint: str
    path_style: bool = False
    max_parts: Count | None = None
    max_put: ByteSize | None = None
    bytes: ByteSize | None = None
    objects_per_bucket: Count | None = None


class BillingRule(Fact, frozen=True, kw_only=True):
    """What an hour costs: ``rate`` by nodes, or ``rate`` by the largest of the three shares.

    Attributes:
        unit: ``GPU-h`` or ``core-h``.
        rate: Units per hour of one node or of one share.
        per: ``node`` or ``share``.
        share_cpus: Cores in a share.
        share_memory: Memory in a share.
        share_gpus: Whether GPUs are counted as shares.
        min_shares: Fewest shares that are billed.
    """

    unit: str
    rate: float
    per: Literal["node", "share"]
    share_cpus: Count | None = None
    share_memory: Memory | None = None
    share_gpus: bool = False
    min_shares: Count = 1


class Site(Table, frozen=True, kw_only=True):
    """A machine and how to reach it.

    Attributes:
        name: What users call it.
        title: One line for tables.
        draft: Why nothing can be rendered for it yet; empty for a site that works.
        known: For a draft, the public statements, each with its source.
        access: The user's own settings over the profile's defaults.
    """

    name: str
    title: str
    draft: str = ""
    known: tuple[str, ...] = ()
    access: Access = Access()
    scheduler: Scheduler
    login: Login
    nodes: dict[str, NodeType] = msgspec.field(default_factory=dict)
    partitions: dict[str, Partition] = msgspec.field(default_factory=dict)
    qos: dict[str, Qos] = msgspec.field(default_factory=dict)
    reservations: dict[str, Reservation] = msgspec.field(default_factory=dict)
    areas: dict[str, Area] = msgspec.field(default_factory=dict)
    object_stores: dict[str, ObjectStore] = msgspec.field(default_factory=dict)
    modules: Modules | None = None
    container: ContainerRuntime | None = None
    images: dict[str, Image] = msgspec.field(default_factory=dict)
    billing: dict[str, BillingRule] = msgspec.field(default_factory=dict)
    variables: dict[str, Variable] = msgspec.field(default_factory=dict)
    launch: dict[str, LaunchShape] = msgspec.field(default_factory=dict)
    path_roots: tuple[str, ...] = ()
    memory_request: Literal["always", "never"] = "never"

    @property
    def mfa(self) -> bool:
        """Whether only a person can log in: as the user says, else as the profile says."""
        return self.login.mfa if self.access.mfa is None else self.access.mfa

    @property
    def host(self) -> str:
        """The login host commands go to while it answers."""
        return self.hosts[0]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The login hosts that commands may go to, the preferred first."""
        return (self.access.host,) if self.access.host else self.login.hosts or ("localhost",)

    def node_types(self, partition: str) -> tuple[NodeType, ...]:
        """The kinds of nodes in a partition, the usual one first."""
        found = self.partitions[partition]
        return tuple(self.nodes[name] for name in (found.node, *found.more_nodes))
