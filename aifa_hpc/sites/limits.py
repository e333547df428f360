"""Rows of a comparison that are about limits: partitions, nodes, QOS and reservations.

A limit may stand in a partition, in the partition's QOS, in an association for that partition, or in the QOS of the
account (slurm.conf(5), sacctmgr(1)); the smallest that is told is the one that holds.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.sites.told import NOTHING, Row, Told, Verdict, least, least_time, number_of, row_of, time_of, tres_of
from aifa_hpc.units import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aifa_hpc.sites.model import NodeType, Partition

_MOVES = 0.05  # nodes come and go: JUPITER's count moved by 5 % within 2026


def partitions(told: Told) -> Iterator[Row]:
    """Partitions and their limits, wherever Slurm keeps them."""
    live = told.section("partition")
    if live is None:
        yield Row(path=("partitions",), profile="-", site="-", status="not told", note=told.why("partition"))
        return
    for name, partition in told.site.partitions.items():
        if name in live:
            yield from _partition(told, name, partition, live[name])
        else:
            status: Verdict = "unverifiable" if partition.by_appointment else "drift"
            note = "hidden, or not there" if partition.by_appointment else "is no partition of the site any more"
            yield Row(path=("partitions", name), profile="there", site="missing", status=status, note=note)
    for name in live:
        if name not in told.site.partitions:
            yield Row(path=("partitions", name), profile="-", site="there", status="notice", note="not in the profile")


def _partition(told: Told, name: str, partition: Partition, live: Mapping[str, str]) -> Iterator[Row]:
    qos = (told.section("qos") or {}).get(live.get("QoS", ""), {})
    own = [row for row in told.associations if row["Partition"] == name]
    why = told.why("qos")

    def row(field: str, profile: object, site: object, note: str = "", *, open_: bool = False) -> Row:
        return row_of(("partitions", name, field), profile, site, note=note, open_=open_)

    # A limit of the partition itself; one of its QOS may also be hidden where the QOS is not told.
    told_all = "MaxNodes" in live and not why and (live.get("QoS", "N/A") in NOTHING or bool(qos))

    state = live.get("State", "UP")
    if state != "UP":
        yield Row(path=("partitions", name, "state"), profile="UP", site=state, status="notice", note="for now")
    here = least_time(
        time_of(live.get("MaxTime")), time_of(qos.get("MaxWall")), *(time_of(one["MaxWall"]) for one in own)
    )
    limit = here if here == partition.max_time else least_time(here, time_of(told.account_qos.get("MaxWall")))
    yield row("max_time", partition.max_time, limit, why or ("" if limit == here else "by the account's QOS"))
    nodes = number_of(live.get("TotalNodes"))
    found = row("nodes", partition.nodes, nodes)
    if found.status == "drift" and nodes is not None and abs(nodes - partition.nodes) <= _MOVES * partition.nodes:
        found = replace(found, status="notice", note="counts move", value=None)
    yield found
    most = least(number_of(live.get("MaxNodes")), number_of(tres_of(qos.get("MaxTRES", "")).get("node")))
    if partition.max_nodes is not None or (most is not None and (nodes is None or most < nodes)):
        yield row("max_nodes", partition.max_nodes, most, why, open_=told_all)
    for field, column, by_user in (
        ("max_running", "MaxJobs", "MaxJobsPU"),
        ("max_submitted", "MaxSubmit", "MaxSubmitPU"),
    ):
        limits = (number_of(qos.get(by_user)), *(number_of(one[column]) for one in own))
        profile, site = getattr(partition, field), least(*limits)
        if profile is not None or site is not None:
            yield row(field, profile, site, why, open_=told_all and told.section("association") is not None)
    usual = time_of(live.get("DefaultTime"))
    if usual is not None or partition.default_time is not None:
        yield row("default_time", partition.default_time, usual)
    whole = live.get("OverSubscribe", "").startswith("EXCLUSIVE")
    found = row("whole_node", partition.whole_node, whole)
    if partition.whole_node and not whole:
        found = replace(found, status="notice", note="Slurm does not say so; the site may see to it", value=None)
    yield found


def nodes(told: Told) -> Iterator[Row]:
    """The usual node of each partition."""
    lines = told.section("node")
    if lines is None:
        yield Row(path=("nodes",), profile="-", site="-", status="not told", note=told.why("node"))
        return
    done: set[str] = set()
    for name, partition in told.site.partitions.items():
        counts: dict[tuple[str, str, str], int] = {}
        for line in lines.values():
            if line["partition"] == name:
                kind = (line["cores"], line["memory"], line["gres"])
                counts[kind] = counts.get(kind, 0) + (number_of(line["nodes"]) or 0)
        if counts and partition.node not in done and not partition.by_appointment:
            done.add(partition.node)
            usual = max(counts, key=lambda kind: counts[kind])
            yield from _node(partition.node, told.site.nodes[partition.node], *usual)


def _node(name: str, node: NodeType, cores: str, memory: str, gres: str) -> Iterator[Row]:
    sockets, per_socket, *_ = (*re.findall(r"\d+", cores), "0", "0")
    size = number_of(memory.rstrip("+"))
    gpu = re.search(r"\bgpu:(?:(?P<type>[^:,(]+):)?(?P<count>\d+)", gres)
    yield row_of(("nodes", name, "cpus"), node.cpus, int(sockets) * int(per_socket) or None)
    yield row_of(("nodes", name, "memory"), node.memory, None if size is None else Memory(size * 2**20))
    yield row_of(("nodes", name, "gpus"), node.gpus, int(gpu["count"]) if gpu else 0)
    if gpu and gpu["type"]:
        yield row_of(("nodes", name, "gpu_type"), node.gpu_type, gpu["type"])


def qos(told: Told) -> Iterator[Row]:
    """QOS and their limits."""
    live = told.section("qos")
    if live is None:
        if told.site.qos:
            yield Row(path=("qos",), profile="-", site="-", status="not told", note=told.why("qos"))
        return
    for name, qos in told.site.qos.items():
        row = live.get(name)
        if row is None:
            yield Row(path=("qos", name), profile="there", site="missing", status="drift", note="is no QOS there")
            continue
        limits: dict[str, tuple[object, object]] = {
            "max_time": (qos.max_time, time_of(row["MaxWall"])),
            "max_nodes": (qos.max_nodes, number_of(tres_of(row["MaxTRES"]).get("node"))),
            "max_running": (qos.max_running, number_of(row["MaxJobsPU"])),
            "max_submitted": (qos.max_submitted, number_of(row["MaxSubmitPU"])),
        }
        for field, (profile, site) in limits.items():
            if profile is not None or site is not None:
                yield row_of(("qos", name, field), profile, site, open_=True)


def reservations(told: Told) -> Iterator[Row]:
    """Standing reservations."""
    live = told.section("reservation")
    for name, reservation in told.site.reservations.items():
        path = ("reservations", name)
        if live is None:
            yield Row(path=path, profile="there", site="-", status="not told", note=told.why("reservation"))
        elif name not in live:
            note = "not there now, or not yours to see"
            yield Row(path=path, profile="there", site="missing", status="notice", note=note)
        else:
            yield row_of((*path, "nodes"), reservation.nodes, number_of(live[name].get("NodeCnt")))
            where = live[name].get("PartitionName", "")
            if where not in NOTHING:
                yield row_of((*path, "partition"), reservation.partition, where)
