"""A process is ended only while it is the one that was started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from integration.clusters.processes import alive, end, first_child, identity, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_process_is_known_by_its_start() -> None:
    """A pid with another start time is another process and is left alone."""
    with subprocess.Popen(["sleep", "60"]) as process:
        mark = identity(process.pid)
        pid, _, start = mark.partition(":")
        other = f"{pid}:{int(start) + 1}"
        assert process.pid == alive(mark)
        assert 0 == alive(other)
        end(other)
        assert process.poll() is None
        end(mark)
        assert -9 == process.wait()
        assert 0 == alive(mark)


def test_nothing_is_not_a_process() -> None:
    """An empty mark and a pid that is not in use are no processes."""
    assert 0 == alive("")
    assert "" == identity(0)
    end("")


def test_a_child_is_found() -> None:
    """The child of this process is the one that was started."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo; wait"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        child = first_child(process.pid)
        assert child not in {0, os.getpid(), process.pid}
        end(identity(child))
        process.wait()


def test_a_failure_tells_its_last_words() -> None:
    """The error holds the exit code and what the program said."""
    with pytest.raises(RuntimeError, match=r"(?s)exited with 3.*no such thing"):
        run("sh", "-c", "echo no such thing >&2; exit 3")
    assert "" == run("sh", "-c", "exit 3", check=False)
