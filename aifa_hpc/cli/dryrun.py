"""``aifa submit --dry-run``: what the site's own sbatch says to the scripts, with nothing submitted or remembered."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from aifa_hpc.cli.base import current_output
from aifa_hpc.cli.quote import note_cost, quote_fields
from aifa_hpc.errors import InputError, SiteError

if TYPE_CHECKING:
    from aifa_hpc.cluster import Cluster
    from aifa_hpc.command import Flow
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.tracker.connection import Connection

T = TypeVar("T")


def ask(cluster: Cluster, flow: Flow[T]) -> T:
    """Drives a flow over a cluster's transport; questions that got lost are asked again."""
    from aifa_hpc.command import drive  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transport.retry import run_with_retry  # noqa: PLC0415

    return drive(flow, partial(run_with_retry, cluster.transport.run, sleep=time.sleep))


def dry_run(job: Job, connection: Connection) -> None:
    """Checks and renders the job, and has the site's sbatch look at the script of each submission.

    Raises:
        InputError: The job has problems, and the site was not asked; or its image or data there are not right.
        SiteError: The site would refuse it, or does not answer.
    """
    from aifa_hpc.jobs.check import require  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.quote import quote  # noqa: PLC0415
    from aifa_hpc.slurm.survey import try_scripts  # noqa: PLC0415

    cluster = connection.cluster
    output, site = current_output(), cluster.site
    for warning in require(job, site):
        output.note(f"warning: {warning}")
    if job.launch.kind == "interactive":
        raise InputError("an interactive job has no script that sbatch could look at.", hint="See `aifa render`.")
    verdicts = ask(cluster, try_scripts(_scripts(job, connection)))
    refused = {number: verdict.words for number, verdict in enumerate(verdicts, start=1) if not verdict.accepted}
    if refused:
        number, words = next(iter(refused.items()))
        which = "" if len(verdicts) == 1 else f" ({len(refused)} of {len(verdicts)} submissions, the first is {number})"
        raise SiteError(
            f"{site.name} would refuse job {job.name!r}{which}: {words}.",
            hint="Nothing was submitted. If a limit has changed, `aifa sites doctor` finds it.",
        )
    note_cost(job, site)
    first = verdicts[0]
    text = f"{site.name} would take job {job.name!r}; nothing was submitted."
    if len(verdicts) > 1:
        text += f"\nIt becomes {len(verdicts)} submissions, and sbatch would take each of them by itself."
    if first.start:
        where = f" on {first.nodes}" if first.nodes else ""
        text += (
            f"\nestimate: it would start at {first.start} (the site's clock){where}, if the queue stayed as it is; "
            "jobs of higher priority move that back, jobs that end early bring it forward."
        )
    fields = {
        "site": site.name,
        "accepted": True,
        "estimated_start": first.start or None,
        "nodes": first.nodes,
        "processors": first.processors,
        "partition": first.partition,
        "words": first.words,
        "submissions": len(verdicts),
        "quote": quote_fields(quote(job, site)),
    }
    output.record(fields, text)


def _scripts(job: Job, connection: Connection) -> list[str]:
    """What would be submitted, except that no part waits for another one, which has no id yet."""
    from aifa_hpc.jobs.plan import plan  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.tracker.groups import resolve  # noqa: PLC0415
    from aifa_hpc.tracker.submitter import new_token  # noqa: PLC0415

    cluster, store = connection.cluster, connection.store
    if job.after is not None:
        known = resolve(job.after, lambda token: store.parts(store.find(token, cluster.site.name).token))
        job = msgspec.structs.replace(job, after=known)
    parts = plan(job, cluster.site).parts
    tokens = [new_token() for _ in parts]
    return [cluster.prepare(job, token, part, tokens=tokens)[1] for part, token in zip(parts, tokens, strict=True)]
