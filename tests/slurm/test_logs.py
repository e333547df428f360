"""The shell that reads many logs at once, run for real under dash and bash."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import ParseError, SiteError
from aifa_hpc.slurm.logs import LEAST_SHARE, OVERLAP, Chunk, Place, Source, read_logs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine

MIB = 1 << 20


def read(
    machine: Machine, *sources: Source, limit: int = MIB, ending: str = "out", lines: int = 0, turn: int = 0
) -> tuple[list[Chunk], bool]:
    """One answer."""
    flow = read_logs(sources, mark="aifa-0123", limit=limit, ending=ending, lines=lines, turn=turn)
    return drive(flow, machine.run)


def texts(found: tuple[list[Chunk], bool]) -> dict[str, bytes]:
    """What each file answered, by its name."""
    return {chunk.path.rpartition("/")[2]: chunk.data for chunk in found[0]}


def place(path: Path, offset: int) -> Place:
    """A place in a file that is there."""
    return Place(inode=str(path.stat().st_ino), offset=offset)


@pytest.mark.parametrize("folder", ["jobs", "a b", "a'; echo $(id) #", "*", "  lead", "ünï", "back\\slash"])
def test_tasks_and_ranks_are_found_by_how_their_paths_begin(machine: Machine, folder: str) -> None:
    """All logs of a job, whatever its folder is called, and none of another job; bytes arrive as they are."""
    home = machine.root / folder
    home.mkdir()
    files = {"12.out": b"0\xff\n\0", "12.rank-0.out": b"one\n", "12.rank-10.out": b"ten", "120.out": b"other"}
    for name, data in files.items():
        (home / name).write_bytes(data)
    found = read(machine, Source(path=f"{home}/12."))
    assert ({name: data for name, data in files.items() if name != "120.out"}, False) == (texts(found), found[1])
    assert {"12.rank-10.out": b"ten"} == texts(read(machine, Source(path=f"{home}/12."), ending="rank-10.out"))


def test_logs_come_in_the_order_in_which_they_were_asked_for(machine: Machine) -> None:
    """Links of a chain follow each other, whatever their folders are called."""
    for folder in ("a", "b", "c"):
        (machine.root / folder).mkdir()
        (machine.root / folder / f"{ord(folder)}.out").write_text(folder)
    found, _ = read(machine, *(Source(path=f"{machine.root}/{folder}/{ord(folder)}.") for folder in "bca"))
    assert [b"b", b"c", b"a"] == [chunk.data for chunk in found]


def test_a_file_by_its_own_path(machine: Machine) -> None:
    """Of a job that names its log; one that is not there says nothing."""
    path = machine.root / "my log.txt"
    assert ([], False) == read(machine, Source(path=str(path), exact=True))
    path.write_text("text")
    assert {"my log.txt": b"text"} == texts(read(machine, Source(path=str(path), exact=True)))


def test_a_file_that_grew_answers_from_a_little_before(machine: Machine) -> None:
    """Only what is new and the overlap; a file with nothing new says nothing."""
    path = machine.root / "7.out"
    path.write_bytes(b"x" * 1000)
    assert ([], False) == read(machine, Source(path=f"{machine.root}/7.", known={"out": place(path, 1000)}))
    path.write_bytes(b"x" * 1000 + b"new")
    ((chunk,), more) = read(machine, Source(path=f"{machine.root}/7.", known={"out": place(path, 1000)}))
    assert (1000 - OVERLAP, b"x" * OVERLAP + b"new", 1003, False) == (chunk.start, chunk.data, chunk.size, more)


@pytest.mark.parametrize("left", [b"", b"short"])
def test_a_file_that_was_cut_answers_from_its_beginning(machine: Machine, left: bytes) -> None:
    """Also when nothing is left of it."""
    path = machine.root / "7.out"
    path.write_bytes(left)
    ((chunk,), _) = read(machine, Source(path=f"{machine.root}/7.", known={"out": place(path, 1000)}))
    assert (0, left) == (chunk.start, chunk.data)


def test_a_file_that_was_replaced_answers_from_its_beginning(machine: Machine) -> None:
    """Inodes are told apart to their last digit, as Lustre's 64 bits demand."""
    path = machine.root / "7.out"
    path.write_bytes(b"y" * 500)
    known = Place(inode=str(path.stat().st_ino) + "0" * 12, offset=100)
    ((chunk,), _) = read(machine, Source(path=f"{machine.root}/7.", known={"out": known}))
    assert (0, b"y" * 500) == (chunk.start, chunk.data)


def test_large_inodes_are_no_numbers(machine: Machine) -> None:
    """Two inodes that are the same double are two files."""
    machine.program("ls", 'printf "144115205255725057 -rw-r--r-- 1 0 0 9 Nov 24 08:00 %s\\n" "$ROOT/7.out"')
    (machine.root / "7.out").write_bytes(b"123456789")
    known = Place(inode="144115205255725056", offset=9)
    ((chunk,), _) = read(machine, Source(path=f"{machine.root}/7.", known={"out": known}))
    assert (0, b"123456789", "144115205255725057") == (chunk.start, chunk.data, chunk.inode)


def test_an_answer_is_bounded_and_others_come_first_in_the_next(machine: Machine) -> None:
    """Of ten files with more than fits, each is read in the end, and no answer is larger than asked for."""
    for number in range(10):
        (machine.root / f"7_{number}.out").write_bytes(b"z" * 3 * LEAST_SHARE)
    seen = set()
    for turn in range(3):
        found, more = read(machine, Source(path=f"{machine.root}/7_"), limit=4 * LEAST_SHARE, turn=turn)
        assert (True, True) == (more, sum(len(chunk.data) for chunk in found) <= 4 * LEAST_SHARE)
        seen |= {chunk.path for chunk in found}
    assert 10 == len(seen)


def test_the_last_lines(machine: Machine) -> None:
    """A file that was never read begins at its last lines; one that was goes on where it was."""
    new, old = machine.root / "7.out", machine.root / "8.out"
    new.write_text("".join(f"line {number}\n" for number in range(1000)))
    old.write_text("a\nb\nc\n")
    sources = Source(path=f"{machine.root}/7."), Source(path=f"{machine.root}/8.", known={"out": place(old, 2)})
    assert {"7.out": b"line 998\nline 999\n", "8.out": b"a\nb\nc\n"} == texts(read(machine, *sources, lines=2))


def test_the_last_lines_of_a_file_without_lines(machine: Machine) -> None:
    """No more is read than an answer may hold."""
    (machine.root / "7.out").write_bytes(b"q" * 10 * LEAST_SHARE)
    (found, _) = read(machine, Source(path=f"{machine.root}/7."), limit=2 * LEAST_SHARE, lines=3)
    assert [(8 * LEAST_SHARE, 2 * LEAST_SHARE)] == [(chunk.start, len(chunk.data)) for chunk in found]


def test_a_log_that_cannot_be_read(machine: Machine) -> None:
    """A folder in its place is an error, not an empty log."""
    (machine.root / "7.out").mkdir()
    with pytest.raises(SiteError, match=r"7\.out cannot be read because it is a folder"):
        read(machine, Source(path=f"{machine.root}/7."))


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv(1) to drop it")
def test_a_log_without_permission(machine: Machine) -> None:
    """A log of somebody else is an error, not an empty log."""
    path = machine.root / "7.out"
    path.write_text("x")
    path.chmod(0)

    def run(command: Command) -> Completed:
        drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
        return machine.run(replace(command, argv=(*drop, *command.argv)))

    with pytest.raises(SiteError, match=r"cannot be read.*Permission denied"):
        drive(read_logs([Source(path=f"{machine.root}/7.")], mark="aifa-0123", limit=MIB), run)


def test_an_answer_that_is_cut_is_no_answer(machine: Machine) -> None:
    """Without its last frame it is the site's fault."""
    machine.program("awk", "exit 1")
    with pytest.raises(SiteError, match="not whole"):
        read(machine, Source(path=f"{machine.root}/7."))


def test_paths_hold_no_line_breaks() -> None:
    """They would shift what is asked."""
    with pytest.raises(ParseError, match="line break"):
        Source(path="/a\nb")


def test_a_thousand_logs_are_one_question(machine: Machine) -> None:
    """And one answer."""
    for number in range(1000):
        (machine.root / f"7_{number}.out").write_text(f"task {number}\n")
    found = read(machine, Source(path=f"{machine.root}/7_"))
    assert ({f"7_{number}.out": b"task %d\n" % number for number in range(1000)}, False) == (texts(found), found[1])
