"""How a job ends well: how long it may still run, a checkpoint when Slurm warns, and word that a chain is finished.

::

    guard = on_signal()
    for step, batch in enumerate(batches):
        train(batch)
        if guard.reached() or walltime() < 120:
            save_checkpoint(step)
            break
    else:
        finished()
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType, TracebackType

END_TIME = "SLURM_JOB_END_TIME"
"""Seconds since 1970. Slurm sets it from 23.02 on; scripts of `aifa render` set it where Slurm does not."""

WARNINGS = ("USR1", "TERM")
"""What ``signal = "USR1@120"`` sends, and what Slurm sends every job before it kills it (``KillWait``, 30 s)."""


def walltime(environ: Mapping[str, str] | None = None, *, now: Callable[[], float] = time.time) -> float:
    """Seconds until Slurm ends this job; infinity outside of a job, or where nobody says.

    Args:
        environ: Variables; those of this process by default.
        now: Gives the time in seconds since 1970.

    Raises:
        InputError: ``SLURM_JOB_END_TIME`` is no time.
    """
    text = (os.environ if environ is None else environ).get(END_TIME, "")
    if not text:
        return math.inf
    try:
        end = float(text)
    except ValueError:
        end = math.nan
    if not math.isfinite(end):
        raise InputError(f"{END_TIME} = {text!r} must be seconds since 1970.")
    return max(0.0, end - now())


class Guard:
    """Remembers that a signal came, so that training can stop between two steps and not inside one.

    Args:
        checkpoint: Called once, by the first :meth:`reached` that is true.
        signals: Names without ``SIG``. Their former handlers come back when the guard is closed.
    """

    def __init__(self, checkpoint: Callable[[], object] | None = None, signals: tuple[str, ...] = WARNINGS) -> None:
        numbers = [getattr(signal.Signals, f"SIG{name}", None) for name in signals]
        for name, number in zip(signals, numbers, strict=True):
            if number is None:
                known = ", ".join(one.name.removeprefix("SIG") for one in signal.Signals)
                raise InputError(f"{name!r} is no signal.", hint=f"Signals are {known}.")
        self._checkpoint = checkpoint
        self._came = ""
        self._before = {number: signal.signal(number, self._note) for number in numbers if number is not None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Puts the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came = signal.Signals(number).name

    @property
    def came(self) -> str:
        """Name of the signal that this very task has got; empty before one."""
        return self._came

    def reached(self) -> bool:
        """Whether to stop now; the first time it is so, the checkpoint is called.

        Signals reach the ranks of a job at different steps, and a rank that stopped alone would leave the others
        waiting in a collective operation. Within a process group of PyTorch the ranks therefore agree: true on all
        as soon as one was signalled, at the price of one all-reduce of one number. Call it on every rank alike.
        """
        if not _any_rank(here=bool(self._came)):
            return False
        if self._checkpoint is not None:
            checkpoint, self._checkpoint = self._checkpoint, None
            checkpoint()
        return True


def on_signal(checkpoint: Callable[[], object] | None = None, *, signals: tuple[str, ...] = WARNINGS) -> Guard:
    """Watches for the signals that announce the end; ask :meth:`Guard.reached` between steps.

    Args:
        checkpoint: Called once, when it is reached.
        signals: Names without ``SIG``.

    Raises:
        InputError: No such signal.
        ValueError: Called outside of the main thread, where Python sets no handlers.
    """
    return Guard(checkpoint, signals)


def chain(environ: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Number of this link of a chain, from 0, and how many there are; ``(0, 1)`` for a job that is none."""
    env = os.environ if environ is None else environ
    return int(env.get("AIFA_CHAIN_LINK", "0")), int(env.get("AIFA_CHAIN_LINKS", "1"))


def finished(environ: Mapping[str, str] | None = None) -> bool:
    """Says that training is finished: the links of the chain that wait are cancelled when this one ends.

    Any rank may say it, more than once. Returns whether this job is a link of a chain; elsewhere nothing happens.
    """
    path = (os.environ if environ is None else environ).get("AIFA_CHAIN_DONE", "")
    if path:
        Path(path).touch(mode=0o600)
    return bool(path)


def _any_rank(*, here: bool) -> bool:
    """Whether it is so on any rank of PyTorch's process group; without one, whether it is so here."""
    torch = sys.modules.get("torch")  # who uses a process group has imported it
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return here
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([int(here)], device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())
