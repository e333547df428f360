"""The program's manners: streams that are closed or full, letters the locale lacks, errors of every kind."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa

PROGRAM = f"{shlex.quote(sys.executable)} -c 'from aifa_hpc.cli import main; main()'"


def shell(aifa: Aifa, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which $AIFA is the program."""
    return subprocess.run(
        ["bash", "-c", line.replace("$AIFA", PROGRAM)],
        env=aifa.env | env,
        cwd=aifa.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["--help", "sites show lumi --json", "sites"])
def test_a_reader_that_leaves_is_no_failure_of_the_job(aifa: Aifa, command: str) -> None:
    """`| true` ends it as SIGPIPE ends other programs, without a word; 1 would mean that a job failed."""
    ran = shell(aifa, f"set -o pipefail; $AIFA {command} | (exec <&-; sleep 1)")
    assert (141, "") == (ran.returncode, ran.stderr)


@pytest.mark.parametrize("command", ["sites", "sites --json", "sites show lumi"])
def test_output_that_goes_nowhere(aifa: Aifa, command: str) -> None:
    """A closed standard output is fine; a full disk behind it is told, and is not taken for wrong input."""
    closed, full = shell(aifa, f"$AIFA {command} >&-"), shell(aifa, f"$AIFA {command} > /dev/full")
    assert (0, "") == (closed.returncode, closed.stderr)
    assert (4, True, 1) == (full.returncode, "No space left" in full.stderr, len(full.stderr.splitlines()))


def test_a_locale_without_the_letters(aifa: Aifa) -> None:
    """What cannot be printed is printed escaped."""
    ran = shell(aifa, "$AIFA sites; $AIFA logs $'\\xff'", PYTHONIOENCODING="ascii")
    assert (2, True) == (ran.returncode, "J\\xfclich" in ran.stdout and "Traceback" not in ran.stderr), ran.stderr


@pytest.mark.parametrize("words", [("submit", "x.toml", "--json"), ("jobs", "--json", "--frobnicate"), ("x", "--json")])
def test_wrong_options_are_json_for_machines_too(aifa: Aifa, words: tuple[str, ...]) -> None:
    """A missing option, an unknown one, an unknown command."""
    ran = aifa(*words)
    assert (2, 2, "") == (ran.code, json.loads(ran.err)["exit_code"], ran.out)


def test_a_state_folder_that_is_none(aifa: Aifa) -> None:
    """The error names the file and the variable; nothing is submitted."""
    (aifa.home / "state").write_text("")
    for words in (("jobs",), ("logs", "1"), ("submit", aifa.job(), "--site", "local")):
        ran = aifa(*words)
        assert (2, True) == (ran.code, "$AIFA_STATE_DIR" in ran.err), ran.err


def test_a_mark_at_the_beginning_of_a_job_file(aifa: Aifa) -> None:
    """Editors on Windows write one; it is no part of the job."""
    path = Path(aifa.job())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert 0 == aifa("check", str(path), "--site", "local").code


def test_jobs_of_a_site_that_is_none(aifa: Aifa) -> None:
    """A typo is not answered with "no jobs"."""
    ran = aifa("jobs", "--site", "lokal")
    assert (2, True) == (ran.code, "did you mean 'local'" in ran.err), ran.err


def test_nobody_logs_in_to_a_draft(aifa: Aifa) -> None:
    """LUMI 2 has no public login host to try."""
    ran = aifa("login", "lumi2")
    assert (2, True) == (ran.code, "draft" in ran.err), ran.err


def test_an_interrupt_while_waiting_says_that_the_job_goes_on(aifa: Aifa) -> None:
    """^C ends the program with 130 and without a traceback; the job ends by itself."""
    path = aifa.job(command='["sh", "-c", "sleep 1; echo done"]')
    waiting = subprocess.Popen(
        [sys.executable, "-c", "from aifa_hpc.cli import main; main()", "submit", path, "--site", "local", "--wait"],
        env=aifa.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    job = waiting.stderr.readline().split()[1]
    time.sleep(0.3)
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)
    assert (130, True, False) == (waiting.returncode, f"aifa cancel {job}" in out, "Traceback" in err), err
    assert "done\n" == aifa("logs", job, "-f").out


def test_an_interrupt_tells_machines_of_all_jobs_that_go_on(aifa: Aifa) -> None:
    """One value for each of them, and why the program ended on standard error."""
    paths = [aifa.job(name, command='["sleep", "5"]') for name in ("one", "two")]
    waiting = subprocess.Popen(
        ["bash", "-c", f"exec {PROGRAM} submit {shlex.join(paths)} --site local --wait --json"],
        env=aifa.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len([job for job in aifa("jobs", "--offline", "--json").json if job["id"]]) < 2:
        time.sleep(0.1)
    time.sleep(0.3)
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)
    assert (130, "Interrupted", 130) == (
        waiting.returncode,
        (said := json.loads(err.splitlines()[-1]))["error"],
        said["exit_code"],
    )
    assert {"one", "two"} == {json.loads(line)["name"] for line in out.splitlines()}


def test_warnings_are_events_for_machines(aifa: Aifa) -> None:
    """What a library logs is a line of text for people, and JSON for whoever asked for that."""
    code = (
        "import sys, click, logging; from aifa_hpc.cli.base import Command; from aifa_hpc.cli.ending import run\n"
        "def warn(): logging.getLogger('a.library').warning('it is %s', 'late')\n"
        "sys.exit(run(click.Group(commands={'x': Command('x', callback=warn)})))"
    )
    text, machine = (
        subprocess.run([sys.executable, "-c", code, *words], env=aifa.env, capture_output=True, text=True, check=True)
        for words in (("x",), ("x", "--json"))
    )
    assert ("it is late\n", {"event": "warning", "text": "it is late"}) == (text.stderr, json.loads(machine.stderr))


def test_what_a_library_logs_wrongly_is_told_as_far_as_it_goes(aifa: Aifa) -> None:
    """Its values do not fit its text: the command goes on, and machines read the text alone."""
    code = (
        "import sys, click, logging; from aifa_hpc.cli.base import Command; from aifa_hpc.cli.ending import run\n"
        "def warn(): logging.getLogger('a.library').warning('%d late', 'two')\n"
        "sys.exit(run(click.Group(commands={'x': Command('x', callback=warn)})))"
    )
    ran = subprocess.run([sys.executable, "-c", code, "x", "--json"], env=aifa.env, capture_output=True, check=True)
    assert {"event": "warning", "text": "%d late"} == json.loads(ran.stderr)


@pytest.mark.parametrize("error", ["KeyError('k')", "FileNotFoundError(2, 'No such file', 'x')"])
def test_a_fault_is_told_as_one(aifa: Aifa, error: str) -> None:
    """With its traceback, which machines get as a field; a file that is missing is no lost output."""
    code = (
        "import sys, click; from aifa_hpc.cli.base import Command; from aifa_hpc.cli.ending import run\n"
        f"def fail(): raise {error}\n"
        "sys.exit(run(click.Group(commands={'x': Command('x', callback=fail)})))"
    )
    text, machine = (
        subprocess.run([sys.executable, "-c", code, *words], env=aifa.env, capture_output=True, text=True, check=False)
        for words in (("x",), ("x", "--json"))
    )
    said = json.loads(machine.stderr)
    assert (4, 4, 4) == (text.returncode, machine.returncode, said["exit_code"])
    assert (True, True) == ("in fail" in text.stderr, "please report" in text.stderr)
    assert (error.partition("(")[0], True) == (said["error"], "in fail" in said["traceback"])


def test_letters_that_a_look_cuts_in_two_come_whole(aifa: Aifa) -> None:
    """A log that grows byte by byte is followed without a broken letter, as text and as JSON."""
    script = r"""for i in 1 2 3 4 5 6; do printf "\\303"; sleep 0.4; printf "\\274"; sleep 0.3; done"""
    path = aifa.job(command=json.dumps(["bash", "-c", script]))
    job = aifa("submit", path, "--site", "local", "--json").json["id"]
    followed = aifa("logs", job, "-f", "--json")
    assert 6 * "ü" == "".join(json.loads(line)["log"] for line in followed.out.splitlines())
    assert 6 * "ü" == aifa("logs", job).out


def test_a_job_without_output_has_an_empty_log(aifa: Aifa) -> None:
    """Machines get a value; people get nothing on standard output, and the job's state beside it."""
    job = aifa("submit", aifa.job(command='["true"]'), "--site", "local", "--wait", "--json").json["id"]
    assert ({"log": ""}, "", "COMPLETED") == (
        aifa("logs", job, "--json").json,
        (ran := aifa("logs", job)).out,
        ran.err.split(",")[0],
    )
