"""srun inside jobs: ranks, output, exit codes, signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Scheduler

TWO_BY_TWO = ("--nodes=2", "--ntasks-per-node=2", "--wait")


def test_ranks_on_two_nodes(slurm: Scheduler) -> None:
    """Two tasks on each of two nodes: global, local and node ids, node names, the step's numbers."""
    job = slurm.submit(
        "srun --mpi=pmix --cpu-bind=cores --gpu-bind=none --exact --label sh -c "
        "'echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURMD_NODENAME $SLURM_NTASKS "
        "$SLURM_STEP_ID $SLURM_STEP_NUM_NODES $SLURM_STEP_NUM_TASKS' | sort\n"
        'scontrol show hostnames "$SLURM_JOB_NODELIST"',
        *TWO_BY_TWO,
    )
    expected = (
        "0: 0 0 0 127.0.0.1 4 0 2 4\n1: 1 1 0 127.0.0.1 4 0 2 4\n"
        "2: 2 0 1 127.0.0.2 4 0 2 4\n3: 3 1 1 127.0.0.2 4 0 2 4\n127.0.0.1\n127.0.0.2\n"
    )
    assert expected == slurm.output(job)


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ("-n1", ["127.0.0.1"]),
        ("-N1 -n2", ["127.0.0.1"] * 2),
        ("-N2 -n3", ["127.0.0.1", "127.0.0.1", "127.0.0.2"]),
        ("--nodes=1 --ntasks=1 -w 127.0.0.2", ["127.0.0.2"]),
        ("--ntasks-per-node=1", ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"]),
        ("--ntasks-per-node=1 -n2", ["127.0.0.1", "127.0.0.2"]),
        ("-N1 -n3 --overcommit", ["127.0.0.1"] * 3),
        ("-n4 -m cyclic", ["127.0.0.1", "127.0.0.2"] * 2),
    ],
)
def test_layouts(slurm: Scheduler, options: str, hosts: list[str]) -> None:
    """Which rank lands on which node."""
    job = slurm.submit(f"srun {options} -l sh -c 'echo $SLURMD_NODENAME' | sort -n", *TWO_BY_TWO)
    assert "".join(f"{rank}: {host}\n" for rank, host in enumerate(hosts)) == slurm.output(job)


def test_output_files(slurm: Scheduler) -> None:
    """Tasks write where --output says, a name without %t once for all."""
    slurm.submit(
        "srun --output=%j.%s-%t-%N sh -c 'echo $SLURM_PROCID'; srun -o together sh -c 'echo $SLURM_PROCID'", *TWO_BY_TWO
    )
    texts = {path.name: path.read_text() for path in slurm.work.iterdir() if not path.name.startswith("slurm")}
    assert ["0", "1", "2", "3"] == sorted(texts.pop("together").split())
    assert {f"1.0-{rank}-127.0.0.{1 + rank // 2}": f"{rank}\n" for rank in range(4)} == texts


def test_the_highest_exit_code_wins(slurm: Scheduler) -> None:
    """All tasks are waited for, and srun ends with the highest code; a signal counts as 128 and more."""
    job = slurm.submit(
        "srun -n3 sh -c 'exit $SLURM_PROCID'; echo $?\n"
        "srun -n2 sh -c '[ $SLURM_PROCID = 1 ] && kill -9 $$; exit 1'; echo $?",
        "-N1",
        "-n4",
        "--wait",
    )
    lines = slurm.output(job).splitlines()
    assert ["2", "137"] == [line for line in lines if line.isdigit()]
    assert "srun: error: 127.0.0.1: task 2: Exited with exit code 2" in lines
    rows = slurm.out("sacct", "-Pn", "-j", job, "-o", "JobID,State,ExitCode,DerivedExitCode,NTasks").splitlines()
    assert [
        f"{job}|COMPLETED|0:0|2:0|",
        f"{job}.batch|COMPLETED|0:0||1",
        f"{job}.0|FAILED|2:0||3",
        f"{job}.1|CANCELLED|0:9||2",
    ] == rows


def test_kill_on_bad_exit(slurm: Scheduler) -> None:
    """With -K the first bad task ends the others."""
    job = slurm.submit("srun -K -n2 sh -c '[ $SLURM_PROCID = 1 ] && exit 5; sleep 60'; echo code $?", "-n2", "--wait")
    assert "code 143\n" in slurm.output(job)
    assert "127.0.0.1: task 1: Exited with exit code 5\n" in slurm.output(job)


def test_signals_reach_the_tasks(slurm: Scheduler) -> None:
    """A signal to srun, and one sent by scancel to the job, arrive in every task."""
    body = (
        'srun -n2 sh -c \'trap "echo $SLURM_PROCID got it; exit 0" USR1; touch ready$SLURM_PROCID; '
        "sleep 60 & wait' &\n"
        "step=$!\nuntil [ -e ready0 ] && [ -e ready1 ]; do sleep 0.05; done\n"
    )
    for how in ("kill -USR1 $step", "scancel --signal=USR1 $SLURM_JOB_ID"):
        job = slurm.submit(f"rm -f ready*\n{body}{how}\nwait $step; echo code $?", "-n2", "--wait")
        assert ["0 got it", "1 got it", "code 0"] == sorted(slurm.output(job).splitlines())


def test_a_step_can_be_cancelled(slurm: Scheduler) -> None:
    """With ``12.0`` the step ends and not the job."""
    job = slurm.submit("srun sleep 60\necho code $?")
    slurm.until(lambda: f"{job}.0" in slurm.out("sacct", "-nP", "-j", job, "-o", "JobID"))
    slurm.until(lambda: len(slurm.processes()) >= 4)
    slurm.out("scancel", f"{job}.0")
    assert ["COMPLETED"] == slurm.until_over(job)
    assert "code 143\n" in slurm.output(job)


def test_input_goes_to_all_tasks(slurm: Scheduler) -> None:
    """Standard input is broadcast, as Slurm does."""
    job = slurm.submit("seq 20000 | srun -n2 wc -l\nseq 3 | srun -n1 cat", "-n2", "--wait")
    assert ["20000", "20000", "1", "2", "3"] == slurm.output(job).split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("srun", "srun: fatal: No command given to execute."),
        ("srun -N3 true", "srun: error: Only allocated 2 nodes asked for 3"),
        ("srun -N1 true", "Unable to create step for job 1: More processors requested than permitted"),
        ("srun --nonsense true", "srun: unrecognized option '--nonsense'"),
        ("srun -n x true", 'srun: error: Invalid numeric value "x" for --ntasks.'),
        ("srun -n1 nosuchprogram", "slurmstepd: error: execve(): nosuchprogram: No such file or directory"),
        ("srun -n1 -N2 true", "srun: Warning: can't run 1 processes on 2 nodes, setting nnodes to 1"),
    ],
)
def test_words(slurm: Scheduler, line: str, words: str) -> None:
    """Complaints are in Slurm's words."""
    job = slurm.submit(f"{line}; true", *TWO_BY_TWO)
    assert words in slurm.output(job)


def test_outside_a_job(slurm: Scheduler) -> None:
    """There is no allocation by srun itself, and it says so."""
    completed = slurm.run("srun", "true")
    assert 1 == completed.exit_code
    assert "inside a running job only" in completed.err
