"""``aifa submit --dry-run``: what the site's own sbatch says to the script, with nothing submitted or remembered."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aifa_hpc.cli.base import current_output
from aifa_hpc.cli.quote import note_cost, quote_fields
from aifa_hpc.errors import InputError, SiteError

if TYPE_CHECKING:
    from aifa_hpc.cluster import Cluster
    from aifa_hpc.command import Flow
    from aifa_hpc.jobs.spec import Job

T = TypeVar("T")


def ask(cluster: Cluster, flow: Flow[T]) -> T:
    """Drives a flow over a cluster's transport; questions that got lost are asked again."""
    from aifa_hpc.command import drive  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transport.retry import run_with_retry  # noqa: PLC0415

    return drive(flow, partial(run_with_retry, cluster.transport.run, sleep=time.sleep))


def dry_run(job: Job, cluster: Cluster) -> None:
    """Checks and renders the job, and has the site's sbatch look at the script.

    Raises:
        InputError: The job has problems, and the site was not asked.
        SiteError: The site would refuse it, or does not answer.
    """
    from aifa_hpc.jobs.check import require  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.plan import plan  # noqa: PLC0415
    from aifa_hpc.jobs.quote import quote  # noqa: PLC0415
    from aifa_hpc.slurm.survey import try_script  # noqa: PLC0415

    output, site = current_output(), cluster.site
    for warning in require(job, site):
        output.note(f"warning: {warning}")
    if job.launch.kind == "interactive":
        raise InputError("an interactive job has no script that sbatch could look at.", hint="See `aifa render`.")
    verdict = ask(cluster, try_script(cluster.render(job)))
    if not verdict.accepted:
        raise SiteError(
            f"{site.name} would refuse job {job.name!r}: {verdict.words}.",
            hint="Nothing was submitted. If a limit has changed, `aifa sites doctor` finds it.",
        )
    note_cost(job, site)
    text = f"{site.name} would take job {job.name!r}; nothing was submitted."
    if verdict.start:
        where = f" on {verdict.nodes}" if verdict.nodes else ""
        text += (
            f"\nestimate: it would start at {verdict.start} (the site's clock){where}, if the queue stayed as it is; "
            "jobs of higher priority move that back, jobs that end early bring it forward."
        )
    parts = len(plan(job, site).parts)
    if parts > 1:
        text += f"\nIt becomes {parts} submissions, of which sbatch looked at the first."
    fields = {
        "site": site.name,
        "accepted": True,
        "estimated_start": verdict.start or None,
        "nodes": verdict.nodes,
        "processors": verdict.processors,
        "partition": verdict.partition,
        "words": verdict.words,
        "submissions": parts,
        "quote": quote_fields(quote(job, site)),
    }
    output.record(fields, text)
