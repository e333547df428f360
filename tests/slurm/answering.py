"""A machine whose answers are written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from aifa_hpc.command import Completed

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.command import Command

Step: TypeAlias = Exception | tuple[int, str] | tuple[int, str, str]


def answers(*steps: Step) -> tuple[Callable[[Command], Completed], list[Command]]:
    """A machine that gives these answers in turn, and the commands it got."""
    seen: list[Command] = []
    queue = list(steps)

    def run(command: Command) -> Completed:
        seen.append(command)
        step = queue.pop(0)
        if isinstance(step, Exception):
            raise step
        code, out, err = (*step, "")[:3]
        return Completed(command=command, exit_code=code, stdout=out.encode(), stderr=err.encode())

    return run, seen
