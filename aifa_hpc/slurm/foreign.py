"""What Slurm knows of jobs that were submitted by other means, so that they can be followed: in one remote command.

The controller tells most, where a job writes its output included, but forgets a job some minutes after its end;
accounting keeps it, and tells less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aifa_hpc.command import Flow, shell
from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.shell import ASK, CLEAN
from aifa_hpc.slurm.states import base_state
from aifa_hpc.units import parse_walltime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_COLUMNS = ("JobID", "User", "State", "Partition", "Account", "NNodes", "Timelimit", "Submit", "JobName")

_FIND = (
    CLEAN
    + ASK
    + """
columns=$1 ids=$2
shift 2
for id; do ask detail scontrol --oneliner show job "$id"; done
ask accounting sacct -X --allusers --parsable2 --noheader --starttime=now-365days --jobs="$ids" --format="$columns"
echo "aifa: done $(id -un)"
"""
)

_FIELD = re.compile(r"(?:^|\s)(?P<key>[A-Z][\w:/]*)=(?P<value>.*?)(?=\s+[A-Z][\w:/]*=|\s*$)")
_USER = re.compile(r"(?P<name>[^()]*)(?:\(\d+\))?")
_SPAN = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)
_ARRAY = re.compile(r"(?P<base>\d+)(?:_(?:(?P<task>\d+)|\[(?P<tasks>[^\]%]*)))?", re.ASCII)
_SECTION = re.compile(r"^aifa: section (\w+)\s*$(.*?)^aifa: end \d+\s*$", re.MULTILINE | re.DOTALL | re.ASCII)
_DONE = re.compile(r"^aifa: done (?P<user>\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreign:
    """A job as Slurm knows it.

    Attributes:
        id: Base id.
        user: Whose it is.
        name: Its name.
        state: Its base state; of an array the first that is told.
        tasks: Indices of an array that are known, ascending; empty when it is none.
        partition: Where it runs.
        account: Who pays.
        nodes: Nodes it asks for, where known.
        limit_seconds: Walltime it asks for, where known.
        submitted: When it was submitted, on the site's clock, as Slurm prints it.
        log: Where it writes its output; for an array with ``%a`` for the index; empty when nobody knows.
    """

    id: str
    user: str
    name: str
    state: str
    tasks: tuple[int, ...] = ()
    partition: str = ""
    account: str = ""
    nodes: int | None = None
    limit_seconds: int | None = None
    submitted: str = ""
    log: str = ""


def find_jobs(ids: Sequence[str]) -> Flow[tuple[str, dict[str, Foreign]]]:
    """Who we are there, and what is known of the jobs, by base id; jobs that nobody knows are not in it.

    Raises:
        SiteError: The answer is not whole.
    """
    completed = yield shell(_FIND, ",".join(_COLUMNS), ",".join(ids), *ids, timeout=120.0, idempotent=True)
    done = _DONE.search(completed.out)
    if done is None:
        raise completed.refusal("the site's answer about these jobs is not whole")
    found: dict[str, Foreign] = {}
    for name, body in _SECTION.findall(completed.out):
        records = _of_controller(body) if name == "detail" else _of_accounting(body)
        for base, jobs in _by_id(records).items():
            found.setdefault(base, _together(jobs))  # the controller comes first, and knows more
    return done["user"], found


def _by_id(records: Iterable[Foreign]) -> dict[str, list[Foreign]]:
    found: dict[str, list[Foreign]] = {}
    for record in records:
        found.setdefault(record.id, []).append(record)
    return found


def _together(records: Sequence[Foreign]) -> Foreign:
    tasks = sorted({task for record in records for task in record.tasks})
    return replace(records[0], tasks=tuple(tasks))


def _of_controller(text: str) -> Iterator[Foreign]:
    for line in text.splitlines():
        fields = {match["key"]: match["value"] for match in _FIELD.finditer(line)}
        if not fields.get("JobId", "").isdigit():
            continue
        base, task = fields.get("ArrayJobId", fields["JobId"]), fields.get("ArrayTaskId", "")
        log = fields.get("StdOut", "")
        if task.isdigit() and "ArrayJobId" in fields:  # the path of one task, in Slurm's usual form ID_INDEX
            log = log.replace(f"{base}_{task}", f"{base}_%a")
        user = _USER.match(fields.get("UserId", ""))
        nodes = fields.get("NumNodes", "").partition("-")[0]
        yield Foreign(
            id=base,
            user=user["name"] if user else "",
            name=fields.get("JobName", ""),
            state=base_state(fields.get("JobState", "")),
            tasks=_indices(task),
            partition=fields.get("Partition", ""),
            account=fields.get("Account", "") if fields.get("Account") != "(null)" else "",
            nodes=int(nodes) if nodes.isdigit() else None,
            limit_seconds=_seconds(fields.get("TimeLimit", "")),
            submitted=fields.get("SubmitTime", ""),
            log=log if log.startswith("/") and log != "/dev/null" else "",
        )


def _of_accounting(text: str) -> Iterator[Foreign]:
    for line in text.splitlines():
        fields = line.strip().split("|", len(_COLUMNS) - 1)
        job = _ARRAY.match(fields[0])
        if job is None or len(fields) != len(_COLUMNS):
            continue
        _, user, state, partition, account, nodes, limit, submitted, name = fields
        yield Foreign(
            id=job["base"],
            user=user,
            name=name,
            state=base_state(state),
            tasks=_indices(job["task"] or job["tasks"] or ""),
            partition=partition,
            account=account,
            nodes=int(nodes) if nodes.isdigit() else None,
            limit_seconds=_seconds(limit),
            submitted=submitted,
        )


def _indices(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for word in text.partition("%")[0].split(","):
        if span := _SPAN.fullmatch(word.strip()):
            found += range(int(span[1]), int(span[2] or span[1]) + 1, int(span[3] or 1))
    return tuple(found)


def _seconds(text: str) -> int | None:
    try:
        return parse_walltime(text).seconds
    except ParseError:
        return None  # UNLIMITED, Partition_Limit
