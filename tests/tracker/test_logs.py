"""Logs that grow, are cut and are replaced, read by the shell of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import InputError
from aifa_hpc.slurm import logs as flow
from aifa_hpc.slurm.logs import Chunk, Source
from aifa_hpc.tracker.logs import LogReader, Piece, decoded
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Reads:
    """What ``cluster.read_logs`` is, with the folder of the test as its site.

    Attributes:
        commands: Every command that was run.
    """

    def __init__(self, limit: int = 1 << 20) -> None:
        self.commands: list[Command] = []
        self._limit = limit

    def __call__(self, sources: Sequence[Source], **more: int | str) -> tuple[list[Chunk], bool]:
        """Asks."""
        return drive(flow.read_logs(sources, mark="aifa-0123", limit=self._limit, **more), self._run)

    def _run(self, command: Command) -> Completed:
        self.commands.append(command)
        return LocalTransport().run(command)


def text(reader: LogReader, *paths: Path) -> list[tuple[str, bytes, bool]]:
    """What is new, until there is no more."""
    found, more = [], True
    while more:
        news, more = reader.more([Source(path=f"{path}.") for path in paths])
        found += [(one.path.rpartition("/")[2], one.data, one.anew) for one in news]
    return found


def test_each_byte_comes_once(tmp_path: Path) -> None:
    """As the file grows, also within the overlap."""
    reader, path, got = LogReader(Reads()), tmp_path / "7.out", []
    for line in (b"1\n", b"", b"22\n", b"3" * 200, b"4\n"):
        with path.open("ab") as file:
            file.write(line)
        got.append(text(reader, tmp_path / "7"))
    assert [[("7.out", line, False)] if line else [] for line in (b"1\n", b"", b"22\n", b"3" * 200, b"4\n")] == got


def test_a_log_whose_name_begins_as_another_one_is_itself(tmp_path: Path) -> None:
    """Each goes on where it was read to, under its own name."""
    reader, paths = LogReader(Reads()), [tmp_path / "log", tmp_path / "log2"]
    sources, got = [Source(path=str(path), exact=True) for path in paths], []
    for line in (b"1\n", b"2\n"):
        for path in paths:
            with path.open("ab") as file:
                file.write(path.name.encode() + line)
        got.append([(one.source.rpartition("/")[2], one.data) for one in reader.more(sources)[0]])
    assert [[("log", b"log" + line), ("log2", b"log2" + line)] for line in (b"1\n", b"2\n")] == got


@pytest.mark.parametrize("before", [5, 500])
@pytest.mark.parametrize("after", [0, 3, 499, 500, 5000])
def test_a_cut_log_is_read_anew(tmp_path: Path, before: int, after: int) -> None:
    """Whether the new text is shorter, or has grown past the old one before anybody looked."""
    reader, path = LogReader(Reads()), tmp_path / "7.out"
    path.write_bytes(b"x" * before)
    text(reader, tmp_path / "7")
    path.write_bytes(b"y" * after)
    got = text(reader, tmp_path / "7")
    path.write_bytes(b"y" * after + b"more")
    got += text(reader, tmp_path / "7")
    assert b"y" * after + b"more" == b"".join(data for _, data, _ in got)
    assert [True] + [False] * (len(got) - 1) == [anew for _, _, anew in got]


def test_a_replaced_log_is_read_anew(tmp_path: Path) -> None:
    """Another file under the name, as rotation leaves it, although it begins alike."""
    reader, path = LogReader(Reads()), tmp_path / "7.out"
    path.write_bytes(b"same\n")
    text(reader, tmp_path / "7")
    path.rename(tmp_path / "old")
    path.write_bytes(b"same\nmore\n")
    assert [("7.out", b"same\nmore\n", True)] == text(reader, tmp_path / "7")


def test_what_an_answer_does_not_hold_comes_in_the_next(tmp_path: Path) -> None:
    """A log of many answers arrives whole."""
    data = bytes(range(256)) * 100
    (tmp_path / "7.out").write_bytes(data)
    got = text(LogReader(Reads(limit=4096)), tmp_path / "7")
    assert (data, True) == (b"".join(piece for _, piece, _ in got), len(got) > 5)


def test_all_logs_of_all_jobs_are_one_question(tmp_path: Path) -> None:
    """However many there are."""
    for job in range(5):
        for rank in range(4):
            (tmp_path / f"{job}.rank-{rank}.out").write_text(f"{job} {rank}")
    reads = Reads()
    news, more = LogReader(reads).more([Source(path=f"{tmp_path}/{job}.") for job in range(5)])
    assert (1, 20, False) == (len(reads.commands), len(news), more)


def test_one_rank_and_last_lines(tmp_path: Path) -> None:
    """Only rank 1's file, from its last line on."""
    (tmp_path / "7.out").write_text("batch\n")
    (tmp_path / "7.rank-1.out").write_text("a\nb\n")
    (tmp_path / "7.rank-11.out").write_text("c\n")
    assert [("7.rank-1.out", b"b\n", False)] == text(LogReader(Reads(), rank=1, tail=1), tmp_path / "7")


def test_wrong_numbers_are_refused() -> None:
    """Before anything is asked."""
    with pytest.raises(InputError, match="0 or more"):
        LogReader(Reads(), tail=-1)


def test_letters_are_whole() -> None:
    """A letter that two pieces share comes with the second, and what is left of one at the end is shown."""
    ends = [("1", b"a\xc3", False), ("2", b"\xc3\xa4", False), ("1", b"\xa9b\xe2", False), ("2", b"x", True)]
    pieces = [Piece(site="s", id="1", name=name, data=data, anew=anew, heading="") for name, data, anew in ends]
    assert [("1", "a"), ("2", "ä"), ("1", "éb"), ("2", "x"), ("1", "�")] == [
        (piece.name, text) for piece, text in decoded(pieces)
    ]
