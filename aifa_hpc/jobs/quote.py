"""What a job will be billed, by the site's own rule, with the working shown.

A quote is what the job costs when it uses all of its time; sites bill the time that passed, so ``elapsed`` gives the
cost of a run that ends sooner. A :class:`~aifa_hpc.sites.model.BillingRule` counts nodes, or shares of a node: the
largest of the shares that the cores, the memory and the GPUs of the whole job make.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.units import Memory, Walltime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.jobs.spec import Component, Job
    from aifa_hpc.sites.model import BillingRule, Site

_LARGE = 100_000  # from here on nobody minds a part of a unit, and six digits are not enough
_GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """What a job will be billed.

    Attributes:
        unit: What the site counts in: ``GPU-h`` or ``core-h``.
        amount: Units, when every run uses all the time it may.
        working: How that number comes about.
        time: Walltime of one run.
        runs: Runs in all: tasks of an array, links of a chain; 1 for a plain job.
        elapsed: Time that one run is supposed to take, if that was asked.
        elapsed_amount: Units, when every run takes that long.
        elapsed_working: How that number comes about.
        note: What the rule's source says beside it.
        source: Where the rule is written.
        more: The other components of a heterogeneous job, each perhaps in a unit of its own.
    """

    unit: str
    amount: float
    working: str
    time: Walltime
    runs: int = 1
    elapsed: Walltime | None = None
    elapsed_amount: float | None = None
    elapsed_working: str = ""
    note: str = ""
    source: str = ""
    more: tuple[Quote, ...] = ()

    def __str__(self) -> str:
        if self.more:
            return " + ".join(map(str, (replace(self, more=()), *self.more)))
        text = f"{_units(self.amount, self.unit)} at {self.time}: {self.working}"
        if self.elapsed is not None and self.elapsed_amount is not None:
            text += f"; {_units(self.elapsed_amount, self.unit)} if it takes {self.elapsed}: {self.elapsed_working}"
        return text


def quote(job: Job, site: Site, *, elapsed: Walltime | None = None) -> Quote:
    """What a job costs on a site.

    Args:
        job: As the user wrote it; limits are not looked at.
        site: Where it is to run.
        elapsed: Time that one run takes.

    Raises:
        InputError: The job names no partition or launch kind of the site, so nobody knows what it gets.
    """
    first = _quote(job, site, elapsed)
    # One by one, as jobs of their own: components share nothing but their start.
    others = [msgspec.structs.replace(job, **_parts(component), components=()) for component in job.components]
    return replace(first, more=tuple(_quote(other, site, elapsed) for other in others))


def _parts(component: Component) -> dict[str, Any]:
    return {"resources": component.resources, "launch": component.launch}


def _quote(job: Job, site: Site, elapsed: Walltime | None) -> Quote:
    name = job.resources.partition or site.scheduler.default_partition or ""
    if name not in site.partitions or job.launch.kind not in site.launch:
        what = f"launch kind {job.launch.kind!r}" if name in site.partitions else f"partition {name!r}"
        raise InputError(f"{site.name} has no {what}, so there is no price.", hint="`aifa check` lists all problems.")
    fit = Fit(job=job, site=site, partition=site.partitions[name])
    rule = site.billing[fit.partition.billing]
    factors = _repeats(job)
    amount, working = _bill(fit, rule, job.resources.time, factors)
    over, over_working = (None, "") if elapsed is None else _bill(fit, rule, elapsed, factors)
    runs = 1
    for count, _ in factors:
        runs *= count
    return Quote(
        unit=rule.unit,
        amount=amount,
        working=working,
        time=job.resources.time,
        runs=runs,
        elapsed=elapsed,
        elapsed_amount=over,
        elapsed_working=over_working,
        note=rule.note,
        source=rule.source,
    )


def memory_of(fit: Fit) -> Memory | None:
    """Memory of the whole job: as asked for, else what the script asks for by default; ``None`` where nobody asks."""
    asked, node = fit.job.resources, fit.node
    if asked.memory is not None:
        return Memory(asked.memory.bytes * asked.nodes)
    if fit.partition.whole_node:
        return Memory(node.memory.bytes * asked.nodes)
    if fit.site.memory_request == "never":
        return None
    if node.gpus:
        return Memory(node.memory.mib // node.gpus * 2**20 * asked.gpus_per_node * asked.nodes)
    return Memory(node.memory.mib // node.usable_cpus * 2**20 * fit.tasks * fit.cpus * asked.nodes)


def waste(job: Job, site: Site, fit: Fit) -> Iterator[Problem]:
    """Warnings of a job that pays for GPUs it does not use, where nodes are shared and billed by the largest share.

    On LUMI a GPU's fair part is what one of eight has of the node: 7 cores and 60G (LUMI training materials,
    201-Slurm.md); more of either takes, and beyond the rule's share pays for, the part of another GPU.
    """
    rule, node, asked = site.billing[fit.partition.billing], fit.node, job.resources
    if fit.partition.whole_node or not (rule.share_gpus and asked.gpus_per_node and node.gpus):
        return
    gpus = asked.gpus_per_node
    cores, part = fit.tasks * fit.cpus, node.usable_cpus // node.gpus
    if part * gpus < cores <= node.usable_cpus and part * gpus >= fit.tasks:
        billed = ceil(cores / rule.share_cpus) if rule.share_cpus else gpus
        yield Problem(
            key="resources.cpus_per_task",
            value=str(fit.cpus),
            rule=f"{cores} cores on a node for {_gpus(gpus)}: each comes with {part}, " + _beyond(billed, gpus),
            nearest=str(part * gpus // fit.tasks),
            source=rule.source,
            severity="warning",
        )
    memory, slice_ = asked.memory, Memory(node.memory.mib // node.gpus * 2**20)
    if memory is not None and slice_.bytes * gpus < memory.bytes <= node.memory.bytes:
        billed = ceil(memory.bytes / rule.share_memory.bytes) if rule.share_memory else gpus
        yield Problem(
            key="resources.memory",
            value=str(memory),
            rule=f"{memory} on a node for {_gpus(gpus)}: each comes with {slice_}, " + _beyond(billed, gpus),
            nearest=str(Memory(slice_.bytes * gpus)),
            source=rule.source,
            severity="warning",
        )


def _beyond(billed: int, gpus: int) -> str:
    if billed > gpus:
        return f"so {_gpus(billed)} are billed, {billed - gpus} of them unused"
    return "and the rest is taken from a GPU that then nobody can use"


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count != 1 else ''}"


def _repeats(job: Job) -> tuple[tuple[int, str], ...]:
    """How often the job runs, each factor with its word: the one place that knows of arrays and chains."""
    if job.array is not None:
        return ((len(job.array.indices), "tasks"),)
    if job.chain is not None:
        return ((job.chain.links(job.resources.time), "links"),)
    return ()


def _bill(fit: Fit, rule: BillingRule, time: Walltime, factors: tuple[tuple[int, str], ...]) -> tuple[float, str]:
    asked = fit.job.resources
    if rule.per == "node":
        count, shown = asked.nodes, f"{asked.nodes} node{'s' if asked.nodes != 1 else ''}"
    else:
        count, shown = _shares(fit, rule)
    amount = rule.rate * count * time.seconds / 3600
    words = [f"{rule.rate:g}", shown, f"{time.hours:.4g} h", *(f"{times} {word}" for times, word in factors)]
    for times, _ in factors:
        amount *= times
    return amount, " x ".join(words)


def _shares(fit: Fit, rule: BillingRule) -> tuple[int, str]:
    """The shares of a node that a job takes, and the expression that gives them."""
    asked = fit.job.resources
    counts: list[int] = []
    shown: list[str] = []
    if rule.share_cpus:
        cores = asked.nodes * fit.tasks * fit.cpus
        counts.append(ceil(cores / rule.share_cpus))
        shown.append(_quotient(f"{cores}", f"{rule.share_cpus}"))
    memory = memory_of(fit)
    if rule.share_memory and memory is not None:
        counts.append(-(-memory.bytes // rule.share_memory.bytes))
        shown.append(_quotient(f"{memory.bytes / _GIB:.6g}", f"{rule.share_memory.bytes / _GIB:g}"))
    if rule.share_gpus:
        counts.append(asked.nodes * asked.gpus_per_node)
        shown.append(str(counts[-1]))
    if rule.min_shares > 1 or not counts:
        counts.append(rule.min_shares)
        shown.append(str(rule.min_shares))
    return max(counts), f"max({', '.join(shown)})" if len(shown) > 1 else shown[0]


def _quotient(above: str, below: str) -> str:
    return above if below == "1" else f"ceil({above}/{below})"


def _units(amount: float, unit: str) -> str:
    return f"{amount:.0f} {unit}" if amount >= _LARGE else f"{amount:.6g} {unit}"
