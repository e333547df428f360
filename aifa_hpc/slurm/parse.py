"""Text of Slurm's programs to records.

Columns are asked for one by one (``flows``), separated by ``|`` with the free text last, so a name with a bar in it
cannot shift anything. Login banners, carriage returns and blank lines around the text are ignored: a line counts only
when it begins with a job id. A line that has the id and not the columns raises :class:`ParseError`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.records import ExitStatus, JobRecord, Sentinel
from aifa_hpc.slurm.states import base_state
from aifa_hpc.units import parse_walltime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_JOB_ID = re.compile(r"\d+(?:_(?:\d+|\[[\d,\-:%.]+\]))?(?:\+\d+)?", re.ASCII)
# Eighteen digits fit in 64 bits; Python refuses to read more than 4300.
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_EXIT = re.compile(r"(\d{1,18}):(\d{1,18})", re.ASCII)
_NOTHING = {"", "Unknown", "None", "N/A", "None assigned", "(null)"}

QUEUE_COLUMNS = ("%i", "%T", "%r", "%N", "%S", "%M", "%j")
ACCOUNTING_COLUMNS = ("JobID", "State", "ExitCode", "NodeList", "Start", "End", "ElapsedRaw", "Reason", "JobName")


@lru_cache(maxsize=256)  # most ends are alike
def parse_exit(text: str) -> ExitStatus | None:
    """``1:0`` to a value; ``None`` for an empty field.

    Raises:
        ParseError: It is something else.
    """
    if text.strip() in _NOTHING:
        return None
    match = _EXIT.fullmatch(text.strip())
    if match is None:
        raise ParseError(f"{text!r} is not an exit status like 1:0")
    return ExitStatus(int(match[1]), int(match[2]))


def parse_queue(
    text: str, *, known: Mapping[str, str] | None = None, same: set[str] | None = None
) -> dict[str, JobRecord]:
    """Output of ``squeue --noheader --format`` with :data:`QUEUE_COLUMNS` joined by ``|``.

    Args:
        text: What it printed.
        known: The gist of jobs as it was last time.
        same: Gets the jobs that are as they were; they are not among the records.

    Raises:
        ParseError: A job's line has too few columns.
    """
    records = {}
    shared: dict[str, tuple[str, str, str, str, str, str]] = {}
    lines = text.split("\n")
    for fields in _rows(_news(lines, known, same) if known and same is not None else lines, QUEUE_COLUMNS, "squeue"):
        job, state, reason, nodes, start, elapsed, name = fields
        gist = f"{state}|{reason}|{nodes}|{start}"
        told = shared.get(gist)  # thousands wait alike
        if told is None:
            base, at = base_state(state), _value(start)
            times = ("", at) if base == "PENDING" else (at if _value(nodes) else "", "")
            told = shared[gist] = (base, _value(reason), _value(nodes), *times, gist)
        records[job] = JobRecord(job, *told, _elapsed(elapsed), name)
    return records


def _news(lines: Iterable[str], known: Mapping[str, str], same: set[str]) -> Iterator[str]:
    """The lines that do not say what is known; the jobs of the others are put into ``same``."""
    for line in lines:
        job, _, rest = line.partition("|")
        gist = known.get(job)
        if gist is not None and rest.startswith(f"{gist}|"):
            same.add(job)
        else:
            yield line


def parse_accounting(text: str) -> dict[str, JobRecord]:
    """Output of ``sacct -X --duplicates --parsable2 --noheader`` with :data:`ACCOUNTING_COLUMNS`.

    A job that was put back into the queue has several lines, the oldest first; the record is the last of them, and has
    the others as its earlier ones.

    Raises:
        ParseError: A job's line has too few columns, or a number is none.
    """
    records: dict[str, JobRecord] = {}
    for fields in _rows(text.split("\n"), ACCOUNTING_COLUMNS, "sacct"):
        job, state, code, nodes, start, end, elapsed, reason, name = fields
        before = records.get(job)
        records[job] = JobRecord(
            id=job,
            state=base_state(state),
            exit=parse_exit(code),
            nodes=_value(nodes),
            start=_began(start, nodes),
            end=_value(end),
            elapsed_seconds=int(elapsed) if _NUMBER.fullmatch(elapsed) else None,
            reason=_value(reason),
            name=name,
            earlier=() if before is None else (*before.earlier, before._replace(earlier=())),
        )
    return records


def parse_sentinel(text: str) -> Sentinel | None:
    """The line ``JOBID RESTARTS CODE EPOCH`` that the job script writes; ``None`` when it is not whole."""
    words = text.split()
    if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words[1:]):  # noqa: PLR2004 - the four fields
        return None
    job, restarts, code, at = words
    return Sentinel(id=job, restarts=int(restarts), code=int(code), at=int(at))


def _rows(lines: Iterable[str], columns: Sequence[str], program: str) -> Iterator[list[str]]:
    """The columns of each line that begins with a job id; lines end at line feeds only, names may hold the others."""
    bars = len(columns) - 1
    for raw in lines:
        fields = raw.strip().split("|", bars)
        job = fields[0]
        if not (job.isdigit() and job.isascii()) and not _JOB_ID.fullmatch(job):
            continue  # a banner, a warning, a blank line
        if len(fields) != len(columns):
            raise ParseError(f"{program} printed {len(fields)} of {len(columns)} columns: {raw.strip()!r}")
        yield fields


def _value(text: str) -> str:
    text = text.strip()
    return "" if text in _NOTHING else text


def _began(start: str, nodes: str) -> str:
    """When a job began; both programs give one that was cancelled before it had nodes the time of its end."""
    return _value(start) if _value(nodes) else ""


_LONGEST = 2**63
"""Seconds: SQLite's integers end there, and no job runs as long."""


@lru_cache(maxsize=4096)  # jobs that began together ran as long
def _elapsed(text: str) -> int | None:
    try:
        seconds = parse_walltime(text).seconds
    except ParseError:
        return None  # INVALID, for jobs that never began
    return seconds if seconds < _LONGEST else None
