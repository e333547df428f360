"""Jobs that were submitted by other means, as the controller and accounting of a real cluster describe them."""

from __future__ import annotations

import pytest

from aifa_hpc.command import drive
from aifa_hpc.errors import SiteError
from aifa_hpc.slurm.foreign import Foreign, find_jobs
from tests.slurm.answering import answers

# scontrol --oneliner show job of Slurm 22.05.8, shortened behind what is read.
PLAIN = (
    "JobId=5 JobName=by hand UserId=ada(5001) GroupId=ada(5001) MCS_label=N/A Priority=4294901756 Nice=0"
    " Account=project_465000001 QOS=normal JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0"
    " BatchFlag=1 Reboot=0 ExitCode=0:0 RunTime=00:00:01 TimeLimit=00:05:00 TimeMin=N/A"
    " SubmitTime=2026-11-24T08:45:28 EligibleTime=2026-11-24T08:45:28 StartTime=2026-11-24T08:45:29"
    " Partition=standard-g AllocNode:Sid=lumi:1 NodeList=nid005001 NumNodes=2-2 NumCPUs=64 NumTasks=1"
    " Command=(null) WorkDir=/home/ada StdErr=/tmp/out 5.txt StdIn=/dev/null StdOut=/tmp/out 5.txt Power="
)
TASK = (
    "JobId=7 ArrayJobId=6 ArrayTaskId={task} JobName=many UserId=ada(5001) Account=(null) JobState={state}"
    " TimeLimit=UNLIMITED SubmitTime=2026-11-24T08:45:28 Partition=small NumNodes=1 StdOut=/tmp/6_{task}.out Power="
)


def section(name: str, body: str) -> str:
    """One program's part of an answer."""
    return f"aifa: section {name}\n{body}\naifa: said \naifa: end 0\n"


def test_the_controller_tells_all() -> None:
    """Name and log may have blanks in them; of an array every task counts, and its log is a pattern."""
    tasks = "\n".join((TASK.format(task="1-8:3%2", state="PENDING"), TASK.format(task="0", state="RUNNING")))
    array = tasks.replace("/tmp/6_1-8:3%2.out", "/tmp/6_%a.out")
    rest = section("accounting", "5|ada|RUNNING|standard-g|p|2|00:05:00|x|by hand")
    run, seen = answers((0, section("detail", PLAIN) + section("detail", array) + rest + "aifa: done ada\n"))
    user, found = drive(find_jobs(["5", "6"]), run)
    plain = Foreign(
        id="5",
        user="ada",
        name="by hand",
        state="RUNNING",
        partition="standard-g",
        account="project_465000001",
        nodes=2,
        limit_seconds=300,
        submitted="2026-11-24T08:45:28",
        log="/tmp/out 5.txt",
    )
    assert ("ada", plain) == (user, found["5"])
    many = found["6"]
    assert ((0, 1, 4, 7), "/tmp/6_%a.out", None, "") == (many.tasks, many.log, many.limit_seconds, many.account)
    assert ("5,6", "5", "6") == seen[0].argv[-3:]


def test_accounting_tells_what_the_controller_forgot() -> None:
    """Also of an array, of which each task has a line."""
    gone = section("detail", "slurm_load_jobs error: Invalid job id specified")
    lines = "5|bea|CANCELLED by 1|small|p|1|1-00:00:00|2026-11-24T08:45:28|a|b\n9_[2-3%1]|bea|PENDING|s|p|1|10:00|x|c\n"
    run, _ = answers((0, gone + gone + section("accounting", lines) + "aifa: done ada\n"))
    _, found = drive(find_jobs(["5", "9"]), run)
    assert ("bea", "a|b", "CANCELLED", 86400, "") == (
        found["5"].user,
        found["5"].name,
        found["5"].state,
        found["5"].limit_seconds,
        found["5"].log,
    )
    assert (2, 3) == found["9"].tasks


def test_an_answer_that_is_cut_is_refused() -> None:
    """What is not whole says nothing of a job."""
    run, _ = answers((0, section("detail", PLAIN)))
    with pytest.raises(SiteError, match="not whole"):
        drive(find_jobs(["5"]), run)
