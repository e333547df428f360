"""What squeue, sacct, scontrol and sinfo print, and what they cost."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command

if TYPE_CHECKING:
    from .conftest import Scheduler


def test_squeue_formats(slurm: Scheduler) -> None:
    """--format with sizes, --Format, headings, and the default."""
    job = slurm.submit("true", "--hold", "-J", "a long name", "-A", "project_1", "--comment=why", "-t", "90", "-n2")
    fields = "%i|%A|%F|%K|%T|%t|%r|%R|%N|%D|%j|%P|%a|%M|%l|%L|%S|%k|%C|%Z"
    expected = (
        f"{job}|{job}|{job}|N/A|PENDING|PD|JobHeldUser|(JobHeldUser)||1|a long name|local|project_1|0:00|1:30:00|"
        f"1:30:00|N/A|why|2|{slurm.work}"
    )
    assert expected == slurm.out("squeue", "-h", "-o", fields)
    assert f"JOBID NAM\n{job:>9} a l" == slurm.out("squeue", "-o", "%.9i %3j")
    assert f"{job:<20}PENDING" == slurm.out("squeue", "-h", "-O", "JobID,State")
    heading = "JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)"
    assert heading == slurm.out("squeue").splitlines()[0]


def test_squeue_filters(slurm: Scheduler) -> None:
    """By id, name, user, partition and state."""
    one, two = (slurm.submit("true", "--hold", "-J", name) for name in ("one", "two"))
    user = slurm.out("id", "-un")
    for options, jobs in (
        (["--me"], [one, two]),
        (["-u", user], [one, two]),
        (["-u", "nobody-else"], []),
        (["-n", "two"], [two]),
        (["-j", one], [one]),
        (["--jobs", f"{one},{two}"], [one, two]),
        (["-p", "local", "-t", "PENDING"], [one, two]),
        (["-t", "running"], []),
    ):
        assert jobs == slurm.out("squeue", "-h", "-o", "%i", *options).split(), options


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["squeue", "-t", "napping"], "squeue: error: Invalid job state specified: NAPPING"),
        (["squeue", "-j", "abc"], "squeue: error: Invalid job id: abc"),
        (["squeue", "-j", "4711"], "slurm_load_jobs error: Invalid job id specified"),
        (["squeue", "--nonsense"], "squeue: unrecognized option '--nonsense'"),
        (["sacct", "-o", "nonsense"], 'sacct: error: Invalid field requested: "nonsense"'),
        (["sacct", "-S", "whenever"], "Invalid time specification (pos=0): whenever"),
        (["sacct", "-s", "napping"], "sacct: fatal: unrecognized job state value 'napping'"),
        (["scontrol", "show", "job", "4711"], "slurm_load_jobs error: Invalid job id specified"),
        (["scontrol", "show", "partition", "zz"], "Partition zz not found"),
        (["scontrol", "hold", "4711"], "Invalid job id specified for job 4711"),
        (["scontrol", "nonsense"], "invalid keyword: nonsense"),
        (["scancel", "abc"], "scancel: error: Invalid job id abc"),
        (["scancel", "--signal=NONSENSE", "1"], "Unknown job signal: NONSENSE"),
    ],
)
def test_refusals(slurm: Scheduler, argv: list[str], words: str) -> None:
    """Refusals are Slurm's, on standard error, with exit code 1."""
    completed = slurm.run(*argv)
    assert (1, "") == (completed.exit_code, completed.out)
    assert words == completed.err.splitlines()[0]


def test_sacct_formats(slurm: Scheduler) -> None:
    """--parsable2 and --parsable, headings, prefixes of field names, widths; steps unless -X."""
    job = slurm.submit("true", "-J", "named", "--comment=why", "-A", "project_1", "-t", "90")
    slurm.until_over(job)
    assert f"JobID|JobName|Account|Comment|Timelimit|NNodes\n{job}|named|project_1|why|01:30:00|1" == slurm.out(
        "sacct", "-XP", "-j", job, "-o", "jobid,jobname,account,comment,timelimit,nnodes"
    )
    assert f"{job}|COMPLETED|\n{job}.batch|COMPLETED|" == slurm.out("sacct", "-np", "-o", "JobID,State")
    assert f"{job} COMPL+" == slurm.out("sacct", "-nX", "-o", "JobID%-1,State%6")
    assert f"{job}.batch" == slurm.out("sacct", "-nP", "-j", f"{job}.batch", "-o", "jobid")
    assert "" == slurm.out("sacct", "-nP", "-j", job, "-o", "jobid", "--name=other")


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ([], True),
        (["-S", "now-2days"], True),
        (["-S", "now-1hour", "-E", "now"], True),
        (["-S", "2020-01-01", "-E", "2020-01-02T12:00"], False),
        (["-S", "2020-01-01T00:00:00"], True),
        (["-s", "COMPLETED", "-S", "midnight"], True),
        (["-s", "F,TO", "-S", "midnight"], False),
        (["-s", "CD"], False),  # with states and no start the window is now, sacct(1) DEFAULT TIME WINDOW
    ],
)
def test_sacct_windows(slurm: Scheduler, options: list[str], seen: bool) -> None:
    """Jobs are selected by time and state as sacct(1) says."""
    job = slurm.submit("true")
    slurm.until_over(job)
    slurm.until(lambda: slurm.out("sacct", "-nXP", "-o", "End") < slurm.out("date", "+%FT%T"))
    assert ([job] if seen else []) == slurm.out("sacct", "-nXP", "-o", "JobID", *options).split()


def test_time_format(slurm: Scheduler) -> None:
    """SLURM_TIME_FORMAT is a strftime pattern for squeue and sacct."""
    job = slurm.submit("true")
    slurm.until_over(job)
    command = "SLURM_TIME_FORMAT=%s sacct -nXP -o Start,End; SLURM_TIME_FORMAT=%s squeue -t all -h -o %S"
    completed = slurm.transport.run(Command(argv=("sh", "-c", command)))
    assert all(number.isdigit() for number in completed.out.replace("|", " ").split())


def test_scontrol_show_job(slurm: Scheduler) -> None:
    """Fields that people and scripts read, on many lines and on one."""
    job = slurm.submit("true", "--hold", "-J", "x", "-N2", "--output=%x-%j.out")
    text = slurm.out("scontrol", "show", "job", job)
    words = dict(
        word.split("=", 1) for word in text.replace(str(slurm.work), "WORK").replace(str(slurm.root), "ROOT").split()
    )
    expected = {
        "JobId": job,
        "JobName": "x",
        "JobState": "PENDING",
        "Reason": "JobHeldUser",
        "NumNodes": "2",
        "TimeLimit": "01:00:00",
        "WorkDir": "WORK",
        "StdOut": f"WORK/x-{job}.out",
    }
    assert expected == {name: words[name] for name in expected}
    assert 1 == len(slurm.out("scontrol", "-o", "show", "job", job).splitlines())


def test_scontrol_host_lists(slurm: Scheduler) -> None:
    """Both directions."""
    assert "a1\na2\na07\nb" == slurm.out("scontrol", "show", "hostnames", "a[1-2,07],b")
    assert "n[2,1]" == slurm.out("scontrol", "show", "hostlist", "n2,n1")
    assert "n[1-3]" == slurm.out("scontrol", "show", "hostlistsorted", "n2,n1,n3")


def test_partitions(slurm: Scheduler) -> None:
    """The profile's limits are shown by scontrol and sinfo."""
    assert "PartitionName=local" in slurm.out("scontrol", "show", "partition")
    assert "MaxTime=1-00:00:00" in slurm.out("scontrol", "show", "partition", "local")
    assert "local*|up|1-00:00:00|4|idle|127.0.0.[1-4]" == slurm.out("sinfo", "-h", "-o", "%P|%a|%l|%D|%t|%N")


def test_versions(slurm: Scheduler) -> None:
    """All programs say which Slurm they speak."""
    assert {"slurm 22.05.8"} == {slurm.out(program, "--version") for program in ("sbatch", "squeue", "sacct", "srun")}


@pytest.mark.parametrize("program", ["sbatch", "squeue", "sacct", "scancel"])
def test_programs_import_little(slurm: Scheduler, program: str) -> None:
    """They start from the standard library alone; what would cost tens of milliseconds is not loaded."""
    settings = slurm.transport.settings
    argv = settings.argv(program, "--version")
    code = f"import sys; sys.path.append({argv[5]!r}); import aifa_hpc.embedded.{program}, aifa_hpc.embedded.programs; "
    code += "print(*sorted(sys.modules))"
    loaded = subprocess.run([settings.python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    heavy = {"msgspec", "subprocess", "tempfile", "pathlib", "platformdirs", "asyncio", "aifa_hpc.transport"}
    assert set() == heavy & set(loaded.stdout.split())


def test_a_reader_that_goes_away(slurm: Scheduler) -> None:
    """A closed pipe ends a program quietly."""
    slurm.submit("true", "--hold", "--array=0-999")
    completed = slurm.transport.run(Command(argv=("sh", "-c", "squeue -r | head -n1; squeue -r | true")))
    assert "" == completed.err
