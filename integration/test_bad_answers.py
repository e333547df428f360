"""A real server whose Slurm, or whose shell, answers with nonsense, and a login that is gone: nothing is forgotten."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command
from aifa_hpc.errors import OutcomeUnknownError
from aifa_hpc.testing.sshd import Sshd
from integration.test_sessions import Person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.program import Ran

JOB = """
name = "job"
[resources]
time = "00:05:00"
[launch]
kind = "command"
command = ["true"]
"""
RUNNING = "7|RUNNING|None|nid000001|2026-11-24T12:00:00|0:10|job"
CUT = "7|RUNNING|None"
"""A line of squeue or sacct that ends too early."""


class Site:
    """A person before a server with programs that say what they are told to."""

    def __init__(self, home: Path, server: Sshd, programs: Path, *, settings: str) -> None:
        work = json.dumps(str(home / "work"))
        self.person = Person(home, server, settings=f'{settings}\ntransport = "openssh"\nworkdir = {work}')
        sites = home / "config" / "sites.toml"
        sites.write_text(sites.read_text("utf-8").replace('"lumi"', '"local"'), "utf-8")
        self._programs = programs
        (home / "job.toml").write_text(JOB, "utf-8")
        for name in ("sbatch", "squeue", "sacct"):
            self.say(name, "")

    def say(self, program: str, text: str, code: int = 0) -> None:
        """Has a program answer with a line and an exit code, whatever it is asked."""
        self._programs.mkdir(exist_ok=True)
        path = self._programs / program
        path.write_text(f"#!/bin/sh\ncat > /dev/null\ncat << 'END'\n{text}\nEND\nexit {code}\n", "utf-8")
        path.chmod(0o755)

    def submit(self) -> Ran:
        """Submits a job."""
        return self.person.aifa("submit", "job.toml", "--site", "there", "--json")

    def look_until(self, job: tuple[str, str]) -> None:
        """Looks until a job is in this state: right after a question nobody asks again."""
        end = time.monotonic() + 30
        while job not in self.known():
            assert time.monotonic() < end, self.known()
            assert 0 == (ran := self.person.aifa("jobs")).code, ran.err
            time.sleep(0.2)

    def known(self) -> list[tuple[str | None, str]]:
        """Id and state of what is remembered."""
        return [(job["id"], job["state"]) for job in self.person.aifa("jobs", "--offline", "--json").json]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="aifa", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def site(tmp_path: Path, home: Path) -> Iterator[Site]:
    """One that is logged in to without a person."""
    programs = tmp_path / "bin"
    with Sshd.started(tmp_path / "sshd", f"SetEnv PATH={programs}:/usr/bin:/bin") as server:
        found = Site(home, server, programs, settings="mfa = false")
        yield found
        found.person.aifa("logout", "there")


@pytest.mark.parametrize("text", ["<html>502 Bad Gateway</html>", "job 7 or 8"])
def test_an_sbatch_that_answers_with_nonsense_leaves_it_unknown(site: Site, text: str) -> None:
    """It may have made a job: exit code 4 with its words and the token, until the queue shows one."""
    site.say("sbatch", text)
    ran = site.submit()
    assert (4, "", [(None, "UNKNOWN")]) == (ran.code, ran.out, site.known())
    said = json.loads(ran.err)
    assert f"shows no trace of it yet; sbatch had said: {text}" in said["message"]
    settled = site.person.aifa("jobs", "settle", "--json")
    assert (4, said["token"], [(None, "UNKNOWN")]) == (settled.code, settled.json[0]["token"], site.known())
    site.say("squeue", f"9|job.{said['token']}|")
    found = site.person.aifa("jobs", "settle", "--json")
    assert (0, [("9", "PENDING")]) == (found.code, site.known())


@pytest.mark.parametrize("program", ["squeue", "sacct"])
def test_an_answer_that_is_cut_is_shown_and_changes_nothing(site: Site, program: str) -> None:
    """Exit code 3 with the line, and what was known before; the next answer counts again."""
    site.say("sbatch", "7")
    assert 0 == (ran := site.submit()).code, ran.err
    site.say(program, CUT)
    ran = site.person.aifa("jobs", "--json")
    assert (3, [("7", "PENDING")]) == (ran.code, [(job["id"], job["state"]) for job in ran.json])
    message = json.loads(ran.err)["message"]
    assert message.startswith(f"the answer of there about jobs cannot be read: {program} printed 3 of")
    assert message.endswith(f"columns: {CUT!r}")
    site.say("squeue", RUNNING)
    site.look_until(("7", "RUNNING"))


def test_a_shell_that_answers_with_nonsense(tmp_path: Path, home: Path) -> None:
    """Every command of the login is answered by a notice: it may have run, so nothing is taken for an answer.

    The notice is shown, because it tells a person what is the matter.
    """
    with Sshd.started(tmp_path / "sshd", "ForceCommand echo maintenance until Friday") as server:
        site = Site(home, server, tmp_path / "bin", settings="mfa = false")
        ran = site.submit()
        settled = site.person.aifa("jobs", "settle", "--json")
        with site.person.transport() as transport, pytest.raises(OutcomeUnknownError, match="maintenance until Friday"):
            transport.open(Command(argv=("cat",)))
        site.person.aifa("logout", "there")
    assert (4, "", [(None, "UNKNOWN")]) == (ran.code, ran.out, site.known()), ran.err
    (row,) = settled.json
    for said in (json.loads(ran.err)["message"], row["reason"]):
        assert [] == [words for words in ("could not be asked", "maintenance until Friday") if words not in said], said
    assert 4 == settled.code


def test_a_session_that_died_is_said_so_and_forgets_nothing(tmp_path: Path, home: Path) -> None:
    """Its site wants a person: exit code 3 with the command that logs in, and then all goes on."""
    with Sshd.started(tmp_path / "sshd", f"SetEnv PATH={tmp_path / 'bin'}:/usr/bin:/bin") as server:
        site = Site(home, server, tmp_path / "bin", settings="mfa = true")
        assert 0 == (ran := site.person.aifa("login", "there")).code, ran.err
        site.say("sbatch", "7")
        assert 0 == (ran := site.submit()).code, ran.err
        server.stop()
        server.start()
        for words in (("jobs",), ("cancel", "7"), ("submit", "job.toml", "--site", "there")):
            dead = site.person.aifa(*words)
            assert (3, True) == (dead.code, "aifa login there" in dead.err), (words, dead)
        assert [("7", "PENDING"), (None, "NOT_SENT")] == site.known()
        assert 0 == site.person.aifa("login", "there").code
        site.say("squeue", RUNNING)
        site.look_until(("7", "RUNNING"))
        site.person.aifa("logout", "there")
