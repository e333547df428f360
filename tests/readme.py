"""Writes the command reference of README.md from the program: ``make docs``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifa_hpc.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- commands: written by `make docs` -->\n"
END = "<!-- end of commands -->\n"
_BETWEEN = re.compile(f"({re.escape(BEGIN)}).*({re.escape(END)})", re.DOTALL)


def reference() -> str:
    """Every command's help, in the order of the program."""
    return "".join(f"### `{name}`\n\n```text\n{text}\n```\n\n" for name, text in _helps(cli, "aifa"))


def with_reference(text: str) -> str:
    """The README with its reference as it should be."""
    return _BETWEEN.sub(lambda match: f"{match[1]}\n{reference()}{match[2]}", text)


def _helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    if name != "aifa":
        yield name, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _helps(command.commands[child], f"{name} {child}")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    README.write_text(with_reference(README.read_text("utf-8")), "utf-8")
