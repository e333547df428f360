"""What a submission asks for, as the store remembers it: who pays, where, how much, and what an hour of it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import account_of
from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.jobs.quote import quote

if TYPE_CHECKING:
    from aifa_hpc.jobs.plan import Part
    from aifa_hpc.jobs.quote import Quote
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site


class Wanted(TypedDict):
    """The fields of a row of that name."""

    account: str
    partition: str
    nodes_wanted: int
    limit_seconds: int
    rate: float | None
    unit: str
    run: str


def wanted(job: Job, site: Site, part: Part) -> Wanted:
    """What one submission of a job asks for.

    The rate is that of the whole submission, all tasks of its array running; where components are billed in several
    units, what they cost in the first one's.
    """
    resources = job.resources
    rate, unit = None, ""
    try:
        price = quote(job, site)
    except InputError:  # a site without a rule for it: nobody knows
        pass
    else:
        unit = price.unit
        tasks = len(read_indices(part.tasks)) if part.tasks else 1
        rate = tasks * sum(_hourly(one) for one in (price, *price.more) if one.unit == unit)
    return Wanted(
        account=account_of(job, site),
        partition=resources.partition or site.scheduler.default_partition or "",
        nodes_wanted=resources.nodes + sum(component.resources.nodes for component in job.components),
        limit_seconds=resources.time.seconds,
        rate=rate,
        unit=unit,
        run=job.env.get("MLFLOW_RUN_ID", ""),
    )


def _hourly(price: Quote) -> float:
    return price.amount / price.runs / price.time.hours
