"""The commands of a job's life: check, submit, cancel."""

from __future__ import annotations

import datetime
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Command, current_output, read_job_file, site_option
from aifa_hpc.cli.dryrun import dry_run as try_job
from aifa_hpc.cli.image import image_here, image_option
from aifa_hpc.cli.output import JsonOutput
from aifa_hpc.cli.quote import note_cost
from aifa_hpc.cli.render import template_option
from aifa_hpc.errors import EXIT_DONE, EXIT_FAILED, EXIT_INPUT, EXIT_SITE, EXIT_UNKNOWN, AifaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.handle import JobHandle
    from aifa_hpc.tracker.store import Row

_JOB_FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("job_file", type=_JOB_FILE)
@site_option
@image_option
def check(job_file: Path, site: str, image: Path | None) -> int:
    """Say whether SITE will take the job, and everything it would object to."""
    from aifa_hpc.jobs.check import check as check_job  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.check import require_open  # noqa: PLC0415
    from aifa_hpc.sites.load import load_site  # noqa: PLC0415

    machine = load_site(site)
    require_open(machine)
    job = read_job_file(job_file, machine)
    problems = (*check_job(job, machine), *image_here(job, machine, image))
    current_output().problems(problems, empty=f"{site} will take job {job.name!r}: nothing to object to.")
    note_cost(job, machine)
    return EXIT_INPUT if any(problem.severity == "error" for problem in problems) else EXIT_DONE


@click.command(cls=Command)
@click.argument("job_files", nargs=-1, required=True, metavar="JOB_FILE...", type=_JOB_FILE)
@site_option
@click.option("--wait", is_flag=True, help="Follow the jobs to their end; the exit code then tells how they ended.")
@click.option("--queue", is_flag=True, help="Let what SITE has no room for wait here; `aifa jobs` submits it later.")
@click.option("--dry-run", is_flag=True, help="Have SITE's own sbatch look at the scripts, and submit nothing.")
@template_option
def submit(  # noqa: PLR0917 - click calls it by name
    job_files: Sequence[Path], site: str, wait: bool, queue: bool, dry_run: bool, template: Path | None
) -> int:
    """Submit jobs to SITE, each exactly once; several are one command there, and those without room wait here."""
    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415 - keeps `aifa --help` quick

    output = current_output()
    with connect(site, template=template) as connection:
        machine = connection.cluster.site
        jobs = [read_job_file(path, machine) for path in job_files]
        if dry_run:
            for job in jobs:
                try_job(job, connection)
            return EXIT_DONE
        try:
            many = queue or len(jobs) > 1
            handles = connection.submit_many(jobs) if many else [connection.submit(job) for job in jobs]
        except KeyboardInterrupt:
            output.note("\nIt may have been submitted: do not submit it again before `aifa jobs` has told.")
            raise
        for job in jobs:
            note_cost(job, machine)
        lines = [_submitted_line(handle, connection.store.parts(handle.token)) for handle in handles]
        if wait:
            for handle, line in zip(handles, lines, strict=True):
                output.event("submitted", job_fields(handle.row), line)
            return _follow(handles)
        for handle, line in zip(handles, lines, strict=True):
            output.record(job_fields(handle.row), line)
        return max(_SUBMITTED.get(handle.status.state, EXIT_DONE) for handle in handles)


_SUBMITTED = {"REFUSED": EXIT_SITE, "NOT_SENT": EXIT_SITE, "UNKNOWN": EXIT_UNKNOWN}


def _submitted_line(handle: JobHandle, parts: Sequence[Row]) -> str:
    """What became of a submission, in a sentence."""
    site = handle.row.site
    ids = [part.job_id for part in parts if part.job_id]
    if not ids:
        return f"job {handle.name} ({handle.token}): {status_line(handle.status)}"
    count = f" in {len(parts)} parts ({', '.join(ids)})" if len(parts) > 1 else ""
    waits = f", {len(parts) - len(ids)} of which wait here" if len(ids) < len(parts) else ""
    return f"job {handle.id} submitted to {site}{count}{waits}; follow it: aifa logs {handle.id} -f"


def _follow(handles: Sequence[JobHandle]) -> int:
    """Tells of each job when it has ended, and of those that go on when something ends the waiting."""
    left, code = {handle.token: handle for handle in handles}, EXIT_DONE
    try:
        for handle in _as_they_end(handles):
            code = max(code, _tell_end(left.pop(handle.token)))
    except (KeyboardInterrupt, AifaError):
        for handle in left.values():
            name = handle.id or handle.token
            goes_on = f"\nJob {name} goes on: `aifa jobs` shows it, `aifa cancel {name}` ends it."
            current_output().record(job_fields(handle.row), goes_on)
        raise
    return code


def _as_they_end(handles: Sequence[JobHandle]) -> Iterator[JobHandle]:
    from aifa_hpc.tracker.waiting import as_completed  # noqa: PLC0415 - keeps `aifa --help` quick

    output = current_output()
    if len(handles) == 1:
        (handle,) = handles
        handle.wait(seen=_tell_change(handle), trouble=lambda text: output.event("warning", {"text": text}, text))
        yield handle
        return
    if isinstance(output, JsonOutput):  # people are told of the ends of many jobs
        for handle in handles:
            handle.on_change(_tell_change(handle))
    yield from as_completed(handles)


def _tell_change(handle: JobHandle) -> Callable[[Status], None]:
    """Tells of a new status; that of the end is a result."""
    output = current_output()

    def tell(status: Status) -> None:
        if not status.over:
            output.event("status", job_fields(handle.row), status_line(status))

    return tell


def _tell_end(handle: JobHandle) -> int:
    output, status = current_output(), handle.status
    output.record(job_fields(handle.row), f"job {handle.id or handle.token} ended: {status_line(status)}")
    if status.ok:
        return EXIT_DONE
    if handle.id:
        output.note(f"its output: aifa logs {handle.id}")
    return EXIT_FAILED


@click.command(cls=Command)
@click.argument("job_id", metavar="ID")
@click.option("--site", metavar="SITE", help="Where, if several sites have a job of that id.")
def cancel(job_id: str, site: str | None) -> None:
    """Cancel a job, by its id or token."""
    with ExitStack() as stack:
        (handle,) = open_jobs((job_id,), site, stack)
        if handle.status.over:
            text = f"job {handle.id} is over already: {status_line(handle.status)}"
        else:
            handle.cancel()
            text = f"asked {handle.row.site} to cancel job {job_id}; `aifa jobs` shows when it has"
            if handle.id is None and handle.refresh().over:
                text = f"job {handle.token} waited here and is forgotten"
        current_output().record(job_fields(handle.row), text)


def open_jobs(words: Sequence[str], site: str | None, stack: ExitStack) -> list[JobHandle]:
    """Handles of remembered jobs; the stack closes their connections, one for each site."""
    from aifa_hpc.sites.load import state_dir  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.connection import connect  # noqa: PLC0415
    from aifa_hpc.tracker.store import Store  # noqa: PLC0415

    store = stack.enter_context(closing(Store(state_dir() / "jobs.sqlite3")))
    found = [(store.find(base, site), f"{bar}{task}") for base, bar, task in (word.partition("_") for word in words)]
    connections: dict[str, Connection] = {}
    for row, _ in found:
        if row.site not in connections:
            connections[row.site] = stack.enter_context(connect(row.site))
    return [connections[row.site].job(f"{row.token}{task}") for row, task in found]


def job_fields(row: Row) -> dict[str, Any]:
    """A job as machines get it."""
    status = row.status
    return {
        "id": row.job_id,
        "site": row.site,
        "name": row.name,
        "state": status.state,
        "elapsed": None if status.elapsed_seconds is None else str(datetime.timedelta(seconds=status.elapsed_seconds)),
        "exit": None if status.exit is None else str(status.exit),
        "reason": status.reason,
        "nodes": status.nodes,
        "proof": status.proof,
        "token": row.token,
        "folder": row.folder,
        "log": row.log if row.job_id else None,
        "submitted_at": row.created_at.isoformat(),
    }


def status_line(status: Status) -> str:
    """A status as a person reads it."""
    parts = [status.state]
    if status.exit is not None:
        parts.append(f"exit {status.exit}")
    if status.nodes:
        parts.append(f"on {status.nodes}")
    line = ", ".join(parts)
    return f"{line} ({status.reason})" if status.reason and not status.ok else line
