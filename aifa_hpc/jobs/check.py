"""Whether a site will take a job: every problem at once, each with the nearest legal value.

The rules are the site's own limits, read from its profile; none stands in code. A refusal here saves a refusal by the
queue, and some things no queue refuses: paths that compute nodes cannot see, GPUs that nobody asked for.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Fact, Partition, Site
    from aifa_hpc.units import Walltime


def check(job: Job, site: Site) -> tuple[Problem, ...]:
    """Everything that is wrong with a job on a site, errors and warnings."""
    partition = partition_of(job, site)
    problems = [*_partition(job, site), *_account(job, site), *_qos(job, site), *_paths(job, site), *_launch(job, site)]
    if partition is not None:
        problems += [*_time(job, site, partition), *_size(job, site, partition)]
    return tuple(problems)


def require(job: Job, site: Site) -> tuple[Problem, ...]:
    """Refuses a job with problems; returns its warnings.

    Raises:
        InputError: The site is a draft, or the job has problems; all of them are listed.
    """
    require_open(site)
    problems = check(job, site)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise InputError(f"{site.name} will not take job {job.name!r}:", problems=errors, hint="Nothing was sent.")
    return problems


def require_open(site: Site) -> None:
    """Refuses a site that is a draft.

    Raises:
        InputError: With the reason, and what is known.
    """
    if site.draft:
        known = "".join(f"\n  - {fact}" for fact in site.known)
        raise InputError(f"site {site.name!r} is a draft: {site.draft} What is known:{known}")


def partition_of(job: Job, site: Site) -> Partition | None:
    """The partition a job runs in; ``None`` when it names an unknown one, or none where the site has no default."""
    return site.partitions.get(job.resources.partition or site.scheduler.default_partition or "")


def account_of(job: Job, site: Site) -> str:
    """The account a job is billed to: its own, or the user's for that site."""
    return job.resources.account or site.access.account


def _partition(job: Job, site: Site) -> Iterator[Problem]:
    name = job.resources.partition
    usable = [key for key, value in site.partitions.items() if not value.by_appointment]
    if not name and site.scheduler.default_partition is None:
        yield Problem(
            key="resources.partition",
            value="",
            rule=f"{site.name} has no default partition, so name one of {', '.join(usable)}",
            nearest=_first_match(job, site, usable),
            source=site.scheduler.source,
        )
    elif name and name not in site.partitions:
        nearest = difflib.get_close_matches(name, usable, 1, 0.0)
        yield Problem(
            key="resources.partition",
            value=name,
            rule=f"is no partition of {site.name}; it has {', '.join(usable)}",
            nearest=nearest[0] if nearest else "",
        )
    elif name and site.partitions[name].by_appointment:
        yield Problem(
            key="resources.partition",
            value=name,
            rule="takes jobs by appointment only",
            nearest=_first_match(job, site, usable),
            source=site.partitions[name].source,
            severity="warning",
        )


def _first_match(job: Job, site: Site, usable: Iterable[str]) -> str:
    wants_gpus = job.resources.gpus_per_node > 0
    for name in usable:
        if (site.nodes[site.partitions[name].node].gpus > 0) == wants_gpus:
            return name
    return ""


def _account(job: Job, site: Site) -> Iterator[Problem]:
    account, rules = account_of(job, site), site.scheduler
    if not account and rules.account_required:
        yield Problem(
            key="resources.account",
            value="",
            rule=f"{site.name} refuses jobs without an account (the project that is billed)",
            nearest=rules.account_example,
            source=rules.source,
        )
    elif account and rules.account_pattern and not re.fullmatch(rules.account_pattern, account):
        yield Problem(
            key="resources.account",
            value=account,
            rule=f"is not of the form of {site.name}'s accounts",
            nearest=rules.account_example,
            source=rules.source,
        )


def _qos(job: Job, site: Site) -> Iterator[Problem]:
    name = job.resources.qos
    if name and site.qos and name not in site.qos:
        nearest = difflib.get_close_matches(name, site.qos, 1, 0.0)[0]
        rule = f"is no QOS known of {site.name}; known are {', '.join(site.qos)}"
        yield Problem(key="resources.qos", value=name, rule=rule, nearest=nearest)
    reservation = job.resources.reservation
    if reservation and site.reservations and reservation not in site.reservations:
        yield Problem(
            key="resources.reservation",
            value=reservation,
            rule=f"is no standing reservation of {site.name}; if it is your own, submit will tell",
            nearest=next(iter(site.reservations)),
            severity="warning",
        )


def _time(job: Job, site: Site, partition: Partition) -> Iterator[Problem]:
    asked = job.resources.time
    limits: list[tuple[Walltime, str, Fact]] = [
        (partition.max_time, f"partition {job.resources.partition or site.scheduler.default_partition}", partition)
    ]
    qos = site.qos.get(job.resources.qos or site.scheduler.default_qos or "")
    if qos is not None and qos.max_time is not None:
        limits.append((qos.max_time, f"QOS {job.resources.qos or site.scheduler.default_qos}", qos))
    reservation = site.reservations.get(job.resources.reservation)
    if reservation is not None and reservation.max_time is not None:
        limits.append((reservation.max_time, f"reservation {job.resources.reservation}", reservation))
    limit, owner, fact = min(limits, key=lambda entry: entry[0])
    if asked > limit:
        yield Problem(
            key="resources.time",
            value=str(asked),
            rule=f"{owner} allows at most {limit}",
            nearest=str(limit),
            source=_source(fact),
        )


def _size(job: Job, site: Site, partition: Partition) -> Iterator[Problem]:
    asked, node = job.resources, site.nodes[partition.node]
    qos = site.qos.get(asked.qos or site.scheduler.default_qos or "")
    limits: list[tuple[int, str, Fact]] = [(partition.max_nodes or partition.nodes, "the partition", partition)]
    if qos is not None and qos.max_nodes is not None:
        limits.append((qos.max_nodes, f"QOS {asked.qos or site.scheduler.default_qos}", qos))
    reservation = site.reservations.get(asked.reservation)
    if reservation is not None:
        limits.append((reservation.max_nodes or reservation.nodes, f"reservation {asked.reservation}", reservation))
    most, owner, fact = min(limits, key=lambda entry: entry[0])
    if asked.nodes > most:
        rule = f"{owner} gives a job at most {most} node{'s' if most > 1 else ''}"
        yield Problem(key="resources.nodes", value=str(asked.nodes), rule=rule, nearest=str(most), source=_source(fact))
    if asked.gpus_per_node > node.gpus:
        rule = f"a node of this partition has {node.gpus} GPU{'s' if node.gpus != 1 else ''}"
        yield Problem(
            key="resources.gpus_per_node",
            value=str(asked.gpus_per_node),
            rule=rule,
            nearest=str(node.gpus),
            source=_source(node),
        )
    elif node.gpus and not asked.gpus_per_node:
        yield Problem(
            key="resources.gpus_per_node",
            value="0",
            rule="nodes of this partition have GPUs, and a job that asks for none sees none",
            nearest=str(node.gpus),
            source=_source(partition),
        )
    cpus = (asked.tasks_per_node or 1) * (asked.cpus_per_task or 1)
    if cpus > node.usable_cpus:
        tasks = asked.tasks_per_node or 1
        if tasks > node.usable_cpus:
            key, value, nearest = "resources.tasks_per_node", str(tasks), str(node.usable_cpus)
        else:
            key, value = "resources.cpus_per_task", str(asked.cpus_per_task)
            nearest = str(node.usable_cpus // tasks)
        rule = f"{cpus} cores asked for on a node with {node.usable_cpus} that jobs can use"
        yield Problem(key=key, value=value, rule=rule, nearest=nearest, source=_source(node))
    if asked.memory is not None and asked.memory > node.memory:
        yield Problem(
            key="resources.memory",
            value=str(asked.memory),
            rule=f"a node of this partition has {node.memory} for jobs",
            nearest=str(node.memory),
            source=_source(node),
        )


def _paths(job: Job, site: Site) -> Iterator[Problem]:
    if not site.path_roots:
        return
    paths = [("workdir", job.workdir)]
    if job.container is not None:
        paths.append(("container.image", job.container.image))
        paths += [("container.bind", bind.partition(":")[0]) for bind in job.container.bind]
    paths += [("launch.command", word) for word in job.launch.command if word.startswith("/")]
    for key, path in paths:
        if path and not any(path == root or path.startswith(root.rstrip("/") + "/") for root in site.path_roots):
            # Programs and system folders of the node itself are no data paths.
            system = key in {"launch.command", "container.bind"} and path.startswith(
                ("/bin/", "/usr/", "/opt/", "/dev/", "/tmp", "/proc", "/sys")  # noqa: S108 - names, not files
            )
            if not system:
                yield Problem(
                    key=key,
                    value=path,
                    rule=f"compute nodes of {site.name} see files below {', '.join(site.path_roots)} only",
                    source=site.scheduler.source if not site.areas else _source(next(iter(site.areas.values()))),
                )


def _launch(job: Job, site: Site) -> Iterator[Problem]:
    kind = job.launch.kind
    if kind not in site.launch:
        yield Problem(
            key="launch.kind",
            value=kind,
            rule=f"{site.name} has {', '.join(site.launch)}",
            nearest=next(iter(site.launch)),
        )
    if kind == "torchrun":
        if (job.resources.tasks_per_node or 1) != 1:
            rule = "torchrun starts the workers of a node itself, so it needs one task on each"
            yield Problem(
                key="resources.tasks_per_node", value=str(job.resources.tasks_per_node), rule=rule, nearest="1"
            )
        if job.launch.command[0].rsplit("/", 1)[-1] in {"python", "python3", "torchrun"}:
            rule = "what follows torchrun's own options: the script and its arguments"
            nearest = " ".join(job.launch.command[1:])
            yield Problem(key="launch.command", value=" ".join(job.launch.command), rule=rule, nearest=nearest)
    if kind == "command" and job.resources.nodes > 1:
        rule = "a plain command runs on the first node only; the others would be billed and idle"
        yield Problem(key="launch.kind", value=kind, rule=rule, nearest="srun", severity="warning")
    if job.container is not None and site.container is None:
        yield Problem(key="container.image", value=job.container.image, rule=f"{site.name} runs no containers")


def _source(fact: Fact) -> str:
    if fact.status == "verified":
        return fact.source
    return f"{fact.source}, {fact.status}" + (f": {fact.note}" if fact.note else "")
