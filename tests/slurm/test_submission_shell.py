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
from aifa_hpc.slurm.submission import Outcome, Ticket, list_receipts, look_up, look_up_many, submit, submit_many

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


COUNTING = """
IFS= read -r first && cat > "$ROOT/seen.$first"
mkdir "$ROOT/once.$first" || echo twice >> "$ROOT/twice"
echo "$first" >> "$ROOT/sbatch.log"
echo "${first#'#!'}"
"""
"""An sbatch that says twice when the same script comes twice; the id stands in the script's first line."""


def many(machine: Machine, count: int) -> tuple[list[Ticket], list[str]]:
    """Jobs whose scripts differ, with ids from 100 on."""
    tickets = [ticket(machine, token=f"t{number}") for number in range(count)]
    return tickets, [f"#!{100 + number}\n\n  'é' {'x' * number}\\n$(id)\n" for number in range(count)]


def submitted(count: int) -> list[Outcome]:
    """All of them, with their ids."""
    return [Outcome(kind="submitted", job_id=str(100 + number)) for number in range(count)]


@pytest.mark.parametrize("queue", [True, False], ids=["a queue", "two at a time"])
def test_many_are_one_command(machine: Machine, queue: bool) -> None:
    """Each script arrives byte for byte and gets its own id; a copy lies in its folder; nothing else is left behind."""
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 20)
    commands: list[Command] = []

    def run(command: Command) -> Completed:
        commands.append(command)
        return machine.run(command)

    assert submitted(20) == drive(submit_many(tickets, scripts, queue=queue), run)
    assert 1 == len(commands)
    assert scripts == [(Path(one.folder) / "script.sbatch").read_text() for one in tickets]
    assert scripts == [
        f"#!{100 + number}\n" + (machine.root / f"seen.#!{100 + number}").read_text() for number in range(20)
    ]
    assert sorted(one.token for one in tickets) == sorted(path.name for path in Path(tickets[0].jobs).iterdir())


@pytest.mark.parametrize("queue", [True, False], ids=["a queue", "two at a time"])
def test_the_same_jobs_sent_by_many_at_once_are_submitted_once(machine: Machine, queue: bool) -> None:
    """Eight callers send the same ten jobs: each job reaches sbatch once, and nobody is told another id."""
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 10)
    gate = threading.Barrier(8)

    def attempt(_: int) -> list[Outcome]:
        gate.wait()
        return drive(submit_many(tickets, scripts, queue=queue), machine.run)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(8)))
    assert sorted(f"#!{100 + number}" for number in range(10)) == sorted(machine.calls("sbatch"))
    assert all(
        one in (good, replace(one, kind="unknown"))
        for said in found
        for one, good in zip(said, submitted(10), strict=True)
    )
    assert submitted(10) == drive(submit_many(tickets, scripts, queue=queue), machine.run)


def test_a_program_that_is_killed_in_the_middle_is_gone_on_with(machine: Machine) -> None:
    """What had begun is told or in doubt, what had not is submitted by the next command; nothing is submitted twice."""
    machine.program("sbatch", COUNTING + '[ "$first" != "#!103" ] || kill -9 "$PPID"')
    tickets, scripts = many(machine, 8)
    silent = OutcomeUnknownError("killed")

    def killed(command: Command) -> Completed:
        completed = machine.run(command)
        if completed.exit_code == 137:
            raise silent
        return completed

    with pytest.raises(OutcomeUnknownError):
        drive(submit_many(tickets, scripts, queue=True), killed)
    again = drive(submit_many(tickets, scripts, queue=True), killed)
    assert [*submitted(3), again[3], *submitted(8)[4:]] == again
    assert "unknown" == again[3].kind
    machine.program("squeue", 'echo "103|digits-t3|"')
    assert submitted(8) == drive(look_up_many(tickets, fence=True), machine.run)
    assert not (machine.root / "twice").exists()


def test_what_a_killed_program_had_not_begun_may_be_sent_again(machine: Machine) -> None:
    """Its end is told: nothing of a queue is fenced off, and a single submission is, so that its caller may go on."""
    machine.program("sbatch", COUNTING + '[ "$first" != "#!101" ] || kill -9 "$PPID"')
    tickets, scripts = many(machine, 4)
    kinds = [one.kind for one in drive(submit_many(tickets, scripts, queue=True), machine.run)]
    assert ["submitted", "unknown", "unknown", "unknown"] == kinds
    (looked,) = drive(look_up_many(tickets[2:3], fence=False), machine.run)
    assert ("unknown", "the site shows no trace of it yet") == (looked.kind, looked.words)
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert [*submitted(4)[2:]] == found[2:]
    machine.program("sbatch", 'kill -9 "$PPID"')
    tickets = [replace(one, token=f"single{one.token}") for one in tickets]
    kinds = [one.kind for one in drive(submit_many(tickets, scripts, queue=False), machine.run)]
    assert ["unknown", "unknown", "unsent", "unsent"] == kinds  # two at a time were on their way


def test_a_full_site_ends_the_list_and_the_rest_may_come_again(machine: Machine) -> None:
    """The job that met the limit is not refused: it and those behind it are submitted when there is room."""
    limit = (
        '[ "$(wc -l < "$ROOT/sbatch.log")" -lt 2 ] || { echo "sbatch: error: AssocMaxSubmitJobLimit" >&2; exit 1; }\n'
    )
    machine.program("sbatch", 'touch "$ROOT/sbatch.log"\n' + limit + COUNTING)
    tickets, scripts = many(machine, 4)
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    full = Outcome(kind="full", words="sbatch: error: AssocMaxSubmitJobLimit")
    assert [*submitted(2), full, full] == found
    machine.program("sbatch", COUNTING)
    assert submitted(4) == drive(submit_many(tickets, scripts, queue=True), machine.run)


def test_a_full_site_tells_of_jobs_that_it_has_behind_the_limit(machine: Machine) -> None:
    """What another process submitted before is not taken for waiting, though a job before it waits."""
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 3)
    assert submitted(3)[2:] == drive(submit_many(tickets[2:], scripts[2:], queue=True), machine.run)
    machine.program("sbatch", 'echo "sbatch: error: AssocMaxSubmitJobLimit" >&2; exit 1')
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert (["full", "full"], submitted(3)[2:]) == ([one.kind for one in found[:2]], found[2:])


def test_a_limit_is_a_refusal_where_nobody_waits(machine: Machine) -> None:
    """A single submission that meets a limit is refused in Slurm's words, for good."""
    machine.program("sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    for _ in range(2):
        with pytest.raises(SiteError, match="QOSMaxSubmitJobPerUserLimit"):
            drive(submit(ticket(machine), SCRIPT), machine.run)


def test_one_refusal_among_many(machine: Machine) -> None:
    """It comes back with its words, and the others are submitted."""
    machine.program(
        "sbatch", COUNTING.replace("IFS=", "echo 'a warning' >&2\nIFS=") + '[ "$first" != "#!101" ] || exit 3'
    )
    tickets, scripts = many(machine, 3)
    expected = submitted(3)
    expected[1] = Outcome(kind="refused", code=3, words="a warning")
    assert expected == drive(submit_many(tickets, scripts, queue=True), machine.run)
    looked = drive(look_up_many(tickets, fence=True), machine.run)
    assert ["submitted", "refused", "submitted"] == [one.kind for one in looked]


def test_many_cut_anywhere_are_not_submitted(machine: Machine) -> None:
    """Whatever part of the scripts arrives, none of them is submitted, and all of them may be sent again."""
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 3)
    whole = len(next(submit_many(tickets, scripts, queue=True)).stdin)
    for size in range(0, whole, 7):
        with pytest.raises(NotSentError, match="whole"):
            drive(
                submit_many(tickets, scripts, queue=True),
                lambda command, size=size: machine.run(replace(command, stdin=command.stdin[:size])),
            )
    assert machine.calls("sbatch") == []
    assert submitted(3) == drive(submit_many(tickets, scripts, queue=True), machine.run)


def test_the_list_is_gone_through_when_nobody_listens(machine: Machine) -> None:
    """The wire breaks when the scripts have arrived: all are submitted, and their receipts tell."""
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 5)

    def deaf(command: Command) -> Completed:
        if command.idempotent:
            return machine.run(command)
        return machine.run(
            replace(command, argv=("sh", "-c", '"$@" | true', "deaf", machine.interpreter, *command.argv[1:]))
        )

    assert submitted(5) == drive(submit_many(tickets, scripts, queue=False), deaf)
    assert 5 == len(machine.calls("sbatch"))


def test_receipts_are_listed(machine: Machine) -> None:
    """Those with an id in them; a folder that is not there has none."""
    assert {} == drive(list_receipts(ticket(machine).jobs), machine.run)
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 3)
    drive(submit_many(tickets, scripts, queue=True), machine.run)
    drive(look_up(ticket(machine, token="fenced")), machine.run)
    assert {"t0": "100", "t1": "101", "t2": "102"} == drive(list_receipts(tickets[0].jobs), machine.run)
