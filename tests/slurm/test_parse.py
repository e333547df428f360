"""Parsers on text that real clusters printed, on banners and line ends around it, and on any text at all.

The files of ``data`` are what the clusters of ``integration/cluster.py`` answered; the first line of each says which
version and which command.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.parse import (
    ACCOUNTING_COLUMNS,
    QUEUE_COLUMNS,
    parse_accounting,
    parse_exit,
    parse_queue,
    parse_sentinel,
)
from aifa_hpc.slurm.records import ExitStatus, JobRecord, Sentinel
from aifa_hpc.slurm.states import ACTIVE, TERMINAL, WAITING, base_state, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent / "data"
BANNER = """
*******************************************************************
  Welcome | to LUMI | 2026 | maintenance | on Monday | 12:00 | all
  1 job per user; 3 news items
*******************************************************************
"""


def captured(name: str) -> str:
    """A captured text without its first line."""
    return (DATA / name).read_text("utf-8").partition("\n")[2]


def plain(text: str) -> str:
    """As captured."""
    return text


def behind_a_banner(text: str) -> str:
    """A login banner in front."""
    return BANNER + text


def with_other_line_ends(text: str) -> str:
    """Carriage returns, and blank lines before, between and behind."""
    return "\r\n\r\n" + text.replace("\n", "\r\n\r\n") + "  \r\n"


WAYS = [plain, behind_a_banner, with_other_line_ends]


@pytest.mark.parametrize("path", sorted(DATA.glob("s[qa]*.txt")), ids=lambda path: path.stem)
def test_data_says_where_it_is_from(path: Path) -> None:
    """The first line names the version and the command, with the columns that squeue and sacct are asked for today."""
    first = path.read_text("utf-8").partition("\n")[0]
    what, _, version = path.stem.partition("-")
    program = what.partition("_")[0]
    columns = {"squeue": "|".join(QUEUE_COLUMNS), "sacct": ",".join(ACCOUNTING_COLUMNS)}[program]
    assert first.startswith(f"# Slurm {version}: {program} ")
    assert columns in first


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "squeue-22.05.8.txt",
            {
                "21": ("COMPLETED", "", "nid005001", 0),
                "22": ("FAILED", "NonZeroExitCode", "nid005001", 0),
                "23": ("FAILED", "JobLaunchFailure", "nid005001", 0),
                "24": ("RUNNING", "", "nid[005001-005002]", 7),
                "25": ("CANCELLED", "", "nid005001", 4),
                "26": ("CANCELLED", "BeginTime", "", 0),
                "27": ("PENDING", "DependencyNeverSatisfied", "", 0),
                "28": ("PENDING", "JobHeldUser", "", 0),
                "29_[1,3,5-9%2]": ("PENDING", "JobHeldUser", "", 0),
                "30": ("PENDING", "BeginTime", "", 0),
                "31_1": ("RUNNING", "", "nid005001", 7),
                "31_[2-4%1]": ("PENDING", "JobArrayTaskLimit", "", 0),
            },
        ),
        (
            "squeue-24.11.5.txt",
            {
                "1": ("COMPLETED", "", "jpbo-101-01", 0),
                "2": ("FAILED", "NonZeroExitCode", "jpbo-101-02", 0),
                "3": ("FAILED", "RaisedSignal:9(Killed)", "jpbo-101-03", 0),
                "4": ("RUNNING", "", "jpbo-101-[01-02]", 6),
                "5": ("CANCELLED", "", "jpbo-101-04", 4),
                "6": ("CANCELLED", "BeginTime", "", 0),
                "7": ("PENDING", "DependencyNeverSatisfied", "", 0),
                "8": ("PENDING", "JobHeldUser", "", 0),
                "9_[1,3,5-9%2]": ("PENDING", "JobHeldUser", "", 0),
                "10": ("PENDING", "BeginTime", "", 0),
                "11_1": ("RUNNING", "", "jpbo-101-03", 6),
                "11_[2-4%1]": ("PENDING", "JobArrayTaskLimit", "", 0),
            },
        ),
    ],
)
def test_queue(name: str, expected: dict[str, tuple[str, str, str, int]], way: Callable[[str], str]) -> None:
    """State, reason, nodes and elapsed time of each job, whatever stands around the lines."""
    found = parse_queue(way(captured(name)))
    assert expected == {key: (job.state, job.reason, job.nodes, job.elapsed_seconds) for key, job in found.items()}
    assert all(key == job.id for key, job in found.items())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "sacct-22.05.8.txt",
            {
                "21": ("COMPLETED", "0:0", "nid005001", 0),
                "22": ("FAILED", "3:0", "nid005001", 0),
                "23": ("FAILED", "0:9", "nid005001", 0),
                "24": ("RUNNING", "0:0", "nid[005001-005002]", 7),
                "25": ("CANCELLED", "0:0", "nid005001", 4),
                "26": ("CANCELLED", "0:0", "", 0),
                "27": ("PENDING", "0:0", "", 0),
                "28": ("PENDING", "0:0", "", 0),
                "29_[1,3,5-9%2]": ("PENDING", "0:0", "", 0),
                "30": ("PENDING", "0:0", "", 0),
                "31_1": ("RUNNING", "0:0", "nid005001", 7),
                "31_[2-4%1]": ("PENDING", "0:0", "", 0),
            },
        ),
        (
            "sacct-24.11.5.txt",
            {
                "1": ("COMPLETED", "0:0", "jpbo-101-01", 0),
                "2": ("FAILED", "3:0", "jpbo-101-02", 0),
                "3": ("FAILED", "0:9", "jpbo-101-03", 0),
                "4": ("RUNNING", "0:0", "jpbo-101-[01-02]", 6),
                "5": ("CANCELLED", "0:0", "jpbo-101-04", 4),
                "6": ("CANCELLED", "0:0", "", 0),
                "7": ("PENDING", "0:0", "", 0),
                "8": ("PENDING", "0:0", "", 0),
                "9_[1,3,5-9%2]": ("PENDING", "0:0", "", 0),
                "10": ("PENDING", "0:0", "", 0),
                "11_1": ("RUNNING", "0:0", "jpbo-101-03", 6),
                "11_[2-4%1]": ("PENDING", "0:0", "", 0),
            },
        ),
    ],
)
def test_accounting(name: str, expected: dict[str, tuple[str, str, str, int]], way: Callable[[str], str]) -> None:
    """State, exit status, nodes and elapsed time of each job, whatever stands around the lines."""
    found = parse_accounting(way(captured(name)))
    assert expected == {key: (job.state, str(job.exit), job.nodes, job.elapsed_seconds) for key, job in found.items()}


@pytest.mark.parametrize("way", WAYS)
def test_whole_records(way: Callable[[str], str]) -> None:
    """Every field of a record, with a bar in the job's name and with times that are not there yet."""
    queue, accounting = (way(captured(f"{name}-22.05.8.txt")) for name in ("squeue", "sacct"))
    assert parse_queue(queue)["22"] == JobRecord(
        id="22",
        state="FAILED",
        reason="NonZeroExitCode",
        nodes="nid005001",
        start="2026-11-24T03:23:56",
        elapsed_seconds=0,
        name="digits|bar",
        gist="FAILED|NonZeroExitCode|nid005001|2026-11-24T03:23:56",
    )
    waiting = parse_queue(queue)["30"]
    assert ("", "2026-11-24T04:23:56") == (waiting.start, waiting.expected_start)
    assert parse_accounting(accounting)["24"] == JobRecord(
        id="24",
        state="RUNNING",
        exit=ExitStatus(0),
        nodes="nid[005001-005002]",
        start="2026-11-24T03:23:56",
        end="",
        elapsed_seconds=7,
        name="digits-run",
    )


@pytest.mark.parametrize(
    "line",
    [
        "11|RUNNING",
        "11",
        "11|RUNNING|None|n1|x|0:01",
    ],
)
def test_a_short_line_is_an_error(line: str) -> None:
    """A line with a job id and without its columns is not passed over in silence."""
    with pytest.raises(ParseError, match="columns"):
        parse_queue(line)
    with pytest.raises(ParseError, match="columns"):
        parse_accounting(line)


@pytest.mark.parametrize("way", WAYS)
def test_ends_and_requeues(way: Callable[[str], str]) -> None:
    """What became of the jobs minutes later; a job that was put back is not over for anybody."""
    ends = parse_accounting(way(captured("sacct_ends-22.05.8.txt")))
    assert ("TIMEOUT", ExitStatus(0), 70) == (ends["38"].state, ends["38"].exit, ends["38"].elapsed_seconds)
    assert {"21", "22", "23", "24", "25", "26", "31_1", "31_2", "38"} == {
        key for key, job in ends.items() if is_terminal(job.state)
    }
    seen = [
        parse_queue(way(captured("squeue_requeued-22.05.8.txt")))["39"],
        parse_accounting(way(captured("sacct_requeued-22.05.8.txt")))["39"],
        parse_accounting(way(captured("sacct_duplicates-22.05.8.txt")))["39"],
        parse_queue(way(captured("squeue_ends-22.05.8.txt")))["39"],
    ]
    assert ["COMPLETING", "REQUEUED", "PENDING", "PENDING"] == [job.state for job in seen]
    assert [False] * 4 == [is_terminal(job.state) for job in seen]
    assert [[], [], ["REQUEUED"], []] == [[job.state for job in one.earlier] for one in seen]


@pytest.mark.parametrize("elapsed", ["", "INVALID", "²", "1" * 5000, "-5", f"{10**17}-00:00:00"])
def test_times_that_are_none(elapsed: str) -> None:
    """What is no number is no time, and no crash either."""
    assert parse_accounting(f"7|RUNNING|0:0|n|a|b|{elapsed}|None|x")["7"].elapsed_seconds is None
    assert parse_queue(f"7|RUNNING|None|n|a|{elapsed}|x")["7"].elapsed_seconds is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0:0", ExitStatus(0)), (" 1:9 ", ExitStatus(1, 9)), ("", None), ("None", None)],
)
def test_exit(text: str, expected: ExitStatus | None) -> None:
    """Code and signal, or nothing."""
    assert expected == parse_exit(text)
    if expected is not None:
        assert expected == parse_exit(str(expected))
        assert expected.ok == (expected == ExitStatus(0))


@pytest.mark.parametrize("text", ["1", "1:", "a:b", "²:0", f"{'1' * 5000}:0"])
def test_bad_exit(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ParseError):
        parse_exit(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12 0 3 1795489200\n", Sentinel(id="12", restarts=0, code=3, at=1795489200)),
        ("12_4 2 0 1795489200", Sentinel(id="12_4", restarts=2, code=0, at=1795489200)),
        ("", None),
        ("12 0 3", None),
        ("12 0 3 17954 x", None),
        ("12 0 ² 1", None),
        (f"12 0 0 {'1' * 5000}", None),
    ],
)
def test_sentinel(text: str, expected: Sentinel | None) -> None:
    """A line that is not whole is none."""
    assert expected == parse_sentinel(text)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("COMPLETED", "COMPLETED"),
        ("CANCELLED by 1000", "CANCELLED"),
        ("RUNNING+", "RUNNING"),
        (" cd ", "COMPLETED"),
        ("OUT_OF_ME+", "OUT_OF_ME"),
        ("EXPEDITING", "EXPEDITING"),
        ("COMPLETED,REQUEUED", "COMPLETED,REQUEUED"),
        ("", ""),
    ],
)
def test_base_state(word: str, state: str) -> None:
    """Long, short and decorated words; unknown ones pass through."""
    assert state == base_state(word)


@pytest.mark.parametrize(
    "word",
    ["", "EXPEDITING", "COMPLETED,REQUEUED", "OUT_OF_ME", "LAUNCH_FAILED", "REQUEUED", "COMPLETING", "SUSPENDED"],
)
def test_what_is_not_known_to_be_an_end_is_none(word: str) -> None:
    """Words of a newer Slurm, cut words, combinations and flags of jobs that go on are never terminal."""
    assert is_terminal(base_state(word)) is False
    assert parse_queue(f"7|{word}|None|n|a|0:01|x")["7"].state == word


def test_every_state_has_one_place() -> None:
    """No state is both an end and not."""
    assert set() == TERMINAL & WAITING | TERMINAL & ACTIVE | WAITING & ACTIVE


@given(st.text(st.characters(exclude_categories=["Lu", "Ll"])) | st.sampled_from(["FOO", "BAR_BAZ", "NEW"]))
def test_unknown_states_are_never_ends(word: str) -> None:
    """Whatever is not in the table goes on."""
    assert is_terminal(base_state(word)) is False


@pytest.mark.parametrize("path", sorted(DATA.glob("s[qa]*.txt")), ids=lambda path: path.stem)
def test_what_never_had_nodes_never_began(path: Path) -> None:
    """Slurm gives a job that was cancelled while it waited a start, that of its end."""
    parse = parse_queue if path.stem.startswith("squeue") else parse_accounting
    for job in parse(captured(path.name)).values():
        assert bool(job.nodes) == bool(job.start), job


def test_a_link_that_was_not_needed_never_began() -> None:
    """As sacct 22.05.8 has the last link of a chain."""
    end = "2026-11-24T14:35:30"
    line = f"3697|CANCELLED|0:0|None assigned|{end}|{end}|0|Dependency|job.s8vivkju9uwf"
    assert ("", end) == ((job := parse_accounting(line)["3697"]).start, job.end)


noise = st.text(max_size=40)
rows = st.lists(st.text(st.characters(exclude_characters="\n"), max_size=8), min_size=1, max_size=10).map("|".join)
anything = st.lists(noise | rows | rows.map(lambda row: f"11|{row}"), max_size=5).map("\n".join)


@given(anything)
def test_any_text_gives_records_or_a_parse_error(text: str) -> None:
    """Nothing else comes out of a parser, and no record is without an id and a text for a state."""
    for parse in (parse_queue, parse_accounting):
        with contextlib.suppress(ParseError):
            assert all(key == job.id and isinstance(job.state, str) for key, job in parse(text).items())
    for parse_one in (parse_exit, parse_sentinel):
        with contextlib.suppress(ParseError):
            parse_one(text)


@given(st.lists(st.integers(1, 10**9), unique=True, max_size=5), noise.map(lambda text: text.replace("\n", " ")))
def test_names_cannot_shift_columns(ids: list[int], name: str) -> None:
    """The name stands last, so whatever it holds, the other columns are read right."""
    lines = "".join(f"{number}|RUNNING|None|n1|a|1:00|{name}\n" for number in ids)
    found = parse_queue(lines)
    assert {str(number): ("RUNNING", "n1", 60) for number in ids} == {
        key: (job.state, job.nodes, job.elapsed_seconds) for key, job in found.items()
    }
