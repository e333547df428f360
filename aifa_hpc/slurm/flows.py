"""Submit, ask, cancel, read logs: each a generator over :class:`Command` that never touches a wire.

**Submission.** The folder of a job is made with ``mkdir``, which exactly one caller can win, before ``sbatch`` sees the
script on its standard input. Its answer is kept there as a receipt. When the wire goes silent, the same ``mkdir`` is
tried again from the looking side: if that wins, the submission never began and never will, because whoever comes later
finds the folder taken. If a receipt is there, that is the job. If neither, ``squeue`` and ``sacct`` are asked for the
token in the job's name, and only if all of them know nothing is the outcome left unknown.

**Asking.** All jobs of a site are asked about in one command, whatever their number: squeue, sacct and the exit
sentinels, each in a section of its own, so that one program that fails does not hide the others.

The tree on the cluster::

    WORKDIR/jobs/TOKEN/         made by mkdir, mode 0700
        script.sbatch           what was submitted
        receipt                 what sbatch answered: the job id
        refusal                 what it said instead, when it refused
        unsent                  nothing was submitted, and never will be
        JOBID.out               standard output and error
        exit                    the sentinel: JOBID RESTARTS CODE EPOCH
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.command import Command, Flow, shell
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, ParseError, SiteError, SubmissionUnknownError, tail
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

_SUBMIT = (
    CLEAN
    + """
mask=$(umask)
umask 077
mkdir -p -- "$1" && cd -- "$1" || exit 73
if ! mkdir -- "./$2"; then
  [ -d "./$2" ] || exit 73
  echo "aifa: taken"
  exit 0
fi
cd "./$2" || exit 73
cat > script.sbatch || { : > unsent; exit 74; }
if [ "$(wc -c < script.sbatch)" -ne "$3" ]; then
  : > unsent
  echo "aifa: cut"
  exit 0
fi
out=$(umask "$mask"; exec sbatch --parsable --ignore-pbs < script.sbatch 2> said)
code=$?
cat said >&2
id=$(printf '%s\\n' "$out" | sed -n -e 's/^\\([0-9][0-9]*\\)$/\\1/p' -e 's/^\\([0-9][0-9]*\\);.*$/\\1/p' | tail -n 1)
if [ "$code" -eq 0 ] && [ -n "$id" ]; then
  printf '%s\\n' "$id" > receipt.part && mv receipt.part receipt
  rm -f said
  printf 'aifa: receipt %s\\n' "$id"
elif [ "$code" -eq 0 ] || { [ "$code" -gt 128 ] && [ "$code" -lt 255 ]; } ||
  grep -E -q 'timed out|Zero Bytes|Unexpected message|(send|receive|shutdown) failure' said; then
  echo "aifa: doubt $code"
else
  mv said refusal
  echo "aifa: refused $code"
fi
"""
)
"""``$1`` folder of job folders, ``$2`` token, ``$3`` size of the script in bytes; the script on standard input.

A script that was cut off on its way is never submitted. Only a refusal that came back counts as one: where sbatch was
killed or lost the controller while it spoke with it (the words are those of Slurm's slurm_errno.c), a job may exist.
The user's own umask holds for sbatch, which hands it on to the job. ``#PBS`` lines are ignored because sbatch obeys
them in any line of a script, also inside quotes.
"""

_LOOK = (
    CLEAN
    + """
umask 077
mkdir -p -- "$1" && cd -- "$1" || exit 73
if mkdir -- "./$2" 2>/dev/null; then : > "./$2/unsent"; echo "aifa: fenced"; exit 0; fi
if [ -e "./$2/unsent" ]; then echo "aifa: fenced"; exit 0; fi
if [ -s "./$2/receipt" ]; then printf 'aifa: receipt '; cat "./$2/receipt"; exit 0; fi
if [ -e "./$2/refusal" ]; then cat "./$2/refusal" >&2; echo "aifa: refused"; exit 0; fi
{
  squeue --me --noheader --states=all --format="%i %k" | sed -n "s/ aifa:$2\\$//p"
  squeue --me --noheader --states=all --name="$3" --format=%i
  sacct -X --noheader --parsable2 --starttime=now-2days --name="$3" --format=JobID
} < /dev/null | sed -n 's/^\\([0-9][0-9]*\\).*/aifa: receipt \\1/p'
echo "aifa: looked"
"""
)
"""``$1`` folder of job folders, ``$2`` token, ``$3`` job name; a singleton has its token in the comment only.

The fence is marked, so that it is known when it is asked for again. Only the user's own jobs count: everybody can read
names in the queue and give them to a job.
"""

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

_RECEIPT = re.compile(r"^aifa: receipt +(?P<id>\d+)\s*$", re.MULTILINE | re.ASCII)
_REFUSED = re.compile(r"^aifa: refused ?(?P<code>\d*)\s*$", re.MULTILINE | re.ASCII)
_SECTION = re.compile(
    r"^aifa: section (?P<name>\w+)\s*$(?P<body>.*?)^aifa: end (?P<code>\d+)\s*$", re.MULTILINE | re.DOTALL | re.ASCII
)
_SAID = re.compile(r"^aifa: said ?(.*)$", re.MULTILINE)
_SENTINEL = re.compile(r"^aifa: sentinel (?P<number>\d+) (?P<line>[^\n]*)", re.MULTILINE | re.ASCII)
_DONE = re.compile(r"^aifa: done (?P<count>\d+)\s*$", re.MULTILINE | re.ASCII)

FOLDER_FAILED = 73  # sysexits(3) EX_CANTCREAT
SCRIPT_FAILED = 74  # sysexits(3) EX_IOERR
LOG_MISSING = 66  # sysexits(3) EX_NOINPUT
SUBMIT_TIMEOUT = 120.0  # sbatch itself waits up to MessageTimeout and retries a busy controller
QUERY_TIMEOUT = 120.0
IDS_IN_A_LINE = 10_000  # Linux takes 128 KiB in one argument (MAX_ARG_STRLEN); an id and its comma are 9 to 12 bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What identifies a submission before it has a job id.

    Attributes:
        token: Unguessable and unique; also part of the job's name.
        name: The job's name, which contains the token.
        jobs: Folder on the site that holds the job folders.
    """

    token: str
    name: str
    jobs: str

    @property
    def folder(self) -> str:
        """The job's own folder."""
        return f"{self.jobs}/{self.token}"


def submit(ticket: Ticket, script: str) -> Flow[str]:
    """Submits a script exactly once and returns the job id.

    Raises:
        SiteError: sbatch refused, or the folder cannot be made.
        NotSentError: Nothing was submitted, and nothing will be under this token.
        SubmissionUnknownError: A job may exist; ``look_up`` with the same ticket settles it later.
    """
    data = script.encode()
    words = (ticket.jobs, ticket.token, str(len(data)))
    try:
        completed = yield shell(_SUBMIT, *words, stdin=data, timeout=SUBMIT_TIMEOUT)
    except OutcomeUnknownError as error:
        found = yield from look_up(ticket)
        if found is None:
            raise NotSentError(f"the submission never reached the site ({error.message})") from error
        return found
    if receipt := _RECEIPT.search(completed.out):
        return receipt["id"]
    if refused := _REFUSED.search(completed.out):
        raise SiteError("sbatch refused the job", exit_code_remote=int(refused["code"] or 1), stderr=completed.err)
    if "aifa: cut" in completed.out:
        raise NotSentError("the script did not reach the site whole, so nothing was submitted.")
    if completed.exit_code == FOLDER_FAILED:
        hint = "Check that the folder above is there and yours to write; `workdir` in sites.toml names another place."
        raise completed.refusal(f"the job folder {ticket.folder} could not be made", hint=hint)
    if completed.exit_code == SCRIPT_FAILED:
        hint = "Free some space or quota there, and submit again: nothing was submitted."
        raise completed.refusal(f"the script could not be stored in {ticket.folder}", hint=hint)
    found = yield from look_up(ticket)
    if found is None:
        raise NotSentError("the submission was fenced off: nothing was submitted, and nothing will be.")
    return found


def look_up(ticket: Ticket) -> Flow[str | None]:
    """Finds the job of a ticket; ``None`` means it was never submitted and now never can be.

    Raises:
        SubmissionUnknownError: Nobody knows (yet), or nobody can be asked.
        SiteError: sbatch had refused it.
    """
    command = shell(_LOOK, ticket.jobs, ticket.token, ticket.name, idempotent=True)
    try:
        completed = yield command
    except (OutcomeUnknownError, NotSentError) as error:
        raise _doubt(ticket, f"the site could not be asked ({error.message})") from error
    if receipt := _RECEIPT.search(completed.out):
        return receipt["id"]
    if "aifa: fenced" in completed.out:
        return None
    if _REFUSED.search(completed.out):
        raise SiteError("sbatch refused the job", stderr=completed.err)
    said = tail(completed.err)
    raise _doubt(ticket, "the site shows no trace of it yet" + (f" and says: {said}" if said else ""))


def _doubt(ticket: Ticket, why: str) -> SubmissionUnknownError:
    return SubmissionUnknownError(
        f"whether job {ticket.name!r} was submitted is not known: its answer was lost, and {why}.",
        token=ticket.token,
        hint="Do not submit it again; run `aifa jobs` in a minute, which asks again.",
    )


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
