"""What all commands share: ``--json``, the current output, and argument types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.output import JsonOutput, Output, TextOutput
from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site

_current: list[Output] = [TextOutput()]


def current_output() -> Output:
    """The output that the running command's options chose."""
    return _current[-1]


def _json_option() -> click.Option:
    return click.Option(
        ["--json", "as_json"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        help="Print JSON, for machines.",
        callback=_choose_output,
    )


class Command(click.Command):
    """A command with ``--json``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_json_option())


class Group(click.Group):
    """A group of such commands, listed in the order they were added: the order of the work."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)


class CommandGroup(Group):
    """A command that has further ones below it, and does its own work when none of them is named."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"invoke_without_command": True} | kwargs)
        self.params.append(_json_option())


def _choose_output(context: click.Context, option: click.Parameter, value: bool) -> None:
    del context, option
    if value:
        _current.append(JsonOutput())
        _log_events()


def _log_events() -> None:
    """Has what is logged told as events, so that whoever reads standard error line by line finds JSON only."""
    import logging  # noqa: PLC0415 - keeps `aifa --help` quick

    class Events(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                text = self.format(record)
            except (LookupError, TypeError, ValueError):  # a library gave other values than its text names
                text = str(record.msg)
            current_output().event(record.levelname.lower(), {"text": text}, text)

    logging.lastResort = Events(logging.WARNING)


def site_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--site``, which the environment may give."""
    return click.option(
        "--site", required=True, envvar="AIFA_SITE", metavar="SITE", help="Site to use; $AIFA_SITE by default."
    )(function)


def read_job_file(path: Path, site: Site | None = None) -> Job:
    """The job in a file.

    Args:
        path: The file.
        site: Where it is to run: what the file says for that site only goes over the rest.

    Raises:
        InputError: It cannot be read, or is no job.
    """
    from aifa_hpc.jobs.decode import read_job  # noqa: PLC0415 - keeps `aifa --help` quick

    try:
        text = path.read_text("utf-8-sig")  # some editors begin UTF-8 with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"the job file {str(path)!r} cannot be read: {reason}.", hint="Give a TOML file.") from error
    return read_job(text, str(path), site=(site.name, site.scheduler.cluster_name) if site else ())
