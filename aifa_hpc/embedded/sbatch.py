# ruff: noqa: PTH103, PTH109, PTH118, PTH119, PTH123 - every call starts a Python, and pathlib would slow that
"""sbatch: turns a script into a waiting job, or says in Slurm's words why not."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import re
import socket
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from .environment import spread
from .request import (
    OPTIONS,
    Request,
    error,
    read_array,
    read_count,
    read_dependency,
    read_gpus,
    read_memory,
    read_minutes,
    read_nodes,
    read_signal,
    rejected,
    script_options,
    use,
    variable_options,
)
from .schedule import settle
from .store import COMPLETED, PENDING, Store
from .words import PARSING_EXIT, Refusal, read_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .settings import Settings

_RELATIVE = re.compile(r"now(?:\+(\d+)(second|minute|hour|day|week)?s?)?", re.ASCII)
_UNITS = {None: 1, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``sbatch ARGV``."""
    line = read_line("sbatch", OPTIONS, argv, exit_code=PARSING_EXIT)
    script, name = _script(line.options, line.words)
    options = use([script_options(script), variable_options(os.environ), line.options])
    options.setdefault("job-name", name)
    request = build(options, settings, os.getcwd())
    if "test-only" in options:
        when = time.strftime("%Y-%m-%dT%H:%M:%S")
        sys.stderr.write(
            f"sbatch: Job 1 to start at {when} using {request.cpus} processors "
            f"on nodes {','.join(request.hosts)} in partition {request.partition}\n"
        )
        return 0
    store = Store(settings.database)
    number = submit(store, settings, request, options=options, script=script, words=line.words[1:])
    settle(store, settings)
    print(number if "parsable" in options else f"Submitted batch job {number}")  # noqa: T201 - a command
    if "wait" in options:
        sys.stdout.flush()
        return _wait(store, settings, number)
    return 0


def _script(options: Mapping[str, str], words: Sequence[str]) -> tuple[str, str]:
    """The script's text and the name a job gets from it."""
    if "wrap" in options:
        if words:
            raise error("Script arguments not permitted with --wrap option")
        return f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{options['wrap']}\n", "wrap"
    if not words:
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape"), "sbatch"
    try:
        with open(words[0], encoding="utf-8", errors="surrogateescape") as file:
            return file.read(), os.path.basename(words[0])
    except OSError:
        raise error(f"Unable to open file {words[0]}") from None


def build(options: Mapping[str, str], settings: Settings, here: str) -> Request:
    """The request that options stand for, measured against the partition.

    Raises:
        Refusal: In the words of sbatch or of the controller.
    """
    nodes = read_nodes(options["nodes"]) if "nodes" in options else None
    tasks, per_node = read_count(options, "ntasks"), read_count(options, "ntasks-per-node")
    cpus = read_count(options, "cpus-per-task")
    minutes = read_minutes(options["time"]) if "time" in options else None
    signal = read_signal(options["signal"]) if "signal" in options else None
    if options.get("open-mode", "append")[:1] not in {"a", "t"}:
        raise error("Invalid --open-mode specification", exit_code=PARSING_EXIT)
    partition = options.get("partition", settings.default_partition).split(",")[0]
    if partition not in settings.partitions:
        raise rejected("Invalid partition name specified", f"invalid partition specified: {partition}")
    limits = settings.partitions[partition]
    if nodes is None:
        # as few nodes as the tasks fit on
        need = -(-(tasks or 1) // per_node) if per_node else -(-(tasks or 1) * (cpus or 1) // limits.cpus)
        nodes = need if per_node else max(1, min(need, limits.max_nodes, tasks or 1))
    if nodes > min(limits.max_nodes, len(limits.hosts)):
        raise rejected("Node count specification invalid")
    if minutes is None:
        minutes = -(-(limits.max_time if limits.default_time is None else limits.default_time) // 60)
    if minutes * 60 > limits.max_time or minutes == 0:
        raise rejected("Requested time limit is invalid (missing or exceeds some limit)")
    given = tasks is not None or per_node is not None
    tasks = max(nodes, tasks or nodes * (per_node or 1))
    cores = tuple(count * (cpus or 1) for count in spread(tasks, nodes))
    if max(cores) > limits.cpus:
        raise rejected("More processors requested than permitted")
    if limits.whole_node or "exclusive" in options:
        cores = (limits.cpus,) * nodes
    chdir = os.path.normpath(os.path.join(here, options.get("chdir", here)))
    return Request(
        name=options["job-name"].encode("utf-8", "backslashreplace").decode(),  # a name is text in every answer
        user=pwd.getpwuid(os.getuid()).pw_name,
        uid=os.getuid(),
        partition=partition,
        account=options.get("account", ""),
        qos=options.get("qos", ""),
        reservation=options.get("reservation", ""),
        comment=options.get("comment", ""),
        time_limit=minutes,
        ntasks=tasks,
        ntasks_given=given,
        ntasks_per_node=per_node,
        cpus_per_task=cpus,
        gpus_per_node=read_gpus(options, nodes, tasks),
        memory=read_memory(options),
        hosts=limits.hosts[:nodes],
        cores=cores,
        chdir=chdir,
        submit_dir=here,
        umask=_umask(),
        submit_host=socket.gethostname(),
        input=options.get("input", "/dev/null"),
        output=options.get("output", "slurm-%A_%a.out" if "array" in options else "slurm-%j.out"),
        error=options.get("error", ""),
        open_mode="append" if options.get("open-mode", "t").startswith("a") else "truncate",
        export=options.get("export"),
        signal=signal,
        requeue="requeue" in options,
    )


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def submit(
    store: Store, settings: Settings, request: Request, *, options: Mapping[str, str], script: str, words: Sequence[str]
) -> int:
    """Writes the job or the tasks of its array into the database; returns the id."""
    tasks: list[int] = []
    limit = None
    if "array" in options:
        tasks, limit = read_array(options["array"], settings.max_array_size)
    table = asdict(request)
    if tasks:
        step = min((after - before for before, after in itertools.pairwise(tasks)), default=1)
        table |= {
            "array_limit": limit,
            "array_text": options["array"],
            "array_tasks": (len(tasks), tasks[0], tasks[-1], step),
        }
    begin = read_begin(options["begin"]) if "begin" in options else 0.0
    with store.transaction():
        first = store.next_id()
        # As in Slurm, the last task keeps the array's own id; the others get the following ones.
        numbers = [*range(first + 1, first + len(tasks)), first] if tasks else [first]
        for number, task in zip(numbers, tasks or (None,), strict=True):
            if "dependency" in options:
                dependency = read_dependency(options["dependency"], task)
                table["dependency"] = asdict(dependency)
            _save(settings.folder(number), script, words)
            store.add(
                id=number,
                array_id=first if tasks else None,
                array_task=task,
                name=request.name,
                partition=request.partition,
                state=PENDING,
                held=int("hold" in options or options.get("priority") == "0"),
                submitted=time.time(),
                begin=begin,
                request=json.dumps(table),
            )
    return first


def _save(folder: str, script: str, words: Sequence[str]) -> None:
    """Keeps the script, its arguments and the environment until the job is over."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    environment = "".join(f"{name}={value}\0" for name, value in os.environ.items())
    arguments = "".join(f"{word}\0" for word in words)
    for name, text, mode in (
        ("script", script, 0o700),
        ("environment", environment, 0o600),
        ("arguments", arguments, 0o600),
    ):
        with open(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))


def read_begin(text: str) -> float:
    """``--begin``: ``now``, ``now+60``, ``now+1hour`` or ``YYYY-MM-DD[THH:MM[:SS]]``, as seconds since the epoch.

    Raises:
        Refusal: Another form.
    """
    match = _RELATIVE.fullmatch(text)
    if match:
        return time.time() + int(match[1] or 0) * _UNITS[match[2]]
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        try:
            return time.mktime(time.strptime(text, form))
        except ValueError:
            continue
    lines = (f"Invalid time specification (pos=0): {text}", "sbatch: error: Invalid --begin specification")
    raise Refusal(*lines, exit_code=PARSING_EXIT)


def _wait(store: Store, settings: Settings, number: int) -> int:
    """``--wait``: the highest exit code of the job's tasks, once all are over."""
    while any(job.is_active for job in store.tasks(number)):
        time.sleep(0.2)
        settle(store, settings)
    return max(job.exit_code or int(job.state != COMPLETED) for job in store.tasks(number))
