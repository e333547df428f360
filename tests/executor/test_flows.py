"""The shell of bundles and outcomes, run by two shells on real files."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import NotSentError, SiteError
from aifa_hpc.executor.flows import Wanted, drop, fetch, keep
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES = bytes(range(256)) + b"\naifa: done 1\naifa: result 1 0 5\n"


@pytest.fixture(params=["dash", "bash"])
def run(request: pytest.FixtureRequest) -> Callable[[Command], Completed]:
    """Runs a command by that shell, after a banner that looks like an answer's."""

    def run(command: Command) -> Completed:
        done = LocalTransport().run(replace(command, argv=(request.param, *command.argv[1:])))
        return replace(done, stdout=b"Welcome\naifa: welcome 2\n" + done.stdout)

    return run


def test_a_bundle_is_kept_for_its_owner_only(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """Whole, mode 0600 in a folder of mode 0700, in a folder with an unpleasant name; kept twice is kept."""
    calls = str(tmp_path / "a'; echo $(id) #" / "calls")
    for _ in range(2):
        path = drive(keep(calls, "k1", BYTES), run)
    kept = Path(path)
    assert (Path(calls) / "k1" / "calls.pyz", BYTES) == (kept, kept.read_bytes())
    assert (0o600, 0o700) == (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777)
    drive(drop([path, path, "/etc/passwd", f"{calls}/other"]), run)
    assert [] == list(Path(calls).iterdir())


def test_a_job_that_left_nothing_names_its_bundle(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """In its script; a job without one, or with a script of another kind, has none to remove."""
    work = tmp_path / "a'; echo $(id) #"
    path, other = (Path(drive(keep(f"{work}/calls", key, BYTES), run)) for key in ("0badcafe", "0badcaff"))
    for name, line in {"killed": f"python3 {shlex.quote(str(path))}", "shell": "ls /calls/"}.items():
        (work / "jobs" / name).mkdir(parents=True)
        (work / "jobs" / name / "script.sbatch").write_text(f"#!/bin/bash\n{line}\n")
    drive(drop([f"{work}/jobs/{name}" for name in ("killed", "shell", "gone")]), run)
    assert (False, True) == (path.parent.exists(), other.exists())


def test_a_bundle_that_was_cut_is_not_kept(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """The size did not arrive."""

    def cutting(command: Command) -> Completed:
        return run(replace(command, stdin=command.stdin[:-1]))

    with pytest.raises(NotSentError, match="did not reach the site whole"):
        drive(keep(str(tmp_path), "k1", BYTES), cutting)
    assert [] == list((tmp_path / "k1").iterdir())


def test_a_bundle_that_cannot_be_kept_says_why(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "calls").write_text("")
    with pytest.raises(SiteError, match="could not be stored"):
        drive(keep(str(tmp_path / "calls"), "k1", BYTES), run)


def test_outcomes_are_handed_over_byte_by_byte(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """Several ranks, none at all, what looks like our own words, and what is too large or only a part."""
    for name, data in {
        "result-0.0": BYTES,
        "result-0.11": b"",
        "result-1.0": b"x" * 400,
        "result-1.1.7.part": b"y",
    }.items():
        (tmp_path / name).write_bytes(data)
    folder = str(tmp_path)
    zero, one, two = drive(fetch([Wanted(folder=folder, index=index) for index in range(3)], most=399), run)
    assert {0: BYTES, 11: b""} == zero.ranks
    assert ({}, (f"{folder}/result-1.0",)) == (one.ranks, one.large)
    assert ({}, (), ()) == (two.ranks, two.large, two.foreign)


def test_what_others_can_write_is_not_read(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """A file, a link, and a folder that anybody may write into."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "result-0.0").write_bytes(b"1")
    (tmp_path / "result-0.0").write_bytes(b"2")
    (tmp_path / "result-0.0").chmod(0o666)
    (tmp_path / "result-1.0").symlink_to(tmp_path / "open" / "result-0.0")
    (tmp_path / "open").chmod(0o777)
    wanted = [Wanted(folder=str(tmp_path), index=0), Wanted(folder=str(tmp_path), index=1)]
    found = drive(fetch([*wanted, Wanted(folder=str(tmp_path / "open"), index=0)]), run)
    assert [({}, 1)] * 3 == [(one.ranks, len(one.foreign)) for one in found]


def test_an_answer_that_is_not_whole_is_refused(run: Callable[[Command], Completed], tmp_path: Path) -> None:
    """Half an outcome is no outcome."""
    (tmp_path / "result-0.0").write_bytes(BYTES)

    def cutting(command: Command) -> Completed:
        done = run(command)
        return replace(done, stdout=done.stdout[:-20])

    with pytest.raises(SiteError, match="not whole"):
        drive(fetch([Wanted(folder=str(tmp_path), index=0)]), cutting)
