"""Every exception of the library, and whose fault each one is.

::

    AifaError                       exit code
    ├── InputError               2  yours: a job, a location, an option, a file or folder of the program's own
    │   └── ParseError           2  a text that is not of its format
    ├── SiteError                3  the cluster's: a command answered with a refusal
    ├── TransportError           3  the wire's
    │   ├── NotSentError         3  the command never left: may be retried blindly
    │   │   └── HostKeyError     3  the server is not who we know; never retried
    │   └── OutcomeUnknownError  4  sent, then silence: may have run
    ├── SubmissionUnknownError   4  a job may or may not exist; settle it by its token
    ├── DeliveryError            3  events did not reach where they go; they are kept and delivered later
    ├── OutputLostError          4  it was done, but what became of it could not be said
    ├── JobFailedError           1  the job ended, and not well
    └── TransferError            1  bytes did not arrive, or not as they were

Two questions decide where an error belongs: whose fault is it, and may the action be repeated. ``str(error)`` is one
paragraph that a person can act on; evidence (command, exit code, last lines) is kept in attributes and in that text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_SITE = 3
EXIT_UNKNOWN = 4

_TAIL_LINES = 10


def tail(text: str, lines: int = _TAIL_LINES) -> str:
    """The last lines of a stream, without trailing blank ones."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        key: Dotted path of the field, as the user wrote it (``resources.time``).
        value: The offending value, as the user would write it; empty when it is missing.
        rule: What is demanded, a sentence without a final stop.
        nearest: The nearest legal value, if there is one.
        source: Where the rule comes from.
        severity: ``error`` refuses the input, ``warning`` only tells.
    """

    key: str
    value: str
    rule: str
    nearest: str = ""
    source: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        what = f"{self.key} = {self.value}" if self.value else self.key
        text = f"{what}: {self.rule}"
        if self.nearest:
            text += f"; nearest legal value: {self.nearest}"
        if self.source:
            text += f" [{self.source}]"
        return text


class AifaError(Exception):
    """Base of all errors this library raises on purpose."""

    exit_code: ClassVar[int] = EXIT_SITE

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InputError(AifaError):
    """What was given is wrong; nothing was done."""

    exit_code = EXIT_INPUT

    def __init__(self, message: str, *, hint: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message, hint=hint)

    def __str__(self) -> str:
        if not self.problems:
            return super().__str__()
        lines = (self.message, *(f"  - {problem}" for problem in self.problems), self.hint)
        return "\n".join(filter(None, lines))


class ParseError(InputError, ValueError):
    """A text is not of the format it should be."""


class SiteError(AifaError):
    """The cluster refused, or answered something that cannot be read.

    Attributes:
        command: The command as a shell would take it.
        exit_code_remote: What it exited with.
        stdout: Its last lines.
        stderr: Its last lines.
    """

    def __init__(
        self,
        message: str,
        *,
        command: str = "",
        exit_code_remote: int | None = None,
        stdout: str = "",
        stderr: str = "",
        hint: str = "",
    ) -> None:
        self.command = command
        self.exit_code_remote = exit_code_remote
        self.stdout = tail(stdout)
        self.stderr = tail(stderr)
        text = message
        if exit_code_remote is not None:
            text += f" (exit code {exit_code_remote})"
        said = self.stderr or self.stdout
        if said:
            text += f": {said}"
        super().__init__(text, hint=hint)


class TransportError(AifaError):
    """The connection to a machine failed."""


class NotSentError(TransportError):
    """The command never left this machine, so it did not run."""


class HostKeyError(NotSentError):
    """The server's host key is unknown, or not the one we know."""


class OutcomeUnknownError(TransportError):
    """The command was sent and nothing came back: it may have run."""

    exit_code = EXIT_UNKNOWN


class SubmissionUnknownError(AifaError):
    """A job may or may not have been submitted; its token finds it later."""

    exit_code = EXIT_UNKNOWN

    def __init__(self, message: str, *, token: str, hint: str = "") -> None:
        self.token = token
        super().__init__(message, hint=hint)


class DeliveryError(AifaError):
    """Events did not reach where they go; they are kept and delivered later.

    Attributes:
        passing: It may pass by itself, so that trying again soon makes sense.
    """

    def __init__(self, message: str, *, hint: str = "", passing: bool = False) -> None:
        self.passing = passing
        super().__init__(message, hint=hint)


class OutputLostError(AifaError):
    """What a command found could not be written to where its output goes."""

    exit_code = EXIT_UNKNOWN


class JobFailedError(AifaError):
    """A job ended in another state than COMPLETED."""

    exit_code = EXIT_FAILED


class TransferError(AifaError):
    """A transfer stopped; what was verified stays and is resumed by running it again."""

    exit_code = EXIT_FAILED
