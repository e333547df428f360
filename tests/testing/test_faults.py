"""Faults that need no server: daemons that come back, clocks that jump, programs that are killed."""

from __future__ import annotations

import datetime
import sys

import pytest

from aifa_hpc.testing.faults import Clock, kill_after, requeue, without
from aifa_hpc.testing.proxy import Cut


class Recorder:
    """A cluster that writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def stop(self, daemon: str) -> None:
        """Stops one."""
        self.asked.append(("stop", daemon))

    def start(self, daemon: str) -> None:
        """Starts one."""
        self.asked.append(("start", daemon))

    def admin(self, *argv: str) -> str:
        """Runs a command."""
        self.asked.append(argv)
        return ""


def test_a_daemon_comes_back_though_the_test_fails() -> None:
    """The next test finds the cluster whole."""
    cluster = Recorder()
    with pytest.raises(ZeroDivisionError), without(cluster, "slurmctld"):
        _ = 1 / 0
    requeue(cluster, "7")
    assert [("stop", "slurmctld"), ("start", "slurmctld"), ("scontrol", "requeue", "7")] == cluster.asked


def test_a_clock_jumps_both_ways() -> None:
    """It shows the time as moved, aware and in UTC."""
    clock, day = Clock(), datetime.timedelta(days=1)
    before = clock()
    clock.jump(day)
    assert day <= clock() - before < day * 2
    clock.jump(-2 * day)
    assert clock() < before
    assert datetime.UTC == clock().tzinfo


def test_a_program_is_killed_or_was_quicker() -> None:
    """The exit code tells which; a program that never gets ready is an error with its words."""
    begin = "print('begun', flush=True)"
    assert 3 == kill_after((sys.executable, "-c", f"{begin}; raise SystemExit(3)"), 60, ready=b"begun")
    assert None is kill_after((sys.executable, "-c", f"{begin}; import time; time.sleep(60)"), 0, ready=b"begun")
    with pytest.raises(RuntimeError, match="no room"):
        kill_after((sys.executable, "-c", "raise SystemExit('no room')"), 60, ready=b"begun")


def test_a_cut_behind_less_than_nothing_is_refused() -> None:
    """The mistake is named."""
    with pytest.raises(ValueError, match="after = -1"):
        Cut(direction="up", after=-1)
