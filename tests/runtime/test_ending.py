"""Time left, signals between steps, and the end of a chain."""

from __future__ import annotations

import math
import os
import signal
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.runtime import chain, finished, on_signal, walltime

if TYPE_CHECKING:
    from pathlib import Path


def test_seconds_left() -> None:
    """The end that Slurm tells, less the time that is; never below zero."""
    env = {"SLURM_JOB_END_TIME": "1000"}

    assert 250.0 == walltime(env, now=lambda: 750.0)
    assert 0.0 == walltime(env, now=lambda: 2000.0)


def test_no_limit_outside_of_a_job() -> None:
    """Where nobody says when the end is, there is none."""
    assert math.inf == walltime({})


@pytest.mark.parametrize("text", ["soon", "nan", "inf"])
def test_an_end_that_is_no_time(text: str) -> None:
    """The variable and its value are named."""
    with pytest.raises(InputError, match=f"SLURM_JOB_END_TIME = '{text}'"):
        walltime({"SLURM_JOB_END_TIME": text})


def test_a_signal_is_answered_between_steps() -> None:
    """The checkpoint is called once, by the step that asks, and not where the signal came."""
    saved: list[str] = []
    with on_signal(lambda: saved.append("once"), signals=("USR1",)) as guard:
        assert not guard.reached()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [] == saved
        assert guard.reached()
        assert guard.reached()
        assert "SIGUSR1" == guard.came

    assert ["once"] == saved


def test_former_handlers_come_back() -> None:
    """A guard that is closed leaves the process as it was."""
    before = signal.getsignal(signal.SIGUSR1)
    with on_signal(signals=("USR1",)):
        assert before != signal.getsignal(signal.SIGUSR1)

    assert before == signal.getsignal(signal.SIGUSR1)


def test_no_such_signal() -> None:
    """An unknown name is refused before any handler is set."""
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(InputError, match="'USR9' is no signal"):
        on_signal(signals=("USR1", "USR9"))

    assert before == signal.getsignal(signal.SIGUSR1)


def test_the_end_of_a_chain(tmp_path: Path) -> None:
    """The file that the script looks for is made, however often it is said; elsewhere nothing happens."""
    env = {"AIFA_CHAIN_DONE": str(tmp_path / "chain.done"), "AIFA_CHAIN_LINK": "2", "AIFA_CHAIN_LINKS": "6"}

    assert finished(env)
    assert finished(env)
    assert (tmp_path / "chain.done").exists()
    assert (2, 6) == chain(env)
    assert not finished({})
    assert (0, 1) == chain({})
