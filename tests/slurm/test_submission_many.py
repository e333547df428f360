"""The shell of many submissions in one command, run for real under dash and bash, with stubs of Slurm's programs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, SiteError
from aifa_hpc.slurm.submission import Outcome, Ticket, list_receipts, look_up, look_up_many, submit, submit_many

if TYPE_CHECKING:
    from conftest import Machine

COUNTING = """
IFS= read -r first && cat > "$ROOT/seen.$first"
mkdir "$ROOT/once.$first" || echo twice >> "$ROOT/twice"
echo "$first" >> "$ROOT/sbatch.log"
echo "${first#'#!'}"
"""
"""An sbatch that says twice when the same script comes twice; the id stands in the script's first line."""


def ticket(machine: Machine, token: str = "t0k3n") -> Ticket:
    """One of many."""
    return Ticket(token=token, name=f"digits-{token}", jobs=str(machine.root / "deep" / "jobs"))


def many(machine: Machine, count: int) -> tuple[list[Ticket], list[str]]:
    """Jobs whose scripts differ, with ids from 100 on."""
    tickets = [ticket(machine, f"t{number}") for number in range(count)]
    return tickets, [f"#!{100 + number}\n\n  'é' {'x' * number}\\n$(id)\n" for number in range(count)]


def submitted(count: int) -> list[Outcome]:
    """All of them, with their ids."""
    return [Outcome(kind="submitted", job_id=str(100 + number)) for number in range(count)]


@pytest.mark.parametrize("queue", [True, False], ids=["a queue", "at once"])
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


@pytest.mark.parametrize("queue", [True, False], ids=["a queue", "at once"])
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
    assert ["submitted", "unknown", "submitted", "unknown"] == kinds  # every other job is another program's
    (looked,) = drive(look_up_many(tickets[3:], fence=False), machine.run)
    assert ("unknown", "the site shows no trace of it yet") == (looked.kind, looked.words)
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert [*submitted(4)[2:]] == found[2:]
    machine.program("sbatch", 'kill -9 "$PPID"')
    tickets = [replace(one, token=f"single{one.token}") for one in tickets]
    kinds = [one.kind for one in drive(submit_many(tickets, scripts, queue=False), machine.run)]
    assert ["unknown", "unknown", "unsent", "unsent"] == kinds  # two at a time were on their way


def test_what_was_only_looked_for_may_be_sent(machine: Machine) -> None:
    """Looking without a fence leaves an empty folder, which takes the script all the same."""
    tickets, scripts = many(machine, 2)
    assert ["unknown"] * 2 == [one.kind for one in drive(look_up_many(tickets, fence=False), machine.run)]
    machine.program("sbatch", COUNTING)
    assert submitted(2) == drive(submit_many(tickets, scripts, queue=True), machine.run)


def test_a_folder_that_cannot_be_made_submits_nothing(machine: Machine) -> None:
    """A file that bears a token's name: none of the jobs is begun, and the reason is told."""
    machine.program("sbatch", COUNTING)
    tickets, scripts = many(machine, 2)
    Path(tickets[0].jobs).mkdir(parents=True)
    Path(tickets[1].folder).touch()
    with pytest.raises(SiteError, match="could not be stored") as caught:
        drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert tickets[1].token in caught.value.stderr
    assert machine.calls("sbatch") == []


def test_an_answer_that_was_cut_off_is_not_part_of_the_next(machine: Machine) -> None:
    """Sbatch is killed behind the first digits of an id: they belong to nobody else's."""
    cut = '[ "$first" != "#!100" ] || { printf 77; kill -9 $$; }\n'
    machine.program("sbatch", COUNTING.replace('echo "${first', f'{cut}echo "${{first'))
    tickets, scripts = many(machine, 4)
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    assert ("unknown", submitted(4)[1:]) == (found[0].kind, found[1:])


def test_a_full_site_ends_the_list_and_the_rest_may_come_again(machine: Machine) -> None:
    """The job that met the limit is not refused: it and those behind it are submitted when there is room."""
    words = "sbatch: error: AssocMaxSubmitJobLimit"
    limit = f'mkdir "$ROOT/1" 2> /dev/null || mkdir "$ROOT/2" 2> /dev/null || {{ echo "{words}" >&2; exit 1; }}\n'
    machine.program("sbatch", limit + COUNTING)
    tickets, scripts = many(machine, 6)
    found = drive(submit_many(tickets, scripts, queue=True), machine.run)
    full = Outcome(kind="full", words=words)
    assert [full] * 4 == [one for one in found if one.kind != "submitted"]
    assert 2 == len(machine.calls("sbatch"))
    machine.program("sbatch", COUNTING)
    assert submitted(6) == drive(submit_many(tickets, scripts, queue=True), machine.run)


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
            drive(submit(ticket(machine), "#!/bin/sh\n"), machine.run)


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
