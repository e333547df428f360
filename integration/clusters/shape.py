"""Which nodes a test cluster has: a few that really run, the rest of the site's only declared.

Declared nodes are there so that Slurm judges a request by the size of the site's partitions, not of this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from integration.clusters.hosts import expand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.sites.model import NodeType, Partition, Site

REAL_NODES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The nodes of one test cluster.

    Attributes:
        real: Names of the nodes with a slurmd that ordinary jobs can use.
        reserved: For each reservation its nodes; the first ones have a slurmd.
        reserved_real: Those nodes of reservations that have a slurmd.
        types: Every declared name and its node type, the real ones first.
        partitions: For each partition the names of its nodes.
    """

    real: tuple[str, ...]
    reserved: dict[str, tuple[str, ...]]
    reserved_real: tuple[str, ...]
    types: dict[str, str]
    partitions: dict[str, tuple[str, ...]]

    @property
    def declared(self) -> tuple[str, ...]:
        """Nodes outside of reservations that do not run."""
        held = {*self.daemons, *(host for hosts in self.reserved.values() for host in hosts)}
        return tuple(host for host in self.types if host not in held)

    @property
    def daemons(self) -> tuple[str, ...]:
        """Nodes that run a slurmd."""
        return (*self.real, *self.reserved_real)


def main_node_type(site: Site) -> str:
    """The node type that gets the real nodes: the first one with GPUs, else the first one."""
    with_gpus = [name for name, node in site.nodes.items() if node.gpus]
    return (with_gpus or list(site.nodes))[0]


def shape_of(site: Site, *, declared: bool = True) -> Shape:
    """Lays out the nodes of a site's test cluster.

    Args:
        site: The site's profile.
        declared: Declare the nodes that do not run too; else partitions hold real nodes only.
    """
    pools = _pools(site)
    main = main_node_type(site)
    pool = pools[main]
    real = tuple(pool[:REAL_NODES])
    position = REAL_NODES
    reserved: dict[str, tuple[str, ...]] = {}
    reserved_real: list[str] = []
    for name, reservation in site.reservations.items():
        # As many run as one job may have there: a job must never be given a node that is only declared.
        running = min(reservation.nodes, reservation.max_nodes or REAL_NODES)
        count = reservation.nodes if declared else running
        reserved[name] = tuple(pool[position : position + count])
        reserved_real += reserved[name][:running]
        position += count
    held = {host for hosts in reserved.values() for host in hosts}
    partitions = {}
    for name, partition in site.partitions.items():
        kinds = (partition.node, *getattr(partition, "more_nodes", ()))
        own = [host for key, hosts in reserved.items() if site.reservations[key].partition == name for host in hosts]
        first = [*real, *own] if main in kinds else []
        rest = (host for host in _take_turns([pools[kind] for kind in kinds]) if host not in held and host not in real)
        count = max(partition.nodes - len(first), 0) if declared else 0
        partitions[name] = (*first, *islice(rest, count))
    used = {host for hosts in partitions.values() for host in hosts}
    by_name = {host: kind for kind, hosts in pools.items() for host in hosts if host in used}
    order = {host: index for index, host in enumerate((*real, *reserved_real))}
    types = dict(sorted(by_name.items(), key=lambda item: order.get(item[0], len(order))))
    return Shape(real=real, reserved=reserved, reserved_real=tuple(reserved_real), types=types, partitions=partitions)


def _pools(site: Site) -> dict[str, list[str]]:
    """Each node type's own names: no name twice, and enough of them for every partition."""
    lists = {kind: expand(node.hosts) for kind, node in site.nodes.items()}
    owner: dict[str, str] = {}
    # A type whose names are part of another type's list is the exception there, so shorter lists choose first.
    for kind in sorted(lists, key=lambda kind: len(lists[kind])):
        alike = [other for other in lists if lists[other] == lists[kind]]
        for host in lists[kind][alike.index(kind) :: len(alike)]:
            owner.setdefault(host, kind)
    pools = {kind: [host for host in hosts if owner.get(host) == kind] for kind, hosts in lists.items()}
    for kind, hosts in pools.items():
        most = max((partition.nodes for partition in site.partitions.values() if partition.node == kind), default=0)
        width = len(str(most))
        hosts += [f"{kind}-more-{number:0{width}}" for number in range(1, most - len(hosts) + 1)]
    return pools


def _take_turns(pools: list[list[str]]) -> Iterator[str]:
    """One name from each pool in turn, until all are empty."""
    iterators = [iter(pool) for pool in pools]
    while iterators:
        for iterator in list(iterators):
            host = next(iterator, None)
            if host is None:
                iterators.remove(iterator)
            else:
                yield host


def reserved_cpus(node: NodeType) -> tuple[int, ...]:
    """Cores that jobs cannot use: those beside no GPU, where the profile says which those are."""
    if node.usable_cpus >= node.cpus or not node.gpu_cpus:
        return ()
    usable = {cpu for text in node.gpu_cpus for cpu in _cpus(text)}
    return tuple(cpu for cpu in range(node.cpus) if cpu not in usable)


def _cpus(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def qos_of_partition(name: str, partition: Partition, site: Site) -> str:
    """The QOS that carries the limits of a partition that Slurm has no other place for, empty when it has none."""
    key = f"part_{name}"
    limited = any(limit is not None for limit in (partition.max_submitted, partition.max_running, partition.max_gpus))
    return key if limited or key in site.qos else ""
