"""Why a job ended as it did: its state, exit status and attempts, the steps of accounting, and its logs."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from aifa_hpc.slurm.inquiry import STEP_COLUMNS
from aifa_hpc.slurm.parse import parse_sentinel
from aifa_hpc.slurm.states import COMPLETED, base_state
from aifa_hpc.slurm.survey import parse_bars
from aifa_hpc.tracker.explanation import Finding
from aifa_hpc.tracker.failures import read_log
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aifa_hpc.slurm.inquiry import Told
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.explanation import Weight
    from aifa_hpc.tracker.failures import Pattern

_SACCT = "sacct(1)"
_STATES: Mapping[str, tuple[str, str, str]] = {
    "BOOT_FAIL": ("node-failure", "a node of it could not be started", "submit it again"),
    "CANCELLED": ("cancelled", "it was cancelled", ""),
    "DEADLINE": ("deadline", "it could not end before its deadline", "submit it with a later one, or less time"),
    "NODE_FAIL": (
        "node-failure",
        "a node of it failed",
        "submit it again; if it was the same node as before, name it in `exclude`",
    ),
    "OUT_OF_MEMORY": (
        "host-memory",
        "it used more memory than it may",
        "ask for more memory on each node, or use less",
    ),
    "PREEMPTED": ("preempted", "a job with a higher priority took its place", "submit it again, with `requeue`"),
    "REVOKED": ("revoked", "another cluster of the federation ran it", ""),
    "TIMEOUT": (
        "time-limit",
        "it ran into its time limit",
        "ask for more time, write checkpoints and submit a chain ([chain] total), or have it told earlier (signal)",
    ),
}
_NEVER = (
    "dependency",
    "Slurm cancelled it: a job that it waited for did not end as asked",
    "look why that one ended as it did (`aifa explain`), and submit both anew",
)
_EXITS = {
    126: ("not-executable", "a program was found and could not be run", "look at its mode and at what it is built for"),
    127: ("program-missing", "a program was not found", "name it by its path, or load the module that has it"),
}
_SIGNALLED = 128  # a shell reports so what died by a signal: 128 + N
_PROLOG = (0, 54)
_NO_START = (0, 53)
_JUPITER = "reported by users of JUPITER, 2026 (oellm-autoexp, jupiter_autoexclude.yaml; pyNICAM-DC, PORT.md)"
_PREFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def ended(told: Told, status: Status, cluster: str, patterns: Sequence[Pattern]) -> Iterator[Finding]:
    """What explains the end of a job.

    Args:
        told: What the site told.
        status: As it is known.
        cluster: Slurm's name of the cluster.
        patterns: What lines of a log mean.
    """
    rows = parse_bars(told.sections.get("steps", ""), STEP_COLUMNS)
    jobs = [row for row in rows if "." not in row["JobID"]]
    if status.state != COMPLETED:
        yield from _state(status, jobs)
        yield from _exit(told, status)
        yield from _steps(rows)
        for path, lines in told.logs.items():
            yield from read_log(path, lines, cluster, patterns)
        if not told.logs and "steps" in told.sections and jobs and jobs[-1]["Start"] not in {"", "Unknown", "None"}:
            text = "it left no log: its script never began, or its folder is not there on the node"
            yield Finding(name="no-log", text=text, origin="the site", weight="sign")
    yield from attempts(jobs)
    yield from _memory(rows, status)


def _state(status: Status, jobs: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    evidence, origin = status.state, status.proof or "the store"
    if jobs:
        last = jobs[-1]
        evidence, origin = f"{last['JobID']} {last['State']} {last['ExitCode']} after {last['Elapsed']}", "sacct"
        if base_state(last["State"]) == "TIMEOUT":
            evidence += f" of {last['Timelimit']}"
    if status.state in _STATES:
        name, text, action = _STATES[status.state]
        source = _SACCT
        by = re.search(r"CANCELLED by (\d+)", evidence)
        if by:
            text += f" by the user with number {by[1]}"
        elif status.state == "CANCELLED" and jobs and jobs[-1]["Reason"].startswith("Dependency"):
            name, text, action = _NEVER
            source = "slurm.conf(5) DependencyParameters, kill_invalid_depend"
        yield Finding(name=name, text=text, action=action, evidence=evidence, origin=origin, source=source)
    elif status.reason:
        yield Finding(name="state", text=status.reason, evidence=evidence, origin=origin, weight="note")


def _exit(told: Told, status: Status) -> Iterator[Finding]:
    if status.exit is None or status.exit.ok:
        return
    code, number = status.exit.code, status.exit.signal
    evidence, origin = f"exit {status.exit}", status.proof or "the store"
    sentinel = parse_sentinel(told.sections.get("sentinel", ""))
    if sentinel is not None and sentinel.code == code + _SIGNALLED:
        # sacct takes 128 off what a shell reports of a program that a signal ended; the script's own record does not.
        code, evidence, origin = sentinel.code, f"exit {sentinel.code}", "the script's own record"
    if (code, number) == _NO_START:
        text = "Slurm could not start its script, or not open its log there"
        action = "use a folder that compute nodes have; on JUPITER that is below /e, never below /p"
        yield Finding(
            name="no-start", text=text, action=action, evidence=evidence, origin=origin, weight="sign", source=_JUPITER
        )
    elif code in _EXITS:
        name, text, action = _EXITS[code]
        source = "POSIX, Shell Command Language, Exit Status"
        yield Finding(
            name=name, text=text, action=action, evidence=evidence, origin=origin, weight="sign", source=source
        )
    elif name := _signal_name(number or (code - _SIGNALLED if code > _SIGNALLED else 0)):
        text = f"a process of it was ended by {name}"
        action = "its own log says why; SIGKILL without a word is most often the kernel, for memory"
        action = action if name == "SIGKILL" else ""
        yield Finding(
            name="signal", text=text, action=action, evidence=evidence, origin=origin, weight="sign", source="signal(7)"
        )
    else:
        text = f"its script ended with exit code {code}, which the program chose"
        action = "`aifa logs ID` shows what it printed"
        yield Finding(name="exit-code", text=text, action=action, evidence=evidence, origin=origin, weight="note")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _steps(rows: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    for row in rows:
        _, dot, step = row["JobID"].partition(".")
        state = base_state(row["State"])
        if not dot or step == "extern" or state in {COMPLETED, "RUNNING", "CANCELLED"}:
            continue
        if step == "batch" and state != "OUT_OF_MEMORY":
            continue  # its end is the job's
        text = f"step {step} ({row['JobName']}) ended as {state} on {row['NodeList']}"
        evidence = f"{row['JobID']} {row['State']} {row['ExitCode']} after {row['Elapsed']}"
        weight: Weight = "cause" if state == "OUT_OF_MEMORY" else "note"
        name, _, action = _STATES[state] if state == "OUT_OF_MEMORY" else ("step", "", "")
        yield Finding(
            name=name, text=text, evidence=evidence, origin="sacct", weight=weight, action=action, source=_SACCT
        )


def attempts(jobs: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """What the attempts of one job tell, by accounting's records of it in their order."""
    if len({row["Submit"] for row in jobs}) < 2:  # noqa: PLR2004 - one attempt is the rule
        return
    lines = "; ".join(f"{row['State']} {row['ExitCode']} after {row['Elapsed']} on {row['NodeList']}" for row in jobs)
    failed = [row for row in jobs if row["ExitCode"] == f"{_PROLOG[0]}:{_PROLOG[1]}"]
    if len(failed) > 1:
        nodes = ", ".join(dict.fromkeys(row["NodeList"] for row in failed))
        text = f"{len(failed)} attempts ended within seconds with 0:54: the prolog failed on a node, and put it back"
        action = f"find the node that the attempts share ({nodes}) and name it in `exclude`; tell the site"
        yield Finding(
            name="prolog-loop",
            text=text,
            action=action,
            evidence=lines,
            origin="sacct",
            hope="unclear",
            source=_JUPITER,
        )
    else:
        text = f"it was put back into the queue: {len(jobs)} attempts"
        yield Finding(name="attempts", text=text, evidence=lines, origin="sacct", weight="note", source=_SACCT)


def _memory(rows: Sequence[Mapping[str, str]], status: Status) -> Iterator[Finding]:
    """How much memory its largest task used, beside what was asked for; sampled, so a short peak may be missing."""
    used = [(size_of(row["MaxRSS"]), row) for row in rows]
    size, row = max(used, key=lambda one: one[0], default=(0, {}))
    asked = next((one["ReqMem"] for one in rows if one["ReqMem"].rstrip("cn") not in {"", "0"}), "")
    if not size:
        return
    text = f"its largest task used {show_size(size)} of memory at most, as far as it was sampled"
    text += f"; {asked} was asked for" if asked else ""
    close = status.state != COMPLETED and size_of(asked.rstrip("cn")) and size >= 0.9 * size_of(asked.rstrip("cn"))
    weight: Weight = "sign" if close else "note"
    where = f"{row['JobID']} MaxRSS={row['MaxRSS']} on {row['MaxRSSNode']}"
    yield Finding(name="memory", text=text, evidence=where, origin="sacct", weight=weight, source=_SACCT)


def size_of(text: str) -> int:
    """Bytes in ``12345K`` or ``1.50G``; 0 where there is no such number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text, re.ASCII)
    return int(float(match[1]) * _PREFIXES.get(match[2], 1)) if match else 0
