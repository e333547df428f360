"""The survey of a site and sbatch's verdicts: on what real clusters printed, and its shell run for real."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.errors import SiteError
from aifa_hpc.slurm.survey import Survey, Verdict, parse_test, read_survey, survey, try_scripts
from tests.slurm.test_parse import BANNER, behind_a_banner, captured, plain, with_other_line_ends

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Machine

VARIANTS = pytest.mark.parametrize("variant", [plain, behind_a_banner, with_other_line_ends])


TOLD = {
    "22.05.8": ("dev-g", ["02:00:00", "8", "49"], "part_dev-g", ["", "1", "2"], ("1:64:1", "491520", "gpu:mi250:8")),
    "24.11.5": (
        "booster",
        ["UNLIMITED", "UNLIMITED", "5884"],
        "normal",
        ["12:00:00", "512", "8192"],
        ("4:72:1", "858000", "gpu:gh200:4"),
    ),
}


@VARIANTS
@pytest.mark.parametrize("version", TOLD)
def test_reads_what_clusters_told(variant: Callable[[str], str], version: str) -> None:
    """Both versions of Slurm, with and without a banner, with other line ends."""
    partition, limits, qos, most, nodes = TOLD[version]
    found = read_survey(variant(captured(f"survey-{version}.txt")), "ada")
    tables = found.tables
    assert (version, version) == (tables["version"]["program"]["version"], tables["config"]["slurm"]["SLURM_VERSION"])
    assert limits == [tables["partition"][partition][key] for key in ("MaxTime", "MaxNodes", "TotalNodes")]
    assert most == [tables["qos"][qos][key] for key in ("MaxWall", "MaxJobsPU", "MaxSubmitPU")]
    assert nodes in {(row["cores"], row["memory"], row["gres"]) for row in tables["node"].values()}
    assert "normal" in tables["association"]["0"]["QOS"].split(",")
    assert "declared" in tables["reservation"]
    assert {"sbatch": {"path": "/usr/bin/sbatch"}} == tables["tool"]
    assert {"writable": "yes"}.items() <= tables["path"]["1"].items()
    assert {"hostkey"} == set(found.silent)


@given(st.text(alphabet="aif: =|\n\rsectionend0JobtostartatPartitionName-", max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No answer, however odd, raises anything but the library's own errors."""
    assert "ada" == read_survey(text, "ada").user
    with contextlib.suppress(SiteError):
        parse_test(text, 1)
    assert parse_test(text, 0).accepted


def verdicts(version: str, variant: Callable[[str], str]) -> list[Verdict]:
    """The captured answers of sbatch, one after the other, as the flow gets them."""
    found = []
    block = ""
    for line in captured(f"test_only-{version}.txt").splitlines(keepends=True):
        block += line
        if line.startswith("aifa: tested"):
            answer = variant(block).encode()

            def answers(command: Command, out: bytes = answer) -> Completed:
                return Completed(command=command, exit_code=0, stdout=out)

            found += drive(try_scripts(["#!/bin/sh\n"]), answers)
            block = ""
    return found


@VARIANTS
def test_verdicts_of_22_05(variant: Callable[[str], str]) -> None:
    """A start is an estimate with its nodes; a refusal is sbatch's own words."""
    first, *refused = verdicts("22.05.8", variant)
    assert ("2026-11-24T04:00:36", 112, "nid[005001-005002]", "standard-g") == (
        first.start,
        first.processors,
        first.nodes,
        first.partition,
    )
    assert [
        "Requested time limit is invalid (missing or exceeds some limit)",
        "Node count specification invalid",
        "Invalid account or account/partition combination specified",
        "Invalid --time specification",
        "invalid partition specified: foo; Invalid partition name specified",
    ] == [verdict.words for verdict in refused]
    assert [True, *[False] * 5] == [verdict.accepted for verdict in (first, *refused)]


@VARIANTS
def test_verdicts_of_24_11(variant: Callable[[str], str]) -> None:
    """The newer Slurm says the limit's name first."""
    first, *refused = verdicts("24.11.5", variant)
    assert (True, "jpbo-101-01", "booster") == (first.accepted, first.nodes, first.partition)
    policy = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    assert f"QOSMaxWallDurationPerJobLimit; {policy}" == refused[0].words
    assert {False} == {verdict.accepted for verdict in refused}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("sbatch: error: Unable to contact slurm controller (connect failure)", 1),
        ("allocation failure: Socket timed out on send/recv operation", 1),
        ("sh: 1: sbatch: not found", 127),
    ],
)
def test_silence_is_no_refusal(text: str, code: int) -> None:
    """A controller that does not answer has not judged the job."""
    with pytest.raises(SiteError, match="could not ask"):
        parse_test(text, code)


def test_the_shell_of_a_test(machine: Machine) -> None:
    """Each script is on standard input, settings of the login shell do not reach sbatch, and banners do no harm."""
    machine.program(
        "sbatch",
        '{ cat; echo "|"; } >> "$ROOT/seen"; echo "$*" "$SBATCH_ACCOUNT" > "$ROOT/words"\n'
        'echo "sbatch: error: no" >&2; exit 1',
    )
    scripts = ["#!/bin/sh\n# é\n", "#!/bin/sh\n# aifa: next 0\n\n", "#!/bin/sh"]
    assert [Verdict(accepted=False, words="no")] * 3 == drive(try_scripts(scripts), machine.run)
    assert ("#!/bin/sh\n# é\n|\n#!/bin/sh\n# aifa: next 0\n\n|\n#!/bin/sh\n|\n", "--test-only --ignore-pbs \n") == (
        (machine.root / "seen").read_text("utf-8"),
        (machine.root / "words").read_text(),
    )


@pytest.mark.parametrize("folder", ["a b", "a'; echo $(id) > pwned #", '"$(touch pwned)"', "*"])
def test_the_shell_of_the_survey(machine: Machine, folder: str) -> None:
    """Programs that fail are silent with their reason and hide no other; folders are told of, whatever their names."""
    machine.program("scontrol", 'echo "PartitionName=main MaxTime=1:00 TotalNodes=2"; echo warned >&2')
    machine.program("sinfo", 'echo "slurm_load_node: Access denied" >&2; exit 1')
    machine.program("sacctmgr", "echo 'normal|12:00:00||1|2'")
    (machine.root / folder).mkdir()
    paths = [str(machine.root / folder), str(machine.root / folder / "new" / "{user}"), "/proc/nothing"]
    found: Survey = drive(survey(paths, ["sbatch", "no-such-program"]), machine.run)
    assert {"MaxTime": "1:00", "TotalNodes": "2"}.items() <= found.tables["partition"]["main"].items()
    assert "slurm_load_node: Access denied" == found.silent["node"]
    assert "12:00:00" == found.tables["qos"]["normal"]["MaxWall"]
    assert ["sbatch"] == list(found.tables["tool"])
    here, new, nowhere = (found.tables["path"][str(number)] for number in range(3))
    assert ({"there": "yes", "writable": "yes", "nearest": paths[0]}, paths[0]) == (here, new["nearest"])
    assert ("yes", "/proc") == (new["writable"], nowhere["nearest"])
    assert [] == list(machine.root.rglob("pwned"))


def test_a_database_that_does_not_answer_holds_up_nothing(machine: Machine) -> None:
    """Each program has half a minute; what is not told by then is not told."""
    machine.program("timeout", 'shift; case $1 in sacctmgr) exit 124 ;; *) exec "$@" ;; esac')
    machine.program("scontrol", 'echo "PartitionName=main MaxTime=1:00"')
    found = drive(survey([], []), machine.run)
    assert ("no answer in 30 seconds", "no answer in 30 seconds") == (found.silent["qos"], found.silent["association"])
    assert "1:00" == found.tables["partition"]["main"]["MaxTime"]


def test_an_answer_that_is_cut_off_is_an_error() -> None:
    """Half a survey says nothing."""
    text = captured("survey-24.11.5.txt").partition("aifa: done")[0]

    def answers(command: Command) -> Completed:
        return Completed(command=command, exit_code=0, stdout=(BANNER + text).encode())

    with pytest.raises(SiteError, match="not whole"):
        drive(survey([], []), answers)
