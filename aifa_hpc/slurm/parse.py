"""Text of Slurm's programs to records.

Columns are asked for one by one (``flows``), separated by ``|`` with the free text last, so a name with a bar in it
cannot shift anything. Login banners, carriage returns and blank lines around the text are ignored: a line counts only
when it begins with a job id. A line that has the id and not the columns raises :class:`ParseError`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.records import ExitStatus, JobRecord, Sentinel
from aifa_hpc.slurm.states import base_state
from aifa_hpc.units import parse_walltime

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOB_ID = re.compile(r"\d+(?:_(?:\d+|\[[\d,\-:%.]+\]))?(?:\+\d+)?", re.ASCII)
# Eighteen digits fit in 64 bits; Python refuses to read more than 4300.
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_EXIT = re.compile(r"(\d{1,18}):(\d{1,18})", re.ASCII)
_NOTHING = {"", "Unknown", "None", "N/A", "None assigned", "(null)"}

QUEUE_COLUMNS = ("%i", "%T", "%r", "%N", "%S", "%M", "%j")
ACCOUNTING_COLUMNS = ("JobID", "State", "ExitCode", "NodeList", "Start", "End", "ElapsedRaw", "Reason", "JobName")


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
    if known and same is not None:
        text = _without(text, known, same)
    for fields in _rows(text, len(QUEUE_COLUMNS), "squeue"):
        job, state, reason, nodes, start, elapsed, name = fields
        waits = base_state(state) == "PENDING"
        records[job] = JobRecord(
            id=job,
            state=base_state(state),
            reason=_value(reason),
            nodes=_value(nodes),
            start="" if waits else _began(start, nodes),
            expected_start=_value(start) if waits else "",
            elapsed_seconds=_elapsed(elapsed),
            name=name,
            gist=f"{state}|{reason}|{nodes}|{start}",
        )
    return records


def _without(text: str, known: Mapping[str, str], same: set[str]) -> str:
    """The lines that are news: ten thousand others cost less than a hundredth of a second."""
    news = []
    for line in text.split("\n"):
        job, _, rest = line.partition("|")
        gist = known.get(job)
        if gist is not None and rest.startswith(f"{gist}|"):
            same.add(job)
        else:
            news.append(line)
    return "\n".join(news)


def parse_accounting(text: str) -> dict[str, JobRecord]:
    """Output of ``sacct -X --duplicates --parsable2 --noheader`` with :data:`ACCOUNTING_COLUMNS`.

    A job that was put back into the queue has several lines, the oldest first; the record is the last of them, and has
    the others as its earlier ones.

    Raises:
        ParseError: A job's line has too few columns, or a number is none.
    """
    records: dict[str, JobRecord] = {}
    for fields in _rows(text, len(ACCOUNTING_COLUMNS), "sacct"):
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
            earlier=() if before is None else (*before.earlier, replace(before, earlier=())),
        )
    return records


def parse_sentinel(text: str) -> Sentinel | None:
    """The line ``JOBID RESTARTS CODE EPOCH`` that the job script writes; ``None`` when it is not whole."""
    words = text.split()
    if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words[1:]):  # noqa: PLR2004 - the four fields
        return None
    job, restarts, code, at = words
    return Sentinel(id=job, restarts=int(restarts), code=int(code), at=int(at))


def _rows(text: str, columns: int, program: str) -> list[list[str]]:
    rows = []
    for raw in text.split("\n"):  # not splitlines(), which also splits at form feeds and the like inside a name
        line = raw.strip()
        fields = line.split("|", columns - 1)
        if not _JOB_ID.fullmatch(fields[0]):
            continue  # a banner, a warning, a blank line
        if len(fields) != columns:
            raise ParseError(f"{program} printed {len(fields)} of {columns} columns: {line!r}")
        rows.append(fields)
    return rows


def _value(text: str) -> str:
    return "" if text.strip() in _NOTHING else text.strip()


def _began(start: str, nodes: str) -> str:
    """When a job began; both programs give one that was cancelled before it had nodes the time of its end."""
    return _value(start) if _value(nodes) else ""


def _elapsed(text: str) -> int | None:
    try:
        return parse_walltime(text).seconds
    except ParseError:
        return None  # INVALID, for jobs that never began
