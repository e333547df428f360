"""A site and the wire to it: renders, submits, asks, cancels and reads logs there. Remembers nothing.

Joins ``slurm`` (which knows no wire) and ``transport`` (which knows no Slurm). What must be remembered about jobs is
the tracker's.
"""

from __future__ import annotations

import secrets
import time
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from aifa_hpc import __version__
from aifa_hpc.command import drive, shell
from aifa_hpc.errors import InputError, ParseError, SiteError
from aifa_hpc.jobs.check import account_of, partition_of, require
from aifa_hpc.jobs.image import head_problems, read_head
from aifa_hpc.jobs.plan import WHOLE
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.render import render
from aifa_hpc.sites.load import config_dir, state_dir
from aifa_hpc.slurm import flows, submission
from aifa_hpc.slurm.logs import read_logs
from aifa_hpc.slurm.query import query
from aifa_hpc.slurm.submission import Ticket
from aifa_hpc.transport.retry import run_with_retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aifa_hpc.command import Command, Completed, Flow
    from aifa_hpc.jobs.data import Data
    from aifa_hpc.jobs.plan import Part
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site
    from aifa_hpc.slurm.logs import Chunk, Source
    from aifa_hpc.slurm.query import Subject
    from aifa_hpc.slurm.records import Answer
    from aifa_hpc.slurm.submission import Outcome
    from aifa_hpc.transport.base import Transport

_LOG_BYTES = 1 << 20
_PROVEN_SECONDS = 60.0
"""How long data that was verified is believed to be there, for jobs that are submitted one after the other."""

T = TypeVar("T")


class Cluster:
    """One site, reached by one transport.

    Args:
        site: What the machine is.
        transport: How it is reached; closed with the cluster.
        config: Configuration folder, for the user's own templates.
        template: A template's file that is used in the place of the launch kind's own.
        sleep: Waits between two tries, in seconds.
    """

    def __init__(
        self,
        site: Site,
        transport: Transport,
        *,
        config: Path | None = None,
        template: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.site = site
        self.transport = transport
        self._sleep = sleep
        self._loader = template_loader(config or config_dir(), template)
        self._proven: dict[Data, float] = {}
        self._heads: dict[str, bytes] = {}

    def close(self) -> None:
        """Lets go of the transport."""
        self.transport.close()

    def prepare(
        self,
        job: Job,
        token: str,
        part: Part = WHOLE,
        *,
        tokens: Sequence[str] = (),
        after: Sequence[str] = (),
        queue: bool = False,
    ) -> tuple[Ticket, str]:
        """What identifies a submission, and its script; the token stands in the job's name, where Slurm can find it.

        Args:
            job: What to run; its dependencies name ids only.
            token: Of this submission.
            part: Which of the job's submissions it is, see ``jobs.plan``.
            tokens: Of all its submissions, in order.
            after: Ids of its earlier submissions that this one waits for.
            queue: It waits here for room, so the limit of submitted jobs is none for it.

        Raises:
            InputError: The site is a draft, the job has problems or is interactive, its image is for another processor,
                its data is not there as it was published, or a template is broken.
            TransportError: The site must be asked who we are there, and cannot be.
        """
        require(job, self.site, queue=queue)
        if job.launch.kind == "interactive":
            message = f"an interactive job is not submitted; log in to {self.site.name} and paste:\n"
            raise InputError(message, hint=self.render(job))
        if part.number == 0:
            self._require_image(job)
            self._require_data(job)
        folder = f"{self.workdir(account_of(job, self.site))}/jobs"
        ticket = Ticket(token=token, name=f"{job.name}.{token}", jobs=folder)
        # Slurm's singleton compares whole names, so such a job has a plain one and is found by its comment.
        plain = job.after is not None and job.after.singleton
        placement = Placement(
            folder=ticket.folder,
            token=token,
            name=job.name if plain else ticket.name,
            after=tuple(after),
            links=tuple(f"{folder}/{one}" for one in tokens),
        )
        script = render(job, self.site, self._loader, version=__version__, placement=placement, part=part)
        return ticket, script

    def render(self, job: Job) -> str:
        """The script for a person to submit; errors as :meth:`prepare`."""
        require(job, self.site)
        return render(job, self.site, self._loader, version=__version__)

    def submit(self, ticket: Ticket, script: str) -> str:
        """Submits exactly once and returns the job id; errors as :func:`slurm.submission.submit`."""
        return self.drive(submission.submit(ticket, script))

    def submit_many(self, tickets: Sequence[Ticket], scripts: Sequence[str], *, queue: bool) -> list[Outcome]:
        """Submits many scripts in one command; errors as :func:`slurm.submission.submit_many`."""
        return self.drive(submission.submit_many(tickets, scripts, queue=queue))

    def look_up_many(self, tickets: Sequence[Ticket], *, fence: bool) -> list[Outcome]:
        """What became of submissions; see :func:`slurm.submission.look_up_many`."""
        return self.drive(submission.look_up_many(tickets, fence=fence))

    def ask(self, subjects: Sequence[Subject], *, since: str) -> Answer:
        """One question about many jobs.

        Raises:
            SiteError: The answer is not whole, or cannot be read.
        """
        try:
            return self.drive(query(subjects, since=since))
        except ParseError as error:
            raise SiteError(f"the answer of {self.site.name} about jobs cannot be read: {error}") from error

    def cancel(self, job: str) -> None:
        """Asks Slurm to cancel a job."""
        self.drive(flows.cancel(job))

    def read_logs(self, sources: Sequence[Source], *, ending: str, lines: int, turn: int) -> tuple[list[Chunk], bool]:
        """What is new in logs, a megabyte at most; see :func:`slurm.logs.read_logs`."""
        mark = f"aifa-{secrets.token_hex(16)}"
        return self.drive(read_logs(sources, mark=mark, limit=_LOG_BYTES, ending=ending, lines=lines, turn=turn))

    def workdir(self, account: str) -> str:
        """The user's folder on the site; what ``workdir`` in ``sites.toml`` may hold was checked when that was read."""
        pattern = self.site.access.workdir
        if not pattern:
            return f"{state_dir()}/local" if self.site.access.transport == "embedded" else f"{self._user[1]}/aifa"
        user = self._user[0] if "{user}" in pattern else ""
        return pattern.replace("{account}", account).replace("{user}", user).rstrip("/")

    @cached_property
    def _user(self) -> tuple[str, str]:
        return self.drive(_who_am_i())

    def _require_data(self, job: Job) -> None:
        """Refuses a job whose data is not there as it was published; many jobs in a minute share one look."""
        if job.data is None or time.monotonic() - self._proven.get(job.data, -_PROVEN_SECONDS) < _PROVEN_SECONDS:
            return
        from aifa_hpc.staging.demand import require_data  # noqa: PLC0415 - most jobs name no data
        from aifa_hpc.staging.ledger import Ledger  # noqa: PLC0415

        with Ledger(state_dir() / "staging.sqlite3") as ledger:
            require_data(job.data, self.site, self.transport, ledger)
        self._proven[job.data] = time.monotonic()

    def _require_image(self, job: Job) -> None:
        """Refuses an image that can be read there and is for another processor."""
        partition = partition_of(job, self.site)
        if job.container is None or partition is None:
            return
        image = job.container.image
        if image not in self._heads:  # two hundred jobs share one
            self._heads[image] = self.drive(read_head(image))
        head = self._heads[image]
        if problems := tuple(head_problems(job, self.site, partition, head)):
            message = f"{self.site.name} cannot run job {job.name!r}:"
            raise InputError(message, problems=problems, hint="Nothing was sent.")

    def drive(self, flow: Flow[T]) -> T:
        """Drives a flow over the wire; a question whose answer got lost is asked again."""
        return drive(flow, self._run)

    def _run(self, command: Command) -> Completed:
        return run_with_retry(self.transport.run, command, sleep=self._sleep)


def open_transport(site: Site) -> Transport:
    """The transport that a site's entry asks for; nothing counts what it does: see ``tracker.budget.open_site``."""
    if site.access.transport == "embedded":
        from aifa_hpc.embedded import EmbeddedTransport  # noqa: PLC0415 - only where it is used

        return EmbeddedTransport(state_dir() / "embedded")
    from aifa_hpc.transport.connect import open_transport as open_wire  # noqa: PLC0415 - fabric is heavy

    return open_wire(site, state_dir())


def _who_am_i() -> Flow[tuple[str, str]]:
    completed = yield shell('printf "aifa: user %s\\naifa: home %s\\n" "$(id -un)" "$HOME"', idempotent=True)
    found = dict(
        line.removeprefix("aifa: ").split(" ", 1) for line in completed.out.splitlines() if line.startswith("aifa: ")
    )
    if completed.exit_code != 0 or not found.get("user") or not found.get("home"):
        raise completed.refusal("the site does not say who we are there")
    return found["user"], found["home"]
