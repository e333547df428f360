"""Submit exactly once: many jobs in one command, and what became of them when the wire went silent.

How that is safe, and what lies on the site, is told in ``slurm.claims``.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from aifa_hpc.command import Flow, shell
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SiteError, SubmissionUnknownError, tail
from aifa_hpc.slurm.claims import LIST, LOOK, SUBMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTED = re.compile(r"^aifa: held (?P<token>\w+) (?P<id>\d+)\s*$", re.MULTILINE | re.ASCII)
_JOB = re.compile(r"^aifa: job (?P<number>\d+) (?P<kind>[a-z]+) ?(?P<value>\d*)\s*$", re.MULTILINE | re.ASCII)
_WORDS = re.compile(r"^aifa: words (?P<number>\d+) (?P<words>.*?)\s*$", re.MULTILINE | re.ASCII)
_SAID = re.compile(r"^aifa: said (?P<said>.*\S)\s*$", re.MULTILINE)
_FOUND = re.compile(r"^(?P<id>\d+)[^|\s]*\|(?P<name>[^|\n]*)(?:\|(?P<comment>[^\n]*))?$", re.MULTILINE | re.ASCII)

_ANSWERED = re.compile(r"^aifa: end 0\s*$", re.MULTILINE)
_PROGRAMS = 2  # squeue and sacct

FOLDER_FAILED = 73  # sysexits(3) EX_CANTCREAT
SCRIPT_FAILED = 74  # sysexits(3) EX_IOERR
SUBMIT_TIMEOUT = 120.0  # sbatch itself waits up to MessageTimeout and retries a busy controller
_SECONDS_A_JOB = 5.0  # a busy controller's sbatch; without load it takes milliseconds
HAD_SAID = "; sbatch had said: "
_NEVER = "long after it was begun, neither queue nor accounting nor its folder shows a job: there is none"
BATCH = 500
"""Jobs in one command: minutes of work for a busy controller, two megabytes of scripts."""

Kind: TypeAlias = Literal["submitted", "refused", "unsent", "full", "unknown"]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one submission.

    Attributes:
        kind: ``submitted``; ``refused`` by sbatch; ``unsent``, and never to be sent under this token; ``full``: not
            submitted, because a limit of submitted jobs is reached, and may be sent again; or ``unknown``.
        job_id: Slurm's id, when submitted.
        code: sbatch's exit code, when refused.
        words: What was said.
        quiet: Of an unknown one: it was begun long ago, and no job has written to the folder.
    """

    kind: Kind
    job_id: str = ""
    code: int = 0
    words: str = ""
    quiet: bool = False


def submit(ticket: Ticket, script: str) -> Flow[str]:
    """Submits a script exactly once and returns the job id.

    Raises:
        SiteError: sbatch refused, or the folder cannot be made.
        NotSentError: Nothing was submitted, and nothing will be under this token.
        SubmissionUnknownError: A job may exist; ``look_up`` with the same ticket settles it later.
    """
    try:
        outcomes = yield from submit_many([ticket], [script], queue=False)
    except OutcomeUnknownError as error:
        found = yield from look_up(ticket)
        if found is None:
            raise NotSentError(f"the submission never reached the site ({error.message})") from error
        return found
    found = _settled(ticket, outcomes[0])
    if found is None:
        raise NotSentError("the submission was fenced off: nothing was submitted, and nothing will be.")
    return found


def submit_many(tickets: Sequence[Ticket], scripts: Sequence[str], *, queue: bool) -> Flow[list[Outcome]]:
    """Submits scripts exactly once each, in order, in one command.

    Args:
        tickets: Of at most :data:`BATCH` jobs, all with the same folder of job folders.
        scripts: One for each.
        queue: They are sent again until it is known what became of them, so nothing is fenced off. Once a limit of
            submitted jobs leaves no room for one, none is begun any more; these come back as ``full``.

    Raises:
        SiteError: The folders cannot be made or written; nothing was submitted.
        NotSentError: Nothing was submitted.
        OutcomeUnknownError: Silence. It is safe to submit the same tickets again: what has begun is told, not repeated.
    """
    whole = [script if script.endswith("\n") else f"{script}\n" for script in scripts]
    body = "".join(whole).encode()
    count = (script.count("\n") for script in whole)
    head = "".join(f"{ticket.token} {lines}\n" for ticket, lines in zip(tickets, count, strict=True))
    data = gzip.compress(f"{head}\n".encode() + body, compresslevel=1, mtime=0)
    jobs = tickets[0].jobs
    words = (jobs, str(len(data)), str(len(body)), "queue" if queue else "")
    completed = yield shell(SUBMIT, *words, stdin=data, timeout=SUBMIT_TIMEOUT + _SECONDS_A_JOB * (len(tickets) - 1))
    if "aifa: cut" in completed.out:
        raise NotSentError("the scripts did not reach the site whole, so nothing was submitted.")
    if completed.exit_code == FOLDER_FAILED:
        hint = "Check that the folder above is there and yours to write; `workdir` in sites.toml names another place."
        raise completed.refusal(f"job folders could not be made in {jobs}", hint=hint)
    if completed.exit_code == SCRIPT_FAILED:
        hint = "Free some space or quota there, and submit again: nothing was submitted."
        raise completed.refusal(f"the script could not be stored in {jobs}", hint=hint)
    told = _read(completed.out)
    unsure = Outcome(kind="unknown")  # behind the place where the program on the site was ended
    found = [told.get(number, unsure) for number in range(len(tickets))]
    if doubtful := [number for number, one in enumerate(found) if one.kind == "unknown"]:
        looked = yield from look_up_many([tickets[number] for number in doubtful], fence=not queue)
        for number, outcome in zip(doubtful, looked, strict=True):
            found[number] = _with_words(outcome, found[number].words)
    full = "; ".join(dict.fromkeys(one.words for one in found if one.kind == "full" and one.words))
    return [replace(one, words=full) if one.kind == "full" else one for one in found]


def _with_words(looked: Outcome, said: str) -> Outcome:
    """What was found, with what sbatch had said where that is all there is."""
    said = tail(said).strip()
    if looked.kind != "unknown" or not said or said in looked.words:
        return looked
    return replace(looked, words=f"{looked.words}{HAD_SAID}{said}")


def look_up(ticket: Ticket) -> Flow[str | None]:
    """Finds the job of a ticket; ``None`` means it was never submitted and now never can be.

    Raises:
        SubmissionUnknownError: Nobody knows (yet), or nobody can be asked.
        SiteError: sbatch had refused it.
    """
    outcomes = yield from look_up_many([ticket], fence=True)
    return _settled(ticket, outcomes[0])


def look_up_many(tickets: Sequence[Ticket], *, fence: bool) -> Flow[list[Outcome]]:
    """What became of submissions. Silence is ``unknown`` for all of them.

    Args:
        tickets: All with the same folder of job folders.
        fence: What was not begun never will be; otherwise it is ``unknown``, and may be sent again.
    """
    names = ",".join(ticket.name for ticket in tickets)
    words = (tickets[0].jobs, "fence" if fence else "", *(f"./{ticket.token}" for ticket in tickets))
    command = shell(LOOK, *words, stdin=f"{names}\n".encode(), idempotent=True)
    try:
        completed = yield command
    except (OutcomeUnknownError, NotSentError) as error:
        return [Outcome(kind="unknown", words=f"the site could not be asked ({error.message})")] * len(tickets)
    told = _read(completed.out)
    found: dict[str, str] = {}
    for match in _FOUND.finditer(completed.out.replace("\r", "")):
        found |= {match["name"]: match["id"], match["comment"] or "": match["id"]}
    said = tail("\n".join((*_SAID.findall(completed.out), completed.err)))
    asked = len(_ANSWERED.findall(completed.out)) == _PROGRAMS
    trace = "the site shows no trace of it yet" + (f" and says: {said}" if said else "")
    outcomes = []
    for number, ticket in enumerate(tickets):
        outcome = told.get(number)
        if outcome is None or outcome.kind == "unknown":
            job_id = found.get(f"aifa:{ticket.token}") or found.get(ticket.name)
            heard = "" if outcome is None else outcome.words
            if job_id:
                outcome = Outcome(kind="submitted", job_id=job_id)
            elif outcome is not None and outcome.quiet and asked:
                outcome = Outcome(kind="unsent", words=_NEVER + (f"{HAD_SAID}{tail(heard).strip()}" if heard else ""))
            else:
                outcome = _with_words(Outcome(kind="unknown", words=trace), heard)
        outcomes.append(outcome)
    return outcomes


def _read(text: str) -> dict[int, Outcome]:
    """The answers by the jobs' places; what has begun and has no receipt is unknown."""
    words: dict[int, list[str]] = {}
    for match in _WORDS.finditer(text):
        words.setdefault(int(match["number"]) - 1, []).append(match["words"])
    found = {}
    for match in _JOB.finditer(text):
        number = int(match["number"]) - 1
        said = "\n".join(words.get(number, ()))
        kind, value = match["kind"], match["value"]
        if kind == "receipt" and value:
            found[number] = Outcome(kind="submitted", job_id=value)
        elif kind == "refused":
            found[number] = Outcome(kind="refused", code=int(value or 1), words=said)
        elif kind in {"full", "fenced"}:
            found[number] = Outcome(kind="full" if kind == "full" else "unsent", words=said)
        else:
            found[number] = Outcome(kind="unknown", words=said, quiet=kind == "quiet")
    return found


def _settled(ticket: Ticket, outcome: Outcome) -> str | None:
    """The outcome of one submission as an id, ``None`` for one that was fenced off, or an error."""
    if outcome.kind == "submitted":
        return outcome.job_id
    if outcome.kind == "unsent":
        return None
    if outcome.kind == "refused":
        raise SiteError("sbatch refused the job", exit_code_remote=outcome.code, stderr=outcome.words)
    raise SubmissionUnknownError(
        f"whether job {ticket.name!r} was submitted is not known: its answer was lost, and {outcome.words}.",
        token=ticket.token,
        hint="Do not submit it again; run `aifa jobs` in a minute, which asks again.",
    )


def list_receipts(jobs: str) -> Flow[dict[str, str]]:
    """The job ids of all receipts in a folder of job folders, by token.

    Raises:
        SiteError: It cannot be read.
    """
    completed = yield shell(LIST, jobs, timeout=120.0, idempotent=True)
    if completed.exit_code != 0 or "aifa: listed" not in completed.out:
        raise completed.refusal(f"the job folders in {jobs} cannot be listed")
    return {match["token"]: match["id"] for match in _LISTED.finditer(completed.out)}
