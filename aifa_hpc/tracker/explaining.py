"""Asks a site about one job, in one remote command, and explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.slurm.inquiry import Told, ask_ended, ask_waiting
from aifa_hpc.tracker.events import LAGGING, REFUSED
from aifa_hpc.tracker.explain import explain, waits
from aifa_hpc.tracker.failures import load_patterns
from aifa_hpc.tracker.poller import utc_now
from aifa_hpc.tracker.schedule import window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.cluster import Cluster
    from aifa_hpc.command import Flow
    from aifa_hpc.tracker.explanation import Explanation
    from aifa_hpc.tracker.records import Row

_BUDGETS = {"lumi": "lumi-allocations -p", "jupiter": "jutil project cpuquota -p"}
"""The program that tells what is left of a project, by cluster; the project's name follows (LUMI and JSC
documentation on billing and accounting)."""


def explain_job(cluster: Cluster, parts: Sequence[Row], *, task: str = "") -> Explanation:
    """Explains a job by what is remembered of it and what its site tells now.

    Args:
        cluster: The job's site.
        parts: The job's submissions; one of them is explained, see :func:`part_of`.
        task: Index of the task of an array that is meant; empty for all.

    Raises:
        TransportError: The site cannot be reached.
        SiteError: Its answer is not whole.
    """
    row = part_of(parts)
    flow = _question(row, cluster.site.scheduler.cluster_name, task)
    told = Told() if flow is None else cluster.drive(flow)
    return explain(row, told, cluster.site.scheduler.cluster_name, load_patterns())


def part_of(parts: Sequence[Row]) -> Row:
    """The part of a job that says how it is: the first that goes on, or else the last that failed, or the last."""
    alive = [row for row in parts if not row.status.over]
    failed = [row for row in parts if not row.status.ok and row.status.elapsed_seconds]
    return (alive or failed[-1:] or list(parts[-1:]))[0]


def _question(row: Row, cluster_name: str, task: str) -> Flow[Told] | None:
    state, budget = row.status.state, _BUDGETS.get(cluster_name, "")
    if state == REFUSED:
        return ask_waiting("", partition=row.partition, account=row.account, budget=budget)
    if row.job_id is None:
        return None
    job = f"{row.job_id}_{task}" if task else row.job_id
    if waits(row):
        return ask_waiting(job, partition=row.partition, account=row.account, budget=budget)
    if row.status.over or state == LAGGING:
        return ask_ended(job, row.folder or row.log_file, since=window(row.created_at, utc_now()))
    return None
