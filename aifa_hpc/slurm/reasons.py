"""What Slurm's reason codes mean, what a person can do about them, and whether waiting helps.

The codes are those of Slurm's page "Job Reason Codes" (slurm.schedmd.com/job_reason_codes.html, 25.11) and of the
free texts that squeue and sacct print in their place. Two thirds of them follow one grammar, who limits what for whom
(``QOSMaxNodePerUserLimit``), so they are read by it and not listed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

Hope: TypeAlias = Literal["waits", "person", "never", "unclear"]
"""``waits``: it starts by itself in time. ``person``: somebody must act first. ``never``: not as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One reason.

    Attributes:
        text: What it means, a sentence without a final stop.
        hope: Whether waiting helps.
        action: What to do; empty where there is nothing to do.
    """

    text: str
    hope: Hope = "waits"
    action: str = ""


_RELEASE = "`scontrol release ID` on the site lets it go"
_LIMITS = "`aifa sites doctor SITE` shows the limits as the site has them"
_SMALLER = "submit it anew with less"
_STAFF = "ask the site's support, or use another partition"

REASONS = {
    "AccountNotAllowed": Reason(
        text="its account may not use this partition",
        hope="never",
        action="submit it with another account or to another partition",
    ),
    "BadConstraints": Reason(
        text="no node has what it asks for: it will never start",
        hope="never",
        action="submit it anew with features, memory, cores and GPUs that a node of the partition has",
    ),
    "BeginTime": Reason(
        text="its begin time lies ahead: asked for, or set some minutes off when it was put back into the queue"
    ),
    "Cleaning": Reason(text="it was put back into the queue, and its last run is still being cleaned up"),
    "DeadLine": Reason(text="it can no longer end before its deadline", hope="never", action=_SMALLER),
    "Dependency": Reason(text="it waits for another job"),
    "DependencyNeverSatisfied": Reason(
        text="the job it waits for can no longer end as asked: this one will never start",
        hope="never",
        action="cancel it, look at the job it waits for, and submit both anew",
    ),
    "InvalidAccount": Reason(
        text="the account is not valid for this user or partition",
        hope="never",
        action="submit it with an account of yours: `aifa sites doctor SITE` lists them",
    ),
    "InvalidQOS": Reason(
        text="the QOS is not valid for this account",
        hope="never",
        action="submit it with a QOS of your account: `aifa sites doctor SITE` lists them",
    ),
    "JobArrayTaskLimit": Reason(text="the array's own limit of running tasks is reached"),
    "JobHeldAdmin": Reason(
        text="an administrator holds it", hope="person", action="ask the site's support why, and to release it"
    ),
    "JobHeldUser": Reason(text="it is held; release it with scontrol release", hope="person", action=_RELEASE),
    "JobHoldMaxRequeue": Reason(
        text="it was put back into the queue too often, so it is held",
        hope="person",
        action=f"look why it did not start; then {_RELEASE}",
    ),
    "JobLaunchFailure": Reason(
        text="its script could not be started: often a folder or log that the node cannot open",
        hope="never",
        action="use paths that the compute nodes have",
    ),
    "Licenses": Reason(text="it waits for a licence"),
    "MaxMemPerLimit": Reason(
        text="it asks for more memory for a core or a node than the partition gives",
        hope="never",
        action="submit it anew with less memory, or with more cores",
    ),
    "NodeDown": Reason(text="a node it needs is down", hope="unclear", action="leave `nodelist` out, or wait"),
    "NonZeroExitCode": Reason(text="its script ended with an error", hope="never"),
    "None": Reason(text="the scheduler has not looked at it yet"),
    "PartitionConfig": Reason(
        text="it breaks a rule of the partition", hope="never", action=f"{_LIMITS}; {_SMALLER}, or elsewhere"
    ),
    "PartitionDown": Reason(text="the partition is down: nothing starts there", hope="person", action=_STAFF),
    "PartitionInactive": Reason(text="the partition is inactive: nothing starts there", hope="person", action=_STAFF),
    "PartitionNodeLimit": Reason(
        text="it asks for more nodes than the partition gives",
        hope="never",
        action="submit it anew with fewer nodes; where its nodes are only down or drained, waiting helps",
    ),
    "PartitionTimeLimit": Reason(
        text="it asks for more time than the partition gives",
        hope="never",
        action="submit it anew with a shorter time, or as a chain",
    ),
    "Priority": Reason(text="jobs with a higher priority come first"),
    "Prolog": Reason(text="its nodes are being prepared"),
    "QOSNotAllowed": Reason(
        text="its QOS may not be used with this account or partition", hope="never", action="submit it with another QOS"
    ),
    "QOSUsageThreshold": Reason(
        text="your use is over the threshold of this QOS", hope="person", action="submit it with another QOS"
    ),
    "ReqNodeNotAvail": Reason(
        text="a node it needs is down, reserved or in maintenance",
        hope="unclear",
        action="where maintenance is ahead, a job that is short enough still fits in before it",
    ),
    "Reservation": Reason(text="it waits for its reservation"),
    "ReservationDeleted": Reason(
        text="its reservation is gone", hope="never", action="submit it anew without a reservation, or with another"
    ),
    "Resources": Reason(text="it is next, and waits for nodes to become free"),
    "SystemFailure": Reason(text="the site's own system failed", hope="person", action="ask the site's support"),
    "job requeued in held state": Reason(
        text="it was put back into the queue and is held; release it with scontrol release",
        hope="person",
        action=_RELEASE,
    ),
    "launch failed requeued held": Reason(
        text="its nodes failed to start it, so it is held; release it with scontrol release",
        hope="person",
        action=_RELEASE,
    ),
}

_LIMIT = re.compile(
    r"(?P<who>Assoc|QOS|)(?P<kind>Grp|Max|Min)"
    r"(?P<what>BB|Billing|CPU|Energy|GRES|License|Mem(?:ory)?|Node|SubmitJobs?|Jobs?|Wall(?:Duration)?|Unknown)"
    r"(?P<minutes>(?:Run)?Minutes)?(?P<per>Per(?:Job|Node|User|Account))?(?:NotSatisfied)?(?:Limit)?",
    re.ASCII | re.IGNORECASE,
)
_WHAT = {
    "bb": "burst buffer",
    "billing": "billing units",
    "cpu": "cores",
    "energy": "energy",
    "gres": "GPUs",
    "license": "licences",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "job": "running jobs",
    "jobs": "running jobs",
    "submitjob": "jobs in the queue",
    "submitjobs": "jobs in the queue",
    "wall": "time",
    "wallduration": "time",
    "unknown": "of some resource",
}


def reason_of(word: str) -> Reason | None:
    """What is known of a reason code; ``None`` for a code or text that is not known.

    ``(Resources)`` and ``ReqNodeNotAvail, UnavailableNodes:x`` are understood.
    """
    code = reason_code(word)
    if code in REASONS:
        return REASONS[code]
    match = _LIMIT.fullmatch(code)
    return None if match is None else _limit(match)


def is_limit(code: str) -> bool:
    """Whether a code says that a limit of an association or QOS is met."""
    return _LIMIT.fullmatch(code) is not None


def reason_code(word: str) -> str:
    """The code in what squeue printed."""
    text = word.strip()
    if text.startswith("(") and text.endswith(")"):  # squeue's own column %R
        text = text[1:-1]
    return text.split(",", 1)[0].strip()


@lru_cache(maxsize=256)  # ten thousand jobs wait for a handful of reasons
def explain_reason(word: str) -> str:
    """A reason as a sentence; what has none here is kept as Slurm said it."""
    reason = reason_of(word)
    if reason is not None:
        return reason.text
    text = word.strip()
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def _limit(match: re.Match[str]) -> Reason:
    who = {"assoc": "your project", "qos": "this QOS"}.get(match["who"].lower(), "this QOS")
    what, per = _WHAT[match["what"].lower()], (match["per"] or "").lower()
    kind, minutes = match["kind"].lower(), (match["minutes"] or "").lower()
    if kind == "min":
        return Reason(text=f"it asks for less {what} than {who} demands", hope="never", action="submit it with more")
    if kind == "grp" and minutes == "minutes":
        text = f"with this job, {_whose(who)} budget ({what}, counted in minutes) would be overspent"
        return Reason(text=text, hope="person", action="ask for a larger budget, or submit it anew with less time")
    if minutes == "runminutes":
        return Reason(text=f"running jobs of {who} already have as much time left ({what}) as they may have together")
    if kind == "grp":
        return Reason(text=f"jobs of {who} together already have as much as they may have: {what}")
    counted = what in {"running jobs", "jobs in the queue"}
    if per in {"peruser", "peraccount"} or counted:
        whom = "your account already has" if per == "peraccount" else "you already have"
        return Reason(text=f"{whom} as much as {who} allows: {what}")
    of = " on a node" if per == "pernode" else f" ({what}, counted in minutes)" if minutes else ""
    more = "more time" if minutes else f"more {what}"
    return Reason(text=f"it asks for {more}{of} than {who} allows", hope="never", action=f"{_SMALLER}; {_LIMITS}")


def _whose(who: str) -> str:
    return "this QOS's" if who == "this QOS" else f"{who}'s"
