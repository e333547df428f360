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
        JOBID.out               standard output and error
        exit                    the sentinel: JOBID RESTARTS CODE EPOCH
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.command import Command, Flow, shell
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SubmissionUnknownError
from aifa_hpc.slurm.parse import (
    ACCOUNTING_COLUMNS,
    QUEUE_COLUMNS,
    parse_accounting,
    parse_queue,
    parse_sentinel,
)
from aifa_hpc.slurm.records import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUBMIT = """
umask 077
mkdir -p "$1" && cd "$1" || exit 73
mkdir "$2" 2>/dev/null || { echo "aifa: taken"; exit 0; }
cd "$2" && cat > script.sbatch || exit 74
if id=$(sbatch --parsable < script.sbatch 2> refusal); then
  printf '%s\\n' "$id" > receipt.part && mv receipt.part receipt
  [ -s refusal ] && cat refusal >&2
  rm -f refusal
  printf 'aifa: receipt %s\\n' "$id"
else
  code=$?
  cat refusal >&2
  echo "aifa: refused $code"
fi
"""

_LOOK = """
umask 077
mkdir -p "$1" && cd "$1" || exit 73
if mkdir "$2" 2>/dev/null; then echo "aifa: fenced"; exit 0; fi
if [ -s "$2/receipt" ]; then printf 'aifa: receipt '; cat "$2/receipt"; exit 0; fi
squeue --noheader --states=all --name="$3" --format='aifa: receipt %A' 2>/dev/null
sacct -X --noheader --parsable2 --starttime=now-2days --name="$3" --format=JobID 2>/dev/null | sed 's/^/aifa: receipt /'
[ -s "$2/refusal" ] && { cat "$2/refusal" >&2; echo "aifa: refused 1"; }
echo "aifa: looked"
"""

_QUERY = """
echo "aifa: section queue"
squeue --noheader --states=all --jobs="$1" --format="$2"
echo "aifa: end $?"
echo "aifa: section accounting"
sacct -X --noheader --parsable2 --starttime="$3" --jobs="$1" --format="$4"
echo "aifa: end $?"
echo "aifa: section sentinels"
shift 4
for folder do
  [ -r "$folder/exit" ] && printf 'aifa: sentinel %s\\n' "${folder##*/}" && cat "$folder/exit"
done
echo "aifa: end 0"
"""

_LOG = """
[ -e "$1" ] || exit 66
tail -c +"$2" -- "$1" | head -c "$3"
"""

_RECEIPT = re.compile(r"^aifa: receipt +(?P<id>\d+)(?:;\S+)?\s*$", re.MULTILINE | re.ASCII)
_REFUSED = re.compile(r"^aifa: refused (?P<code>\d+)\s*$", re.MULTILINE | re.ASCII)
_SECTION = re.compile(
    r"^aifa: section (?P<name>\w+)\s*$(?P<body>.*?)^aifa: end (?P<code>\d+)\s*$", re.MULTILINE | re.DOTALL | re.ASCII
)
_SENTINEL = re.compile(r"^aifa: sentinel (?P<folder>\S+)\s*\n(?P<line>[^\n]*)", re.MULTILINE)

LOG_MISSING = 66  # sysexits(3) EX_NOINPUT
SUBMIT_TIMEOUT = 120.0  # sbatch itself waits up to MessageTimeout and retries a busy controller


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
    command = shell(_SUBMIT, ticket.jobs, ticket.token, stdin=script.encode(), timeout=SUBMIT_TIMEOUT)
    try:
        completed = yield command
    except OutcomeUnknownError as error:
        found = yield from look_up(ticket)
        if found is None:
            raise NotSentError(f"the submission never reached the site ({error.message})") from error
        return found
    receipt = _RECEIPT.search(completed.out)
    if receipt:
        return receipt["id"]
    refused = _REFUSED.search(completed.out)
    if refused:
        said = completed.refusal("the site refused the job")
        raise type(said)("sbatch refused the job", exit_code_remote=int(refused["code"]), stderr=completed.err)
    if completed.exit_code == 0 and "aifa: taken" in completed.out:
        found = yield from look_up(ticket)
        if found is not None:
            return found
    raise completed.refusal(f"the job folder {ticket.folder} could not be made")


def look_up(ticket: Ticket) -> Flow[str | None]:
    """Finds the job of a ticket; ``None`` means it was never submitted and now never can be.

    Raises:
        SubmissionUnknownError: Nobody knows (yet), or nobody can be asked.
        SiteError: sbatch had refused it.
    """
    command = shell(_LOOK, ticket.jobs, ticket.token, ticket.name, idempotent=True)
    doubt = SubmissionUnknownError(
        f"whether job {ticket.name!r} was submitted is not known: the answer was lost and the site shows no trace yet.",
        token=ticket.token,
        hint="Do not submit it again; run `aifa jobs` in a minute, which asks again.",
    )
    try:
        completed = yield command
    except (OutcomeUnknownError, NotSentError) as error:
        raise doubt from error
    receipt = _RECEIPT.search(completed.out)
    if receipt:
        return receipt["id"]
    if "aifa: fenced" in completed.out:
        return None
    if _REFUSED.search(completed.out):
        raise completed.refusal("sbatch refused the job")
    raise doubt


def query(jobs: Sequence[str], folders: Sequence[str], *, since: str) -> Flow[Answer]:
    """Asks about many jobs in one command.

    Args:
        jobs: Base ids (``123``); an array is asked for by its base id.
        folders: Job folders whose sentinels are wanted.
        since: ``sacct --starttime``; without one it forgets what ended before midnight.

    Raises:
        ParseError: A program answered with what cannot be read.
    """
    words = (",".join(jobs), "|".join(QUEUE_COLUMNS), since, ",".join(ACCOUNTING_COLUMNS), *folders)
    completed = yield shell(_QUERY, *words, idempotent=True)
    sections = {match["name"]: (match["body"], int(match["code"])) for match in _SECTION.finditer(completed.out)}
    if set(sections) != {"queue", "accounting", "sentinels"}:
        raise completed.refusal("the site's answer about jobs is not whole")
    errors = {}
    queue = accounting = None
    body, code = sections["queue"]
    # squeue fails for a single id that has left the queue; its words say so, and that is an answer.
    if code == 0 or "Invalid job id" in completed.err:
        queue = parse_queue(body)
    else:
        errors["squeue"] = completed.err.strip()
    body, code = sections["accounting"]
    if code == 0:
        accounting = parse_accounting(body)
    else:
        errors["sacct"] = completed.err.strip()
    sentinels = {}
    for match in _SENTINEL.finditer(sections["sentinels"][0]):
        sentinel = parse_sentinel(match["line"])
        if sentinel:
            sentinels[match["folder"]] = sentinel
    return Answer(queue=queue, accounting=accounting, sentinels=sentinels, errors=errors)


def cancel(job: str) -> Flow[None]:
    """Cancels a job; one that is over already is no error. Tracking tells when it has happened.

    Raises:
        SiteError: Not permitted, or no such job.
    """
    completed = yield Command(argv=("scancel", job), idempotent=True)
    if completed.exit_code != 0:
        raise completed.refusal(f"job {job} could not be cancelled")


def read_log(path: str, *, offset: int, limit: int) -> Flow[bytes | None]:
    """Bytes of a log from ``offset`` on, at most ``limit``; ``None`` when the file is not there yet.

    Raises:
        SiteError: It cannot be read.
    """
    completed = yield shell(_LOG, path, str(offset + 1), str(limit), idempotent=True)
    if completed.exit_code == LOG_MISSING:
        return None
    if completed.exit_code != 0:
        raise completed.refusal(f"the log {path} cannot be read")
    return completed.stdout
