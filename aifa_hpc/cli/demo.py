"""``aifa demo``: the main job on this computer, step by step."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from aifa_hpc.cli.base import Command, current_output

if TYPE_CHECKING:
    from aifa_hpc.cli.output import Output

_WAIT_SECONDS = 300.0
_RANKS = (2, 2)


@click.command(cls=Command)
def demo() -> None:
    """Run the main job on this computer: stage, render, submit, follow, and check the result.

    It runs on the site `local`, a small scheduler inside this program that answers Slurm's commands. The same steps run
    on LUMI and JUPITER.
    """
    from aifa_hpc.demo.main_job import Narrator, run  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.embedded import NOTICE  # noqa: PLC0415
    from aifa_hpc.jobs.spec import Resources  # noqa: PLC0415
    from aifa_hpc.sites.load import state_dir  # noqa: PLC0415
    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415
    from aifa_hpc.units import Walltime  # noqa: PLC0415

    class Spoken(Narrator):
        """Says each step, with the time since the beginning."""

        def __init__(self, output: Output) -> None:
            self._output = output
            self._begin = time.monotonic()

        def step(self, title: str) -> None:
            self._output.note(f"\n[{time.monotonic() - self._begin:5.1f} s] {title}")

        def detail(self, text: str) -> None:
            self._output.note("".join(f"          {line}\n" for line in text.splitlines()).rstrip("\n"))

    output = current_output()
    nodes, tasks = _RANKS
    output.note(f"Site local: {NOTICE}")
    resources = Resources(time=Walltime(600), nodes=nodes, tasks_per_node=tasks)
    begin = time.monotonic()
    with connect("local") as connection:
        outcome = run(
            connection,
            resources,
            python=sys.executable,
            workspace=state_dir() / "demo",
            narrator=Spoken(output),
            wait_seconds=_WAIT_SECONDS,
        )
    seconds = time.monotonic() - begin
    fields = {"job": outcome.handle.id, "state": outcome.status.state, "seconds": round(seconds, 1), **outcome.result}
    output.record(fields, f"\nDone in {seconds:.1f} s: {outcome.status.state}, proven by {outcome.status.proof}.")
