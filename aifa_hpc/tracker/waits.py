"""Why a job waits: the reason Slurm gives, and what is behind it in the site's own words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aifa_hpc.sites.told import NOTHING
from aifa_hpc.slurm.inquiry import JOB_NAMES, STEP_COLUMNS
from aifa_hpc.slurm.reasons import is_limit, reason_code, reason_of
from aifa_hpc.slurm.survey import parse_bars, parse_oneliners
from aifa_hpc.tracker.ends import attempts
from aifa_hpc.tracker.explanation import Finding, Position
from aifa_hpc.tracker.limits import Asked, asked_of, limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aifa_hpc.slurm.inquiry import Told

_CODES = "Slurm, Job Reason Codes"
_DEPENDENCY = re.compile(r"(?P<kind>[a-z]+):(?P<job>\d+(?:_\d+|_\*)?)[^,?(]*\((?P<state>[a-z]+)\)", re.ASCII)
_SPENT = re.compile(r"\((\d+(?:\.\d+)?) ?%\)")

_REFUSALS = (
    (
        "violates accounting/QOS policy",
        "policy",
        "an account or a limit is against it; which one, Slurm does not say",
        "an ended or spent project gets the same words, on LUMI also one without storage hours: `lumi-allocations`",
    ),
    ("Invalid account", "account", "the account is not valid for this user or partition", "`aifa sites doctor SITE`"),
    ("Invalid qos", "qos", "the QOS is not valid for this account", "`aifa sites doctor SITE` lists yours"),
    ("[Ii]nvalid partition", "partition", "there is no such partition, or it is not yours to use", ""),
    ("time limit is invalid", "time", "it asks for more time than it may", "`aifa check` says how much"),
    (
        "node configuration is not available|Node count specification invalid|More processors requested",
        "size",
        "no node of the partition is like that, or there are not so many",
        "`aifa check` says what the partition has",
    ),
    ("job array (?:specification|index)", "array", "its array has an index or a form that is not allowed", ""),
)
"""Words of sbatch (slurm_errno.c), a name, what they mean, and what to do."""


def job_of(told: Told) -> dict[str, str] | None:
    """The job in the queue; of an array what waits of it."""
    rows = parse_bars(told.sections.get("job", ""), JOB_NAMES)
    return next((row for row in rows if row["state"] == "PENDING"), next(iter(rows), None))


def detail_of(told: Told) -> dict[str, str]:
    """What scontrol records of it."""
    return next(iter(parse_oneliners(told.sections.get("detail", ""), "JobId").values()), {})


def waiting(told: Told, job: Mapping[str, str], detail: Mapping[str, str]) -> Iterator[Finding]:
    """What keeps a job from running.

    Args:
        told: What the site told.
        job: squeue's columns.
        detail: scontrol's record.
    """
    yield _reason(job)
    yield from _dependencies(told, detail)
    yield from _partition_state(told, job["partition"], refuses={"DOWN", "INACTIVE"})
    yield from _nodes(told)
    yield from _reservation(told, job)
    yield from _maintenance(told, job)
    found = list(limits(told, asked_of(job, detail)))
    # That somebody is at a limit keeps this job back only where Slurm says that a limit does.
    blocked = is_limit(reason_code(job["reason"]))
    yield from (one for one in found if one.hope == "never" or blocked)
    yield from budget(told)
    yield from attempts(parse_bars(told.sections.get("attempts", ""), STEP_COLUMNS))


def refused(told: Told, words: str, asked: Asked) -> Iterator[Finding]:
    """Why sbatch did not take a job.

    Args:
        told: What the site told of its limits.
        words: What sbatch said.
        asked: What the job asked for.
    """
    found = [*_partition_state(told, asked.partition, refuses={"DRAIN", "INACTIVE"}), *limits(told, asked)]
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    # sbatch prints the code of the limit in a line before its own words, which name no cause.
    codes = [(code, line) for line in lines for code in re.findall(r"\w+", line) if is_limit(code)]
    yield from (_coded(code, line, "sbatch") for code, line in codes)
    match = next((one for one in _REFUSALS if re.search(one[0], words)), None)
    if match is None:
        text, evidence = "sbatch did not take it", "; ".join(lines)
        yield Finding(name="refused", text=text, evidence=evidence, origin="sbatch", weight="sign")
    elif match[1] != "policy" or not (codes or any(one.name != "limit-running" for one in found)):
        yield Finding(
            name=f"refused-{match[1]}",
            text=match[2],
            action=match[3],
            evidence=next(line for line in lines if re.search(match[0], line)),
            origin="sbatch",
            weight="sign",
            source="Slurm, slurm_errno.c",
        )
    yield from found
    yield from budget(told)


def _reason(job: Mapping[str, str]) -> Finding:
    evidence = f"{job['id']} {job['state']} ({job['reason']})"
    if reason_of(job["reason"]) is None:
        text = f"Slurm says: {job['reason']}"
        return Finding(name="reason", text=text, evidence=evidence, origin="squeue", hope="unclear")
    return _coded(job["reason"], evidence)


def _coded(word: str, evidence: str, origin: str = "squeue") -> Finding:
    reason = reason_of(word)
    assert reason is not None
    return Finding(
        name=f"reason-{reason_code(word)}",
        text=reason.text,
        action=reason.action,
        evidence=evidence,
        origin=origin,
        hope=reason.hope,
        source=_CODES,
    )


def _dependencies(told: Told, detail: Mapping[str, str]) -> Iterator[Finding]:
    rows = parse_bars(told.sections.get("depends", ""), ("JobID", "State", "ExitCode", "JobName"))
    known = {row["JobID"]: f"{row['State']} {row['ExitCode']} {row['JobName']}" for row in rows}
    for match in _DEPENDENCY.finditer(detail.get("Dependency", "")):
        state = known.get(match["job"].removesuffix("_*"), "")
        evidence = f"Dependency={match[0]}" + (f"; sacct: {match['job']} {state}" if state else "")
        failed = match["state"] == "failed"
        text = f"it waits for job {match['job']} ({match['kind']})"
        if state:
            text += f", which is {state.split(' ', 1)[0]}"
        yield Finding(
            name="dependency",
            text=f"{text}: that can no longer come true" if failed else text,
            action="cancel it, look why the other one ended so, and submit both anew" if failed else "",
            evidence=evidence,
            origin="scontrol",
            hope="never" if failed else "waits",
            source="sbatch(1) --dependency",
        )


def _partition_state(told: Told, names: str, *, refuses: set[str]) -> Iterator[Finding]:
    partitions = parse_oneliners(told.sections.get("partition", ""), "PartitionName")
    for name in names.split(","):
        state = partitions.get(name, {}).get("State", "UP")
        if state in refuses:
            text = f"partition {name} is {state}: " + (
                "it takes no jobs now" if "DRAIN" in refuses else "nothing starts there"
            )
            action = "wait for the site to open it (its status page says when), or use another partition"
            evidence = f"PartitionName={name} State={state}"
            yield Finding(
                name="partition-down", text=text, action=action, evidence=evidence, origin="scontrol", hope="person"
            )


def _nodes(told: Told) -> Iterator[Finding]:
    nodes = told.sections.get("node", "")
    counts = [line.strip().split("|") for line in nodes.splitlines() if line.count("|") == 1]
    usable = [state for _, state in counts if not re.match(r"down|drain|fail|maint|unknown", state)]
    if counts and not usable:
        shown = ", ".join(f"{count} {state}" for count, state in counts)
        text = "no node of the partition can be used now"
        yield Finding(name="no-nodes", text=text, evidence=shown, origin="sinfo", hope="person", weight="sign")


def _reservation(told: Told, job: Mapping[str, str]) -> Iterator[Finding]:
    name = job["reservation"]
    if name in NOTHING or "reservation" not in told.sections:
        return
    row = parse_oneliners(told.sections["reservation"], "ReservationName").get(name)
    if row is None:
        text = f"its reservation {name} has ended, or was never there"
        action = "submit it anew without a reservation, or with another"
        yield Finding(name="reservation-gone", text=text, action=action, evidence=name, origin="scontrol", hope="never")
        return
    state, start, end = row.get("State", ""), row.get("StartTime", ""), row.get("EndTime", "")
    evidence = f"ReservationName={name} StartTime={start} EndTime={end} State={state}"
    if state != "ACTIVE":
        text = f"its reservation {name} begins at {start}, on the site's clock"
        yield Finding(name="reservation-ahead", text=text, evidence=evidence, origin="scontrol")
    else:
        text = f"its reservation {name} is active until {end}, on the site's clock"
        yield Finding(name="reservation", text=text, evidence=evidence, origin="scontrol", weight="note")


def _maintenance(told: Told, job: Mapping[str, str]) -> Iterator[Finding]:
    if not job["reason"].startswith("ReqNodeNotAvail"):
        return
    for name, row in parse_oneliners(told.sections.get("reservation", ""), "ReservationName").items():
        if "MAINT" not in row.get("Flags", "").split(","):
            continue
        start, end = row.get("StartTime", ""), row.get("EndTime", "")
        evidence = f"ReservationName={name} StartTime={start} EndTime={end} Flags={row['Flags']}"
        text = f"maintenance {name} from {start} to {end}, on the site's clock"
        action = "a job that ends before it begins may still start"
        yield Finding(name="maintenance", text=text, action=action, evidence=evidence, origin="scontrol", weight="sign")


def budget(told: Told) -> Iterator[Finding]:
    """What the site's own program says of the project's budget."""
    text = told.sections.get("budget", "").strip()
    if not text:
        return
    shown = "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())[-400:]
    spent = any(float(share) >= 100.0 for share in _SPENT.findall(text))  # noqa: PLR2004 - per cent
    if spent:
        said, action = "a budget of the project is spent", "ask for more: jobs of it are refused or come last"
        yield Finding(
            name="budget-spent",
            text=said,
            action=action,
            evidence=shown,
            origin="the site's budget program",
            weight="sign",
            hope="person",
        )
    else:
        yield Finding(
            name="budget", text="budget of the project", evidence=shown, origin="the site's program", weight="note"
        )


def position_of(told: Told, job: Mapping[str, str]) -> Position | None:
    """The place in the queue; ``None`` for a held job, and where the site shows users their own jobs only."""
    numbers = re.search(r"^(\d+)\|(\d+)\|(\d+)\|(\d+)$", told.sections.get("position", ""), re.MULTILINE)
    private = re.search(r"PrivateData=(.*)", told.sections.get("private", ""))
    hidden = private is None or bool({"jobs", "all"} & {word.strip() for word in private[1].split(",")})
    if numbers is None or hidden or job["priority"] == "0":
        return None
    return Position(ahead=int(numbers[1]), of=int(numbers[2]), own_ahead=int(numbers[3]), partition=job["partition"])
