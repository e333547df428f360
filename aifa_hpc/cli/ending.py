"""How the program ends: each error as words and an exit code, whatever became of the streams it speaks to."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback

import click

from aifa_hpc.cli.base import current_output
from aifa_hpc.cli.output import JsonOutput, Output
from aifa_hpc.errors import EXIT_DONE, EXIT_INPUT, EXIT_UNKNOWN, AifaError, InputError, OutputLostError

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_READER_LEFT = 141  # 128 + SIGPIPE, with which other programs end in `| head`
_STDOUT = 1
_REPORT = "This is a fault of aifa_hpc: please report the lines of the traceback. `aifa jobs` shows what was done."


def run(program: click.Group) -> int:
    """Runs the program and returns its exit code."""
    _prepare_streams()
    stdout = sys.stdout
    try:
        code = program.main(standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as stop:  # click itself ends so when the reader has left, and muffles the stream
        return int(stop.code or 0) if sys.stdout is stdout else _READER_LEFT
    except Exception as error:  # noqa: BLE001 - Python's own exit code would be 1: the job failed
        return _explain(error)
    return code if isinstance(code, int) else EXIT_DONE


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as in `>&-`
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w")))
        elif isinstance(stream, io.TextIOWrapper):  # the locale may lack letters of a path, paths may be no Unicode
            stream.reconfigure(errors="backslashreplace")


def _explain(error: Exception) -> int:
    output, code = current_output(), EXIT_UNKNOWN
    if isinstance(error, AifaError):
        output.error(error)
        code = error.exit_code
    elif isinstance(error, click.ClickException):
        _show_usage_error(error)
        code = EXIT_INPUT
    elif isinstance(error, click.Abort):
        code = _INTERRUPTED
        _fault(output, "Interrupted", "interrupted", code)
    elif isinstance(error, OSError) and error.filename is None:  # of a stream; what failed at a file names it
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # or the interpreter tries once more to write what is left
        if isinstance(error, BrokenPipeError):
            code = _READER_LEFT
        else:
            output.error(OutputLostError(f"{error}.", hint="What was done so far stands; `aifa jobs` shows it."))
    else:
        lines = traceback.format_exc()
        _fault(output, type(error).__name__, str(error), code, f"{lines}{_REPORT}", traceback=lines, hint=_REPORT)
    return code


def _fault(output: Output, name: str, message: str, code: int, text: str = "", **more: str) -> None:
    """What is no error of ours; machines get it in the form of one."""
    if isinstance(output, JsonOutput):
        fields = {"error": name, "message": message, "hint": "", "exit_code": code} | more
        print(json.dumps(fields), file=sys.stderr)  # noqa: T201 - this is the output
    else:
        output.note(text or message)


def _show_usage_error(error: click.ClickException) -> None:
    if "--json" not in sys.argv:  # the options may be what is wrong, so that none was understood
        error.show()
        return
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` shows what it takes." if context else ""
    JsonOutput().error(InputError(error.format_message(), hint=hint))
