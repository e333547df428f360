# ruff: noqa: PLC0415 - imported where it is used, so that programs without it start faster
"""Which function answers for which program; each is imported only when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from .settings import load_settings
from .words import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "22.05.8"
"""The Slurm whose words and formats are spoken; what ``--version`` prints."""


def main(argv: Sequence[str]) -> NoReturn:
    """Runs ``ROOT PROGRAM ARGS...`` and exits with its code."""
    root, program, *words = argv
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # paths and names go in and out as the bytes they are
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    settings = load_settings(root)
    code = 0
    try:
        if program == "supervise":
            from .supervise import supervise

            supervise(settings, int(words[0]))
        elif words in (["--version"], ["-V"]):
            print(f"slurm {VERSION}")  # noqa: T201 - a command
        else:
            code = importlib.import_module(f"aifa_hpc.embedded.{program}").main(settings, words)
        sys.stdout.flush()
    except Refusal as refusal:
        sys.stdout.flush()
        sys.stderr.write("".join(f"{line}\n" for line in refusal.lines))
        code = refusal.exit_code
    except BrokenPipeError:
        # The reader of our output went away; the interpreter must not stumble over it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    sys.exit(code)
