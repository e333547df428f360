"""What became of a call: the outcome a node left, to a value or to the exception that it raised there.

Outcomes are pickles, and loading a pickle runs what it says. They are loaded from the folder of the user's own job
only, from files that nobody else can write (see ``flows.fetch``).
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import Any

from aifa_hpc.errors import JobFailedError

_HINTS = {
    "PythonVersion": "Give the executor a `python` of the same minor version: of a module, an environment or an image.",
    "load": "If it lacks a module of yours, send that along: executor(by_value=[module]).",
    "return": "The function ended; return something that can be pickled, or write it to a file and return the path.",
}


class RemoteTraceback(Exception):  # noqa: N818 - the cause of an error, as concurrent.futures shows it
    """The traceback on the node, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0].rstrip()}\n"""'


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a node left.

    Attributes:
        ok: The call returned.
        body: Pickle of the value, or of the exception.
        ranks: How many ranks ran the call.
        kind: Type of the exception.
        message: Its words.
        traceback: On the node.
        stage: How far it came: ``load``, ``run``, ``return``.
    """

    ok: bool
    body: bytes
    ranks: int = 1
    kind: str = ""
    message: str = ""
    traceback: str = ""
    stage: str = ""


def read_outcome(data: bytes) -> Outcome:
    """An outcome from its file.

    Raises:
        JobFailedError: It is none.
    """
    line, _, body = data.partition(b"\n")
    try:
        header = json.loads(line)
        return Outcome(
            ok=header["ok"],
            body=body,
            ranks=header["ranks"],
            **{key: header.get(key, "") for key in ("kind", "message", "traceback", "stage")},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise JobFailedError("the result of the call cannot be read: its file is damaged.") from error


def value_of(outcome: Outcome, who: str) -> Any:
    """The value a call returned.

    Args:
        outcome: Of the call.
        who: Job, for messages.

    Raises:
        JobFailedError: The value cannot be loaded here.
        BaseException: What the call raised, with the traceback on the node as its cause.
    """
    if not outcome.ok:
        raise error_of(outcome, who)
    try:
        return pickle.loads(outcome.body)  # noqa: S301 - the user's own file, see above
    except Exception as error:
        raise JobFailedError(
            f"what {who} returned cannot be loaded here: {type(error).__name__}: {error}.",
            hint="The packages of its types are needed here too, in versions that agree.",
        ) from error


def error_of(outcome: Outcome, who: str) -> BaseException:
    """The exception of a call, with the traceback on the node as its cause."""
    error: object = None
    if outcome.body and outcome.stage == "run":
        try:
            error = pickle.loads(outcome.body)  # noqa: S301 - the user's own file, see above
        except Exception:  # noqa: BLE001 - its class may be known on the node only
            error = None
    if not isinstance(error, Exception):
        hint = _HINTS.get(outcome.kind) or _HINTS.get(outcome.stage, "")
        said = outcome.message if outcome.kind == "PythonVersion" else f"{outcome.kind}: {outcome.message}"
        error = JobFailedError(f"{who} failed: {said}.", hint=hint)
    if outcome.traceback:
        error.__cause__ = RemoteTraceback(outcome.traceback)
    return error
