"""The life of a single job: environment, output, exit code, limits, refusals."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command
from aifa_hpc.embedded import NOTICE, EmbeddedTransport
from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Scheduler


def test_a_job_completes(slurm: Scheduler) -> None:
    """A script runs, its output is where it should be, sacct says COMPLETED and when."""
    job = slurm.submit("echo hello")
    assert ["COMPLETED"] == slurm.until_over(job)
    assert "hello\n" == slurm.output(job)
    (fields,) = slurm.column(job, "JobID", "ExitCode", "Start", "End", "NodeList", "WorkDir")
    assert [job, "0:0", "127.0.0.1", str(slurm.work)] == [*fields[:2], *fields[4:]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", moment) for moment in fields[2:4])


@pytest.mark.parametrize(
    ("body", "state", "code"),
    [
        ("exit 3", "FAILED", "3:0"),
        ("kill -9 $$", "FAILED", "0:9"),
        ("exit 143", "FAILED", "15:0"),  # sacct takes 128 off what a shell says of a signal
        ("nosuchprogram", "FAILED", "127:0"),
    ],
)
def test_exit_codes(slurm: Scheduler, body: str, state: str, code: str) -> None:
    """Exit codes and signals stand in ExitCode as sacct writes them."""
    job = slurm.submit(body)
    slurm.until_over(job)
    assert [[state, code]] == slurm.column(job, "State", "ExitCode")


def test_what_a_job_finds_in_its_environment(slurm: Scheduler) -> None:
    """The SLURM_ variables say what was asked for."""
    job = slurm.submit(
        "env | grep ^SLURM | sort",
        "--nodes=2",
        "--ntasks-per-node=3",
        "--cpus-per-task=2",
        "--gpus-per-node=4",
        "--account=project_1",
        "--job-name=train",
    )
    slurm.until_over(job)
    found = dict(line.split("=", 1) for line in slurm.output(job).splitlines())
    expected = {
        "SLURM_JOB_ID": job,
        "SLURM_JOBID": job,
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_NODELIST": "127.0.0.[1-2]",
        "SLURM_NODELIST": "127.0.0.[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "6",
        "SLURM_NTASKS_PER_NODE": "3",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_CPUS_PER_NODE": "6(x2)",
        "SLURM_TASKS_PER_NODE": "3(x2)",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_JOB_GPUS": "0,1,2,3",
        "SLURM_JOB_ACCOUNT": "project_1",
        "SLURM_JOB_PARTITION": "local",
        "SLURM_CLUSTER_NAME": "local",
        "SLURM_SUBMIT_HOST": os.uname().nodename,
        "SLURM_SUBMIT_DIR": str(Path.cwd()),
        "SLURMD_NODENAME": "127.0.0.1",
    }
    assert expected == {name: found.get(name) for name in expected}
    assert not {"SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"} & set(found)


@pytest.mark.parametrize(
    ("export", "seen"),
    [
        ("ALL", "outer \nfound\n"),
        ("ALL,ADDED=1", "outer 1\nfound\n"),
        ("ALL,OUTER=mine", "mine \nfound\n"),
        ("NONE", " \nlost\nfound\n"),
        ("OUTER", "outer \nlost\nfound\n"),
        ("OUTER=mine,ADDED='a,b'", "mine 'a,b'\nlost\nfound\n"),
    ],
)
def test_export(slurm: Scheduler, export: str, seen: str) -> None:
    """--export lets through what it names; without ALL, srun's tasks have no PATH unless they are given it again."""
    script = (
        '#!/bin/bash\necho "$OUTER $ADDED"\nsrun true 2>/dev/null || echo lost\nsrun --export=ALL true && echo found\n'
    )
    command = 'OUTER=outer sbatch --parsable --wait --chdir="$1" --export="$2"'
    argv = ("sh", "-c", command, "sh", str(slurm.work), export)
    completed = slurm.transport.run(Command(argv=argv, stdin=script.encode()))
    assert seen == slurm.output(completed.out.strip())


def test_a_time_limit_ends_a_job(slurm: Scheduler) -> None:
    """At its limit a job gets SIGTERM and is TIMEOUT; its error file says why."""
    job = slurm.submit("trap 'echo asked; exit 0' TERM\nsleep 60 & wait", "--time=1")
    assert ["TIMEOUT"] == slurm.until_over(job)
    assert [["0:0", "None"]] == slurm.column(job, "ExitCode", "Reason")
    assert "(TimeLimit)" == slurm.out("squeue", "-h", "-t", "TIMEOUT", "-o", "%R")
    assert re.search(
        rf"JOB {job} ON 127\.0\.0\.1 CANCELLED AT \S+ DUE TO TIME LIMIT \*\*\*\nasked\n", slurm.output(job)
    )


def test_a_job_that_does_not_listen_is_killed(slurm: Scheduler) -> None:
    """After KillWait comes SIGKILL, for the children as well."""
    job = slurm.submit("trap '' TERM\nsleep 61 & sleep 62", "--time=1")
    assert ["TIMEOUT"] == slurm.until_over(job)
    assert "0:9" == slurm.out("sacct", "-Pn", "-j", f"{job}.batch", "-o", "ExitCode")
    slurm.until(lambda: not slurm.processes())


def test_a_warning_before_the_limit(slurm: Scheduler) -> None:
    """--signal=B:USR1@30 reaches the batch shell half a minute before the limit."""
    job = slurm.submit("trap 'echo warned; exit 7' USR1\nsleep 60 & wait", "--time=1", "--signal=B:USR1@30")
    assert ["FAILED"] == slurm.until_over(job)
    assert "warned\n" == slurm.output(job)


def test_what_a_script_leaves_behind_is_ended(slurm: Scheduler) -> None:
    """Background processes end with the script, also those that left its session."""
    job = slurm.submit("sleep 60 &\nsetsid sleep 60 &\nsleep 0.1")
    assert ["COMPLETED"] == slurm.until_over(job)
    slurm.until(lambda: not slurm.processes())


@pytest.mark.parametrize("name", ["a'; touch pwned #", "$(touch pwned)", "two words", "-n", "ü|☃", "%j"])
def test_hostile_job_names(slurm: Scheduler, name: str) -> None:
    """A name is only ever a name."""
    job = slurm.submit('printf %s "$SLURM_JOB_NAME"', f"--job-name={name}", f"--comment={name}")
    assert ["COMPLETED"] == slurm.until_over(job)
    assert name == slurm.output(job)
    assert f"{name}|{name}" == slurm.out("sacct", "-XPn", "-j", job, "-o", "JobName,Comment")
    assert name == slurm.out("squeue", "-h", "-t", "all", "-o", "%j", "-n", name)
    assert [f"slurm-{job}.out"] == [path.name for path in slurm.work.iterdir()]


def test_output_patterns(slurm: Scheduler) -> None:
    """%j %x %u %N %% and padding are filled in; a backslash leaves the rest alone."""
    user = slurm.out("id", "-un")
    job = slurm.submit("echo out; echo err >&2", "--job-name=x y", "--output=%x-%4j-%u-%N-%%.out", r"--error=\%j.err")
    slurm.until_over(job)
    assert {f"x y-{job.zfill(4)}-{user}-127.0.0.1-%.out": "out\n", "%j.err": "err\n"} == {
        path.name: path.read_text() for path in slurm.work.iterdir()
    }


def test_open_mode(slurm: Scheduler) -> None:
    """An output file is truncated, or appended to when asked."""
    sizes = []
    for mode in ("append", "append", "truncate"):
        slurm.out("sbatch", "-W", f"--chdir={slurm.work}", f"--open-mode={mode}", "--output=o", "--wrap=echo x")
        sizes.append((slurm.work / "o").stat().st_size)
    assert [2, 4, 2] == sizes


def test_an_output_file_that_cannot_be_made_fails_the_job(slurm: Scheduler) -> None:
    """Slurm reports 0:53 for it."""
    job = slurm.submit("true", "--output=no/such/folder/out")
    slurm.until_over(job)
    assert [["FAILED", "0:53"]] == slurm.column(job, "State", "ExitCode")


def test_a_missing_folder_is_replaced_by_tmp(slurm: Scheduler) -> None:
    """The job goes to /tmp when it cannot change to the job's folder, and says so."""
    output = slurm.work / "out"
    slurm.out("sbatch", "-W", "--chdir=/no/such/folder", f"--output={output}", "--wrap=pwd")
    assert "slurmstepd: error: couldn't chdir to `/no/such/folder'" in output.read_text()
    assert output.read_text().endswith("/tmp\n")


def test_script_arguments_and_files(slurm: Scheduler) -> None:
    """A script file gives the job its name, its directives count, and its arguments arrive."""
    script = slurm.work / "train me.sh"
    script.write_text('#!/bin/bash\n#SBATCH --output=o -n 2\necho no\n#SBATCH --time=nonsense\necho "$# $2"\n')
    job = slurm.out("sbatch", "--parsable", "-W", f"--chdir={slurm.work}", str(script), "a", "b c")
    assert "no\n2 b c\n" == (slurm.work / "o").read_text()
    assert [["train me.sh", "2"]] == slurm.column(job, "JobName", "AllocCPUS")


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--nonsense"], "sbatch: unrecognized option '--nonsense'", 255),
        (
            ["-p", "xyz"],
            (
                "sbatch: error: invalid partition specified: xyz\n"
                "sbatch: error: Batch job submission failed: Invalid partition name specified"
            ),
            1,
        ),
        (
            ["--time=2-00:00:00"],
            "Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
            1,
        ),
        (["--time=soon"], "sbatch: error: Invalid --time specification", 255),
        (["--nodes=99"], "Batch job submission failed: Node count specification invalid", 1),
        (["--array=5-1"], "Batch job submission failed: Invalid job array specification", 1),
        (["--array=0-99999999"], "Batch job submission failed: Invalid job array specification", 1),
        (["--nodes=0"], "Batch job submission failed: Node count specification invalid", 1),
        (["--nodes=x"], 'sbatch: error: "x" is not a valid node count', 255),
        (["--ntasks=9999"], "Batch job submission failed: More processors requested than permitted", 1),
        (["--dependency=later:1"], "Batch job submission failed: Job dependency problem", 1),
        (["--signal=NONSENSE"], "sbatch: error: Invalid --signal specification", 255),
        (["--ntasks=many"], 'Invalid numeric value "many" for --ntasks.', 1),
        (["--mem=lots"], "sbatch: error: Invalid --mem specification", 255),
    ],
)
def test_refusals_in_slurms_words(slurm: Scheduler, options: list[str], words: str, code: int) -> None:
    """What Slurm refuses is refused, in its words and with its exit code; no job is made."""
    completed = slurm.run("sbatch", *options, "--wrap=true")
    assert (code, "") == (completed.exit_code, completed.out)
    assert words in completed.err
    assert "" == slurm.out("sacct", "-n")


@pytest.mark.parametrize("script", ["", "echo hello\n", "#!/bin/sh\r\necho\r\n", "#!/bin/sh\n#SBATCH --nonsense\n"])
def test_what_is_no_script_is_refused(slurm: Scheduler, script: str) -> None:
    """An empty script, one without #!, one with DOS line ends, one with an unknown directive."""
    completed = slurm.run("sbatch", stdin=script)
    assert completed.exit_code != 0
    assert completed.err.startswith("sbatch: ")


def test_test_only_submits_nothing(slurm: Scheduler) -> None:
    """--test-only says when it would start."""
    completed = slurm.run("sbatch", "--test-only", "--wrap=true")
    assert re.match(r"sbatch: Job 1 to start at \S+ using 1 processors on nodes 127.0.0.1 in", completed.err)
    assert "" == slurm.out("sacct", "-n")


def test_files_are_private(slurm: Scheduler) -> None:
    """Nobody else reads scripts, environments or the database, and no environment stays."""
    job = slurm.submit("true")
    slurm.until_over(job)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [slurm.root, *slurm.root.iterdir()]}
    assert 0o700 == modes[slurm.root.name]
    assert 0o600 == modes["settings.json"]
    folder = slurm.root / "jobs" / job
    slurm.until(lambda: not (folder / "environment").exists())
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_the_umask_of_the_submitter_holds(slurm: Scheduler) -> None:
    """Files of a job are made with the umask that sbatch had."""
    for mask, mode in (("027", 0o640), ("077", 0o600)):
        command = 'umask "$1"; sbatch --wait --chdir="$2" --output="$1" --wrap "touch file$1"'
        slurm.transport.run(Command(argv=("sh", "-c", command, "sh", mask, str(slurm.work))))
        paths = [slurm.work / mask, slurm.work / f"file{mask}"]
        assert [mode, mode] == [stat.S_IMODE(path.stat().st_mode) for path in paths]


def test_bytes_that_are_no_text(slurm: Scheduler) -> None:
    """A folder and a name that are not UTF-8 pass through; the name is escaped, as answers are text."""
    command = (
        'cd "$1"; d=$(printf "\\377"); mkdir "$d"; cd "$d"; sbatch --wait -J "$d" --wrap "echo \\$SLURM_JOB_NAME"; '
        "cat slurm-1.out; squeue -t all -h -o '%j %Z'"
    )
    completed = slurm.transport.run(Command(argv=("sh", "-c", command, "sh", str(slurm.work))))
    folder = os.fsencode(slurm.work) + b"/\377"
    assert b"Submitted batch job 1\n\\udcff\n\\udcff " + folder + b"\n" == completed.stdout


def test_it_says_what_it_is_not(slurm: Scheduler) -> None:
    """The notice is in sinfo, in scontrol show config and on the class."""
    assert NOTICE == EmbeddedTransport.NOTICE
    assert NOTICE in slurm.run("sinfo").err
    assert NOTICE in slurm.out("scontrol", "show", "config")


@pytest.mark.parametrize("settings", [{"slots": 0}, {"minute": 0}, {"kill_wait": -1}])
def test_settings_that_make_no_sense(make: Callable[..., Scheduler], settings: dict[str, float]) -> None:
    """Numbers must be above zero."""
    with pytest.raises(InputError, match="above 0"):
        make(**settings)


def test_a_root_that_cannot_be_on_a_path(tmp_path: Path) -> None:
    """A colon would cut PATH in two."""
    with pytest.raises(InputError, match="colon"):
        EmbeddedTransport(tmp_path / "a:b")
