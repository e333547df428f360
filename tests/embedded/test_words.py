"""Command lines, directives and values of sbatch and srun: pure text to values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.embedded.environment import counted, file_name, split_export, spread
from aifa_hpc.embedded.request import (
    Dependency,
    Term,
    read_array,
    read_dependency,
    read_minutes,
    read_signal,
    script_options,
    use,
)
from aifa_hpc.embedded.step import lay_out
from aifa_hpc.embedded.words import Refusal, read_line, table
from aifa_hpc.units import Walltime, format_walltime

OPTIONS = table("time/t= hold/H exclusive=? kill/K=? nodes/N= ntasks/n= ntasks-per-node=")


@pytest.mark.parametrize(
    ("argv", "options", "words"),
    [
        (["--time=5", "-H", "script", "--nodes=2"], {"time": "5", "hold": ""}, ["script", "--nodes=2"]),
        (["--time", "5", "-n4", "-N", "2"], {"time": "5", "ntasks": "4", "nodes": "2"}, []),
        (["-HK", "a"], {"hold": "", "kill": ""}, ["a"]),
        (["-K1", "--exclusive", "a"], {"kill": "1", "exclusive": ""}, ["a"]),
        (["--exclusive=user"], {"exclusive": "user"}, []),
        (["--ti=7"], {"time": "7"}, []),
        (["--ntasks=3"], {"ntasks": "3"}, []),
        (["--time=1", "--time=2"], {"time": "2"}, []),
        (["--time="], {"time": ""}, []),
        (["--", "-H"], {}, ["-H"]),
        (["-"], {}, ["-"]),
    ],
)
def test_command_lines(argv: list[str], options: dict[str, str], words: list[str]) -> None:
    """The forms of getopt_long."""
    assert (options, words) == read_line("sbatch", OPTIONS, argv)


def test_options_after_words() -> None:
    """Programs that take ids read options behind them as well."""
    assert ({"hold": ""}, ["1", "2"]) == read_line("x", OPTIONS, ["1", "-H", "2"], interleaved=True)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nonsense=1"], "unrecognized option '--nonsense'"),
        (["-Z"], "invalid option -- 'Z'"),
        (["--time"], "option '--time' requires an argument"),
        (["-t"], "option requires an argument -- 't'"),
        (["--hold=1"], "option '--hold' doesn't allow an argument"),
        (["--n=1"], "option '--n' is ambiguous"),
    ],
)
def test_wrong_command_lines(argv: list[str], words: str) -> None:
    """What getopt_long says."""
    with pytest.raises(Refusal, match=words.replace("(", r"\(")):
        read_line("sbatch", OPTIONS, argv)


def test_directives() -> None:
    """They are read up to the first command, with quotes and comments."""
    script = (
        "#!/bin/bash\n# a comment\n#SBATCH --job-name='two words' -N 2 # why\n\n#SBATCH -t 1:00\n"
        "##SBATCH --hold\n # SBATCH --hold\ntrue\n#SBATCH --hold\n"
    )
    assert {"job-name": "two words", "nodes": "2", "time": "1:00"} == script_options(script)


def test_the_later_layer_wins() -> None:
    """The command line is over the script, also where options undo each other."""
    assert {"time": "2", "no-requeue": ""} == use([{"time": "1", "requeue": ""}, {"time": "2", "no-requeue": ""}])


@given(st.integers(0, 10**7))
def test_walltimes_round_up_to_minutes(seconds: int) -> None:
    """Whatever is written is read as whole minutes, rounded up."""
    assert -(-seconds // 60) == read_minutes(format_walltime(Walltime(seconds)))


@pytest.mark.parametrize(("text", "minutes"), [("5", 5), ("5:01", 6), ("1-0", 1440), ("1-1:30", 1530), ("0:1", 1)])
def test_walltime_forms(text: str, minutes: int) -> None:
    """M, M:S, D-H and D-H:M."""
    assert minutes == read_minutes(text)


@pytest.mark.parametrize(
    ("text", "tasks", "limit"),
    [
        ("0-3", [0, 1, 2, 3], None),
        ("0,6,2-4", [0, 2, 3, 4, 6], None),
        ("0-15:4%2", [0, 4, 8, 12], 2),
        ("[1-2]", [1, 2], None),
        ("1,1", [1], None),
    ],
)
def test_arrays(text: str, tasks: list[int], limit: int | None) -> None:
    """Ranges, steps and limits."""
    assert (tasks, limit) == read_array(text, 1001)


@given(st.text("0123456789-,:%[]x", max_size=12))
def test_any_array_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes out of it, and never more than MaxArraySize."""
    try:
        tasks, _ = read_array(text, 50)
    except Refusal:
        return
    assert 0 < len(tasks) <= 50


def test_signals() -> None:
    """[R][B:]name or number, and seconds."""
    assert [(False, 10, 60), (True, 10, 300), (True, 15, 9)] == [
        read_signal(text) for text in ("USR1", "B:SIGUSR1@300", "RB:15@9")
    ]


def test_dependencies_as_values() -> None:
    """Types, several ids, array tasks, delays; aftercorr is afterok of one's own index."""
    assert Dependency(
        terms=(
            Term(kind="afterok", job=1),
            Term(kind="afterok", job=2, task=3),
            Term(kind="after", job=4, delay=5),
            Term(kind="singleton"),
        )
    ) == read_dependency("afterok:1:2_3,after:4+5,singleton")
    assert Dependency(terms=(Term(kind="afterok", job=7, task=2),)) == read_dependency("aftercorr:7", 2)
    assert read_dependency("afterok:1?afterany:2").any


@given(st.integers(1, 64), st.integers(1, 64))
def test_tasks_are_spread_evenly(tasks: int, nodes: int) -> None:
    """All of them, and no node has two more than another."""
    found = spread(tasks, nodes)
    assert (nodes, tasks) == (len(found), sum(found))
    assert max(found) - min(found) <= 1


@pytest.mark.parametrize(("numbers", "text"), [([2, 2, 2, 1], "2(x3),1"), ([1], "1"), ([1, 2, 1], "1,2,1")])
def test_counts_for_each_node(numbers: list[int], text: str) -> None:
    """Slurm's short form."""
    assert text == counted(numbers)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("slurm-%j.out", "slurm-12.out"),
        ("%5j-%2a", "00012-03"),
        ("%99j", "0000000012"),
        ("%%j-%q", "%j-%q"),
        (r"\%j", "%j"),
        ("%3x", "a b"),
    ],
)
def test_file_names(pattern: str, name: str) -> None:
    """Letters, padding, percent signs and backslashes."""
    assert name == file_name(pattern, {"j": "12", "a": "3", "x": "a b"})


@given(st.lists(st.text("abc=1'", min_size=1).filter(lambda word: word.count("'") % 2 == 0), min_size=1))
def test_export_lists(words: list[str]) -> None:
    """Commas cut, but not inside quotes."""
    assert words == split_export(",".join(words))


JOB = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NODELIST": "n[1-3]",
    "SLURM_JOB_CPUS_PER_NODE": "8(x2),4",
}


@given(st.integers(1, 20), st.integers(1, 3), st.sampled_from(["block", "cyclic"]))
def test_every_rank_has_a_place(tasks: int, nodes: int, distribution: str) -> None:
    """Ranks count up, local ids count up on each node, and the counts agree."""
    options = {"ntasks": str(tasks), "nodes": str(nodes), "distribution": distribution}
    if tasks > (8, 16, 20)[min(nodes, tasks) - 1]:
        with pytest.raises(Refusal, match="More processors"):
            lay_out(options, JOB)
        return
    layout = lay_out(options, JOB)
    assert list(range(tasks)) == [rank.rank for rank in layout.ranks]
    for node, number in enumerate(layout.counts):
        assert list(range(number)) == [rank.local for rank in layout.ranks if rank.node == node]
        assert number > 0
    assert min(nodes, tasks) == len(layout.hosts)
