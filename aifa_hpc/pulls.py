"""Copies that a site makes itself, from an object store or the web, so that the data does not come by this machine.

What is to be fetched is planned here, with this machine's keys; the site gets a list of files with signed URLs and a
program, in a folder of its own (``WORKDIR/pulls/NAME``), and runs it as a job or on a login node. ``staging.puller``
says what happens there. The same call again follows what runs, goes on with what was cut short, or tells that all is
there.
"""

from __future__ import annotations

import importlib.metadata
import secrets
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from aifa_hpc.errors import InputError, SiteError
from aifa_hpc.jobs.check import account_of, require
from aifa_hpc.jobs.features import Array
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.lakehouse.names import is_table
from aifa_hpc.manifest import DataSet
from aifa_hpc.staging import pull as flows
from aifa_hpc.staging.engine import copy, make_plan
from aifa_hpc.staging.ledger import Remembered
from aifa_hpc.staging.plan import Verdict
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.route import make_route
from aifa_hpc.staging.signing import signer
from aifa_hpc.tracker.connection import connect
from aifa_hpc.transfers import clear_for, open_places
from aifa_hpc.units import Walltime

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.privacy.gate import Clearance
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.pull import Beat
    from aifa_hpc.staging.route import Route
    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.handle import JobHandle
    from aifa_hpc.transfers import Places

Where: TypeAlias = Literal["job", "login"]
State: TypeAlias = Literal["there", "running", "done", "failed"]

_SLOW = 50 * 2**20
"""Bytes a second of one task that the time of a job is reckoned with; what does not suffice is gone on with."""

_SHORTEST, _LONGEST = 1800, 86400
_TICK_SECONDS = 2.0
_BEGINS_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """How the fetching of a source by a site stands.

    Attributes:
        state: ``there``: there was nothing left to fetch, and all is published; ``running``: a job (or a process on a
            login node) works on it or will; ``done``, ``failed``: it was waited for.
        destination: Where to.
        files: Of the source.
        bytes: Of the source.
        fetch_files: Those that the site fetches.
        fetch_bytes: The same.
        job: Id of the job, or its token before there is an id; empty on a login node.
        new: It was begun now, and not by an earlier call.
        problem: Why it failed.
    """

    state: State
    destination: str
    files: int = 0
    bytes: int = 0
    fetch_files: int = 0
    fetch_bytes: int = 0
    job: str = ""
    new: bool = False
    problem: str = ""


def pull(
    source: str,
    destination: str,
    *,
    data_class: str | None = None,
    on: Where = "job",
    tasks: int = 1,
    partition: str = "",
    account: str = "",
    gpus: int = 0,
    limit: Walltime | None = None,
    wait: bool = False,
    progress: Progress = silent,
    begun: Callable[[Pulled], None] = lambda _: None,
) -> Pulled:
    """Has a site copy a source to itself, verified and resumable, and publish the same manifest as a copy.

    Args:
        source: ``s3://bucket/prefix`` or ``https://...``, which the site must reach.
        destination: ``SITE:/path``.
        data_class: ``open`` or ``internal``; the site's default by default.
        on: As a job, or on the login node that answers.
        tasks: Of the job, which then is an array whose tasks share the files; a login node is everybody's and has one.
        partition: For the job; the site's default by default.
        account: For the job; the one of the site's entry by default.
        gpus: For the job, on each node, where the partition gives no node without.
        limit: For the job; by default what its bytes need at 50 MiB/s, and at most a day.
        wait: Wait for its end.
        progress: Told of plan and waiting.
        begun: Told when it runs, before it is waited for.

    Raises:
        InputError: A location or the job is not legal, or the data may not leave; nothing was begun.
        TransferError: One of the sides cannot be read.
        SiteError: The site refused it.
        TransportError: The site cannot be reached, or (:class:`SubmissionUnknownError`) what became of the job is not
            known: never submit it again, ``aifa jobs`` settles it.
    """
    with ExitStack() as stack:
        places = stack.enter_context(open_places())
        target = places.location(destination)
        _require_way(source, destination, places)
        clearance = clear_for(target, data_class)
        connection = stack.enter_context(connect(target.site))
        places.lend(connection.cluster.site, connection.cluster.transport)
        work = _Pull(places, connection, source, destination, clearance=clearance, progress=progress)
        asked = Resources(time=limit or Walltime(_SHORTEST), partition=partition, account=account, gpus_per_node=gpus)
        job = _job(work.name, tasks, asked)
        if on == "job":
            require(job, connection.cluster.site)
        folder = f"{connection.cluster.workdir(account_of(job, connection.cluster.site))}/pulls/{work.name}"
        found = work.running(folder)
        if found is None:
            found = work.begin(folder, job, on=on, tasks=tasks, limit=limit)
        if found.state != "running":
            return found
        begun(found)
        return work.wait(folder, found) if wait else found


class _Pull:
    """One source and one place."""

    def __init__(
        self,
        places: Places,
        connection: Connection,
        source: str,
        destination: str,
        *,
        clearance: Clearance,
        progress: Progress,
    ) -> None:
        self._places, self._connection, self._clearance, self._progress = places, connection, clearance, progress
        self._target = places.location(destination)
        self._there = places.open(self._target)
        self._here = places.open(places.location(source))
        self._bucket = places.location(source).bucket
        self._route: Route = make_route(self._here, self._there)
        self.name = flows.pull_name(self._route)

    def running(self, folder: str) -> Pulled | None:
        """What works on it already, by this or an earlier call."""
        destination = self._route.destination_text
        if self._handle() is not None:
            self._connection.poll()
        handle = self._handle()
        if handle is not None:
            return Pulled(state="running", destination=destination, job=handle.id or handle.token)
        # One that was killed has just told that it works, and its job is known to be over.
        over = {one.id for one in self._connection.jobs() if one.status.over}
        beats = self._connection.cluster.drive(flows.ask(folder))
        alive = [beat for beat in beats if beat.alive and not (beat.job and beat.job in over)]
        return Pulled(state="running", destination=destination, job=alive[0].job) if alive else None

    def begin(self, folder: str, job: Job, *, on: Where, tasks: int, limit: Walltime | None) -> Pulled:
        """Plans it, and starts it if something is to be fetched."""
        cluster, route, ledger = self._connection.cluster, self._route, self._places.ledger
        with ledger.hold(route.place):
            self._note_done(folder)
            sign = signer(route.source, self._bucket)
            _, plan = make_plan(
                self._here, self._there, clearance=self._clearance, ledger=ledger, progress=self._progress,
                reading=False,
            )  # fmt: skip
            sending = plan.of(Verdict.SEND)
            told = Pulled(
                state="there", destination=route.destination_text, files=len(plan.actions), bytes=plan.bytes,
                fetch_files=len(sending), fetch_bytes=sum(one.file.size for one in sending),
            )  # fmt: skip
            if sending:
                self._places.approval(self._target, self._there, self._progress)(plan)
                before = route.destination.read_bytes(route.manifest) or b""
                archive = flows.pack(
                    route, _folder_of(route.destination, self._target.site), plan, before,
                    data_set=_data_set(route), sign=sign, run=secrets.token_hex(4), tasks=tasks if on == "job" else 1,
                )  # fmt: skip
                cluster.drive(flows.put(folder, archive))
        if not sending:
            # All is there, and the manifest may not be: of a run that was cut short at its end.
            copy(self._here, self._there, clearance=self._clearance, ledger=ledger, plan=plan)
            cluster.drive(flows.drop(folder))
            return told
        python = sys.executable if cluster.site.access.transport == "embedded" else "python3"
        told = replace(told, state="running", new=True)
        if on == "login":
            cluster.drive(flows.start(folder, python))
            return told
        words = (python, "-I", f"{folder}/program.zip", folder)
        asked = job.resources
        if limit is None:
            asked = msgspec.structs.replace(asked, time=_time_for(told.fetch_bytes, tasks))
        launch = Launch(kind="command", command=words)
        handle = self._connection.submit(msgspec.structs.replace(job, launch=launch, resources=asked))
        return replace(told, job=handle.id or handle.token)

    def wait(self, folder: str, told: Pulled) -> Pulled:
        """Waits for the end, which a job has in Slurm's eyes and a process in its own."""
        handle = self._handle() if told.job else None
        if handle is not None:
            handle.wait(seen=self._seen, trouble=self._progress.hint)
        beats = self._beats(folder, told)
        self._note_done(folder)
        problem = next((beat.problem for beat in beats if beat.problem), "")
        unfinished = [beat for beat in beats if beat.state != "done"]
        if handle is not None and not handle.status.ok:
            problem = problem or f"its job ended as {handle.status.state}"
        elif unfinished and not problem:
            problem = f"{unfinished[0].where} was ended"
        if not problem:
            self._remember(told)
        return replace(told, state="failed" if problem else "done", problem=problem)

    def _remember(self, told: Pulled) -> None:
        """Puts it on record as a copy, so that a repair knows where the data came from."""
        route, now = self._route, time.time()
        known = Remembered(
            place=route.place, source=route.source_text, destination=route.destination_text, begun=now, ended=now,
            files=told.files, bytes=told.bytes, done=told.bytes,
        )  # fmt: skip
        self._places.ledger.note_copy(known)

    def _seen(self, status: Status) -> None:
        if not status.over:
            self._progress.hint(f"its job is {status.state}{f' ({status.reason})' if status.reason else ''}")

    def _beats(self, folder: str, told: Pulled) -> list[Beat]:
        """How all tasks are in the end."""
        drive, done = self._connection.cluster.drive, 0
        self._progress.start(told.fetch_files, told.fetch_bytes)
        begin = time.monotonic()
        while True:
            beats = drive(flows.ask(folder))
            now = sum(beat.bytes for beat in beats)
            self._progress.advance(now - done)
            done = now
            if beats and (told.job or not any(beat.alive for beat in beats)):
                return beats
            if not beats and (told.job or time.monotonic() - begin > _BEGINS_SECONDS):
                said = drive(flows.ask_log(folder))
                if told.job:
                    return []
                raise SiteError(f"nothing was fetched: {said or 'the program did not start'}", hint="Use `--on job`.")
            self._connection.pause(_TICK_SECONDS)

    def _handle(self) -> JobHandle | None:
        """The job that is at it, if there is one that is not over."""
        mine = [one for one in self._connection.jobs(active=True) if one.name == f"pull-{self.name}"]
        return mine[-1] if mine else None

    def _note_done(self, folder: str) -> None:
        """Learns what the site fetched and hashed."""
        route, ledger = self._route, self._places.ledger
        for one in self._connection.cluster.drive(flows.ask_done(folder)):
            blocks = tuple(map(bytes.fromhex, one["blocks"]))
            ledger.note_content(route.source.identity, one["file"], one["pin"], blocks)
            ledger.note_content(route.destination.identity, one["done"], one["there"], blocks)


def _require_way(source: str, destination: str, places: Places) -> None:
    """Only what another machine can read by a URL, and only to a site."""
    if places.location(destination).kind != "site":
        raise InputError(
            f"{destination} is not on a site, so there is nobody there to fetch it.", hint="Use `aifa stage copy`."
        )
    if is_table(source) or places.location(source).kind not in {"s3", "url"}:
        raise InputError(
            f"a site cannot fetch {source} by itself: only s3:// and https:// have URLs that it could read.",
            hint="Use `aifa stage copy`.",
        )


def _job(name: str, tasks: int, resources: Resources) -> Job:
    """The job, but for its program; Slurm may run it again, as it goes on where it was."""
    return Job(
        name=f"pull-{name}",
        resources=resources,
        launch=Launch(kind="command", command=("python3",)),
        array=Array(count=tasks) if tasks > 1 else None,
        requeue=True,
    )


def _time_for(size: int, tasks: int) -> Walltime:
    seconds = _SHORTEST + size // (_SLOW * tasks)
    return Walltime(min(_LONGEST, -(-seconds // 600) * 600))


def _data_set(route: Route) -> DataSet:
    return DataSet(
        source=route.source_text,
        place=route.source.identity,
        tool=importlib.metadata.version("aifa_hpc"),
        published=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _folder_of(destination: Endpoint, site: str) -> str:
    """A site's folder as programs there name it."""
    return str(destination).removeprefix(f"{site}:") or "/"
