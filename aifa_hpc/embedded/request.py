# ruff: noqa: PLC0415 - imported where it is used, so that programs without it start faster
"""What sbatch is asked for: the ``#SBATCH`` lines, the command line over them, and the values they stand for.

Names, defaults and spellings are those of sbatch(1) of Slurm 22.05. Options that mean nothing on one machine
(``--constraint``, ``--exclusive``, ``--mail-type``, ...) are accepted and ignored.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .words import PARSING_EXIT, Refusal, read_line, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPTIONS = table(
    "account/A= acctg-freq= array/a= batch= bb= bbf= begin/b= chdir/D= cluster-constraint= clusters/M= comment= "
    "constraint/C= container= contiguous core-spec/S= cores-per-socket= cpu-freq= cpus-per-gpu= cpus-per-task/c= "
    "deadline= delay-boot= dependency/d= distribution/m= error/e= exclude/x= exclusive=? export= export-file= "
    "extra-node-info/B= get-user-env=? gid= gpu-bind= gpu-freq= gpus/G= gpus-per-node= gpus-per-socket= "
    "gpus-per-task= gres= gres-flags= help/h hint= hold/H ignore-pbs input/i= job-name/J= kill-on-invalid-dep= "
    "licenses/L= mail-type= mail-user= mcs-label= mem= mem-bind= mem-per-cpu= mem-per-gpu= mincpus= network= nice=? "
    "no-kill/k=? no-requeue nodefile/F= nodelist/w= nodes/N= ntasks/n= ntasks-per-core= ntasks-per-gpu= "
    "ntasks-per-node= ntasks-per-socket= open-mode= output/o= overcommit/O oversubscribe/s parsable partition/p= "
    "power= prefer= priority= profile= propagate=? qos/q= quiet/Q reboot requeue reservation= signal= "
    "sockets-per-node= spread-job switches= test-only thread-spec= threads-per-core= time/t= time-min= tmp= uid= "
    "usage use-min-nodes verbose/v version/V wait/W wait-all-nodes= wckey= wrap="
)
VARIABLES = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_ARRAY_INX": "array",
    "SBATCH_EXPORT": "export",
    "SBATCH_JOB_NAME": "job-name",
    "SBATCH_OPEN_MODE": "open-mode",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_SIGNAL": "signal",
    "SBATCH_TIMELIMIT": "time",
}
"""Input environment variables of sbatch(1): over the script's lines, under the command line."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_MEMORY = re.compile(r"\d+[KMGT]?B?", re.ASCII | re.IGNORECASE)
_NODES = re.compile(r"(\d+)(k|m)?(?:-\d+(?:k|m)?)?", re.ASCII)
_ARRAY_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)
_GRES_GPU = re.compile(r"gpu(?::[A-Za-z]\w*)?(?::(\d+))?", re.ASCII)
_COUNT = re.compile(r"(?:[A-Za-z]\w*:)?(\d+)", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A job as sbatch was asked for it; what is stored with each task of it.

    Attributes:
        time_limit: Minutes.
        ntasks: Tasks; ``ntasks_given`` tells whether somebody asked for that number.
        hosts: Node names it runs on.
        cores: Cores it gets on each of them.
        umask: Of the submitter; its files are made with it.
        signal: ``[B:]SIG@seconds`` as ``(batch shell only, number, seconds)``.
        array_tasks: How many tasks its array has, with the least, the highest index and the step.
        dependency: Terms that must hold, see ``schedule``.
    """

    name: str
    user: str
    uid: int
    partition: str
    account: str
    qos: str
    reservation: str
    comment: str
    time_limit: int
    ntasks: int
    ntasks_given: bool
    ntasks_per_node: int | None
    cpus_per_task: int | None
    gpus_per_node: int
    memory: str
    hosts: tuple[str, ...]
    cores: tuple[int, ...]
    chdir: str
    submit_dir: str
    umask: int
    submit_host: str
    input: str
    output: str
    error: str
    open_mode: str
    export: str | None
    signal: tuple[bool, int, int] | None
    requeue: bool
    array_text: str = ""
    array_limit: int | None = None
    array_tasks: tuple[int, int, int, int] | None = None
    dependency: Dependency | None = None

    @property
    def cpus(self) -> int:
        """Cores on all nodes."""
        return sum(self.cores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One condition on another job.

    Attributes:
        kind: ``after``, ``afterok``, ``afternotok``, ``afterany`` or ``singleton``.
        job: Base id; 0 for a singleton.
        task: Index in its array; ``None`` is all.
        delay: Minutes to wait after its start (``after:ID+5``).
    """

    kind: str
    job: int = 0
    task: int | None = None
    delay: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """Terms of which all, or any one (``?``), must hold."""

    terms: tuple[Term, ...]
    any: bool = False


def decode_request(table_: dict[str, Any]) -> Request:
    """A request from its JSON table."""
    values = dict(table_)
    for key in ("hosts", "cores", "signal", "array_tasks"):
        values[key] = tuple(values[key]) if values[key] is not None else None
    if values["dependency"] is not None:
        terms = tuple(Term(**term) for term in values["dependency"]["terms"])
        values["dependency"] = Dependency(terms=terms, any=values["dependency"]["any"])
    return Request(**values)


def error(*lines: str, exit_code: int = 1) -> Refusal:
    """A refusal in sbatch's form."""
    return Refusal(*(f"sbatch: error: {line}" for line in lines), exit_code=exit_code)


def rejected(why: str, *before: str) -> Refusal:
    """What sbatch says when the controller refused."""
    return error(*before, f"Batch job submission failed: {why}")


def script_options(script: str) -> dict[str, str]:
    """The options of the ``#SBATCH`` lines, which end at the first command.

    Raises:
        Refusal: It is no script, or a line holds what sbatch does not know.
    """
    if not script:
        raise error("Batch script is empty!")
    if not script.strip():
        raise error("Batch script contains only whitespace!")
    if not script.startswith("#!"):
        raise error(
            "This does not look like a batch script.  The first",
            "line must start with #! followed by the path to an interpreter.",
            "For instance: #!/bin/sh",
        )
    if "\r\n" in script:
        raise error("Batch script contains DOS line breaks (\\r\\n)", "instead of expected UNIX line breaks (\\n).")
    argv: list[str] = []
    for line in script.splitlines()[1:]:
        if line.startswith("#SBATCH"):
            try:
                argv += shlex.split(line[len("#SBATCH") :], comments=True)
            except ValueError as wrong:
                raise error(f"Invalid directive found in batch script: {line} ({wrong})") from None
        elif line.strip() and not line.startswith("#"):
            break
    found = read_line("sbatch", OPTIONS, argv, exit_code=PARSING_EXIT)
    if found.words:
        raise error(f"Invalid directive found in batch script: {found.words[0]}", exit_code=PARSING_EXIT)
    return found.options


def variable_options(environ: Mapping[str, str]) -> dict[str, str]:
    """The options that environment variables stand for."""
    return {option: environ[name] for name, option in VARIABLES.items() if name in environ}


def read_minutes(text: str) -> int:
    """``--time`` in minutes, rounded up; the forms are M, M:S, H:M:S, D-H, D-H:M and D-H:M:S.

    Raises:
        Refusal: None of them.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise error("Invalid --time specification", exit_code=PARSING_EXIT)
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1] is not None:
        seconds = days * 86400 + first * 3600 + second * 60 + third
    elif match[4] is not None:
        seconds = first * 3600 + second * 60 + third
    else:
        seconds = first * 60 + second
    return -(-seconds // 60)


def read_count(options: Mapping[str, str], name: str) -> int | None:
    """A positive whole number, or ``None`` when the option is not there.

    Raises:
        Refusal: Anything else.
    """
    if name not in options:
        return None
    if not options[name].isdecimal() or int(options[name]) < 1:
        raise error(f'Invalid numeric value "{options[name]}" for --{name}.')
    return int(options[name])


def read_nodes(text: str) -> int:
    """``--nodes``: the least number of ``min[-max]``.

    Raises:
        Refusal: No such number.
    """
    match = _NODES.fullmatch(text)
    if match is None:
        raise error(f'"{text}" is not a valid node count', exit_code=PARSING_EXIT)
    if int(match[1]) < 1:
        raise rejected("Node count specification invalid")
    return int(match[1]) * {"k": 1024, "m": 1024**2, None: 1}[match[2]]


def read_memory(options: Mapping[str, str]) -> str:
    """The memory request as squeue shows it; only its form is looked at.

    Raises:
        Refusal: It has another form.
    """
    for name in ("mem", "mem-per-cpu", "mem-per-gpu"):
        if name in options and not _MEMORY.fullmatch(options[name]):
            raise error(f"Invalid --{name} specification", exit_code=PARSING_EXIT)
    value = options.get("mem") or options.get("mem-per-cpu") or options.get("mem-per-gpu") or "0"
    return value if value == "0" or not value.isdecimal() else value + "M"


def read_gpus(options: Mapping[str, str], nodes: int, tasks: int) -> int:
    """GPUs on each node, from whichever of the options asks for them.

    Raises:
        Refusal: A number that is none.
    """
    for name, share in (("gpus-per-node", 1.0), ("gpus", 1 / nodes), ("gpus-per-task", tasks / nodes)):
        if name in options:
            match = _COUNT.fullmatch(options[name])
            if match is None:
                raise error(f"Invalid --{name} specification", exit_code=PARSING_EXIT)
            return -int(-int(match[1]) * share // 1)
    for word in options.get("gres", "").split(","):
        match = _GRES_GPU.fullmatch(word.removeprefix("gres:"))
        if match:
            return int(match[1] or 1)
    return 0


def read_array(text: str, max_size: int) -> tuple[list[int], int | None]:
    """``--array``: the indices in order, and how many may run at once.

    Raises:
        Refusal: Not of the form ``0-15:4,20%2``, or beyond ``MaxArraySize``.
    """
    invalid = rejected("Invalid job array specification")
    ranges, percent, limit = text.partition("%")
    if percent and not (limit.isdecimal() and int(limit) > 0):
        raise invalid
    found: set[int] = set()
    for word in ranges.strip("[]").split(","):
        match = _ARRAY_RANGE.fullmatch(word)
        if match is None:
            raise invalid
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1 or last >= max_size:
            raise invalid
        found.update(range(first, last + 1, step))
    return sorted(found), int(limit) if percent else None


def read_signal(text: str) -> tuple[bool, int, int]:
    """``--signal=[R][B:]sig[@seconds]``; 60 seconds before the limit when none are given.

    Raises:
        Refusal: No such signal, or no such number.
    """
    flags, colon, rest = text.rpartition(":")
    name, at, seconds = rest.partition("@")
    number = signal_number(name)
    if number is None or (at and not seconds.isdecimal()) or (colon and set(flags.upper()) - {"R", "B"}):
        raise error("Invalid --signal specification", exit_code=PARSING_EXIT)
    return "B" in flags.upper(), number, int(seconds) if at else 60


def signal_number(name: str) -> int | None:
    """A signal from its name with or without ``SIG``, or its number; ``None`` when there is no such signal."""
    import signal

    if name.isdecimal():
        return int(name) if int(name) in {int(known) for known in signal.Signals} else None
    found = getattr(signal.Signals, "SIG" + name.upper().removeprefix("SIG"), None)
    return None if found is None else int(found)


def read_dependency(text: str, own_task: int | None = None) -> Dependency:
    """``--dependency``: ``type:id[_task][+minutes][:id...]``, joined by ``,`` (all) or ``?`` (any).

    Args:
        text: The option's value.
        own_task: Index of the task that depends, for ``aftercorr``.

    Raises:
        Refusal: Another type, or an id that is none.
    """
    problem = rejected("Job dependency problem")
    if "," in text and "?" in text:
        raise problem
    terms = []
    for word in re.split("[,?]", text):
        kind, *jobs = word.split(":")
        if kind == "singleton" and not jobs:
            terms.append(Term(kind=kind))
            continue
        if kind not in {"after", "afterok", "afternotok", "afterany", "aftercorr"} or not jobs:
            raise problem
        for job in jobs:
            match = re.fullmatch(r"(\d+)(?:_(\d+|\*))?(?:\+(\d+))?", job, re.ASCII)
            if match is None or (match[3] and kind != "after"):
                raise problem
            task = int(match[2]) if match[2] and match[2] != "*" else None
            if kind == "aftercorr":
                terms.append(Term(kind="afterok", job=int(match[1]), task=own_task))
            else:
                terms.append(Term(kind=kind, job=int(match[1]), task=task, delay=int(match[3] or 0)))
    return Dependency(terms=tuple(terms), any="?" in text)


def use(options: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Several layers of options, the later over the earlier; ``--requeue`` and ``--no-requeue`` undo each other."""
    merged: dict[str, str] = {}
    for layer in options:
        for one, other in (("requeue", "no-requeue"), ("no-requeue", "requeue")):
            if one in layer:
                merged.pop(other, None)
        merged.update(layer)
    return merged
