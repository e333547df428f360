"""Following jobs that were submitted by hand or by other tools: read only, with no folder of ours on the site."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.jobs.plan import write_indices
from aifa_hpc.slurm.foreign import find_jobs
from aifa_hpc.slurm.states import WAITING, is_terminal
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.records import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.slurm.foreign import Foreign
    from aifa_hpc.tracker.store import Store


def adopt(
    ids: Sequence[str],
    cluster: Cluster,
    store: Store,
    *,
    clock: Callable[[], datetime.datetime],
    token: Callable[[], str],
) -> list[Row]:
    """Remembers jobs by their ids, from now on followed like any other; one that is remembered stays as it is.

    Args:
        ids: Slurm's, those of arrays without an index.
        cluster: The site.
        store: Where jobs are remembered.
        clock: Gives the time, aware.
        token: Makes a token.

    Raises:
        InputError: Some are no ids, not known there, or somebody else's; all are listed, and none was adopted.
        SiteError: The site does not tell.
    """
    site = cluster.site.name
    problems = [_problem(word, "is no job id", "123") for word in ids if not (word.isascii() and word.isdigit())]
    if problems:
        raise InputError("these jobs cannot be followed:", problems=problems, hint="Leave out the index of a task.")
    known = {str(row.job_id): row for row in store.rows(site) if row.job_id in set(ids)}
    user, found = cluster.drive(find_jobs(ids))
    for word in ids:
        if word not in found and word not in known:
            problems.append(_problem(word, f"is not known to {site}, neither to its queue nor to accounting"))
        elif word in found and found[word].user not in {user, ""}:
            problems.append(_problem(word, f"is a job of {found[word].user}: only your own can be followed"))
    if problems:
        raise InputError(
            f"{site} has no such jobs of yours:", problems=problems, hint="`squeue --me` there lists them."
        )
    with store.together():
        for word in dict.fromkeys(ids):
            if word not in known:
                known[word] = _row(found[word], token(), site, clock())
                store.insert(known[word])
    return [known[word] for word in ids]


def _row(job: Foreign, token: str, site: str, now: datetime.datetime) -> Row:
    # Its end is for the next poll to tell, which knows more of it than a word.
    state = "PENDING" if job.state in WAITING else "RUNNING"
    return Row(
        token=token,
        site=site,
        name=job.name,
        job_id=job.id,
        folder="",
        status=Status(state=state, reason="adopted" + (f" as {job.state}" if is_terminal(job.state) else "")),
        created_at=_submitted(job, now),
        changed_at=now,
        tasks=write_indices(job.tasks),
        account=job.account,
        partition=job.partition,
        nodes_wanted=job.nodes,
        limit_seconds=job.limit_seconds,
        log_file=job.log,
    )


def _submitted(job: Foreign, now: datetime.datetime) -> datetime.datetime:
    """When it was submitted; the site's zone is not known, which the window of questions has room for."""
    try:
        return datetime.datetime.fromisoformat(job.submitted).replace(tzinfo=datetime.UTC)
    except ValueError:
        return now


def _problem(word: str, rule: str, nearest: str = "") -> Problem:
    return Problem(key="id", value=word, rule=rule, nearest=nearest)
