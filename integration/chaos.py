"""What the chaos tests share: a user behind a bad network, rounds of submissions, and the scheduler's own count."""

from __future__ import annotations

import collections
import datetime
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aifa_hpc.cluster import Cluster as Site
from aifa_hpc.command import Command
from aifa_hpc.errors import NotSentError, SubmissionUnknownError, TransportError
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.sites.load import load_site
from aifa_hpc.testing.faults import Clock
from aifa_hpc.testing.proxy import Proxy
from aifa_hpc.tracker.connection import Connection
from aifa_hpc.tracker.poller import Poller
from aifa_hpc.tracker.store import Store
from aifa_hpc.transport.connect import open_transport
from aifa_hpc.transport.openssh import OpenSSHTransport
from aifa_hpc.units import Walltime
from integration.clusters.control import Cluster
from integration.conftest import SHAPES, User, make_user, reroute

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aifa_hpc.tracker.records import Row
    from aifa_hpc.transport.base import Transport


@dataclass
class Victim:
    """A user whose way to a cluster leads through a proxy.

    Attributes:
        user: Whose folders and settings they are.
        proxy: The way.
        run: Begins the names of all jobs of this test.
        given_up: Submissions that were not sent and tried again.
        settled: Submissions that were unknown for a while.
    """

    user: User
    proxy: Proxy
    run: str = field(default_factory=lambda: f"chaos{secrets.token_hex(3)}")
    given_up: int = 0
    settled: int = 0
    _later: Clock = field(default_factory=Clock)

    @property
    def cluster(self) -> Cluster:
        """The cluster, for its administrator."""
        return Cluster(self.user.machine)

    def job(self, number: int, *command: str) -> Job:
        """A job with a name of its own, which does nothing by default."""
        shape = SHAPES[self.user.machine]
        resources = Resources(
            partition=str(shape["partition"]), gpus_per_node=int(str(shape["gpus_per_node"])), time=Walltime(300)
        )
        return Job(
            name=f"{self.run}-{number}",
            resources=resources,
            launch=Launch(kind="command", command=command or ("true",)),
        )

    def transport(self) -> Transport:
        """A way to the site; nothing is connected yet."""
        return open_transport(load_site(self.user.site, self.user.home / "config"), self.user.home / "state")

    def connection(self, transport: Transport) -> Connection:
        """What a program of the user's would hold; it waits for nothing between two tries."""
        site = load_site(self.user.site, self.user.home / "config")
        return Connection(Site(site, transport, sleep=lambda _: None), self.store(), sleep=lambda _: None)

    @staticmethod
    def nothing() -> Command:
        """A command that does nothing."""
        return Command(argv=("true",))

    def store(self) -> Store:
        """The user's memory of jobs."""
        (self.user.home / "state").mkdir(exist_ok=True)
        return Store(self.user.home / "state" / "jobs.sqlite3")

    def submit(self, number: int, *, logout: bool = True) -> str:
        """Submits until there is a job, as the errors allow it, and returns its id.

        Args:
            number: Of the job.
            logout: The next submission logs in anew.
        """
        transport = self.transport()
        with self.connection(transport) as connection:
            try:
                while True:
                    try:
                        return str(connection.submit(self.job(number)).id)
                    except NotSentError:
                        self.given_up += 1
                    except SubmissionUnknownError as error:
                        self.settled += 1
                        if found := self._settled(connection, error.token):
                            return found
            finally:
                if logout and isinstance(transport, OpenSSHTransport):
                    transport.logout()

    def submit_batch(self, numbers: Iterable[int]) -> dict[str, list[str]]:
        """Submits jobs together until there is one of each, as the errors allow it; their ids by name."""
        transport = self.transport()
        jobs = [self.job(number) for number in numbers]
        with self.connection(transport) as connection:
            try:
                while True:
                    try:
                        tokens = [handle.token for handle in connection.submit_many(jobs)]
                        break
                    except NotSentError:
                        self.given_up += len(jobs)
                found = {}
                for job, token in zip(jobs, tokens, strict=True):
                    job_id = connection.store.find(token, self.user.site).job_id
                    if job_id is None:
                        self.settled += 1
                        job_id = self._settled(connection, token)
                    found[job.name] = [str(job_id)]
                return found
            finally:
                if isinstance(transport, OpenSSHTransport):
                    transport.logout()

    def submit_job(self, job: Job, clock: Clock) -> None:
        """Submits a job by that clock."""
        with self.connection(self.transport()) as connection:
            Poller(connection.cluster, connection.store, clock=clock).submitter.submit(job)

    def follow(
        self, clock: Clock | None = None, *, until: tuple[str, ...] = (), hurry: float = 0.0, patience: float = 120.0
    ) -> list[str]:
        """Asks until all jobs are over, or in one of these states once the site was asked; their states.

        Args:
            clock: Whoever asks has it.
            until: States.
            hurry: Seconds that it is moved by with each look, five in a second: at the site's own pace (JUPITER: a
                question a minute) one question that breaks would use up this one's patience.
            patience: Seconds in which all must have happened.
        """
        clock = clock or Clock()
        deadline = time.monotonic() + patience
        with self.connection(self.transport()) as connection:
            poller = Poller(connection.cluster, connection.store, clock=clock)
            while True:
                asked = False
                with suppress(TransportError):
                    asked = poller.poll()
                rows = connection.store.rows(self.user.site)
                states = [row.status.state for row in rows]
                if all(row.status.over for row in rows) or (asked and set(states) <= set(until)):
                    return states
                assert time.monotonic() < deadline, states
                time.sleep(0.2)
                clock.jump(datetime.timedelta(seconds=hurry))

    def follow_for(self, seconds: float) -> None:
        """Asks for that time, whatever becomes of the jobs."""
        with self.connection(self.transport()) as connection:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                connection.poll()
                time.sleep(0.2)

    def rows(self) -> list[Row]:
        """What the user's store remembers."""
        store = self.store()
        try:
            return store.rows(self.user.site)
        finally:
            store.close()

    def settle(self, clock: Clock) -> None:
        """Asks what became of everything that is not known, as it would be asked at that clock's time."""
        with self.connection(self.transport()) as connection:
            Poller(connection.cluster, connection.store, clock=clock).poll()

    def count(self) -> dict[str, list[str]]:
        """For each job name of this run without its token, the ids that queue or accounting have."""
        queue = self.cluster.admin("squeue", "--noheader", "--states=all", "--format=%i|%j")
        since = ("-X", "-n", "-P", "-S", "now-2hours", "--format=JobID,JobName")
        accounting = self.cluster.admin("sacct", "-a", *since)
        found: dict[str, set[str]] = collections.defaultdict(set)
        for line in (*queue.splitlines(), *accounting.splitlines()):
            job_id, _, name = line.partition("|")
            if name.startswith(f"{self.run}-"):
                found[name.rpartition(".")[0]].add(job_id)
        return {name: sorted(ids) for name, ids in found.items()}

    def _settled(self, connection: Connection, token: str) -> str | None:
        """The id of a submission that was unknown; ``None`` when there is no job and never will be."""
        poller = Poller(connection.cluster, connection.store, clock=self._later)
        deadline = time.monotonic() + 60
        while not (row := connection.store.find(token, self.user.site)).status.over and row.job_id is None:
            assert time.monotonic() < deadline, f"{token} stays {row.status.state}: {row.status.reason}"
            self._later.jump(datetime.timedelta(minutes=5))
            # An sbatch that lost the controller itself is in doubt for half an hour: let it have passed there, too.
            jobs = f"{self.user.connect['workdir']}/jobs"
            self.cluster.admin("find", jobs, "-name", "doubt", "-exec", "touch", "-d", "1 hour ago", "{}", "+")
            with suppress(TransportError):  # as whoever follows jobs does, see tracker.patience
                poller.poll()
        return row.job_id


def make_victim(home: Path, machine: str, transport: str) -> Victim:
    """A user of a cluster behind a proxy of the user's own, whom the ssh program logs in without a person."""
    user = make_user(home, machine, transport, mfa=False)
    proxy = Proxy(user.connect["port"])
    reroute(user, proxy.port)
    return Victim(user, proxy)
