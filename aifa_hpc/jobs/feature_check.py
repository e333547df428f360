"""Whether a site takes what a job asks of Slurm beyond its size: arrays, dependencies, mail, signals, chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import Problem
from aifa_hpc.jobs.features import RANKED_KINDS, signal_seconds
from aifa_hpc.jobs.plan import plan
from aifa_hpc.slurm.hostlist import compress_hostlist, expand_hostlist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Fact, Partition, Site

STEP_KINDS = ("srun", "mpi")
"""Launch kinds that are one step of srun, so that it may span components."""


def feature_rules(job: Job, site: Site, partition: Partition | None, *, queue: bool = False) -> Iterator[Problem]:
    """Everything that is wrong with it; a job that waits here for room meets no limit of submitted jobs."""
    if not queue or job.chain is not None:
        yield from _submitted(job, site, partition)
    yield from _signal(job)
    yield from _after(job, site)
    if job.chain is not None and job.chain.links(job.resources.time) == 1:
        rule = f"one link of resources.time = {job.resources.time} is enough, so the chain adds nothing"
        yield Problem(key="chain.total", value=str(job.chain.total), rule=rule, severity="warning")
    if job.mail is not None and not site.scheduler.mail:
        rule = f"{site.name} is not known to send mail, so the script does not ask for it"
        source = site.scheduler.source
        yield Problem(key="mail", value=", ".join(job.mail.events), rule=rule, source=source, severity="warning")


def component_rules(job: Job, *, alone: bool) -> Iterator[Problem]:
    """What holds for each component of a job: its host lists, and how it is launched.

    Args:
        job: The job, or a further component as a job.
        alone: It is the only one.
    """
    asked = job.resources
    if not alone and job.launch.kind not in STEP_KINDS:
        rule = f"one srun starts all components of a heterogeneous job: {', '.join(STEP_KINDS)} only"
        yield Problem(key="launch.kind", value=job.launch.kind, rule=rule, nearest="srun")
    wanted, unwanted = expand_hostlist(asked.nodelist), expand_hostlist(asked.exclude)
    if len(set(wanted)) > asked.nodes:
        rule = f"names {len(set(wanted))} nodes, and the job has {asked.nodes}"
        near = compress_hostlist(wanted[: asked.nodes])
        yield Problem(key="resources.nodelist", value=asked.nodelist, rule=rule, nearest=near)
    if both := [name for name in wanted if name in set(unwanted)]:
        rule = f"excludes {', '.join(both[:3])}, which resources.nodelist demands"
        near = compress_hostlist([name for name in unwanted if name not in set(both)])
        yield Problem(key="resources.exclude", value=asked.exclude, rule=rule, nearest=near)
    if job.launch.log_per_rank and job.launch.kind not in RANKED_KINDS:
        rule = f"{job.launch.kind} has no ranks, so it writes the job's own log only"
        yield Problem(key="launch.log_per_rank", value="true", rule=rule, nearest="false", severity="warning")


def _submitted(job: Job, site: Site, partition: Partition | None) -> Iterator[Problem]:
    """Each task of an array and each link of a chain counts as a job that is submitted."""
    if job.array is not None:
        key, value, count, what = "array", job.array.tasks or str(job.array.count), len(job.array.indices), "tasks"
        key += ".tasks" if job.array.tasks else ".count"
    elif job.chain is not None:
        key, value, what = "chain.total", str(job.chain.total), "links"
        count = job.chain.links(job.resources.time)
    else:
        return
    limit = submit_limit(job, site, partition)
    if limit is None:
        return
    most, owner, fact = limit
    if count > most:
        rule = f"{count} {what}, and {owner} lets a user have {most} jobs waiting or running, each of them counted"
        yield Problem(key=key, value=value, rule=rule, nearest=_nearest(job, most), source=fact.source)


def submit_limit(job: Job, site: Site, partition: Partition | None) -> tuple[int, str, Fact] | None:
    """Most jobs that a user may have waiting or running beside this one, whose limit it is, and its source."""
    qos = site.qos.get(job.resources.qos or site.scheduler.default_qos or "")
    reservation = site.reservations.get(job.resources.reservation)
    limits: list[tuple[int, str, Fact]] = [
        (owner.max_submitted, name, owner)
        for owner, name in ((partition, "this partition"), (qos, "the QOS"), (reservation, "the reservation"))
        if owner is not None and owner.max_submitted is not None
    ]
    return min(limits, key=lambda entry: entry[0], default=None)


def _nearest(job: Job, most: int) -> str:
    if job.chain is not None:
        return str(type(job.chain.total)(job.resources.time.seconds * most))
    return f"0-{most - 1}" if job.array is not None and job.array.tasks else str(most)


def _signal(job: Job) -> Iterator[Problem]:
    if not job.signal:
        return
    if signal_seconds(job.signal) >= job.resources.time.seconds:
        rule = f"comes at the very beginning of a job of {job.resources.time}"
        near = f"{job.signal.partition('@')[0]}@{max(1, job.resources.time.seconds // 10)}"
        yield Problem(key="signal", value=job.signal, rule=rule, nearest=near, severity="warning")
    if not job.signal.startswith("B:") and job.launch.kind == "command":
        # sbatch(1) --signal: "By default all job steps will be signaled, but not the batch shell itself."
        rule = (
            "is sent to steps of srun, and a plain command runs in the script itself, which hands on what has B: only"
        )
        yield Problem(key="signal", value=job.signal, rule=rule, nearest=f"B:{job.signal}")


def _after(job: Job, site: Site) -> Iterator[Problem]:
    if job.after is None or not job.after.corr:
        return
    value = ", ".join(job.after.corr)
    if job.array is None:
        rule = f"pairs the tasks of two arrays, and this job is none; a job waits for others by after.ok = {value}"
        yield Problem(key="after.corr", value=value, rule=rule)
    elif (parts := plan(job, site).parts)[-1].offset:
        rule = f"pairs equal indices, and {site.name} takes this array only with other ones ({len(parts)} parts)"
        yield Problem(key="after.corr", value=value, rule=rule, source=site.scheduler.source)
