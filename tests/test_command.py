"""Commands, flows, and quoting that holds in a real shell."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifa_hpc.command import Command, Completed, Flow, drive, shell
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SiteError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = (
    "",
    " ",
    "two words",
    "$HOME",
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned",
    "a && touch pwned",
    "it's",
    '"quoted"',
    "back\\slash",
    "new\nline",
    "trailing\n",
    "*",
    "~",
    "!event",
    "-n",
    "--help",
    "#comment",
    "{a,b}",
    "tab\there",
    "$1",
    "'; touch pwned; '",
    "Jülich 🚀",
)
# What argv can hold: anything but NUL; surrogates have no UTF-8 form.
WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=5)
PRINT_ALL = 'for word do printf "%s\\0" "$word"; done'


def run(command: Command) -> Completed:
    """Runs a command here, with its words as they are."""
    done = subprocess.run(command.argv, input=command.stdin, capture_output=True, timeout=command.timeout, check=False)
    return Completed(command=command, exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def words(stdout: bytes) -> list[str]:
    """What `PRINT_ALL` printed."""
    return [word.decode() for word in stdout.split(b"\0")[:-1]]


def twice() -> Flow[str]:
    """A flow that asks two questions, the second made of the first answer."""
    first = yield Command(argv=("first",))
    second = yield Command(argv=("second", first.out))
    return first.out + second.out


def stubborn() -> Flow[str]:
    """A flow that asks again when the wire breaks."""
    try:
        done = yield Command(argv=("ask",))
    except OutcomeUnknownError:
        done = yield Command(argv=("look",))
    return done.out


def answering(*answers: bytes | Exception) -> tuple[list[tuple[str, ...]], Callable[[Command], Completed]]:
    """A function that answers in turn, and the list of what it was asked."""
    asked: list[tuple[str, ...]] = []

    def answer(command: Command) -> Completed:
        reply = answers[len(asked)]
        asked.append(command.argv)
        if isinstance(reply, Exception):
            raise reply
        return Completed(command=command, exit_code=0, stdout=reply)

    return asked, answer


def test_a_flow_receives_what_was_returned() -> None:
    """Each completion goes back to the yield that asked for it, and the flow's value comes out."""
    asked, answer = answering(b"one", b"two")
    assert drive(twice(), answer) == "onetwo"
    assert asked == [("first",), ("second", "one")]


def test_a_flow_without_commands_only_returns() -> None:
    """Nothing is run for a flow that asks nothing."""

    def empty() -> Flow[int]:
        yield from ()
        return 7

    asked, answer = answering()
    assert drive(empty(), answer) == 7
    assert asked == []


def test_a_failure_of_the_wire_is_raised_at_the_yield() -> None:
    """A flow may catch it and ask something else."""
    asked, answer = answering(OutcomeUnknownError("silence"), b"found")
    assert drive(stubborn(), answer) == "found"
    assert asked == [("ask",), ("look",)]


def test_a_failure_the_flow_does_not_expect_comes_out() -> None:
    """The very error that was raised, and nothing else is run."""
    error = NotSentError("no route")
    asked, answer = answering(error, b"never")
    with pytest.raises(NotSentError) as caught:
        drive(stubborn(), answer)
    assert caught.value is error
    assert asked == [("ask",)]


def test_a_second_failure_comes_out_too() -> None:
    """Catching one failure does not hide the next."""
    asked, answer = answering(OutcomeUnknownError("silence"), OutcomeUnknownError("silence again"))
    with pytest.raises(OutcomeUnknownError, match="again"):
        drive(stubborn(), answer)
    assert asked == [("ask",), ("look",)]


def test_a_mistake_of_the_program_is_not_shown_to_the_flow() -> None:
    """Only the wire's failures are the flow's business."""
    _, answer = answering(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        drive(stubborn(), answer)


def test_what_a_flow_raises_comes_out() -> None:
    """A refusal made inside reaches the caller."""

    def refusing() -> Flow[None]:
        done = yield Command(argv=("sbatch",))
        raise done.refusal("no")

    _, answer = answering(b"")
    with pytest.raises(SiteError, match="no"):
        drive(refusing(), answer)


def test_hostile_words_stay_words_in_a_line(tmp_path: Path) -> None:
    """One line of shell, run by a real one, gives every word back and runs nothing."""
    line = Command(argv=("sh", "-c", PRINT_ALL, "aifa", *HOSTILE)).line
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True, cwd=tmp_path)
    assert [*HOSTILE] == words(done.stdout)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(WORDS)
def test_any_words_survive_one_shell(some: list[str]) -> None:
    """`shell` passes values beside the program text."""
    assert some == words(run(shell(PRINT_ALL, *some)).stdout)


@settings(max_examples=40, deadline=None)
@given(WORDS)
def test_any_words_survive_two_shells(some: list[str]) -> None:
    """As over ssh, where the far shell reads the line first."""
    done = subprocess.run(["sh", "-c", shell(PRINT_ALL, *some).line], capture_output=True, check=True)
    assert some == words(done.stdout)


def test_shell_numbers_its_words() -> None:
    """Values are $1, $2, ...; the name of the program is $0; stdin and limits are handed on."""
    command = shell(
        'cat; printf "%s|%s|%s|%s" "$0" "$1" "$2" "$#"', "a b", "$1", stdin=b"in ", timeout=5, idempotent=True
    )
    assert run(command).out == "in aifa|a b|$1|2"
    assert (command.timeout, command.idempotent) == (5, True)


def test_commands_that_cannot_exist_are_refused() -> None:
    """No program, or a NUL that no argv can hold."""
    with pytest.raises(ValueError, match="needs a program"):
        Command(argv=())
    with pytest.raises(ValueError, match="NUL"):
        Command(argv=("echo", "a\0b"))


def test_what_is_fed_to_a_command_is_not_shown() -> None:
    """Standard input may hold a secret, so a repr leaves it out."""
    assert "hunter2" not in repr(Completed(command=Command(argv=("cat",), stdin=b"hunter2"), exit_code=0))


def test_output_that_is_not_utf8_is_kept() -> None:
    """Odd bytes are escaped, never dropped."""
    done = Completed(command=Command(argv=("x",)), exit_code=0, stdout=b"J\xfclich", stderr=b"\xff!")
    assert (done.out, done.err) == ("J\\xfclich", "\\xff!")


def test_a_refusal_carries_the_evidence() -> None:
    """Command, exit code and the last lines of both streams are on the error, and in its text."""
    command = Command(argv=("sbatch", "my job.sh"))
    done = Completed(command=command, exit_code=1, stdout=b"banner\n", stderr=b"\n".join(b"%d" % n for n in range(20)))
    error = done.refusal("sbatch refused the job", hint="Check the account.")
    assert (error.command, error.exit_code_remote, error.stdout) == ("sbatch 'my job.sh'", 1, "banner")
    assert "\n".join(str(number) for number in range(10, 20)) == error.stderr
    assert str(error).startswith("sbatch refused the job (exit code 1): 10\n")
    assert str(error).endswith("19 Check the account.")
