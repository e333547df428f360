"""What a site's limits say against a job: those it can never meet, and those it meets when others have ended.

Slurm's words for a refusal name several causes at once ("job submit limit, user's size and/or time limits"), so the
limits of partition, QOS and association are looked at one by one, as the site itself tells them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aifa_hpc.sites.told import NOTHING, number_of, time_of, tres_of
from aifa_hpc.slurm.inquiry import ASSOCIATION_COLUMNS, QOS_COLUMNS
from aifa_hpc.slurm.survey import parse_bars, parse_oneliners
from aifa_hpc.tracker.explanation import Finding
from aifa_hpc.units import Walltime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aifa_hpc.slurm.inquiry import Told

_SOURCE = "Slurm, Resource Limits"
_COUNTED = {"cpu": "cores", "node": "nodes", "gres/gpu": "GPUs", "billing": "billing units"}
_COUNT = re.compile(
    r"^ *(?P<count>\d+) (?P<state>\w+)\|(?P<partition>[^|]*)\|(?P<account>[^|]*)\|(?P<qos>[^|\n]*)$", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a job asks for, as far as it is known.

    Attributes:
        account: Project that is billed.
        partition: Where.
        qos: Quality of service; empty is the default one.
        nodes: Number of nodes.
        seconds: Walltime.
        tres: What Slurm counts, by its names: ``cpu``, ``node``, ``gres/gpu``.
    """

    account: str = ""
    partition: str = ""
    qos: str = ""
    nodes: int | None = None
    seconds: int | None = None
    tres: Mapping[str, int] = field(default_factory=dict)


def limits(told: Told, asked: Asked) -> Iterator[Finding]:
    """What partition, association and QOS say against a job."""
    associations = parse_bars(told.sections.get("association", ""), ASSOCIATION_COLUMNS)
    yield from _account(told, asked, associations)
    ours = [
        row for row in associations if row["Account"] == asked.account and row["Partition"] in {"", asked.partition}
    ]
    partition = parse_oneliners(told.sections.get("partition", ""), "PartitionName").get(asked.partition, {})
    yield from _partition(asked, partition)
    for row in ours:
        where = f"your association with {row['Account']}" + (f" in {row['Partition']}" if row["Partition"] else "")
        yield from _bounds(asked, row, where, _own(told, partition=row["Partition"], account=row["Account"]))
    qos = {row["Name"]: row for row in parse_bars(told.sections.get("qos", ""), QOS_COLUMNS)}
    default = next((row["DefaultQOS"] for row in ours if row["DefaultQOS"]), "")
    # Counts of a partition's QOS are those of all jobs in that partition, whatever QOS they have themselves.
    for name, own in (
        (asked.qos or default, _own(told, qos=asked.qos or default)),
        (partition.get("QoS", ""), _own(told, partition=asked.partition)),
    ):
        if name in qos:
            yield from _bounds(asked, qos[name], f"QOS {name}", own)


def _account(told: Told, asked: Asked, associations: list[dict[str, str]]) -> Iterator[Finding]:
    if "association" not in told.sections or not asked.account:
        return
    names = sorted({row["Account"] for row in associations})
    if asked.account not in names:
        yield _never(
            "account",
            f"you have no association with account {asked.account}",
            f"use one of yours ({', '.join(names) or 'none'}), or ask the project's leader; a project that has ended or"
            " is spent may lose its association",
            f"accounts: {', '.join(names) or 'none'}",
        )
    allowed = {name for row in associations if row["Account"] == asked.account for name in row["QOS"].split(",")}
    if asked.qos and asked.account in names and asked.qos not in allowed:
        text = f"account {asked.account} may not use QOS {asked.qos}"
        yield _never("qos", text, f"use one of {', '.join(sorted(allowed - {''}))}", f"QOS={','.join(sorted(allowed))}")


def _partition(asked: Asked, row: Mapping[str, str]) -> Iterator[Finding]:
    most, longest = number_of(row.get("MaxNodes")), time_of(row.get("MaxTime"))
    where = f"partition {asked.partition}"
    if most is not None and asked.nodes is not None and asked.nodes > most:
        text = f"it asks for {asked.nodes} nodes, and {where} gives {most}"
        yield _never("nodes", text, f"ask for {most} nodes at most", f"MaxNodes={most}", "scontrol")
    if longest is not None and asked.seconds is not None and asked.seconds > longest.seconds:
        yield _time(asked.seconds, longest, where, f"MaxTime={longest}", "scontrol")
    for key, value in (("AllowAccounts", asked.account), ("AllowQos", asked.qos)):
        names = row.get(key, "ALL")
        if value and names != "ALL" and value not in names.split(","):
            text = f"{where} is not open to {value}"
            yield _never("partition-closed", text, "use another partition", f"{key}={names}", "scontrol")


def _bounds(asked: Asked, row: Mapping[str, str], where: str, own: tuple[int, int] | None) -> Iterator[Finding]:
    longest = time_of(row.get("MaxWall"))
    if longest is not None and asked.seconds is not None and asked.seconds > longest.seconds:
        yield _time(asked.seconds, longest, where, f"MaxWall={row['MaxWall']}", "sacctmgr")
    for key in ("MaxTRES", "MaxTRESPU", "GrpTRES"):
        for name, text in tres_of(row.get(key, "")).items():
            most, wanted = number_of(text), asked.tres.get(name)
            if most is not None and wanted is not None and wanted > most and name in _COUNTED:
                said = f"it asks for {wanted} {_COUNTED[name]}, and {where} allows {most}"
                yield _never("size", said, f"ask for {most} {_COUNTED[name]} at most", f"{key}={name}={most}")
    for name, text in tres_of(row.get("GrpTRESMins", "")).items():
        if number_of(text) == 0:
            said = f"{where} has no budget: 0 minutes of {_COUNTED.get(name, name)}"
            action = "ask for a budget, or use another account"
            yield _never("budget", said, action, f"GrpTRESMins={name}=0")
    if own is None:
        return
    submitted, running = own
    most_submitted = number_of(row.get("MaxSubmit", row.get("MaxSubmitPU")))
    most_running = number_of(row.get("MaxJobs", row.get("MaxJobsPU")))
    if most_submitted is not None and submitted >= most_submitted:
        text = f"you have {submitted} jobs in the queue, and {where} allows {most_submitted}; array tasks count each"
        action = "submit it again when some have ended"
        yield _passing("limit-submitted", text, action, f"limit {most_submitted}, in the queue {submitted}")
    if most_running is not None and running >= most_running:
        text = f"{running} of your jobs run, and {where} allows {most_running} at the same time"
        yield _passing("limit-running", text, "", f"limit {most_running}, running {running}")


def _time(seconds: int, longest: Walltime, where: str, evidence: str, origin: str) -> Finding:
    text = f"it asks for {Walltime(seconds)}, and {where} allows {longest}"
    return _never("time", text, f"ask for {longest} at most, or submit a chain", evidence, origin)


def _never(name: str, text: str, action: str, evidence: str, origin: str = "sacctmgr") -> Finding:
    return Finding(
        name=f"limit-{name}",
        text=text,
        action=action,
        evidence=evidence,
        origin=origin,
        hope="never",
        source=_SOURCE,
    )


def _passing(name: str, text: str, action: str, evidence: str) -> Finding:
    return Finding(name=name, text=text, action=action, evidence=evidence, origin="sacctmgr and squeue", source=_SOURCE)


def _own(told: Told, *, partition: str = "", account: str = "", qos: str = "") -> tuple[int, int] | None:
    """The user's own jobs in the queue, and those of them that run; ``None`` where the site does not tell."""
    if "counts" not in told.sections or not (partition or account or qos):
        return None
    rows = [
        (int(match["count"]), match["state"])
        for match in _COUNT.finditer(told.sections["counts"])
        if (not partition or match["partition"] == partition)
        and (not account or match["account"] == account)
        and (not qos or match["qos"] == qos)
    ]
    return sum(count for count, _ in rows), sum(count for count, state in rows if state != "PENDING")


def asked_of(fields: Mapping[str, str], detail: Mapping[str, str]) -> Asked:
    """What a job in the queue asks for, by squeue's columns and scontrol's record."""
    tres = tres_of(detail.get("ReqTRES", detail.get("TRES", "")))  # TRES before Slurm 23.02
    time = time_of(fields["limit"])
    return Asked(
        account="" if fields["account"] in NOTHING else fields["account"],
        partition=fields["partition"],
        qos="" if fields["qos"] in NOTHING else fields["qos"],
        nodes=number_of(fields["nodes"].partition("-")[0]),
        seconds=None if time is None else time.seconds,
        tres={name: number for name, text in tres.items() if (number := number_of(text)) is not None},
    )
