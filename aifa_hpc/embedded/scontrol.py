# ruff: noqa: PTH110, PTH118 - every call starts a Python, and pathlib would slow that
"""scontrol: host lists, jobs and partitions shown; jobs held, released and requeued."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError
from aifa_hpc.slurm.hostlist import compress_hostlist, expand_hostlist

from . import processes
from .environment import batch_values, file_name
from .schedule import requeue, settle
from .settings import NOTICE
from .show import elapsed, moment, nodes, raw_id, span, start
from .squeue import dependency, select
from .store import PENDING, RUNNING, Job, Store
from .words import Refusal, read_line, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .settings import Settings

_OPTIONS = table("all/a details/d help/h hide local noconvert oneliner/o quiet/Q verbose/v version/V")


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``scontrol ARGV``."""
    options, words = read_line("scontrol", _OPTIONS, argv, interleaved=True)
    command, *rest = words or [""]
    if command == "show" and rest:
        sys.stdout.write(_show(settings, rest, one_line="oneliner" in options))
        return 0
    if command == "ping":
        sys.stdout.write("Slurmctld(primary) at localhost is UP\n")
        return 0
    changes: dict[str, Callable[[Settings, Store, Job], None]] = {
        "hold": _hold,
        "uhold": _hold,
        "release": _release,
        "requeue": _requeue,
    }
    if command not in changes or not rest:
        raise Refusal(
            f"invalid keyword: {command}",
            "The embedded scheduler knows: show hostnames|hostlist|job|partition|node|config, ping, hold, release and "
            "requeue.",
        )
    store = Store(settings.database)
    for word in ",".join(rest).split(","):
        try:
            jobs = _jobs(settings, store, word)
        except Refusal:
            what = f"Invalid job id specified for job {word}"
            raise Refusal(what, "slurm_suspend error: Invalid job id specified") from None
        for job in jobs:
            changes[command](settings, store, job)
    settle(store, settings)
    return 0


def _jobs(settings: Settings, store: Store, word: str) -> list[Job]:
    now = time.time()
    known = store.jobs("state IN (?, ?) OR ended > ?", (PENDING, RUNNING, now - settings.remember))
    return select(known, word)


def _hold(_: Settings, store: Store, job: Job) -> None:
    with store.transaction():
        current = store.job(job.id)
        if current is not None and current.state == PENDING:
            store.update(job.id, held=1, launched=0, reason="JobHeldUser")


def _release(_: Settings, store: Store, job: Job) -> None:
    with store.transaction():
        store.update(job.id, held=0)


def _requeue(settings: Settings, store: Store, job: Job) -> None:
    """A running job is ended first by its supervisor; an ended one goes back at once, if its files are still there."""
    with store.transaction():
        current = store.job(job.id)
        if current is None or current.state == PENDING:
            raise Refusal(f"Job is pending execution for job {job.label}")
        if current.state == RUNNING:
            store.update(job.id, killing=1)
        elif os.path.exists(f"{settings.folder(job.id)}/environment"):
            requeue(store, job)
        else:
            raise Refusal(f"Requested operation is presently disabled for job {job.label}")
    if current.state == RUNNING:
        processes.signal_all([current.pid], signal.SIGTERM)


def _show(settings: Settings, words: Sequence[str], *, one_line: bool) -> str:
    what, *rest = words
    entity = what.rstrip("s").lower()
    if entity in {"hostname", "hostlist", "hostlistsorted"}:
        return _hosts(entity, rest[0] if rest else os.environ.get("SLURM_JOB_NODELIST", ""))
    if entity == "config":
        return _config(settings)
    if entity in {"job", "jobid"}:
        store = Store(settings.database)
        settle(store, settings)
        jobs = _jobs(settings, store, rest[0]) if rest else _all_jobs(settings, store)
        blocks = [_job(store, settings, job) for job in jobs]
    elif entity == "partition":
        unknown = [name for name in rest if name not in settings.partitions]
        if unknown:
            raise Refusal(f"Partition {unknown[0]} not found")
        blocks = [_partition(settings, name) for name in rest or settings.partitions]
    elif entity == "node":
        blocks = _nodes(settings, rest[0] if rest else "")
    else:
        raise Refusal(f"invalid entity:{what} for keyword:show ")
    if one_line:
        return "".join(" ".join(block.split()) + "\n" for block in blocks)
    return "".join(block + "\n" for block in blocks)


def _all_jobs(settings: Settings, store: Store) -> list[Job]:
    jobs = store.jobs("state IN (?, ?) OR ended > ?", (PENDING, RUNNING, time.time() - settings.remember))
    if not jobs:
        raise Refusal("No jobs in the system", exit_code=0)
    return jobs


def _hosts(entity: str, text: str) -> str:
    try:
        if entity == "hostname":
            return "".join(f"{host}\n" for host in expand_hostlist(text))
        hosts = [host for word in text.split(",") for host in expand_hostlist(word)] if "[" not in text else None
        found = hosts if hosts is not None else expand_hostlist(text)
        return compress_hostlist(sorted(found) if entity == "hostlistsorted" else found) + "\n"
    except ParseError as wrong:
        raise Refusal(f"Invalid hostlist: {text} ({wrong})") from None


def _job(store: Store, settings: Settings, job: Job) -> str:
    request, now = job.request, time.time()
    array = f" ArrayJobId={job.base} ArrayTaskId={job.array_task}" if job.array_id is not None else ""
    end = job.ended or (job.started + request.time_limit * settings.minute if job.started else None)
    exit_, cpus = f"{job.exit_code}:{job.exit_signal}", request.cpus_per_task or 1
    values = batch_values(request, job=job.id, base=job.base, task=job.array_task)
    output = os.path.join(request.chdir, file_name(request.output, values))
    errors = os.path.join(request.chdir, file_name(request.error, values)) if request.error else output
    lines = [
        f"JobId={raw_id(job)}{array} JobName={job.name}",
        f"UserId={request.user}({request.uid}) GroupId={request.user}({request.uid}) MCS_label=N/A",
        f"Priority={0 if job.held else 1} Nice=0 Account={request.account or '(null)'} QOS={request.qos or 'normal'}",
        f"JobState={job.shown_state} Reason={job.reason} Dependency={dependency(store, settings, job, now)}",
        f"Requeue={int(request.requeue)} Restarts={job.restarts} BatchFlag=1 Reboot=0 ExitCode={exit_}",
        f"RunTime={span(elapsed(job, now))} TimeLimit={span(request.time_limit * 60)} TimeMin=N/A",
        f"SubmitTime={moment(job.submitted)} EligibleTime={moment(max(job.begin, job.submitted))}",
        f"StartTime={moment(start(job), 'Unknown')} EndTime={moment(end, 'Unknown')} Deadline=N/A",
        f"Partition={job.partition} AllocNode:Sid={request.submit_host}:{job.session or 0}",
        f"NodeList={nodes(job) or '(null)'}",
        f"BatchHost={request.hosts[0]}",
        f"NumNodes={len(request.hosts)} NumCPUs={request.cpus} NumTasks={request.ntasks} CPUs/Task={cpus}",
        f"Command={settings.folder(job.id)}/script",
        f"WorkDir={request.chdir}",
        f"Comment={request.comment} " if request.comment else "",
        f"StdErr={errors}",
        f"StdIn={request.input}",
        f"StdOut={output}",
    ]
    return "\n   ".join(line for line in lines if line) + "\n"


def _partition(settings: Settings, name: str) -> str:
    limits = settings.partitions[name]
    default = "NONE" if limits.default_time is None else span(limits.default_time)
    count = len(limits.hosts)
    return (
        "\n   ".join(
            (
                f"PartitionName={name}",
                "AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL",
                f"AllocNodes=ALL Default={'YES' if name == settings.default_partition else 'NO'} QoS=N/A",
                f"DefaultTime={default} DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO",
                f"MaxNodes={limits.max_nodes} MaxTime={span(limits.max_time)} MinNodes=1 LLN=NO",
                f"Nodes={compress_hostlist(limits.hosts)}",
                f"State=UP TotalCPUs={count * limits.cpus} TotalNodes={count} SelectTypeParameters=NONE",
            )
        )
        + "\n"
    )


def _nodes(settings: Settings, text: str) -> list[str]:
    cpus = {host: limits.cpus for limits in settings.partitions.values() for host in limits.hosts}
    wanted = expand_hostlist(text) if text else list(cpus)
    if set(wanted) - set(cpus):
        raise Refusal(f"Node {min(set(wanted) - set(cpus))} not found")
    return [f"NodeName={host} CPUTot={cpus[host]} State=IDLE\n   Comment={NOTICE}\n" for host in wanted]


def _config(settings: Settings) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    free = shutil.disk_usage(settings.root).free
    table_ = {
        "ClusterName": settings.cluster,
        "KillWait": f"{settings.kill_wait:g} sec",
        "MaxArraySize": settings.max_array_size,
        "MinJobAge": f"{settings.remember:g} sec",
        "SlurmctldHost[0]": "localhost",
        "StateSaveLocation": f"{settings.root} ({free} bytes free)",
        "EmbeddedSlots": settings.slots,
        "EmbeddedMinute": f"{settings.minute:g} sec",
        "EmbeddedNotice": NOTICE,
    }
    return f"Configuration data as of {stamp}\n" + "".join(f"{key:<23} = {value}\n" for key, value in table_.items())
