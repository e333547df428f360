"""Directives as sbatch reads them: round trips, the real program's own splitting, and what cannot be carried."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.sbatch.reread import read_directives, write_directive

if TYPE_CHECKING:
    from pathlib import Path

# Lines, and the words that `sbatch -vvv` 22.05.8 found in them.
LINES: list[tuple[str, list[str]]] = [
    ('#SBATCH --output="/a b/%j # x.out"', ["--output=/a b/%j # x.out"]),
    ("#SBATCH --chdir=/x$(id)'q r' # c", ["--chdir=/x$(id)q r"]),
    ("#SBATCH --mem=1G#x --nice", ["--mem=1G"]),
    (r"#SBATCH --comment=a\ b\#c", ["--comment=a", "b#c"]),
    (r'#SBATCH --comment="a\"b" --job-name=x', ['--comment=a"b', "--job-name=x"]),
    (r"#SBATCH --comment='a\'b'", ["--comment=a'b"]),
    ('#SBATCH --comment=""', ["--comment="]),
    ("#SBATCH\t--nodes=2   --exclusive", ["--nodes=2", "--exclusive"]),
    ("#SBATCH--time=5", ["--time=5"]),
    ("#SBATCH -A proj -N2 --partition p", ["-A", "proj", "-N2", "--partition", "p"]),
    ("# SBATCH --time=5", []),
    (" #SBATCH --time=5", []),
    ("##SBATCH --time=5", []),
]


def pairs(script: str) -> list[str]:
    """Directives as long options."""
    return [f"--{option}={value}" if value or option != "b#c" else option for option, value in read_directives(script)]


@pytest.mark.parametrize(("line", "words"), LINES)
def test_reads_as_sbatch_does(line: str, words: list[str]) -> None:
    """Quotes group, backslashes escape all but spaces, an open # ends the line."""
    long = {"-A": "--account=proj", "-N2": "--nodes=2", "--partition": "--partition=p", "--exclusive": "--exclusive="}
    expected = [long.get(word, word) for word in words if word not in {"proj", "p"}]
    assert expected == pairs(f"#!/bin/bash\n{line}\n")


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="needs Slurm's own sbatch")
def test_the_real_sbatch_reads_them_so(tmp_path: Path) -> None:
    """The table above is what Slurm's own program finds; it needs no cluster to say so."""
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        "ClusterName=x\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nAuthType=auth/none\n"
        "CryptoType=crypto/none\nMessageTimeout=2\nNodeName=n1 CPUs=1\nPartitionName=p Nodes=n1\n"
    )
    script = tmp_path / "script"
    script.write_text("\n".join(["#!/bin/bash", *(line for line, _ in LINES), "", "  # c", "true", "#SBATCH --x=1"]))
    process = subprocess.Popen(
        ["sbatch", "-vvv", "--test-only", str(script)],
        env={"SLURM_CONF": str(conf), "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = []
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if "Found in script" in line:
                found.append(line.partition('argument "')[2].rstrip()[:-1])
            elif "debug2" not in line:
                break
        process.kill()
    assert [word for _, words in LINES for word in words] == found


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/bin/bash\n\n#SBATCH --a=1\n  # more\n#SBATCH --b=2\necho\n#SBATCH --c=3", ["--a=1", "--b=2"]),
        ("#!/bin/bash\necho\n#SBATCH --a=1", []),
        ("", []),
    ],
)
def test_reading_stops_at_the_first_command(script: str, expected: list[str]) -> None:
    """Comments and blank lines are passed over; a command ends it."""
    assert expected == pairs(script)


def test_an_open_quote_is_an_error() -> None:
    """Where sbatch gives up, so does this."""
    with pytest.raises(InputError, match="quote is not closed"):
        read_directives('#SBATCH --output="a b\n')


@pytest.mark.parametrize("bad", ["a\n#SBATCH --account=x", "a\rb", "a\0", 'a"b', "a'b", "a\\b", "a\x1bb", "a\u2028b"])
def test_what_no_directive_carries(bad: str) -> None:
    """Line breaks, quotes and backslashes are refused with the option's name."""
    with pytest.raises(InputError, match="--output"):
        write_directive("output", bad)


@given(st.from_regex(r"[a-z][a-z-]{0,12}[a-z]", fullmatch=True), st.text(max_size=30))
def test_round_trip(option: str, value: str) -> None:
    """Whatever can be written is read back as it was."""
    try:
        line = f"#SBATCH {write_directive(option, value)}\n"
    except InputError:
        return
    assert ((option, value),) == read_directives(line)


@given(st.text(max_size=60))
def test_any_line_is_read_or_refused(text: str) -> None:
    """No text makes it fail otherwise, and a text without quotes and backslashes is always read."""
    with contextlib.ExitStack() as stack:
        if {"'", '"', "\\"} & set(text):
            stack.enter_context(contextlib.suppress(InputError))
        read_directives(f"#SBATCH {text}")
