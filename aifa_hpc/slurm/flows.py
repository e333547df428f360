"""Ask, cancel, read logs: each a generator over :class:`Command` that never touches a wire.

All jobs of a site are asked about in one command, whatever their number: squeue, sacct and the exit sentinels, each in
a section of its own, so that one program that fails does not hide the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aifa_hpc.command import Command, Flow, shell
from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.parse import (
    ACCOUNTING_COLUMNS,
    QUEUE_COLUMNS,
    parse_accounting,
    parse_queue,
    parse_sentinel,
)
from aifa_hpc.slurm.records import Answer, JobRecord, Sentinel
from aifa_hpc.slurm.shell import ASK, CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUERY = (
    CLEAN
    + ASK
    + """
queue=$1 since=$2 accounting=$3 count=0
while IFS= read -r ids && [ -n "$ids" ]; do
  ask queue squeue --noheader --states=all --jobs="$ids" --format="$queue"
  ask accounting sacct -X --parsable2 --noheader --starttime="$since" --jobs="$ids" --format="$accounting"
done
while IFS= read -r folder; do
  count=$((count + 1)) line=
  [ -r "$folder/exit" ] && IFS= read -r line < "$folder/exit"
  [ -z "$line" ] || printf 'aifa: sentinel %s %s\\n' "$count" "$line"
done
echo "aifa: done $count"
"""
)
"""``$1`` squeue's columns, ``$2`` start of sacct's window, ``$3`` sacct's columns.

Standard input: ids, so many in a line that no argument becomes too long, an empty line, and one folder a line.
"""

_LOG = """
[ -e "$1" ] || exit 66
[ ! -d "$1" ] || exit 74
{ tail -c "+$2" | head -c "$3"; } < "$1" || exit 74
"""

_SECTION = re.compile(
    r"^aifa: section (?P<name>\w+)\s*$(?P<body>.*?)^aifa: end (?P<code>\d+)\s*$", re.MULTILINE | re.DOTALL | re.ASCII
)
_SAID = re.compile(r"^aifa: said ?(.*)$", re.MULTILINE)
_SENTINEL = re.compile(r"^aifa: sentinel (?P<number>\d+) (?P<line>[^\n]*)", re.MULTILINE | re.ASCII)
_DONE = re.compile(r"^aifa: done (?P<count>\d+)\s*$", re.MULTILINE | re.ASCII)

LOG_MISSING = 66  # sysexits(3) EX_NOINPUT
QUERY_TIMEOUT = 120.0
IDS_IN_A_LINE = 10_000  # Linux takes 128 KiB in one argument (MAX_ARG_STRLEN); an id and its comma are 9 to 12 bytes


def query(jobs: Sequence[str], folders: Sequence[str], *, since: str) -> Flow[Answer]:
    """Asks about many jobs in one command.

    Args:
        jobs: Base ids (``123``); an array is asked for by its base id.
        folders: Job folders whose sentinels are wanted.
        since: ``sacct --starttime``; without one it forgets what ended before midnight.

    Returns:
        What the programs know about these jobs. A program counts as silent when any part of its answer failed:
        what it did not say must not look like absence.

    Raises:
        ParseError: A program answered with what cannot be read.
        SiteError: The answer is not whole.
    """
    if any("\n" in word for word in (*jobs, *folders)):
        raise ParseError("job ids and job folders cannot hold line breaks")
    lines = [",".join(jobs[start : start + IDS_IN_A_LINE]) for start in range(0, len(jobs), IDS_IN_A_LINE)]
    data = "".join(f"{line}\n" for line in (*lines, "", *folders)).encode()
    words = ("|".join(QUEUE_COLUMNS), since, ",".join(ACCOUNTING_COLUMNS))
    completed = yield shell(_QUERY, *words, stdin=data, timeout=QUERY_TIMEOUT, idempotent=True)
    sections = list(_SECTION.finditer(completed.out))
    done = _DONE.search(completed.out)
    if done is None or int(done["count"]) != len(folders) or len(sections) != 2 * len(lines):
        raise completed.refusal("the site's answer about jobs is not whole")
    errors: dict[str, str] = {}
    queue: dict[str, JobRecord] = {}
    accounting: dict[str, JobRecord] = {}
    for section in sections:
        said = "\n".join(_SAID.findall(section["body"])).strip()
        body = _SAID.sub("", section["body"])
        # squeue fails for a single id that has left the queue; its words say so, and that is an answer.
        gone = section["name"] == "queue" and "Invalid job id" in said
        if section["code"] != "0" and not gone:
            program = "squeue" if section["name"] == "queue" else "sacct"
            errors[program] = said or f"exit code {section['code']}"
        elif section["name"] == "queue":
            queue |= parse_queue(body)
        else:
            accounting |= parse_accounting(body)
    return Answer(
        queue=None if "squeue" in errors else queue,
        accounting=None if "sacct" in errors else accounting,
        sentinels=_sentinels(completed.out, folders),
        errors=errors,
    )


def _sentinels(text: str, folders: Sequence[str]) -> dict[str, Sentinel]:
    found = {}
    for match in _SENTINEL.finditer(text):
        sentinel = parse_sentinel(match["line"])
        number = int(match["number"])
        if sentinel is not None and 1 <= number <= len(folders):
            found[folders[number - 1].rstrip("/").rpartition("/")[2]] = sentinel
    return found


def cancel(job: str) -> Flow[None]:
    """Cancels a job. Tracking tells when it has happened.

    A job that is over, or that Slurm does not know (any more), is no error: scancel says nothing and exits with 0.

    Raises:
        SiteError: Not permitted, or Slurm does not answer.
    """
    completed = yield Command(argv=("scancel", job), idempotent=True)
    if completed.exit_code != 0:
        raise completed.refusal(f"job {job} could not be cancelled")


def read_log(path: str, *, offset: int, limit: int) -> Flow[bytes | None]:
    """Bytes of a log from ``offset`` on, at most ``limit``; ``None`` when the file is not there yet.

    Raises:
        SiteError: It cannot be read.
    """
    if offset < 0 or limit < 0:
        raise ParseError(f"offset = {offset} and limit = {limit} cannot be negative")
    completed = yield shell(_LOG, path, str(offset + 1), str(limit), idempotent=True)
    if completed.exit_code == LOG_MISSING:
        return None
    if completed.exit_code != 0:
        raise completed.refusal(f"the log {path} cannot be read")
    return completed.stdout
