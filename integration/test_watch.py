"""The live view in a real terminal, with jobs on both clusters and a copy under way."""

from __future__ import annotations

import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.staging.ledger import Ledger
from integration.conftest import ON, User, submit
from integration.terminal import open_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster

PROGRAM = [sys.executable, "-c", "from aifa_hpc.cli import main; main()"]
LUMI, JUPITER = (f"{name}-{kind}" for name, kind in ON.items())
COUNTING = "i=0; while :; do i=$((i+1)); echo step $i of many; sleep 1; done"


@pytest.fixture
def someone(both: User) -> Iterator[User]:
    """The user of both clusters, whose jobs are cancelled afterwards."""
    yield both
    for job in both.aifa("jobs", "--json").json:
        both.aifa("cancel", job["id"], "--site", job["site"])


@pytest.fixture
def copying(both: User) -> Iterator[subprocess.Popen[bytes]]:
    """A copy to LUMI that does not get on, as if the link were slow."""
    source = both.home / "shards"
    source.mkdir()
    (source / "a.bin").write_bytes(secrets.token_bytes(64 << 20))
    target = f"{both.folder}-{secrets.token_hex(4)}"
    words = [*PROGRAM, "stage", "copy", f"{source}/", f"{LUMI}:{target}/", "--class", "open", "--limit", "8M"]
    with subprocess.Popen(words, env=both.env, cwd=both.home, stdout=subprocess.DEVNULL) as copy:
        deadline = time.monotonic() + 60
        while not held(both.home / "state" / "staging.sqlite3"):
            assert time.monotonic() < deadline
            assert copy.poll() is None
            time.sleep(0.05)
        copy.send_signal(signal.SIGSTOP)
        while locked(both.home / "state"):  # stopped amid a note, and others must go on meanwhile
            copy.send_signal(signal.SIGCONT)
            time.sleep(0.01)
            copy.send_signal(signal.SIGSTOP)
        assert copy.poll() is None
        yield copy
        copy.kill()
    both.ssh(f"rm -rf {target}")


def held(path: Path) -> bool:
    """Whether the ledger knows what the copy that runs will send."""
    if not path.exists():
        return False
    with Ledger(path) as ledger:
        return any(one.pid and one.bytes for one in ledger.copies())


def locked(state: Path) -> bool:
    """Whether somebody is writing into a file of this state folder."""
    for path in state.glob("*.sqlite3"):
        with closing(sqlite3.connect(path, timeout=0.1)) as base:
            try:
                base.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
    return False


def line_of(lines: list[str], job: str) -> str:
    """The line of a job."""
    return next(line for line in lines if re.match(rf"[A-Z]+ +{job} ", line))


def test_everything_under_way_is_seen(someone: User, copying: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Bars that grow, reasons, the log of the selected job and a copy, at 80 columns; q leaves."""
    runs = submit(someone, LUMI, "sh", "-c", COUNTING, name="training")["id"]
    other = submit(someone, JUPITER, "sh", "-c", COUNTING, name="tokenise")["id"]
    account = f"-A {someone.connect['account']} -p standard-g"
    held_job = someone.ssh(f"sbatch --parsable {account} -t 5 -J later --hold --wrap true").strip()
    assert 0 == (ran := someone.aifa("jobs", "adopt", held_job, "--site", LUMI)).code, ran.err
    with open_terminal(tmp_path, [*PROGRAM, "watch"], someone.env) as terminal:
        lines = terminal.shows("2 running, 1 waiting", "step 1 of many", f"{LUMI}: 2 active jobs, answered")
        assert (24, 80) == (len(lines), max(map(len, lines)))
        assert re.search(r"^RUNNING +\d+ +training +lumi-openssh [█▏▎▍▌▋▊▉░]+ 0:\d\d/5:00$", line_of(lines, runs))
        assert re.search(r"^PENDING +\d+ +later +lumi-openssh it is held", line_of(lines, held_job))
        assert re.search(r"copying for .*, \d+ %: .*shards/? → +lumi-openssh:", " ".join(lines))
        first = line_of(lines, other)
        terminal.until(lambda lines: line_of(lines, other) != first)  # time passes
        terminal.press("q")
        terminal.shows("left with 0")


def test_keys_open_the_log_and_cancel_after_a_question(someone: User, tmp_path: Path) -> None:
    """Also when the window has been made wider and narrow again; nothing is cancelled without a yes."""
    job = submit(someone, LUMI, "sh", "-c", COUNTING, name="training")["id"]
    with open_terminal(tmp_path, [*PROGRAM, "watch"], someone.env) as terminal:
        terminal.shows("1 running", "step 1 of many")
        terminal.resize(132, 40)
        terminal.until(lambda lines: (len(lines), max(map(len, lines))) == (40, 132) and last_step(lines) > 0)
        terminal.press("l")
        terminal.shows(f"training {job} on {LUMI}", "step 2 of many", "Back")
        terminal.resize(60, 20)
        step = last_step(terminal.until(lambda lines: len(lines) == 20 and last_step(lines) > 0))
        terminal.until(lambda lines: last_step(lines) > step)  # the log goes on in the smaller window
        terminal.press("q")
        terminal.shows("1 running", "of many", "Quit")
        terminal.press("c")
        terminal.shows(f"Cancel job {job} on {LUMI}?", "y  cancel it")
        terminal.press("n")
        terminal.until(lambda lines: "Cancel job" not in "\n".join(lines))
        assert job in someone.ssh(f"squeue -h -t R -j {job} -o %i")
        terminal.press("c")
        terminal.shows(f"Cancel job {job} on {LUMI}?")
        terminal.resize(80, 24)
        terminal.shows(f"Cancel job {job} on {LUMI}?")
        terminal.press("y")
        terminal.until(lambda lines: any(re.match(rf"CANCELLED +{job} ", line) for line in lines))
        terminal.press("q")
        terminal.shows("left with 0")
    assert "CANCELLED" in someone.ssh(
        f"squeue -h -t all -j {job} -o %T 2> /dev/null || true; sacct -X -n -j {job} -o State"
    )


def last_step(lines: list[str]) -> int:
    """The last number that the job has counted to, as far as it is shown."""
    return max((int(number) for line in lines for number in re.findall(r"step (\d+) of many", line)), default=0)


def test_a_site_that_is_away_is_said_to_be(someone: User, tmp_path: Path) -> None:
    """Nobody listens where one cluster was: it says so in red, above; the other goes on."""
    submit(someone, LUMI, "sleep", "300", name="one")
    job = submit(someone, JUPITER, "sh", "-c", COUNTING, name="two")["id"]
    sites = someone.home / "config" / "sites.toml"
    text = sites.read_text()
    port = str(someone.connect["port"])
    assert port in text
    sites.write_text(text.replace(f"port = {port}", "port = 1"))
    try:
        with open_terminal(tmp_path, [*PROGRAM, "watch", "--site", JUPITER], someone.env) as terminal:
            terminal.shows(f"{JUPITER}: 1 active job, answered")
            assert LUMI not in "\n".join(terminal.lines)
        with open_terminal(tmp_path, [*PROGRAM, "watch"], someone.env) as terminal:
            lines = terminal.shows(f"{LUMI} is away: ", f"{JUPITER}: 1 active job, answered")
            assert [1, 1] == [number for number, line in enumerate(lines) if "is away" in line] * 2
            first = line_of(lines, job)
            terminal.until(lambda lines: line_of(lines, job) != first)
            terminal.press("C-c")
            terminal.shows("left with 0")
    finally:
        sites.write_text(text)
