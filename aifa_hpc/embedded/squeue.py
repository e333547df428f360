"""squeue: the jobs that wait, run, or ended a short while ago."""

from __future__ import annotations

import os
import pwd
import re
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from .schedule import holds, settle
from .show import STATES, elapsed, gathered, moment, names, nodes, raw_id, span, start
from .store import CANCELLED, COMPLETED, PENDING, RUNNING, Job, Store
from .words import Refusal, read_line, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .settings import Settings

_OPTIONS = table(
    "account/A= all/a array/r array-unique clusters/M= federation format/o= Format/O= help hide iterate/i= jobs/j=? "
    "licenses/L= local long/l me name/n= noconvert noheader/h nodelist/w= partition/p= priority/P qos/q= "
    "reservation/R= sibling sort/S= start states/t= steps/s=? usage user/u= verbose/v version/V"
)
_DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
_LONG = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R"
_FIELD = re.compile(r"%(\.?)(\d*)([A-Za-z])|([^%]+)|%")


class Row(NamedTuple):
    """A line to print: a job, the id it is shown under, what it waits for, and now."""

    label: str
    job: Job
    waits_for: str
    now: float
    minute: float

    @property
    def seconds_left(self) -> int:
        limit = self.job.request.time_limit * 60
        return int(limit - (elapsed(self.job, self.now) if self.job.started else 0) * 60 / self.minute)

    @property
    def task(self) -> str:
        tail = self.label.partition("_")[2]
        return tail.strip("[]") or "N/A"

    @property
    def why(self) -> str:
        """``%R``: the reason in brackets, or where it runs."""
        if self.job.state == PENDING or self.job.state not in {RUNNING, COMPLETED, CANCELLED}:
            return f"({self.job.reason})"
        return nodes(self.job)

    @property
    def ends(self) -> str:
        end = self.job.ended
        if end is None and self.job.started is not None:
            end = self.job.started + self.job.request.time_limit * self.minute
        return moment(end)


_FIELDS: dict[str, tuple[str, str, Callable[[Row], object]]] = {
    # letter of --format: (heading, name in --Format, value)
    "a": ("ACCOUNT", "account", lambda row: row.job.request.account or "(null)"),
    "A": ("JOBID", "jobid", lambda row: raw_id(row.job)),
    "B": ("EXEC_HOST", "batchhost", lambda row: row.job.request.hosts[0] if row.job.started else "n/a"),
    "c": ("MIN_CPUS", "mincpus", lambda row: row.job.request.cpus_per_task or 1),
    "C": ("CPUS", "numcpus", lambda row: row.job.request.cpus),
    "D": ("NODES", "numnodes", lambda row: len(row.job.request.hosts)),
    "e": ("END_TIME", "endtime", lambda row: row.ends),
    "E": ("DEPENDENCY", "dependency", lambda row: row.waits_for),
    "F": ("ARRAY_JOB_ID", "arrayjobid", lambda row: row.job.base),
    "i": ("JOBID", "jobarrayid", lambda row: row.label),
    "j": ("NAME", "name", lambda row: row.job.name),
    "k": ("COMMENT", "comment", lambda row: row.job.request.comment or "(null)"),
    "K": ("ARRAY_TASK_ID", "arraytaskid", lambda row: row.task),
    "l": ("TIME_LIMIT", "timelimit", lambda row: span(row.job.request.time_limit * 60, short=True)),
    "L": ("TIME_LEFT", "timeleft", lambda row: span(max(0, row.seconds_left), short=True)),
    "m": ("MIN_MEMORY", "minmemory", lambda row: row.job.request.memory),
    "M": ("TIME", "timeused", lambda row: span(elapsed(row.job, row.now), short=True)),
    "N": ("NODELIST", "nodelist", lambda row: nodes(row.job)),
    "o": ("COMMAND", "command", lambda row: row.job.name),
    "P": ("PARTITION", "partition", lambda row: row.job.partition),
    "q": ("QOS", "qos", lambda row: row.job.request.qos or "normal"),
    "Q": ("PRIORITY", "prioritylong", lambda row: 0 if row.job.held else 1),
    "r": ("REASON", "reason", lambda row: row.job.reason),
    "R": ("NODELIST(REASON)", "reasonlist", lambda row: row.why),
    "S": ("START_TIME", "starttime", lambda row: moment(start(row.job))),
    "t": ("ST", "statecompact", lambda row: STATES[row.job.shown_state]),
    "T": ("STATE", "state", lambda row: row.job.shown_state),
    "u": ("USER", "username", lambda row: row.job.request.user),
    "U": ("UID", "userid", lambda row: row.job.request.uid),
    "v": ("RESERVATION", "reservation", lambda row: row.job.request.reservation or "(null)"),
    "V": ("SUBMIT_TIME", "submittime", lambda row: moment(row.job.submitted)),
    "Z": ("WORK_DIR", "workdir", lambda row: row.job.request.chdir),
}
_LONG_NAMES = {name: (heading, value) for heading, name, value in _FIELDS.values()} | {
    "restartcnt": ("RESTART_COUNT", lambda row: row.job.restarts),
    "requeue": ("REQUEUE", lambda row: int(row.job.request.requeue)),
    "eligibletime": ("ELIGIBLE_TIME", lambda row: moment(max(row.job.begin, row.job.submitted))),
    "exit_code": ("EXIT_CODE", lambda row: row.job.exit_code),
    "stdout": ("STDOUT", lambda row: row.job.request.output),
    "stderr": ("STDERR", lambda row: row.job.request.error or row.job.request.output),
}


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``squeue ARGV``."""
    options, words = read_line("squeue", _OPTIONS, argv, interleaved=True)
    if options.get("jobs") == "" and words:  # `--jobs 12`: the value may also be the next word
        options["jobs"] = words[0]
    states = _states(options.get("states", os.environ.get("SQUEUE_STATES", "")))
    store = Store(settings.database)
    settle(store, settings)
    now = time.time()
    jobs = store.jobs("state IN (?, ?) OR ended > ?", (PENDING, RUNNING, now - settings.remember))
    if options.get("jobs"):
        jobs = select(jobs, options["jobs"])
    jobs = [job for job in jobs if _wanted(job, options, states)]
    # squeue(1) --sort: by partition and state, and then as they came
    jobs.sort(key=lambda job: (job.partition, list(STATES).index(job.shown_state)))
    lines = [(job.label, job) for job in jobs] if "array" in options or os.environ.get("SQUEUE_ARRAY") else None
    rows = [
        Row(label, job, dependency(store, settings, job, now), now, settings.minute)
        for label, job in lines or gathered(jobs)
    ]
    heading = "noheader" not in options
    if "Format" in options:
        sys.stdout.write(_wide(rows, options["Format"], heading=heading))
    else:
        default = _LONG if "long" in options else os.environ.get("SQUEUE_FORMAT", _DEFAULT)
        sys.stdout.write(_narrow(rows, options.get("format", default), heading=heading))
    return 0


def select(jobs: list[Job], text: str) -> list[Job]:
    """The jobs of a list of ids.

    Raises:
        Refusal: One id alone that nobody knows; in a list, unknown ones are left out.
    """
    wanted = names(text)
    for word in wanted:
        if not re.fullmatch(r"\d+(_(\d+|\*|\[.*\]))?", word, re.ASCII):
            raise Refusal(f"squeue: error: Invalid job id: {word}")
    bases = {word.removesuffix("_*") for word in wanted}
    found = [job for job in jobs if bases & {str(job.base), job.label, str(job.id)}]
    if not found and len(wanted) == 1:
        raise Refusal("slurm_load_jobs error: Invalid job id specified")
    return found


def dependency(store: Store, settings: Settings, job: Job, now: float) -> str:
    """What a waiting job still waits for, and what has failed."""
    wanted = job.request.dependency
    if wanted is None or job.state != PENDING:
        return "(null)"
    texts = []
    for term in wanted.terms:
        held = holds(store, job, term, settings, now)
        if held:
            continue
        text = term.kind + (f":{term.job}" if term.job else "") + (f"_{term.task}" if term.task is not None else "")
        text += f"+{term.delay}" if term.delay else ""
        texts.append(text + ("(unfulfilled)" if held is None else "(failed)"))
    return ("?" if wanted.any else ",").join(texts) or "(null)"


def _states(text: str) -> set[str]:
    wanted = set()
    for word in names(text.upper()):
        full = next((long for long, short in STATES.items() if word in {long, short}), word)
        if full != "ALL" and full not in STATES:
            raise Refusal(
                f"squeue: error: Invalid job state specified: {word}",
                f"squeue: error: Valid job states include: {','.join(STATES)}",
            )
        wanted.add(full)
    return set(STATES) if "ALL" in wanted else wanted or {PENDING, RUNNING, "COMPLETING", "CONFIGURING"}


def _wanted(job: Job, options: dict[str, str], states: set[str]) -> bool:
    if job.shown_state not in states:
        return False
    request = job.request
    own = {
        "account": request.account,
        "name": job.name,
        "partition": job.partition,
        "qos": request.qos,
        "reservation": request.reservation,
    }
    if any(option in options and value not in names(options[option]) for option, value in own.items()):
        return False
    if "user" in options and not {request.user, str(request.uid)} & names(options["user"]):
        return False
    return "me" not in options or request.user == pwd.getpwuid(os.getuid()).pw_name


def _narrow(rows: list[Row], text: str, *, heading: bool) -> str:
    """``--format``: ``%[[.]size]type`` and text in between."""
    pieces = list(_FIELD.finditer(text))
    for piece in pieces:
        if piece[3] and piece[3] not in _FIELDS:
            raise Refusal(f"squeue: error: Unknown job format specification: {piece[3]}")

    def line(row: Row | None) -> str:
        cells = []
        for right, size, letter, between in (piece.groups() for piece in pieces):
            if letter is None:
                cells.append(between or "")
                continue
            cell = _FIELDS[letter][0] if row is None else str(_FIELDS[letter][2](row))
            if size:
                cell = cell[: int(size)]
                cell = cell.rjust(int(size)) if right else cell.ljust(int(size))
            cells.append(cell)
        return "".join(cells) + "\n"

    return (line(None) if heading else "") + "".join(line(row) for row in rows)


def _wide(rows: list[Row], text: str, *, heading: bool) -> str:
    """``--Format``: ``type[:[.]size]`` joined by commas, 20 characters each when no size is given."""
    columns = []
    for word in text.split(","):
        name, _, size = word.partition(":")
        if name.lower() not in _LONG_NAMES:
            raise Refusal(f"squeue: error: Invalid job format specification: {name}")
        columns.append((*_LONG_NAMES[name.lower()], size.startswith("."), int(size.strip(".") or 20)))

    def line(row: Row | None) -> str:
        cells = ""
        for head, value, right, size in columns:
            cell = (head if row is None else str(value(row)))[:size]
            cells += cell.rjust(size) if right else cell.ljust(size)
        return cells + "\n"

    return (line(None) if heading else "") + "".join(line(row) for row in rows)
