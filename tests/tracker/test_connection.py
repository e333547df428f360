"""A connection whose link breaks, to the embedded scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from aifa_hpc.cluster import Cluster
from aifa_hpc.command import Completed
from aifa_hpc.errors import InputError, NotSentError, OutcomeUnknownError, SiteError
from aifa_hpc.jobs.features import Chain
from aifa_hpc.sites.load import load_site
from aifa_hpc.slurm.query import Subject
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.poller import utc_now
from aifa_hpc.transport.base import Channel, Transport
from aifa_hpc.transport.refusals import PersonNeededError
from aifa_hpc.units import Walltime
from tests.tracker.linked import Link, job

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.command import Command
    from aifa_hpc.tracker.connection import Connection


def test_waiting_bears_an_outage(connection: Connection, link: Link) -> None:
    """The link is down for ten commands: the job is followed to its end all the same, and the outage told of once."""
    handle = connection.submit(job("sleep 0.2"))
    link.failures = [NotSentError("refused")] * 9 + [OutcomeUnknownError("silence")]
    told: list[str] = []
    status = handle.wait(trouble=told.append)
    assert ("COMPLETED", ["now", "again"]) == (
        status.state,
        [("again" if "answers" in text else "now") for text in told],
    )


def test_following_a_log_bears_an_outage(connection: Connection, link: Link) -> None:
    """The link breaks before every second command: each byte of the log comes, and comes once."""
    handle = connection.submit(job("for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"))
    got = []
    for piece in handle.logs(follow=True, trouble=lambda text: None):
        got.append(piece)
        link.failures = [OutcomeUnknownError("silence")] * 5
    assert "1\n2\n3\n4\n5\n" == "".join(got)


def test_waiting_ends_where_a_person_is_needed(connection: Connection, link: Link) -> None:
    """A login that only a person can open is an error at once."""
    handle = connection.submit(job("true"))
    link.failures = [PersonNeededError("no login")]
    with pytest.raises(PersonNeededError):
        handle.wait()


def test_waiting_gives_up_on_time_also_in_an_outage(connection: Connection, link: Link) -> None:
    """The timeout holds while the site is away."""
    handle = connection.submit(job("true"))
    link.failures = [NotSentError("refused")] * 1000
    with pytest.raises(TimeoutError):
        handle.wait(timeout=60, trouble=lambda text: None)


def test_links_of_a_chain_are_attempts_of_one_job(connection: Connection) -> None:
    """The first one's handle has the runs of all of them, in order."""
    chain = replace(job("true"), chain=Chain(total=Walltime(120)))
    handle = connection.submit(chain)
    parts = connection.parts(handle.token)
    assert (2, [(row.job_id, "PENDING") for row in parts]) == (
        len(parts),
        [(one.job_id, one.state) for one in handle.attempts],
    )
    assert handle.wait().ok
    assert [(row.job_id, 1, "COMPLETED") for row in parts] == [
        (one.job_id, one.number, one.state) for one in handle.attempts
    ]


def test_a_part_that_is_being_submitted_is_not_said_to_be_cancelled(connection: Connection) -> None:
    """Those with ids are cancelled, and the error says that more may begin."""
    there = connection.submit(job("sleep 60"))
    words = {"site": "local", "name": "job", "folder": "/jobs/x", "now": utc_now(), "tasks": "0-1"}
    for token, job_id in (("first", there.id), ("second", None)):
        connection.store.intend(token=token, part_of="first", **words)  # type: ignore[arg-type] # as they are named
        if job_id:
            connection.store.update(token, Status(state="PENDING"), now=utc_now(), job_id=job_id)
    with pytest.raises(InputError, match="1 of 2 parts of job"):
        connection.job("first").cancel()
    assert "CANCELLED" == there.wait().state


class Garbled(Transport):
    """A site whose squeue prints too few columns."""

    def run(self, command: Command) -> Completed:
        """Answers."""
        said = "aifa: section queue\n7|RUNNING\naifa: end 0\naifa: done 1 0\n"
        return Completed(command=command, exit_code=0, stdout=said.encode())

    def open(self, command: Command) -> Channel:
        """Nobody opens anything here."""
        raise NotSentError(command.line)


def test_an_answer_that_cannot_be_read_is_the_sites_fault(tmp_path: Path) -> None:
    """What squeue printed is no wrong input of the user."""
    cluster = Cluster(load_site("local"), Garbled(), config=tmp_path)
    with pytest.raises(SiteError, match="cannot be read: squeue printed 2 of 7 columns"):
        cluster.ask([Subject(id="7", folder="/jobs/a")], since="2020-01-01T00:00:00")
