"""The live view in a real terminal, with jobs on both clusters and a copy under way."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import sys
import time
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
    words = [*PROGRAM, "stage", "copy", f"{source}/", f"{LUMI}:{target}/", "--class", "open"]
    with subprocess.Popen(words, env=both.env, cwd=both.home, stdout=subprocess.DEVNULL) as copy:
        deadline = time.monotonic() + 60
        while not held(both.home / "state" / "staging.sqlite3"):
            assert time.monotonic() < deadline
            assert copy.poll() is None
            time.sleep(0.05)
        copy.send_signal(signal.SIGSTOP)
        yield copy
        copy.kill()
    both.ssh(f"rm -rf {target}")


def held(path: Path) -> bool:
    """Whether the ledger knows what the copy that runs will send."""
    if not path.exists():
        return False
    with Ledger(path) as ledger:
        return any(one.pid and one.bytes for one in ledger.copies())


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
        assert re.search(r"^RUNNING +\d+ training +lumi-openssh [█▏▎▍▌▋▊▉░]+ 0:\d\d/5:00$", line_of(lines, runs))
        assert re.search(r"^PENDING +\d+ later +lumi-openssh it is held", line_of(lines, held_job))
        assert re.search(r"copying for .*shards/? → +lumi-openssh:", " ".join(lines))
        first = line_of(lines, other)
        terminal.until(lambda lines: line_of(lines, other) != first)  # time passes
        terminal.press("q")
        terminal.shows("left with 0")


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
