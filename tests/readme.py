"""Writes the references of README.md from the program and its templates: ``make docs``."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import jinja2

from aifa_hpc.cli import cli
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.prepare import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- commands: written by `make docs` -->\n"
END = "<!-- end of commands -->\n"
_BETWEEN = re.compile(f"({re.escape(BEGIN)}).*({re.escape(END)})", re.DOTALL)
_TEMPLATES = re.compile("(<!-- templates: written by `make docs` -->\n).*(<!-- end of templates -->\n)", re.DOTALL)
TEMPLATES = README.parent / "templates" / "slurm"
BLOCKS = {
    "guard": "What makes the script fail early.",
    "sentinel": "The exit record, by which a job is known to have ended; only where there is a `placement`.",
    "chain": "The protocol of a chain's links.",
    "modules": "Loads modules.",
    "environment": "Exports variables and makes their folders.",
    "rendezvous": "Where ranks find each other.",
    "launch": "Starts the program.",
    "each_task": "Runs inside each task, on its own node, before the program.",
    "worker_options": "Options between the launcher inside a task and the program.",
    "daemons": "Starts the daemons of an engine.",
    "joined": "Waits until they have found each other, and runs the program.",
}
"""What each block is for; a block that has no words here fails the test of the README."""


def reference() -> str:
    """Every command's help, in the order of the program."""
    return "".join(f"### `{name}`\n\n```text\n{text}\n```\n\n" for name, text in _helps(cli, "aifa"))


def with_reference(text: str) -> str:
    """The README with its references as they should be."""
    text = _BETWEEN.sub(lambda match: f"{match[1]}\n{reference()}{match[2]}", text)
    return _TEMPLATES.sub(lambda match: f"{match[1]}\n{template_reference()}{match[2]}", text)


def template_reference() -> str:
    """What templates are given, and the blocks that they may replace."""
    given = {
        "job": "The job, as the file has it: `job.name`, `job.resources.nodes`, `job.launch.command`, ...",
        "site": "The site: `site.title`, `site.scheduler.cluster_name`, ...",
        "placement": "Where the submission lives; none where a script is rendered for a person. It has "
        + ", ".join(f"`{name}`" for name in described(Placement))
        + ".",
        "version": "Of this library.",
    }
    lines = ["| variable | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {text} |" for name, text in (given | described(Prepared)).items()]
    lines += ["", "| block | meaning | where |", "| --- | --- | --- |"]
    for name, places in template_blocks().items():
        lines.append(f"| `{name}` | {BLOCKS[name]} | {', '.join(f'`{place}`' for place in places)} |")
    return "\n".join(lines) + "\n\n"


def described(kind: type) -> dict[str, str]:
    """The attributes of a class and what its docstring says of each, on one line."""
    documented = inspect.getdoc(kind) or ""
    text = documented.partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE)
    return {name: " ".join(words.replace("``", "`").split()) for name, words in found}


def template_blocks() -> dict[str, list[str]]:
    """The blocks of the packaged templates, and the templates that fill them."""
    environment = jinja2.Environment(autoescape=True)
    found: dict[str, list[str]] = {}
    for path in sorted(TEMPLATES.glob("*.j2"), key=lambda path: (path.name != "base.sbatch.j2", path.name)):
        for block in environment.parse(path.read_text("utf-8")).find_all(jinja2.nodes.Block):
            found.setdefault(block.name, []).append(path.name.removesuffix(".sbatch.j2"))
    return found


def _helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    if name != "aifa":
        yield name, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _helps(command.commands[child], f"{name} {child}")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    README.write_text(with_reference(README.read_text("utf-8")), "utf-8")
