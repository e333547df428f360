"""Patterns against lines that programs really print; each case names where its message comes from."""

from __future__ import annotations

import re

import pytest

from aifa_hpc.tracker.failures import last_of_traceback, load_patterns, read_log

# PyTorch's allocator since 2.3, on ROCm (pytorch issue 138002) and on CUDA.
HIP_MEMORY = """
step 40 loss 2.31
Traceback (most recent call last):
  File "/scratch/project_465000001/train.py", line 71, in <module>
    loss.backward()
torch.OutOfMemoryError: HIP out of memory. Tried to allocate 16.00 GiB. GPU 0 has a total capacity of 63.98 GiB of which
slurmstepd: error: *** STEP 42.0 ON nid005001 CANCELLED AT 2026-11-24T08:00:00 ***
srun: error: nid005001: task 0: Exited with exit code 1
"""
# slurmstepd, Slurm 23.11 and 22.05.
CGROUP = """
[2026-11-24T08:00:00.123] error: Detected 1 oom_kill event in StepId=42.0. Some of the step tasks have been OOM Killed.
srun: error: nid005001: task 3: Out Of Memory
"""
OLD_CGROUP = (
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=14.batch. Some of your processes may have been killed by"
    " the cgroup out-of-memory handler."
)
MALLOC = "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 1.2 TiB for an array with shape (1, 2)"
# ProcessGroupNCCL.cpp (pytorch issue 118369): a rank died, the others waited.
NCCL_TIMEOUT = """
[rank3]:[E321 02:07:08.465 ProcessGroupNCCL.cpp:607] [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(\
SeqNum=1580, OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, Timeout(ms)=600000) ran for 600004 milliseconds
[rank0]:[E321 02:07:08.408 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(\
SeqNum=1580, OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, Timeout(ms)=600000) ran for 600060 milliseconds
"""
# NCCL issue 1405 and libfabric issue 10072.
INFINIBAND = (
    "node:3468:3905 [4] ib_plugin.c:1615 NCCL WARN NET/IB : Got completion from peer 10.216.210.236<54862> with"
    " status=12 opcode=0 len=0 vendor err 129 (Recv)"
)
CXI = (
    "MPIDI_OFI_handle_cq_error(1075): OFI poll failed (ofi_events.c:1077:MPIDI_OFI_handle_cq_error:Input/output error -"
    " PTLTE_NOT_FOUND)"
)
TIME = "slurmstepd: error: *** JOB 42 ON nid005001 CANCELLED AT 2026-11-24T08:00:00 DUE TO TIME LIMIT ***"
NODE = (
    "slurmstepd: error: *** JOB 42 ON jpbo-101-01 CANCELLED AT 2026-11-24T08:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD"
)
CANCELLED = "slurmstepd: error: *** JOB 42 ON nid005001 CANCELLED AT 2026-11-24T08:00:00 ***"
APPTAINER = (
    "FATAL:   While checking container encryption: could not open image /appl/x.sif: the image's architecture (amd64)"
    " could not run on the host's (arm64)"
)
LMOD = """
Lmod has detected the following error: The following module(s) are unknown: "CUDA/99"
"""
LIBRARY = "python: error while loading shared libraries: libcudart.so.13: cannot open shared object file: No such file"
CHAINED = """
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise ValueError("no key") from None
ValueError: no key
Traceback (most recent call last):
  File "b.py", line 1, in <module>
RuntimeError: another rank
"""
LABELLED = """
3: Traceback (most recent call last):
1: step 7
3:   File "train.py", line 9, in <module>
3: AssertionError: loss is nan
"""

CORPUS = {
    "gpu-memory": (HIP_MEMORY, "cause"),
    "gpu-memory on CUDA": ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "cause"),
    "host-memory": (CGROUP, "cause"),
    "host-memory of 22.05": (OLD_CGROUP, "cause"),
    "host-memory of NumPy": (MALLOC, "cause"),
    "collective-timeout": (NCCL_TIMEOUT, "sign"),
    "collective-error": ("torch.distributed.DistBackendError: NCCL error: ncclRemoteError: A call failed", "sign"),
    "network-ib": (INFINIBAND, "sign"),
    "network-cxi": (CXI, "sign"),
    "time-limit": (TIME, "cause"),
    "node-failure": (NODE, "cause"),
    "preempted": (TIME.replace("TIME LIMIT", "PREEMPTION"), "cause"),
    "cancelled": (CANCELLED, "sign"),
    "disk-quota": ("OSError: [Errno 122] Disk quota exceeded: '/e/scratch/p/ckpt'", "cause"),
    "disk-full": ("OSError: [Errno 28] No space left on device", "cause"),
    "wrong-architecture": ("/var/spool/slurmd/job42/slurm_script: line 9: ./train: Exec format error", "cause"),
    "wrong-architecture of an image": (APPTAINER, "cause"),
    "wrong-gpu-code": ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "cause"),
    "module-missing": (LMOD, "cause"),
    "python-module-missing": ("ModuleNotFoundError: No module named 'flash_attn'", "cause"),
    "library-missing": (LIBRARY, "cause"),
    "file-missing": ("python: can't open file '/scratch/p/train.py': [Errno 2] No such file or directory", "sign"),
    "file-missing program": ("/var/spool/slurmd/job42/slurm_script: line 9: torchrun: command not found", "sign"),
    "permission": ("bash: ./run.sh: Permission denied", "sign"),
    "gpu-lost": ("RuntimeError: No HIP GPUs are available", "cause"),
    "gpu-index": ("RuntimeError: CUDA error: invalid device ordinal", "cause"),
    "gpu-fault": ("Memory access fault by GPU node-4 (Agent handle: 0x55) on address 0x7f", "cause"),
    "address-in-use": ("RuntimeError: The server socket has failed to listen: EADDRINUSE", "cause"),
    "too-many-files": ("OSError: [Errno 24] Too many open files: '/dev/shm/x'", "cause"),
    "shared-memory": ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.", "sign"),
    "segfault": ("srun: error: nid005001: task 1: Segmentation fault (core dumped)", "sign"),
    "killed": ("/var/spool/slurmd/nid005001/job00031/slurm_script: line 56:  4615 Killed   sh -c x", "sign"),
    "worker-failed": ("srun: error: nid005002: tasks 8-15: Exited with exit code 1", "sign"),
    "exception": (CHAINED, "cause"),
    "exception of a rank": (LABELLED, "cause"),
}
SITES = {
    "login-node-path": ("jupiter", "FileNotFoundError: '/p/project1/x/train.py'", "sign"),
    "container-group": ("jupiter", "ERROR: User lovelace1 is not in group container", "cause"),
    "no-network": ("jupiter", "socket.gaierror: [Errno -3] Temporary failure in name resolution", "cause"),
    "miopen-cache": (
        "lumi",
        "MIOpen Error: sqlite_db.cpp:227: Internal error while accessing SQLite database",
        "cause",
    ),
}


def found(text: str, cluster: str = "lumi") -> list[tuple[str, str]]:
    """Names and weights of what a log tells."""
    return [(one.name, one.weight) for one in read_log("log", text.strip().splitlines(), cluster, load_patterns())]


@pytest.mark.parametrize("case", CORPUS)
def test_each_message_is_known_first(case: str) -> None:
    """What a line says stands before what merely goes with it."""
    text, weight = CORPUS[case]
    assert (case.partition(" ")[0], weight) == found(text)[0]


@pytest.mark.parametrize("name", SITES)
def test_messages_of_one_site_are_read_only_there(name: str) -> None:
    """Elsewhere the same words mean something else."""
    cluster, text, weight = SITES[name]
    assert (name, weight) in found(text, cluster)
    assert name not in dict(found(text, "jupiter" if cluster == "lumi" else "lumi"))


def test_every_pattern_has_a_case() -> None:
    """And every case a pattern."""
    named = {case.partition(" ")[0] for case in CORPUS} | set(SITES)
    assert {pattern.name for pattern in load_patterns()} | {"exception"} == named


def test_patterns_are_sentences_and_compile() -> None:
    """A table of data is checked as code is."""
    for pattern in load_patterns():
        assert [] == [one for one in pattern.match if not re.compile(one)]
        assert (False, True) == (pattern.text.endswith("."), bool(pattern.source))


def test_a_log_that_went_well_tells_nothing() -> None:
    """Ordinary lines, words like error in them included, are no findings."""
    text = "epoch 3: validation error 0.01\nsaved checkpoint /scratch/p/ckpt\nwarning: deprecated\n0 errors, done"
    assert [] == found(text)


def test_the_evidence_is_the_first_line_and_how_often_it_came() -> None:
    """Sixteen ranks that say the same are one finding."""
    lines = NCCL_TIMEOUT.strip().splitlines()
    (one,) = read_log("a.out", lines, "lumi", load_patterns())
    assert ("a.out", True, True) == (
        one.origin,
        one.evidence.startswith("[rank3]"),
        "(2 lines like it)" in one.evidence,
    )


def test_a_file_that_was_missed_on_the_way_does_not_hide_the_exception() -> None:
    """Programs say so and go on; what ended the program is told as the cause."""
    text = f"cat: /etc/site.conf: No such file or directory\n{CHAINED.strip()}"
    assert {("exception", "cause"), ("file-missing", "sign")} == set(found(text))


@pytest.mark.parametrize("word", ["x", ".so", ".so:", "MIOpen", "ConnectionError", "JOB x ON y CANCELLED AT z "])
def test_a_line_without_end_is_read_at_its_ends(word: str) -> None:
    """Patterns may take the square of a line's length (an hour for this one); what it says last is still found."""
    assert "gpu-memory" in dict(found(word * 400_000 + " CUDA out of memory"))


def test_the_exception_is_that_of_the_first_traceback_with_its_chain() -> None:
    """Later tracebacks are of other ranks, which followed."""
    assert "ValueError: no key" == last_of_traceback(CHAINED.splitlines())
    assert "AssertionError: loss is nan" == last_of_traceback(LABELLED.splitlines())
    assert "" == last_of_traceback(["Traceback (most recent call last):", "  File"])
