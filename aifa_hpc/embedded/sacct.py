"""sacct: every job there ever was, with its steps."""

from __future__ import annotations

import grp
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aifa_hpc.slurm.hostlist import expand_hostlist

from .schedule import settle
from .show import STATES, elapsed, gathered, moment, names, nodes, raw_id, span, start
from .store import CANCELLED, Job, Store
from .words import Refusal, read_line, table

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from .settings import Settings

_OPTIONS = table(
    "accounts/A= allclusters/L allocations/X allusers/a array associations/x= batch-script/B brief/b clusters/M= "
    "completion/c constraints/C= delimiter= duplicates/D endtime/E= env-vars federation file/f= flags/F= format/o= "
    "gid/g= group= help/h helpformat/e jobs/j= json local local-as-UTC long/l name= ncpus/I= nnodes/i= nodelist/N= "
    "noconvert noheader/n parsable/p parsable2/P partition/r= qos/q= reason/R= starttime/S= state/s= "
    "timelimit-max/K= timelimit-min/k= truncate/T uid/u= units= usage/U use-local-uid user= verbose/v version/V "
    "wckeys/W= whole-hetjob=? yaml"
)
_DEFAULT = "jobid,jobname,partition,account,alloccpus,state,exitcode"
_BRIEF = "jobid,state,exitcode"
_RELATIVE = re.compile(r"now(?:([+-])(\d+)([a-z]*))?", re.ASCII)
_UNITS = {"": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_CLOCKS = {"midnight": 0, "today": 0, "noon": 12 * 3600, "fika": 15 * 3600, "teatime": 16 * 3600}


class Line(NamedTuple):
    """What one line of output is about: a job, or one of its steps."""

    label: str
    job: Job
    step: sqlite3.Row | None
    derived: int
    now: float

    @property
    def suffix(self) -> str:
        return "" if self.step is None else f".{self.step['step']}"

    @property
    def state(self) -> str:
        if self.step is not None:
            return str(self.step["state"])
        if self.job.state == CANCELLED and self.job.cancelled_by is not None:
            return f"CANCELLED by {self.job.cancelled_by}"
        return str(self.job.state)

    @property
    def exit(self) -> str:
        source: Any = self.job if self.step is None else self.step
        code, number = (
            (source.exit_code, source.exit_signal)
            if self.step is None
            else (source["exit_code"], source["exit_signal"])
        )
        return f"{shown(code)}:{number}"

    @property
    def start(self) -> str:
        begun = start(self.job) if self.step is None else self.step["started"]
        return moment(begun, "None" if self.job.ended else "Unknown")

    @property
    def end(self) -> str:
        return moment(self.job.ended if self.step is None else self.step["ended"], "Unknown")

    @property
    def seconds(self) -> int:
        if self.step is None:
            return elapsed(self.job, self.now)
        return max(0, int(self.step["ended"] or self.now) - int(self.step["started"]))

    @property
    def host_count(self) -> int:
        return len(self.job.request.hosts if self.step is None else expand_hostlist(self.step["nodes"]))

    def of_job(self, value: object) -> object:
        """A column that steps leave empty."""
        return value if self.step is None else ""


def shown(code: int) -> int:
    """Slurm prints exit codes from 128 on less 128: what a shell adds for a signal."""
    return code - 128 if code >= 128 else code  # noqa: PLR2004


_FIELDS: dict[str, tuple[str, int, Callable[[Line], object]]] = {
    # lower case name: (heading, width, value)
    "account": ("Account", 10, lambda line: line.job.request.account),
    "alloccpus": ("AllocCPUS", 10, lambda line: line.step["cpus"] if line.step else _allocated(line)),
    "allocnodes": ("AllocNodes", 10, lambda line: line.host_count if line.job.started else 0),
    "cluster": ("Cluster", 10, lambda _: ""),
    "comment": ("Comment", 14, lambda line: line.of_job(line.job.request.comment)),
    "cputimeraw": ("CPUTimeRAW", 10, lambda line: line.seconds * line.job.request.cpus),
    "derivedexitcode": ("DerivedExitCode", 15, lambda line: line.of_job(f"{shown(line.derived)}:0")),
    "elapsed": ("Elapsed", 10, lambda line: span(line.seconds)),
    "elapsedraw": ("ElapsedRaw", 10, lambda line: line.seconds),
    "eligible": ("Eligible", 19, lambda line: moment(max(line.job.begin, line.job.submitted), "Unknown")),
    "end": ("End", 19, lambda line: line.end),
    "exitcode": ("ExitCode", 8, lambda line: line.exit),
    "gid": ("GID", 6, lambda line: line.of_job(os.getgid())),
    "group": ("Group", 9, lambda line: line.of_job(grp.getgrgid(os.getgid()).gr_name)),
    "jobid": ("JobID", 12, lambda line: line.label),
    "jobidraw": ("JobIDRaw", 12, lambda line: f"{raw_id(line.job)}{line.suffix}"),
    "jobname": ("JobName", 10, lambda line: line.step["name"] if line.step else line.job.name),
    "ncpus": ("NCPUS", 10, lambda line: line.step["cpus"] if line.step else _allocated(line)),
    "nnodes": ("NNodes", 8, lambda line: line.host_count),
    "nodelist": ("NodeList", 15, lambda line: line.step["nodes"] if line.step else nodes(line.job) or "None assigned"),
    "ntasks": ("NTasks", 8, lambda line: line.step["tasks"] if line.step else ""),
    "partition": ("Partition", 10, lambda line: line.of_job(line.job.partition)),
    "priority": ("Priority", 10, lambda line: line.of_job(0 if line.job.held else 1)),
    "qos": ("QOS", 10, lambda line: line.of_job(line.job.request.qos or "normal")),
    "reason": ("Reason", 22, lambda line: line.of_job(line.job.reason if line.job.is_active else "None")),
    "reqcpus": ("ReqCPUS", 8, lambda line: line.step["cpus"] if line.step else line.job.request.cpus),
    "reqmem": ("ReqMem", 10, lambda line: line.of_job(line.job.request.memory)),
    "reqnodes": ("ReqNodes", 8, lambda line: line.of_job(len(line.job.request.hosts))),
    "reservation": ("Reservation", 20, lambda line: line.of_job(line.job.request.reservation)),
    "restarts": ("Restarts", 8, lambda line: line.of_job(line.job.restarts)),
    "start": ("Start", 19, lambda line: line.start),
    "state": ("State", 10, lambda line: line.state),
    "submit": ("Submit", 19, lambda line: moment(line.job.submitted if line.step is None else line.step["started"])),
    "timelimit": ("Timelimit", 10, lambda line: line.of_job(span(line.job.request.time_limit * 60))),
    "timelimitraw": ("TimelimitRaw", 10, lambda line: line.of_job(line.job.request.time_limit)),
    "uid": ("UID", 6, lambda line: line.of_job(line.job.request.uid)),
    "user": ("User", 9, lambda line: line.of_job(line.job.request.user)),
    "workdir": ("WorkDir", 20, lambda line: line.of_job(line.job.request.chdir)),
}
# fmt: off
_UNMEASURED = {name.lower(): name for name in (
    "AdminComment", "AllocTRES", "AveCPU", "AveDiskRead", "AveDiskWrite", "AveRSS", "AveVMSize",
    "ConsumedEnergy", "ConsumedEnergyRaw", "Constraints", "Container", "CPUTime", "Flags", "Layout",
    "MaxDiskRead", "MaxDiskWrite", "MaxPages", "MaxRSS", "MaxRSSNode", "MaxRSSTask", "MaxVMSize", "MinCPU",
    "Planned", "ReqTRES", "Reserved", "SubmitLine", "Suspended", "SystemComment", "SystemCPU", "TotalCPU",
    "TRESUsageInAve", "TRESUsageInMax", "TRESUsageInTot", "TRESUsageOutMax", "TRESUsageOutTot", "UserCPU",
    "WCKey",
)}
# fmt: on
"""Fields that the real sacct knows and nothing measures here: empty columns."""


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``sacct ARGV``."""
    options, words = read_line("sacct", _OPTIONS, argv, interleaved=True)
    if "helpformat" in options:
        sys.stdout.write("".join(f"{name}\n" for name in sorted([heading for heading, _, _ in _FIELDS.values()])))
        return 0
    if words:
        raise Refusal(f"sacct: error: Unknown arguments: {' '.join(words)}")
    columns = _columns(options)
    wanted = {full for word in names(options.get("state", "").upper()) for full in [_state(word)]}
    store = Store(settings.database)
    settle(store, settings)
    now = time.time()
    since, until = _window(options, now)
    jobs = [job for job in store.jobs() if job.submitted <= until and (job.ended is None or job.ended >= since)]
    jobs = [job for job in jobs if _matches(job, options, wanted)]
    steps_of: dict[str, set[str]] = {}
    if "jobs" in options:
        for word in names(options["jobs"]):
            base, dot, step = word.partition(".")
            steps_of.setdefault(base, set()).update({step} if dot else set())
        jobs = [job for job in jobs if {str(job.base), job.label, str(job.id)} & set(steps_of)]
    lines = []
    for label, job in gathered(jobs):
        steps = store.steps(job) if job.started is not None else []
        derived = max([row["exit_code"] for row in steps if row["step"] != "batch"], default=0)
        only = set().union(*(steps_of.get(key, set()) for key in (str(job.base), job.label, str(job.id))))
        if not only:
            lines.append(Line(label, job, None, derived, now))
        if "allocations" not in options:
            lines += (
                Line(f"{label}.{row['step']}", job, row, derived, now)
                for row in steps
                if not only or row["step"] in only
            )
    sys.stdout.write(_text(lines, columns, options, settings.cluster))
    return 0


def read_moment(text: str, now: float) -> float:
    """A time of ``--starttime`` and ``--endtime``, as seconds since the epoch.

    Raises:
        Refusal: None of the forms that sacct(1) lists (those with dots and slashes are not read).
    """
    match = _RELATIVE.fullmatch(text)
    if match:
        unit = match[3] or ""
        unit = next((name for name in _UNITS if unit and name.startswith(unit.removesuffix("s"))), unit)
        if unit in _UNITS:
            return now + int(f"{match[1] or '+'}{match[2] or 0}") * _UNITS[unit]
    today = time.strftime("%Y-%m-%d", time.localtime(now))
    if text in _CLOCKS:
        return time.mktime(time.strptime(today, "%Y-%m-%d")) + _CLOCKS[text]
    forms = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
    for candidate in (text, f"{today}T{text}"):
        for form in forms:
            try:
                return time.mktime(time.strptime(candidate, form))
            except ValueError:
                continue
    raise Refusal(f"Invalid time specification (pos=0): {text}")


def _window(options: dict[str, str], now: float) -> tuple[float, float]:
    """Jobs that were eligible before its end and had not ended before its beginning; sacct(1) DEFAULT TIME WINDOW."""
    if "starttime" in options:
        since = read_moment(options["starttime"], now)
    elif "jobs" in options:
        since = 0.0
    else:
        since = now if "state" in options else read_moment("midnight", now)
    return since, read_moment(options.get("endtime", "now"), now)


def _columns(options: dict[str, str]) -> list[tuple[str, int, Callable[[Line], object]]]:
    text = options.get("format") or (_BRIEF if "brief" in options else os.environ.get("SACCT_FORMAT", _DEFAULT))
    columns = []
    for word in (word for word in text.split(",") if word):
        name, percent, width = word.partition("%")
        key = name.lower()
        full = (
            key
            if key in _FIELDS or key in _UNMEASURED
            else next((known for known in sorted([*_FIELDS, *_UNMEASURED]) if known.startswith(key)), "")
        )
        if not full:
            raise Refusal(f'sacct: error: Invalid field requested: "{name}"')
        heading, size, value = _FIELDS.get(full) or (_UNMEASURED[full], 10, lambda _: "")
        columns.append((heading, int(width) if percent and width else size, value))
    return columns


def _allocated(line: Line) -> int:
    return line.job.request.cpus if line.job.started is not None else 0


def _state(word: str) -> str:
    full = next((long for long, short in STATES.items() if word in {long, short}), "")
    if not full:
        raise Refusal(f"sacct: fatal: unrecognized job state value '{word.lower()}'")
    return full


def _matches(job: Job, options: dict[str, str], states: set[str]) -> bool:
    request = job.request
    own = {
        "accounts": request.account,
        "name": job.name,
        "partition": job.partition,
        "qos": request.qos,
        "user": request.user,
    }
    if any(option in options and value not in names(options[option]) for option, value in own.items()):
        return False
    if "uid" in options and not {request.user, str(request.uid)} & names(options["uid"]):
        return False
    return not states or job.state in states


def _text(
    lines: Sequence[Line],
    columns: Sequence[tuple[str, int, Callable[[Line], object]]],
    options: dict[str, str],
    cluster: str,
) -> str:
    rows = [[heading for heading, _, _ in columns]] if "noheader" not in options else []
    ruled = bool(rows)
    rows += [[cluster if heading == "Cluster" else str(value(line)) for heading, _, value in columns] for line in lines]
    bar = options.get("delimiter", "|")
    if "parsable2" in options or "parsable" in options:
        tail = bar if "parsable" in options else ""
        return "".join(bar.join(row) + tail + "\n" for row in rows)
    widths = [abs(width) for _, width, _ in columns]
    text = ""
    for number, row in enumerate(rows):
        cells = []
        for cell, (_, width, _value) in zip(row, columns, strict=True):
            size = abs(width)
            cut = cell if len(cell) <= size else cell[: size - 1] + "+"
            cells.append(cut.ljust(size) if width < 0 else cut.rjust(size))
        text += " ".join(cells) + " \n"
        if ruled and number == 0:
            text += " ".join("-" * size for size in widths) + " \n"
    return text
