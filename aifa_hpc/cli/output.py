"""What commands say: text for people, JSON for machines, behind one interface.

Results go to standard output; what merely tells how it goes on (notes, progress, errors) goes to standard error, so a
pipe carries results only.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aifa_hpc.errors import AifaError

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
    def note(self, text: str) -> None:
        """How it goes on."""

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
        print(text)  # noqa: T201 - this is the output

    def text(self, key: str, text: str) -> None:
        del key
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)  # noqa: T201 - this is the output

    def error(self, error: AifaError) -> None:
        red, reset = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
        print(f"{red}Error:{reset} {error}", file=sys.stderr)  # noqa: T201 - this is the output


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

    def note(self, text: str) -> None:
        del text

    def error(self, error: AifaError) -> None:
        fields: dict[str, Any] = {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
        problems = getattr(error, "problems", ())
        if problems:
            fields["problems"] = [problem_fields(problem) for problem in problems]
        for key in ("command", "exit_code_remote", "stdout", "stderr", "token"):
            if getattr(error, key, None):
                fields[key] = getattr(error, key)
        print(json.dumps(fields, default=str), file=sys.stderr)  # noqa: T201 - this is the output


def problem_fields(problem: Any) -> dict[str, str]:
    """A problem's fields, in the order a person reads them."""
    return {key: getattr(problem, key) for key in ("severity", "key", "value", "rule", "nearest", "source")}


def _dump(value: Any) -> None:
    print(json.dumps(value, default=str), flush=True)  # noqa: T201 - this is the output


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return " ".join(str(value).split())
