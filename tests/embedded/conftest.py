"""A scheduler of its own for each test, in a folder with an unpleasant name, that leaves no process behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command
from aifa_hpc.embedded import EmbeddedTransport
from aifa_hpc.embedded.processes import process_table
from aifa_hpc.sites.load import load_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.command import Completed

HOSTILE = "a'; echo $(id) #"
PATIENCE = 30.0


class Scheduler:
    """The programs of one embedded scheduler, as a user would call them."""

    def __init__(self, root: Path, work: Path, **settings: float) -> None:
        self.root, self.work = root, work
        self.transport = EmbeddedTransport(root, load_site("local", config=work), **settings)  # type: ignore[arg-type]

    def run(self, *argv: str, stdin: str = "") -> Completed:
        return self.transport.run(Command(argv=argv, stdin=stdin.encode()))

    def out(self, *argv: str, stdin: str = "") -> str:
        completed = self.run(*argv, stdin=stdin)
        assert (0, "") == (completed.exit_code, completed.err), completed
        return completed.out.strip()

    def submit(self, body: str, *options: str) -> str:
        """A bash script, submitted in the work folder; its id."""
        return self.out("sbatch", "--parsable", f"--chdir={self.work}", *options, stdin=f"#!/bin/bash\n{body}\n")

    def column(self, job: str, *fields: str) -> list[list[str]]:
        """Fields of a job, or of each task of an array, from sacct."""
        text = self.out("sacct", "-XPn", "-j", job, "-o", ",".join(fields))
        return [line.split("|") for line in text.splitlines()]

    def states(self, job: str) -> list[str]:
        return [state for (state,) in self.column(job, "State")]

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, self.run("sacct", "-o", "JobID,State,ExitCode,Reason").out
            time.sleep(0.02)

    def until_running(self, job: str) -> None:
        self.until(lambda: self.states(job) == ["RUNNING"])

    def until_over(self, job: str) -> list[str]:
        """Waits for a job or all tasks of an array; their states."""
        self.until(lambda: not {"PENDING", "RUNNING"} & set(self.states(job)))
        return self.states(job)

    def output(self, job: str) -> str:
        return (self.work / f"slurm-{job}.out").read_text()

    def processes(self) -> list[int]:
        """Everything that runs on behalf of this scheduler, by what its command line or environment says."""
        found = []
        for process in process_table():
            try:
                text = b"".join(Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
            except OSError:
                continue
            if os.fsencode(self.root) in text and process.pid != os.getpid():
                found.append(process.pid)
        return found

    def close(self) -> None:
        """Cancels everything and waits until nothing is left."""
        self.run("scancel", "--me")
        self.until(lambda: not self.processes())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Scheduler]]:
    """Builds schedulers with settings of the test's own."""
    made: list[Scheduler] = []

    def build(**settings: float) -> Scheduler:
        root, work = tmp_path / f"{HOSTILE} {len(made)}", tmp_path / f"work {HOSTILE} {len(made)}"
        work.mkdir()
        made.append(Scheduler(root, work, **({"kill_wait": 0.5, "minute": 1.0, "slots": 4} | settings)))
        return made[-1]

    yield build
    for scheduler in made:
        scheduler.close()


@pytest.fixture
def slurm(make: Callable[..., Scheduler]) -> Scheduler:
    """A scheduler whose minutes last a second: four jobs at once."""
    return make()
