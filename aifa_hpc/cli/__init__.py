"""The command line ``aifa``: one module per noun, commands return through :class:`~aifa_hpc.cli.output.Output`.

Exit codes: 0 done; 1 the job or transfer failed; 2 the input is wrong; 3 the site or the wire failed; 4 the outcome is
not known; 130 after an interrupt, 141 when the reader of its output has left. Only ``click`` is imported here;
everything heavier where a command needs it.
"""

from __future__ import annotations

import sys

import click

from aifa_hpc import __version__
from aifa_hpc.cli.base import Group
from aifa_hpc.cli.demo import demo
from aifa_hpc.cli.doctor import doctor
from aifa_hpc.cli.ending import run
from aifa_hpc.cli.events import events
from aifa_hpc.cli.explain import explain
from aifa_hpc.cli.jobs import cancel, check, submit
from aifa_hpc.cli.jobs_known import jobs
from aifa_hpc.cli.lab import lab
from aifa_hpc.cli.login import login, logout
from aifa_hpc.cli.logs import logs
from aifa_hpc.cli.quote import quote
from aifa_hpc.cli.render import render
from aifa_hpc.cli.report import report
from aifa_hpc.cli.sessions import sessions
from aifa_hpc.cli.sites import sites
from aifa_hpc.cli.stage import stage
from aifa_hpc.cli.stage_keep import checker, ensure, gc, status
from aifa_hpc.cli.stage_pull import pull
from aifa_hpc.cli.watch import watch


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="aifa", message="%(prog)s %(version)s")
def cli() -> None:
    """From a laptop or data lab to a running training on LUMI and JUPITER.

    Exit codes: 0 done, 1 the job or transfer failed, 2 the input is wrong, 3 the site or the wire failed, 4 the outcome
    is not known.
    """


for command in (
    sites,
    check,
    quote,
    render,
    submit,
    jobs,
    watch,
    report,
    logs,
    events,
    explain,
    cancel,
    login,
    logout,
    sessions,
    stage,
    lab,
    demo,
):
    cli.add_command(command)
sites.add_command(doctor)
for command in (pull, ensure, checker, gc, status):
    stage.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(cli))
