"""The lock of a sync: one at a time, whoever dies, however slow somebody is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import TransferError
from aifa_hpc.labs.lock import hold

if TYPE_CHECKING:
    from pathlib import Path

# Takes the lock and leaves its mark inside; a second one inside at the same time finds the mark.
WORKER = """
import os, sys, time
from pathlib import Path
from aifa_hpc.errors import TransferError
from aifa_hpc.labs.lock import hold
folder, mark, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
done = 0
while done < rounds:
    try:
        with hold(folder, "a sync"):
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            done += 1
            mark.unlink()
    except TransferError:
        time.sleep(0.001)
"""
# Takes the lock and keeps it until its input ends.
HOLDER = """
import sys
from pathlib import Path
from aifa_hpc.labs.lock import hold
with hold(Path(sys.argv[1]), "a sync"):
    print("held", flush=True)
    sys.stdin.read()
"""


def files(folder: Path) -> list[str]:
    """What a lock leaves."""
    return sorted(path.name for path in folder.iterdir())


def test_one_at_a_time(tmp_path: Path) -> None:
    """The second is told who has it, since when, and what to do; afterwards it is free."""
    with hold(tmp_path, "a sync"):
        with pytest.raises(TransferError) as caught, hold(tmp_path, "a sync"):
            pass
        assert f"process {os.getpid()} on " in str(caught.value)
        assert str(tmp_path / "lock.1") in str(caught.value)
    with hold(tmp_path, "a sync") as number:
        assert 2 == number
    assert ["lock.2"] == files(tmp_path)


def test_who_is_gone_holds_nothing(tmp_path: Path) -> None:
    """The number of a process that was killed is used again by another: its start tells them apart."""
    with hold(tmp_path, "a sync"):
        left = (tmp_path / "lock.1").read_text()
    (tmp_path / "lock.1").write_text(json.dumps(json.loads(left) | {"started": "7"}))
    with hold(tmp_path, "a sync") as number:
        assert 2 == number


def test_another_machine_is_believed(tmp_path: Path) -> None:
    """Nobody here can know whether a process of another machine is alive."""
    with hold(tmp_path, "a sync", host="other"):
        record = json.loads((tmp_path / "lock.1").read_text())
        with pytest.raises(TransferError, match="on other"), hold(tmp_path, "a sync", alive=lambda *_: False):
            pass
    assert ("other", os.getpid()) == (record["host"], record["pid"])


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    """What went wrong is told as it is, and the next run may begin."""
    with pytest.raises(KeyError), hold(tmp_path, "a sync"):
        raise KeyError
    with hold(tmp_path, "a sync") as number:
        assert 2 == number


def test_who_was_slow_does_not_take_it_from_a_later_one(tmp_path: Path) -> None:
    """It saw number 1, slept, and its number 2 was taken, released and removed meanwhile: it loses to number 3."""
    with hold(tmp_path, "first"):
        pass
    inner = []

    def sleep(number: int) -> None:
        if number == 2 and not inner:
            inner.append(number)
            with hold(tmp_path, "second"):
                pass
            later.__enter__()

    later = hold(tmp_path, "third")
    with pytest.raises(TransferError, match="at work already"), hold(tmp_path, "slow", before=sleep):
        pass
    assert ["lock.3"] == files(tmp_path)
    later.__exit__(None, None, None)


def test_what_a_full_disk_made_of_it_locks_nobody_out(tmp_path: Path) -> None:
    """A file that no run of ours leaves is as good as none."""
    (tmp_path / "lock.7").write_text("")
    with hold(tmp_path, "a sync") as number:
        assert 8 == number


def test_many_processes_take_turns(tmp_path: Path) -> None:
    """Never two inside; nothing is left but the last one's word that it let go."""
    command = [sys.executable, "-c", WORKER, str(tmp_path / "lock"), str(tmp_path / "mark"), "25"]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [0] * 4 == [worker.returncode for worker in workers], said
    assert ["lock.100"] == files(tmp_path / "lock")


def test_who_was_killed_holds_nothing(tmp_path: Path) -> None:
    """A process that is alive keeps it; from the moment that it was killed, the next one has it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TransferError, match=f"process {holder.pid} on "), hold(tmp_path, "a sync"):
            pass
        holder.kill()
        holder.wait()
    with hold(tmp_path, "a sync") as number:
        assert 2 == number
