"""The variables a batch script and its tasks find, and the patterns of their output files.

Names and meanings: sbatch(1) OUTPUT ENVIRONMENT VARIABLES and FILENAME PATTERN, srun(1) of the same name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aifa_hpc.slurm.hostlist import compress_hostlist

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .request import Request

_PATTERN = re.compile(r"%(\d*)(.)", re.DOTALL)
_LOGIN_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def spread(tasks: int, nodes: int) -> list[int]:
    """How many tasks each node gets: as evenly as can be, the first ones more."""
    least, more = divmod(tasks, nodes)
    return [least + (node < more) for node in range(nodes)]


def counted(numbers: Sequence[int]) -> str:
    """Slurm's short form of a number for each node: ``2(x3),1``."""
    words: list[tuple[int, int]] = []
    for number in numbers:
        if words and words[-1][0] == number:
            words[-1] = (number, words[-1][1] + 1)
        else:
            words.append((number, 1))
    return ",".join(str(number) if times == 1 else f"{number}(x{times})" for number, times in words)


def exported(environ: Mapping[str, str], export: str | None) -> dict[str, str]:
    """The variables that ``--export`` lets through: all, none but ``SLURM_*``, or those named."""
    words = split_export(export or "ALL")
    if words[0].upper() == "ALL":
        found, words = dict(environ), words[1:]
        return found | {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    found = {name: value for name, value in environ.items() if name.startswith("SLURM_")}
    if words[0].upper() in {"NONE", "NIL"}:
        return found
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


def split_export(text: str) -> list[str]:
    """Cuts at commas that stand outside quotes; the quotes stay in the value, as they do in Slurm."""
    words, word, quote = [], "", ""
    for char in text:
        if char == "," and not quote:
            words.append(word)
            word = ""
            continue
        word += char
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
    return [*words, word]


def job_environment(
    submitted: Mapping[str, str],
    request: Request,
    *,
    job: int,
    base: int,
    task: int | None,
    restarts: int,
    cluster: str,
    programs: str,
    home: str,
    gid: int,
) -> dict[str, str]:
    """Everything a batch script finds in its environment.

    Args:
        submitted: Variables of sbatch, already reduced by ``--export``.
        request: The job.
        job: Its own id.
        base: Its array's id, or its own.
        task: Its index in the array.
        restarts: How often it was requeued.
        cluster: ``ClusterName``.
        programs: Folder of our srun and scontrol, put first on its ``PATH``.
        home: Home folder, for a job that got none.
        gid: The user's group.
    """
    hosts = compress_hostlist(request.hosts)
    nodes = str(len(request.hosts))
    per_node = spread(request.ntasks, len(request.hosts))
    env = {"HOME": home, "USER": request.user, "LOGNAME": request.user, "PATH": _LOGIN_PATH} | dict(submitted)
    words = [word for word in env["PATH"].split(":") if word != programs]
    env["PATH"] = ":".join([programs, *words])
    env |= {
        "ENVIRONMENT": "BATCH",
        "SLURM_JOB_ID": str(job),
        "SLURM_JOBID": str(job),
        "SLURM_JOB_NAME": request.name,
        "SLURM_JOB_USER": request.user,
        "SLURM_JOB_UID": str(request.uid),
        "SLURM_JOB_GID": str(gid),
        "SLURM_JOB_NODELIST": hosts,
        "SLURM_NODELIST": hosts,
        "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_NNODES": nodes,
        "SLURM_JOB_CPUS_PER_NODE": counted(request.cores),
        "SLURM_TASKS_PER_NODE": counted(per_node),
        "SLURM_CPUS_ON_NODE": str(request.cores[0]),
        "SLURM_SUBMIT_DIR": request.submit_dir,
        "SLURM_SUBMIT_HOST": request.submit_host,
        "SLURM_JOB_PARTITION": request.partition,
        "SLURM_CLUSTER_NAME": cluster,
        "SLURMD_NODENAME": request.hosts[0],
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_GTIDS": "0",
        "SLURM_PRIO_PROCESS": "0",
        "SLURM_NODE_ALIASES": "(null)",
        "SLURM_TOPOLOGY_ADDR": request.hosts[0],
        "SLURM_TOPOLOGY_ADDR_PATTERN": "node",
    }
    optional = {
        "SLURM_JOB_ACCOUNT": request.account,
        "SLURM_JOB_QOS": request.qos,
        "SLURM_JOB_RESERVATION": request.reservation,
        "SLURM_NTASKS": request.ntasks if request.ntasks_given else None,
        "SLURM_NPROCS": request.ntasks if request.ntasks_given else None,
        "SLURM_NTASKS_PER_NODE": request.ntasks_per_node,
        "SLURM_CPUS_PER_TASK": request.cpus_per_task,
        "SLURM_EXPORT_ENV": request.export,
        "SLURM_RESTART_COUNT": restarts or None,
    }
    if request.gpus_per_node:
        optional["SLURM_GPUS_ON_NODE"] = request.gpus_per_node
        optional["SLURM_JOB_GPUS"] = ",".join(map(str, range(request.gpus_per_node)))
    if request.array_tasks is not None:
        count, least, highest, step = request.array_tasks
        optional |= {
            "SLURM_ARRAY_JOB_ID": base,
            "SLURM_ARRAY_TASK_ID": task,
            "SLURM_ARRAY_TASK_COUNT": count,
            "SLURM_ARRAY_TASK_MIN": least,
            "SLURM_ARRAY_TASK_MAX": highest,
            "SLURM_ARRAY_TASK_STEP": step,
        }
    return env | {name: str(value) for name, value in optional.items() if value not in (None, "")}


def file_name(pattern: str, values: Mapping[str, str]) -> str:
    """A file name from its pattern; ``values`` by letter, digits in between pad numbers with zeros.

    A backslash anywhere leaves the text as it is, except for the backslashes.
    """
    if "\\" in pattern:
        return pattern.replace("\\", "")

    def put(match: re.Match[str]) -> str:
        if match[2] == "%":
            return "%"
        if match[2] not in values:
            return match[0]
        value = values[match[2]]
        # "A number placed between the percent character and format specifier": at most 10 digits, numbers only
        return value.zfill(min(int(match[1]), 10)) if match[1] and value.isdecimal() else value

    return _PATTERN.sub(put, pattern)


def batch_values(request: Request, *, job: int, base: int, task: int | None) -> dict[str, str]:
    """What the letters of a batch script's file names stand for."""
    return {
        "j": str(job),
        "J": str(job),
        "A": str(base),
        # what Slurm itself writes for a job that is no array: NO_VAL
        "a": str(task if task is not None else 4294967294),
        "x": request.name.replace("/", "_"),
        "u": request.user,
        "N": request.hosts[0],
        "n": "0",
        "t": "0",
        "s": "batch",
    }
