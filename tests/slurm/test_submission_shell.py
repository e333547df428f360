"""The shell of submissions, run for real under dash and bash, with stub programs in the place of Slurm's."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SiteError, SubmissionUnknownError
from aifa_hpc.slurm.submission import Ticket, look_up, look_up_many, submit

if TYPE_CHECKING:
    from conftest import Machine

SCRIPT = "#!/bin/bash\necho 'é' \"$HOME\"\n"
HOSTILE = ["jobs", "a b", "a'; echo $(id) #", '"$(touch pwned)"', "-n", "*", "tab\there", "ünï", "line\nbreak"]


def ticket(machine: Machine, folder: str = "jobs", token: str = "t0k3n") -> Ticket:
    """A ticket whose job folders lie in a folder of the machine that is not made yet."""
    return Ticket(token=token, name=f"digits-{token}", jobs=str(machine.root / "deep" / folder))


@pytest.mark.parametrize("folder", HOSTILE)
def test_submits_from_any_folder(machine: Machine, folder: str) -> None:
    """The script arrives byte for byte, the receipt is kept, and no folder name becomes program text."""
    where = ticket(machine, folder)
    assert drive(submit(where, SCRIPT), machine.run) == "4711"
    assert (machine.root / "submitted").read_text() == SCRIPT
    assert machine.calls("sbatch") == ["--parsable --ignore-pbs"]
    assert sorted(path.name for path in Path(where.folder).iterdir()) == ["receipt", "script.sbatch"]
    assert stat.S_IMODE(Path(where.folder).stat().st_mode) == 0o700
    assert list(machine.root.rglob("pwned")) == []
    assert drive(look_up(where), machine.run) == "4711"


def test_a_token_submits_once(machine: Machine) -> None:
    """The second submission of a token gets the first one's job."""
    machine.program("sbatch", 'echo x >> "$ROOT/sbatch.log"; wc -l < "$ROOT/sbatch.log"')
    assert [drive(submit(ticket(machine), SCRIPT), machine.run) for _ in range(2)] == ["1", "1"]
    assert machine.calls("sbatch") == ["x"]


def test_two_at_once_submit_once(machine: Machine) -> None:
    """Of two concurrent submissions of one token exactly one runs sbatch; nobody gets another id or a false refusal."""
    machine.program("sbatch", 'echo x >> "$ROOT/sbatch.log"; echo a warning >&2; sleep 0.1; echo 4711')
    gate = threading.Barrier(2)

    def attempt(_: int) -> str:
        gate.wait()
        try:
            return drive(submit(ticket(machine), SCRIPT), machine.run)
        except SubmissionUnknownError as error:
            return error.token

    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(attempt, range(2)))
    assert machine.calls("sbatch") == ["x"]
    assert {"4711"} <= found <= {"4711", "t0k3n"}
    assert drive(look_up(ticket(machine)), machine.run) == "4711"


@pytest.mark.parametrize(
    "printed",
    ["4711", "4711;jupiter", "Dear user\n4711", "job submit plugin: 3 checks passed\n4711"],
)
def test_the_id_is_found_in_what_sbatch_prints(machine: Machine, printed: str) -> None:
    """A cluster's name behind it, a site's greeting before it and warnings on stderr do not hide the id."""
    machine.program("sbatch", f"echo 'sbatch: warning: be nice' >&2\ncat <<'END'\n{printed}\nEND")
    assert drive(submit(ticket(machine), SCRIPT), machine.run) == "4711"
    assert not (Path(ticket(machine).folder) / "refusal").exists()


def test_a_refusal_is_kept(machine: Machine) -> None:
    """Sbatch's words and exit code come back, and again for whoever looks later."""
    machine.program("sbatch", "echo 'sbatch: error: invalid partition specified: nope' >&2; exit 255")
    with pytest.raises(SiteError, match="invalid partition") as caught:
        drive(submit(ticket(machine), SCRIPT), machine.run)
    assert caught.value.exit_code_remote == 255
    with pytest.raises(SiteError, match="invalid partition"):
        drive(look_up(ticket(machine)), machine.run)


def test_no_sbatch_is_a_refusal(machine: Machine) -> None:
    """A machine without Slurm's programs refuses; nothing is left in doubt."""
    machine.program("sbatch", "echo 'sh: 1: sbatch: not found' >&2; exit 127")
    with pytest.raises(SiteError, match="refused"):
        drive(submit(ticket(machine), SCRIPT), machine.run)


@pytest.mark.parametrize(
    "script",
    [
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
        "echo 'sbatch: error: Unable to contact slurm controller (receive failure)' >&2; exit 1",
        "echo 'sbatch: error: Batch job submission failed: Connection reset by peer' >&2; exit 1",
        "kill -9 $$",
        "exit 0",
    ],
    ids=["timed out", "receive failure", "reset", "killed", "no id"],
)
def test_a_lost_controller_leaves_doubt_that_the_queue_settles(machine: Machine, script: str) -> None:
    """Where sbatch does not know itself, the queue is asked by name; without a trace it stays unknown."""
    machine.program("sbatch", script)
    with pytest.raises(SubmissionUnknownError):
        drive(submit(ticket(machine), SCRIPT), machine.run)
    assert not (Path(ticket(machine).folder) / "refusal").exists()
    machine.program("squeue", 'echo "$*" >> "$ROOT/squeue.log"; echo "4712_7|digits-t0k3n|"')
    assert drive(look_up(ticket(machine)), machine.run) == "4712"
    assert machine.calls("squeue")[-1] == "--me --noheader --states=all --format=%i|%j|%k"
    machine.program("squeue", "exit 1")
    machine.program("sacct", "echo '4713|digits-t0k3n'")
    assert drive(look_up(ticket(machine)), machine.run) == "4713"


def test_the_words_of_a_doubtful_sbatch_are_kept(machine: Machine) -> None:
    """Whoever looks later reads them again."""
    machine.program("sbatch", "echo strange; echo 'sbatch: error: Unexpected message received' >&2; exit 1")
    with pytest.raises(SubmissionUnknownError, match="Unexpected message") as first:
        drive(submit(ticket(machine), SCRIPT), machine.run)
    with pytest.raises(SubmissionUnknownError, match="sbatch had said: strange\nsbatch: error: Unexpected") as later:
        drive(look_up(ticket(machine)), machine.run)
    assert 1 == str(first.value).count("strange") == str(later.value).count("strange")


@pytest.mark.parametrize(
    ("age", "written", "silent", "kind"),
    [
        ("1 hour ago", "", "", "unsent"),
        ("10 minutes ago", "", "", "unknown"),
        ("1 hour ago", "4711.out", "", "unknown"),
        ("1 hour ago", "", "squeue", "unknown"),
        ("1 hour ago", "", "sacct", "unknown"),
    ],
)
def test_a_doubt_does_not_last_for_ever(machine: Machine, age: str, written: str, silent: str, kind: str) -> None:
    """There is no job where queue and accounting answer long after sbatch ended, and none has written to its folder."""
    machine.program("sbatch", "echo 'sbatch: error: Connection reset by peer' >&2; exit 1")
    where = ticket(machine)
    with pytest.raises(SubmissionUnknownError):
        drive(submit(where, SCRIPT), machine.run)
    doubt = Path(where.folder) / "doubt"
    subprocess.run(["touch", "-d", age, doubt], check=True)
    if written:
        (doubt.parent / written).touch()
    if silent:
        machine.program(silent, "exit 1")
    for _ in range(2):
        (found,) = drive(look_up_many([where], fence=True), machine.run)
        assert (kind, True) == (found.kind, found.words.endswith("reset by peer")), found


@pytest.mark.parametrize(("age", "kind"), [("2 days ago", "unsent"), ("2 hours ago", "unknown")])
def test_what_was_begun_and_never_submitted_is_known_in_the_end(machine: Machine, age: str, kind: str) -> None:
    """The machine went down between the claim and sbatch."""
    machine.program("sbatch", "kill -9 $PPID")
    where = ticket(machine)
    with pytest.raises(SubmissionUnknownError):
        drive(submit(where, SCRIPT), machine.run)
    receipt = Path(where.folder) / "receipt"
    assert ["receipt", "script.sbatch"] == sorted(path.name for path in receipt.parent.iterdir())
    subprocess.run(["touch", "-d", age, receipt], check=True)
    (found,) = drive(look_up_many([where], fence=True), machine.run)
    assert kind == found.kind, found


def test_looking_during_a_submission_is_no_refusal(machine: Machine) -> None:
    """A warning that sbatch has printed while it still works is not its refusal."""
    machine.program("sbatch", 'echo a warning >&2; touch "$ROOT/asked"; sleep 0.3; echo 4711')
    with ThreadPoolExecutor(1) as pool:
        submitting = pool.submit(lambda: drive(submit(ticket(machine), SCRIPT), machine.run))
        while not (machine.root / "asked").exists():
            threading.Event().wait(0.01)
        with pytest.raises(SubmissionUnknownError):
            drive(look_up(ticket(machine)), machine.run)
        assert submitting.result() == "4711"


def test_a_fence_beats_a_submission_that_comes_late(machine: Machine) -> None:
    """Once somebody has looked and found nothing, nothing can be submitted under that token, however often asked."""
    assert drive(look_up(ticket(machine)), machine.run) is None
    assert drive(look_up(ticket(machine)), machine.run) is None
    with pytest.raises(NotSentError, match="fenced"):
        drive(submit(ticket(machine), SCRIPT), machine.run)
    assert machine.calls("sbatch") == []


def test_silence_before_the_submission_began(machine: Machine) -> None:
    """A command that was lost on its way is fenced off: the caller may try again under another token."""

    def lossy(command: Command) -> Completed:
        if not command.idempotent:
            raise OutcomeUnknownError("connection lost")
        return machine.run(command)

    with pytest.raises(NotSentError, match="never reached"):
        drive(submit(ticket(machine), SCRIPT), lossy)
    assert machine.calls("sbatch") == []


def test_silence_after_the_submission(machine: Machine) -> None:
    """A lost answer is found again in the receipt."""

    def lossy(command: Command) -> Completed:
        completed = machine.run(command)
        if not command.idempotent:
            raise OutcomeUnknownError("connection lost")
        return completed

    assert drive(submit(ticket(machine), SCRIPT), lossy) == "4711"


@pytest.mark.parametrize("kept", [0, 1, len(SCRIPT)])
def test_half_a_script_is_never_submitted(machine: Machine, kept: int) -> None:
    """A connection that breaks while the script passes leaves its beginning, which must not run."""

    def cut(command: Command) -> Completed:
        return machine.run(replace(command, stdin=command.stdin[:kept]))

    with pytest.raises(NotSentError, match="whole"):
        drive(submit(ticket(machine), SCRIPT), cut)
    assert machine.calls("sbatch") == []
    assert drive(look_up(ticket(machine)), machine.run) is None


def test_a_folder_that_cannot_be_made(machine: Machine) -> None:
    """What stands in the way is said in the site's words; it is no doubt about a job."""
    (machine.root / "deep").write_text("a file")
    with pytest.raises(SiteError, match=r"could not be made.*(Not a directory|File exists)"):
        drive(submit(ticket(machine), SCRIPT), machine.run)


def test_the_login_shell_cannot_change_the_job(machine: Machine) -> None:
    """SBATCH_* of the login shell would win over the script's own lines; SQUEUE_* would hide jobs."""
    machine.env.update(
        SBATCH_ACCOUNT="other", SBATCH_WAIT="1", SQUEUE_PARTITION="x", SLURM_TIME_FORMAT="relative", ODD="a\nSBATCH_X=b"
    )
    machine.program("sbatch", 'env > "$ROOT/env"; umask > "$ROOT/umask"; echo 4711')
    old = os.umask(0o027)
    try:
        drive(submit(ticket(machine), SCRIPT), machine.run)
    finally:
        os.umask(old)
    names = {line.partition("=")[0] for line in (machine.root / "env").read_text().splitlines()}
    assert {"SBATCH_X"} == {name for name in names if name.startswith(("SBATCH_", "SQUEUE_", "SLURM_TIME"))}
    assert (machine.root / "umask").read_text().strip().rjust(4, "0") == "0027"
