"""A link to the embedded scheduler that breaks when it should, and a clock that is in a hurry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.transport.base import Channel, Transport
from aifa_hpc.units import Walltime

if TYPE_CHECKING:
    from aifa_hpc.command import Command, Completed


class Link(Transport):
    """A transport whose next commands fail.

    Attributes:
        failures: Raised one by one, instead of running a command.
        commands: All that it was to run.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.failures: list[Exception] = []
        self.commands: list[Command] = []

    def run(self, command: Command) -> Completed:
        """Runs it, or fails."""
        self.commands.append(command)
        if self.failures:
            raise self.failures.pop(0)
        return self._inner.run(command)

    def open(self, command: Command) -> Channel:
        """Starts it."""
        return self._inner.open(command)

    @property
    def questions(self) -> int:
        """How often jobs were asked about."""
        return sum("squeue" in command.line and "sbatch" not in command.line for command in self.commands)


class Hurried:
    """A clock on which waiting takes a hundredth of the time."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self.now += seconds
        time.sleep(seconds / 100)

    def __call__(self) -> float:
        return self.now


def job(script: str, name: str = "job") -> Job:
    """A job that runs a line of shell."""
    return Job(name=name, resources=Resources(time=Walltime(60)), launch=Launch(command=("sh", "-c", script)))
