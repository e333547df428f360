"""Submissions driven by functions: what they send, and what they make of every answer."""

from __future__ import annotations

import gzip

import pytest

from aifa_hpc.command import drive
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SiteError, SubmissionUnknownError
from aifa_hpc.slurm.submission import Ticket, look_up, submit
from tests.slurm.answering import Step, answers

TICKET = Ticket(token="t0k3n", name="digits-t0k3n", jobs="/scratch/jobs")


@pytest.mark.parametrize(
    "out",
    [
        "aifa: job 1 receipt 4711\naifa: done 1\n",
        "Welcome to the machine\r\n\r\naifa: job 1 receipt 4711\r\naifa: done 1\r\n",
        "aifa: job 1 receipt 4711\n",
    ],
)
def test_submit_gives_the_id(out: str) -> None:
    """The receipt is found after a banner and with carriage returns; the script goes in on standard input."""
    run, seen = answers((0, out))
    assert drive(submit(TICKET, "#!/bin/bash\nécho"), run) == "4711"
    assert ["t0k3n 2\n\n#!/bin/bash\nécho\n".encode()] == [gzip.decompress(command.stdin) for command in seen]
    assert seen[0].argv[-4:] == ("/scratch/jobs", str(len(seen[0].stdin)), "18", "")
    assert seen[0].idempotent is False


def test_submit_refused() -> None:
    """A refusal is the site's, with its words and sbatch's own exit code."""
    run, _ = answers((0, "aifa: job 1 refused 1\naifa: words 1 sbatch: error: Invalid account\naifa: done 1\n"))
    with pytest.raises(SiteError, match="Invalid account") as caught:
        drive(submit(TICKET, "x"), run)
    assert caught.value.exit_code_remote == 1


@pytest.mark.parametrize(("code", "words"), [(73, "could not be made"), (74, "could not be stored")])
def test_submit_without_room(code: int, words: str) -> None:
    """A full or forbidden folder is said as what it is; nothing was submitted and nothing is asked."""
    run, seen = answers((code, "", "mkdir: Disk quota exceeded"))
    with pytest.raises(SiteError, match=f"{words}.*quota exceeded"):
        drive(submit(TICKET, "x"), run)
    assert len(seen) == 1


def test_submit_never_sent_passes_through() -> None:
    """What never left is not looked for."""
    run, seen = answers(NotSentError("no route"))
    with pytest.raises(NotSentError, match="no route"):
        drive(submit(TICKET, "x"), run)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "first",
    [
        OutcomeUnknownError("connection lost"),
        (0, "aifa: job 1 begun\naifa: done 1\n"),
        (
            0,
            "aifa: job 1 doubt 1\naifa: words 1 sbatch: error: Socket timed out on send/recv operation\naifa: done 1\n",
        ),
        (137, ""),
        (0, ""),
    ],
    ids=["silence", "taken", "doubt", "killed", "nothing"],
)
@pytest.mark.parametrize(
    ("look", "expected"),
    [
        ((0, "aifa: job 1 receipt 4711\naifa: done 1\n"), "4711"),
        ((0, "aifa: job 1 begun\n4711|digits-t0k3n|\naifa: done 1\n"), "4711"),
        ((0, "aifa: job 1 begun\n4711_[0-9]|digits|aifa:t0k3n\r\naifa: done 1\n"), "4711"),
        ((0, "aifa: job 1 begun\n4711|digits-t0k3m|aifa:t0k3m\naifa: done 1\n"), SubmissionUnknownError),
        ((0, "aifa: job 1 fenced\naifa: done 1\n"), NotSentError),
        ((0, "aifa: job 1 refused\naifa: words 1 sbatch: error: Invalid qos\naifa: done 1\n"), SiteError),
        ((0, "aifa: job 1 begun\naifa: done 1\n"), SubmissionUnknownError),
        ((73, "", "Permission denied"), SubmissionUnknownError),
        (OutcomeUnknownError("lost again"), SubmissionUnknownError),
        (NotSentError("no route"), SubmissionUnknownError),
    ],
    ids=["receipt", "name", "comment", "another", "fence", "refusal", "no trace", "no folder", "silence", "no route"],
)
def test_an_unknown_submission_is_settled_by_looking(first: Step, look: Step, expected: str | type[Exception]) -> None:
    """Whatever leaves the outcome open is settled by one look, and stays unknown only when that shows nothing."""
    run, seen = answers(first, look)
    if isinstance(expected, str):
        assert expected == drive(submit(TICKET, "x"), run)
    else:
        with pytest.raises(expected) as caught:
            drive(submit(TICKET, "x"), run)
        assert expected is type(caught.value)
    assert [command.idempotent for command in seen] == [False, True]


def test_unknown_keeps_the_token_and_its_exit_code() -> None:
    """The last resort names the token, says what not to do, and exits with 4."""
    run, _ = answers(
        (0, "aifa: job 1 begun\naifa: said squeue: error: Unable to contact slurm controller\naifa: done 1\n")
    )
    with pytest.raises(SubmissionUnknownError, match=r"Unable to contact.*Do not submit it again") as caught:
        drive(look_up(TICKET), run)
    assert caught.value.token == "t0k3n"
    assert caught.value.exit_code == 4
