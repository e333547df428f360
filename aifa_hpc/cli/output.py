"""What commands say: text for people, JSON for machines, behind one interface.

Results go to standard output; what merely tells how it goes on (notes, progress, errors) goes to standard error, so a
pipe carries results only.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aifa_hpc.errors import AifaError, Problem
    from aifa_hpc.tracker.logs import Piece

_STYLES = {
    "CANCELLED": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "LOST": "red",
    "NODE_FAIL": "red",
    "OUT_OF_MEMORY": "red",
    "PENDING": "cyan",
    "RUNNING": "bold cyan",
    "TIMEOUT": "red",
    "UNKNOWN": "red",
    "error": "red",
    "warning": "yellow",
}


class Output(ABC):
    """How a command speaks."""

    @abstractmethod
    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        """Rows of a result; ``empty`` is said when there are none."""

    @abstractmethod
    def record(self, fields: Mapping[str, Any], text: str) -> None:
        """One result: its fields for machines, a sentence for people."""

    @abstractmethod
    def text(self, key: str, text: str) -> None:
        """A text that is the result, given as it is."""

    @abstractmethod
    def stream(self, key: str, pieces: Iterable[Piece]) -> None:
        """Logs that come in pieces, which may cut a letter in two; each is given at once."""

    @abstractmethod
    def problems(self, problems: Sequence[Problem], *, empty: str) -> None:
        """What is wrong with an input; ``empty`` is said when nothing is."""

    @abstractmethod
    def note(self, text: str) -> None:
        """How it goes on."""

    @abstractmethod
    def event(self, name: str, fields: Mapping[str, Any], text: str) -> None:
        """How it goes on, for whoever waits: a note for people, an event for machines, which also follow it."""

    @abstractmethod
    def error(self, error: AifaError) -> None:
        """Why it did not work."""


class TextOutput(Output):
    """For people: tables and colour on a terminal, plain lines in a pipe."""

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        if not rows:
            self.note(empty)
            return
        if not sys.stdout.isatty():
            for row in rows:
                print("\t".join(_cell(row.get(column)) for column in columns))  # noqa: T201 - this is the output
            return
        from rich.console import Console  # noqa: PLC0415 - only for a terminal
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column.upper().replace("_", " "), overflow="fold")
        for row in rows:
            cells = [_cell(row.get(column)) for column in columns]
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
        Console().print(table)

    def record(self, fields: Mapping[str, Any], text: str) -> None:
        del fields
        print(text, flush=True)  # noqa: T201 - this is the output; one of many may be waited for

    def text(self, key: str, text: str) -> None:
        del key
        sys.stdout.write(text)

    def stream(self, key: str, pieces: Iterable[Piece]) -> None:
        del key
        for piece in pieces:
            sys.stdout.buffer.write(piece.heading.encode("utf-8", "surrogateescape") + piece.data)
            sys.stdout.buffer.flush()

    def problems(self, problems: Sequence[Problem], *, empty: str) -> None:
        if not problems:
            self.note(empty)
        for problem in problems:
            print(f"{_coloured(problem.severity, sys.stdout)}: {problem}")  # noqa: T201 - this is the output

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)  # noqa: T201 - this is the output

    def event(self, name: str, fields: Mapping[str, Any], text: str) -> None:
        del name, fields
        self.note(text)

    def error(self, error: AifaError) -> None:
        print(f"{_coloured('error', sys.stderr)}: {error}", file=sys.stderr)  # noqa: T201 - this is the output


class JsonOutput(Output):
    """For machines: one JSON value a line."""

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        del columns, empty
        _dump(list(map(dict, rows)))

    def record(self, fields: Mapping[str, Any], text: str) -> None:
        del text
        _dump(dict(fields))

    def text(self, key: str, text: str) -> None:
        _dump({key: text})

    def stream(self, key: str, pieces: Iterable[Piece]) -> None:
        from aifa_hpc.tracker.logs import decoded  # noqa: PLC0415 - keeps `aifa --help` quick

        said = False
        for piece, text in decoded(pieces):
            _dump({"id": piece.id, "site": piece.site, "file": piece.name, "anew": piece.anew, key: text})
            said = True
        if not said:  # an empty text is a result too
            _dump({key: ""})

    def problems(self, problems: Sequence[Problem], *, empty: str) -> None:
        del empty
        _dump([_problem_fields(problem) for problem in problems])

    def note(self, text: str) -> None:
        del text

    def event(self, name: str, fields: Mapping[str, Any], text: str) -> None:
        del text
        sys.stderr.write(json.dumps({"event": name, **fields}, default=str) + "\n")  # whole, from any thread
        sys.stderr.flush()

    def error(self, error: AifaError) -> None:
        fields: dict[str, Any] = {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
        problems = getattr(error, "problems", ())
        if problems:
            fields["problems"] = [_problem_fields(problem) for problem in problems]
        for key in ("command", "exit_code_remote", "stdout", "stderr", "token"):
            if getattr(error, key, None):
                fields[key] = getattr(error, key)
        print(json.dumps(fields, default=str), file=sys.stderr)  # noqa: T201 - this is the output


def _problem_fields(problem: Problem) -> dict[str, str]:
    return {key: getattr(problem, key) for key in ("severity", "key", "value", "rule", "nearest", "source")}


def _coloured(word: str, stream: TextIO) -> str:
    code = {"error": "31", "warning": "33"}.get(word)
    return f"\033[{code}m{word}\033[0m" if code and stream.isatty() else word


def _dump(value: Any) -> None:
    print(json.dumps(value, default=str), flush=True)  # noqa: T201 - this is the output


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return " ".join(str(value).split())


def count_files(number: int) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} file" if number == 1 else f"{number} files"
