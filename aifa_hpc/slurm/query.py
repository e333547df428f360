"""One question about all jobs of a site, whatever their number: squeue, sacct and the exit records, in one command.

squeue is asked about all of them, and only about the user's own jobs: the cheapest question that a controller knows.
sacct is asked about those that squeue does not show alive, those that were just put back into the queue, and those that
the caller wants to know more of: a database that serves a whole site is not asked about jobs that simply run. Exit
records are read for the same ones. Of arrays that are gone it is also asked whether some task waits still: those that
were cancelled while they waited are written down nowhere. Each program's answer is a section of its own, so that one
that fails does not hide the others; what a silent program did not say must not look like absence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from aifa_hpc.command import Flow, shell
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
from aifa_hpc.slurm.states import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUERY = (
    CLEAN
    + ASK
    + """
export TZ=UTC0
queue=$1 since=$2 accounting=$3 ends=$4 most=$5
jobs=$(cat)
lines=$(printf '%s\\n' "$jobs" | awk -v most="$most" '
  $1 == "job" { printf "%s%s", (count % most ? "," : count ? "\\n" : ""), $2; count++ }
  END { if (count) print "" }
')
seen=$(printf '%s\\n' "$lines" | while IFS= read -r ids && [ -n "$ids" ]; do
  ask queue squeue --me --noheader --states=all --jobs="$ids" --format="$queue"
done)
printf '%s\\n' "$seen"
rest=$(printf '%s\\n%s\\n' "$jobs" "$seen" | awk -F '|' -v ends="$ends" -v most="$most" '
  BEGIN { split(ends, list, "|"); for (number in list) end[list[number]] = 1 }
  !answer && /^job / {
    split($0, word, " ")
    id = order[++count] = word[2]
    more[id] = word[3] == "more"
    tasks[id] = word[5]
    next
  }
  /^aifa: section/ { answer = 1 }
  answer && $1 ~ /^[0-9]/ && NF > 2 {
    id = $1
    sub(/[^0-9].*/, "", id)
    if ($2 in end || $3 == "BeginTime") more[id] = 1
    if (!($2 in end)) alive[id] = 1
  }
  END {
    for (number = 1; number <= count; number++) {
      id = order[number]
      if (more[id] || !alive[id]) { printf "%s%s", (asked % most ? "," : asked ? "\\nask " : "ask "), id; asked++ }
      if (!alive[id]) gone = gone "gone " id "\\n"
      if (!alive[id] && tasks[id] != "") arrays = arrays (arrays == "" ? "last " : ",") id
    }
    printf "%s%s%s\\n", (asked ? "\\n" : ""), gone, arrays
  }
')
told=$(printf '%s\\n' "$rest" | while read -r what ids && [ "$what" = ask ]; do
  ask accounting sacct -X --duplicates --parsable2 --noheader --starttime="$since" --jobs="$ids" --format="$accounting"
done)
printf '%s\\n' "$told"
arrays=$(printf '%s\\n' "$rest" | sed -n 's/^last //p')
[ -z "$arrays" ] ||
  ask last sacct -X --parsable2 --noheader --starttime="$since" --jobs="$arrays" --format=JobIDRaw,JobID
case $told in *'aifa: end '[!0]*) silent=1 ;; *) silent=0 ;; esac
printf '%s\\n%s\\n' "$rest" "$jobs" | awk -v silent="$silent" '
  function record(file, label,  line) {
    if ((getline line < file) > 0) print "aifa: record " label " " line
    close(file)
  }
  $1 == "ask" { split($2, list, ","); for (number in list) wanted[list[number]] = 1; next }
  $1 == "gone" { gone[$2] = 1; next }
  $1 == "in" { folder = substr($0, 4); next }
  $1 == "job" && $4 != "-" && ($2 in wanted) {
    if ($5 == "") record(folder "/" $4 "/exit", $2 " -")
    else if (silent || $2 in gone) {
      count = split($5, spans, ",")
      for (number = 1; number <= count; number++) {
        split(spans[number], step, ":")
        split(step[1], bound, "-")
        last = bound[2] == "" ? bound[1] : bound[2]
        for (task = bound[1] + 0; task <= last + 0; task += (step[2] == "" ? 1 : step[2]))
          record(folder "/" $4 "/exit_" task, $2 " " task)
      }
    }
  }
'
count() { printf '%s\\n' "$1" | grep -c "$2"; }
echo "aifa: done $(count "$lines" .) $(count "$rest" '^ask ')"
"""
)
"""``$1`` squeue's columns, ``$2`` start of sacct's window, ``$3`` sacct's columns, ``$4`` states that are ends, ``$5``
most ids in one argument. Slurm's programs print times without a zone, in that of their caller: here always UTC.

Standard input: lines ``in FOLDER``, each followed by the jobs with folders in it: ``job ID less|more TOKEN TASKS``.
"""

_LAST = re.compile(r"^(?P<id>\d+)\|(?P=id)_\d+\s*$", re.MULTILINE | re.ASCII)
_OURS = "aifa: "

_NUMBER = re.compile(r"\d{1,9}", re.ASCII)

QUERY_TIMEOUT = 120.0
IDS_IN_A_LINE = 10_000  # Linux takes 128 KiB in one argument (MAX_ARG_STRLEN); an id and its comma are 9 to 12 bytes


class Subject(NamedTuple):
    """A job that is asked about. A tuple, because there may be ten thousand.

    Attributes:
        id: Base id (``123``); an array is asked for by its base id.
        folder: Its folder, named by its token; empty for a job without one.
        tasks: Indices of an array, as sbatch was given them; empty when it is none.
        more: Ask accounting, even while the queue shows it alive.
        seen: What the queue said of it last, see ``JobRecord.gist``.
    """

    id: str
    folder: str = ""
    tasks: str = ""
    more: bool = False
    seen: str = ""


def query(subjects: Sequence[Subject], *, since: str) -> Flow[Answer]:
    """Asks about many jobs in one command.

    Args:
        subjects: The jobs.
        since: ``sacct --starttime``; without one it forgets what ended before midnight.

    Returns:
        What the programs know about these jobs. A program counts as silent when any part of its answer failed.

    Raises:
        ParseError: A program answered with what cannot be read.
        SiteError: The answer is not whole.
    """
    words = ("|".join(QUEUE_COLUMNS), since, ",".join(ACCOUNTING_COLUMNS), "|".join(sorted(TERMINAL)))
    command = shell(
        _QUERY, *words, str(IDS_IN_A_LINE), stdin=_question(subjects), timeout=QUERY_TIMEOUT, idempotent=True
    )
    completed = yield command
    sections, done, told = _read(completed.out)
    counts = [sum(section.name == name for section in sections) for name in ("queue", "accounting")]
    if done != counts:
        raise completed.refusal("the site's answer about jobs is not whole")
    known = {subject.id: subject.seen for subject in subjects if subject.seen}
    errors: dict[str, str] = {}
    queue: dict[str, JobRecord] = {}
    same: set[str] = set()
    accounting: dict[str, JobRecord] = {}
    closed: set[str] = set()
    for section in sections:
        if section.name == "last":  # without it nothing is known, and nothing is lost
            closed |= {match["id"] for match in _LAST.finditer(section.body)}
            continue
        # squeue fails for a single id that has left the queue; its words say so, and that is an answer.
        gone = section.name == "queue" and "Invalid job id" in section.said
        if section.code != 0 and not gone:
            program = "squeue" if section.name == "queue" else "sacct"
            errors[program] = section.said or f"exit code {section.code}"
        elif section.name == "queue":
            queue |= parse_queue(section.body, known=known, same=same)
        else:
            accounting |= parse_accounting(section.body)
    return Answer(
        queue=None if "squeue" in errors else queue,
        same=frozenset(same),
        accounting=None if "sacct" in errors else accounting,
        sentinels=_sentinels(told, subjects),
        errors=errors,
        closed=frozenset(closed),
    )


def _question(subjects: Sequence[Subject]) -> bytes:
    places: dict[str, list[str]] = {}
    for job, folder, tasks, more, _ in subjects:
        place, _, token = folder.rpartition("/")
        places.setdefault(place, []).append(f"job {job} {'more' if more else 'less'} {token or '-'} {tasks}")
    if any("\n" in word for place, lines in places.items() for word in (place, *lines)):
        raise ParseError("job ids and job folders cannot hold line breaks")
    return "".join(f"in {place}\n" + "\n".join(lines) + "\n" for place, lines in places.items()).encode()


class _Section(NamedTuple):
    """What one program answered: its output, what it said on standard error, and its exit code."""

    name: str
    body: str
    said: str
    code: int


def _read(text: str) -> tuple[list[_Section], list[int], list[str]]:
    """The sections of an answer, how many of them it says there are (nothing when it is cut), and its exit records.

    Line by line, because the answer may have a megabyte.
    """
    sections: list[_Section] = []
    done: list[int] = []
    told: list[str] = []
    name, begin, said = "", 0, list[str]()
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.startswith(_OURS):
            continue
        word, _, rest = line.rstrip().removeprefix(_OURS).partition(" ")
        if word == "section":
            name, begin, said = rest, number + 1, []
        elif word == "said":
            said.append(rest)
        elif word == "end" and name and _NUMBER.fullmatch(rest):
            body = (one for one in lines[begin:number] if not one.startswith(_OURS))
            sections.append(_Section(name, "\n".join(body), "\n".join(said).strip(), int(rest)))
            name = ""
        elif word == "record":
            told.append(rest)
        elif word == "done":
            done = [int(count) for count in rest.split() if _NUMBER.fullmatch(count)]
    return sections, done, told


def _sentinels(told: Sequence[str], subjects: Sequence[Subject]) -> dict[str, Sentinel]:
    found: dict[str, Sentinel] = {}
    tokens = {subject.id: subject.folder.rpartition("/")[2] for subject in subjects} if told else {}
    for record in told:
        job, _, rest = record.partition(" ")
        task, _, line = rest.partition(" ")
        sentinel = parse_sentinel(line)
        if sentinel is not None and job in tokens and (task == "-" or _NUMBER.fullmatch(task)):
            found[tokens[job] + ("" if task == "-" else f"_{task}")] = sentinel
    return found
