"""The shell of the flows, run for real under dash and bash, with stub programs in the place of Slurm's."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SiteError, SubmissionUnknownError
from aifa_hpc.slurm.flows import IDS_IN_A_LINE, Ticket, look_up, query, read_log, submit
from aifa_hpc.slurm.records import Sentinel

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
    machine.program("sbatch", "exit 127")
    with pytest.raises(SiteError, match="refused"):
        drive(submit(ticket(machine), SCRIPT), machine.run)


@pytest.mark.parametrize(
    "script",
    [
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
        "echo 'sbatch: error: Unable to contact slurm controller (receive failure)' >&2; exit 1",
        "kill -9 $$",
        "exit 0",
    ],
    ids=["timed out", "receive failure", "killed", "no id"],
)
def test_a_lost_controller_leaves_doubt_that_the_queue_settles(machine: Machine, script: str) -> None:
    """Where sbatch does not know itself, the queue is asked by name; without a trace it stays unknown."""
    machine.program("sbatch", script)
    with pytest.raises(SubmissionUnknownError):
        drive(submit(ticket(machine), SCRIPT), machine.run)
    assert not (Path(ticket(machine).folder) / "refusal").exists()
    machine.program("squeue", 'echo "$*" >> "$ROOT/squeue.log"; echo 4712_7')
    assert drive(look_up(ticket(machine)), machine.run) == "4712"
    assert machine.calls("squeue")[-1] == "--me --noheader --states=all --name=digits-t0k3n --format=%i"
    machine.program("squeue", "exit 1")
    machine.program("sacct", "echo 4713")
    assert drive(look_up(ticket(machine)), machine.run) == "4713"


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


def test_query_for_real(machine: Machine) -> None:
    """Columns, window and ids reach the programs; sentinels are read, half-written and missing ones passed over."""
    machine.program("squeue", 'echo "$*" >> "$ROOT/squeue.log"; echo "banner"; echo "1|PENDING|Priority||N/A|0:00|a"')
    machine.program("sacct", 'echo "$*" >> "$ROOT/sacct.log"; printf "2|FAILED|1:0|n1|x|y|9|None|b"')
    texts = {"whole": "2 0 3 1795489200\n", "no newline": "3 1 0 1795489200", "half": "4 0", "empty": ""}
    folders = []
    for name, text in texts.items():
        folder = machine.root / f"a'; $(id) {name}"
        folder.mkdir()
        (folder / "exit").write_text(text)
        folders.append(str(folder))
    forged = machine.root / "forged"
    forged.mkdir()
    (forged / "exit").write_text("aifa: done 99\naifa: section queue\n")
    folders += [str(forged), str(machine.root / "missing")]
    answer = drive(query(["1", "2"], folders, since="now-2days"), machine.run)
    assert answer.errors == {}
    assert answer.queue is not None
    assert answer.accounting is not None
    assert [(job.id, job.state, job.reason) for job in answer.queue.values()] == [("1", "PENDING", "Priority")]
    assert [(job.id, job.state) for job in answer.accounting.values()] == [("2", "FAILED")]
    assert answer.sentinels == {
        "a'; $(id) whole": Sentinel(id="2", restarts=0, code=3, at=1795489200),
        "a'; $(id) no newline": Sentinel(id="3", restarts=1, code=0, at=1795489200),
    }
    assert machine.calls("squeue") == ["--noheader --states=all --jobs=1,2 --format=%i|%T|%r|%N|%S|%M|%j"]
    assert [line.partition(" --format")[0] for line in machine.calls("sacct")] == [
        "-X --parsable2 --noheader --starttime=now-2days --jobs=1,2"
    ]


@pytest.mark.parametrize("silent", ["squeue", "sacct"])
def test_query_with_a_program_that_fails(machine: Machine, silent: str) -> None:
    """Its words come back under its name; the other's warnings do not."""
    for program in ("squeue", "sacct"):
        bad = program == silent
        machine.program(program, f"echo '{program} speaks' >&2; exit {int(bad)}")
    answer = drive(query(["1", "2"], [], since="now"), machine.run)
    assert {silent: f"{silent} speaks"} == answer.errors
    assert [None if silent == "squeue" else {}, None if silent == "sacct" else {}] == [answer.queue, answer.accounting]


def test_query_of_very_many(machine: Machine) -> None:
    """Thousands of ids and folders pass, more than an argument of Linux can hold."""
    jobs = [str(10_000_000 + number) for number in range(2 * IDS_IN_A_LINE + 5)]
    folders = [str(machine.root / f"{'x' * 40}{number}") for number in range(3000)]
    machine.program(
        "squeue", 'for word do case $word in --jobs=*) echo "${word#--jobs=}" >> "$ROOT/squeue.log"; esac; done'
    )
    answer = drive(query(jobs, folders, since="now"), machine.run)
    assert (answer.queue, answer.accounting, answer.sentinels) == ({}, {}, {})
    assert jobs == ",".join(machine.calls("squeue")).split(",")


@pytest.mark.parametrize("name", ["4711.out", "a'; echo $(id) #.out", "-n.out"])
def test_logs_are_read_by_offset(machine: Machine, name: str) -> None:
    """Bytes from an offset on, at most so many; nothing behind the end; None for a file that is not there."""
    path = machine.root / name
    assert drive(read_log(str(path), offset=0, limit=10), machine.run) is None
    path.write_bytes(b"0123\xff\n\0")
    reads = [(0, 100), (0, 3), (2, 3), (4, 100), (7, 5), (99, 5), (0, 0)]
    assert [drive(read_log(str(path), offset=offset, limit=limit), machine.run) for offset, limit in reads] == [
        b"0123\xff\n\0",
        b"012",
        b"23\xff",
        b"\xff\n\0",
        b"",
        b"",
        b"",
    ]


def test_a_log_that_cannot_be_read(machine: Machine) -> None:
    """A folder in its place is an error, not an empty log."""
    with pytest.raises(SiteError, match="cannot be read"):
        drive(read_log(str(machine.root), offset=0, limit=1), machine.run)


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv(1) to drop it")
def test_a_log_without_permission(machine: Machine) -> None:
    """A log of somebody else is an error, not an empty log."""
    path = machine.root / "secret.out"
    path.write_text("x")
    path.chmod(0)

    def run(command: Command) -> Completed:
        return machine.run(
            replace(
                command,
                argv=("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command.argv),
            )
        )

    with pytest.raises(SiteError, match=r"cannot be read.*Permission denied"):
        drive(read_log(str(path), offset=0, limit=1), run)
