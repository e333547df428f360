"""Whether a site will take a job: every problem at once, each with the nearest legal value.

The rules are the site's own limits, read from its profile; none stands in code. A refusal here saves a refusal by the
queue, and some things no queue refuses: paths that compute nodes cannot see, GPUs that nobody asked for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.jobs.feature_check import component_rules, feature_rules
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.jobs.image import image_problems
from aifa_hpc.jobs.kinds import kind_problems
from aifa_hpc.jobs.quote import waste
from aifa_hpc.jobs.secret_check import add_secrets
from aifa_hpc.jobs.secrets import hide
from aifa_hpc.jobs.spec import component_jobs
from aifa_hpc.sites.strict import nearest as nearest_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Fact, Partition, Site
    from aifa_hpc.units import Walltime


def check(job: Job, site: Site, *, queue: bool = False) -> tuple[Problem, ...]:
    """Everything that is wrong with a job on a site, errors and warnings.

    Args:
        job: The job.
        site: Where it is to run.
        queue: It waits here for room, so the limit of submitted jobs is none for it.
    """
    problems = [*_component(job, site, alone=not job.components)]
    problems += feature_rules(job, site, partition_of(job, site), queue=queue)
    for number, component in enumerate(component_jobs(job)):
        found = _component(component, site, alone=False)
        own = [problem for problem in found if problem.key.startswith(("resources.", "launch."))]
        problems += [replace(problem, key=f"components[{number}].{problem.key}") for problem in own]
    return add_secrets(job, problems)


def _component(job: Job, site: Site, *, alone: bool) -> list[Problem]:
    partition = partition_of(job, site)
    problems = [*_partition(job, site), *_account(job, site), *_qos(job, site), *_paths(job, site), *_launch(job, site)]
    if partition is not None:
        rules = (_time, _size, _gpus, _cores_and_memory, image_problems)
        problems += [problem for rule in rules for problem in rule(job, site, partition)]
    return [*problems, *kind_problems(job), *component_rules(job, alone=alone)]


def require(job: Job, site: Site, *, queue: bool = False) -> tuple[Problem, ...]:
    """Refuses a job with problems; returns its warnings. See :func:`check`.

    Raises:
        InputError: The site is a draft, or the job has problems; all of them are listed.
    """
    require_open(site)
    problems = check(job, site, queue=queue)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        name = hide(job.name)
        raise InputError(f"{site.name} will not take job {name!r}:", problems=errors, hint="Nothing was sent.")
    return problems


def require_open(site: Site) -> None:
    """Refuses a site that is a draft.

    Raises:
        InputError: With the reason, and what is known.
    """
    if site.draft:
        known = "".join(f"\n  - {fact}" for fact in site.known)
        raise InputError(f"site {site.name!r} is a draft: {site.draft.rstrip('.')}. What is known:{known}")


def partition_of(job: Job, site: Site) -> Partition | None:
    """The partition a job runs in; ``None`` when it names an unknown one, or none where the site has no default."""
    return site.partitions.get(job.resources.partition or site.scheduler.default_partition or "")


def account_of(job: Job, site: Site) -> str:
    """The account a job is billed to: its own, or the user's for that site."""
    return job.resources.account or site.access.account


def _partition(job: Job, site: Site) -> Iterator[Problem]:
    name = job.resources.partition
    usable = [key for key, value in site.partitions.items() if not value.by_appointment]
    alike = [key for key in usable if _suits(job, site, key)] or usable
    if not name and site.scheduler.default_partition is None:
        yield Problem(
            key="resources.partition",
            value="",
            rule=f"{site.name} has no default partition, so name one of {', '.join(usable)}",
            nearest=alike[0] if alike else "",
            source=site.scheduler.source,
        )
    elif name and name not in site.partitions:
        yield Problem(
            key="resources.partition",
            value=name,
            rule=f"is no partition of {site.name}; it has {', '.join(usable)}",
            nearest=nearest_word(name.lower(), alike),
        )
    elif name and site.partitions[name].by_appointment:
        yield Problem(
            key="resources.partition",
            value=name,
            rule="takes jobs by appointment only",
            nearest=alike[0] if alike else "",
            source=site.partitions[name].source,
            severity="warning",
        )


def _suits(job: Job, site: Site, partition: str) -> bool:
    """The partition has GPUs exactly when the job asks for some."""
    return (site.nodes[site.partitions[partition].node].gpus > 0) == (job.resources.gpus_per_node > 0)


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
    open_to_jobs = [key for key, value in site.qos.items() if not value.partition]
    if name and site.qos and name not in open_to_jobs:
        nearest = nearest_word(name, open_to_jobs)
        rule = f"is no QOS that jobs of {site.name} can ask for; they have {', '.join(open_to_jobs)}"
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
    asked = job.resources
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
    if reservation is not None and site.partitions.get(reservation.partition) is not partition:
        rule = f"reservation {asked.reservation} is on partition {reservation.partition}"
        yield Problem(
            key="resources.partition",
            value=asked.partition,
            rule=rule,
            nearest=reservation.partition,
            source=_source(reservation),
        )


def _gpus(job: Job, site: Site, partition: Partition) -> Iterator[Problem]:
    asked, node = job.resources.gpus_per_node, site.nodes[partition.node]
    most = node.gpus if partition.max_gpus is None else min(node.gpus, partition.max_gpus)
    if asked > node.gpus:
        rule = f"a node of this partition has {node.gpus} GPU{'s' if node.gpus != 1 else ''}"
        nearest, severity, source = most, "error", _source(node)
    elif asked > most:
        rule = f"this partition gives a job at most {most} GPU{'s' if most != 1 else ''}"
        nearest, severity, source = most, "error", _source(partition)
    elif node.gpus and not asked:
        rule = "nodes of this partition have GPUs, and a job that asks for none sees none"
        nearest, severity, source = most, "error", _source(partition)
    elif asked < node.gpus and partition.whole_node:
        unused = node.gpus - asked
        rule = f"this partition gives and bills whole nodes: {node.gpus} GPUs each, of which {unused} are unused"
        nearest, severity, source = node.gpus, "warning", _source(partition)
    else:
        return
    yield Problem(
        key="resources.gpus_per_node",
        value=str(asked),
        rule=rule,
        nearest=str(nearest),
        source=source,
        severity=severity,
    )


def _cores_and_memory(job: Job, site: Site, partition: Partition) -> Iterator[Problem]:
    asked, node = job.resources, site.nodes[partition.node]
    tasks = asked.tasks_per_node or 1
    cpus = asked.cpus_per_task or 1
    if job.launch.kind in site.launch:  # a task for each GPU, where the site wants that
        fit = Fit(job=job, site=site, partition=partition)
        tasks, cpus = fit.tasks, fit.cpus
        yield from waste(job, site, fit)
    if tasks > node.usable_cpus:
        rule = f"a node of this partition has {node.usable_cpus} cores that jobs can use, and each task needs one"
        key, value, nearest = "resources.tasks_per_node", str(tasks), str(node.usable_cpus)
        yield Problem(key=key, value=value, rule=rule, nearest=nearest, source=_source(node))
    elif tasks * cpus > node.usable_cpus and not (asked.cpus_per_task is None and asked.gpus_per_node > node.gpus):
        rule = f"{tasks} x {cpus} cores asked for on a node with {node.usable_cpus} that jobs can use"
        key, value, nearest = "resources.cpus_per_task", str(cpus), str(node.usable_cpus // tasks)
        yield Problem(key=key, value=value, rule=rule, nearest=nearest, source=_source(node))
    largest = max((site.nodes[name] for name in (partition.node, *partition.more_nodes)), key=lambda kind: kind.memory)
    if asked.memory is not None and asked.memory > largest.memory:
        yield Problem(
            key="resources.memory",
            value=str(asked.memory),
            rule=f"the largest nodes of this partition have {largest.memory} for jobs",
            nearest=str(largest.memory),
            source=_source(largest),
        )


# Programs and devices of the node itself; names, not files.
_SYSTEM = ("/bin", "/usr", "/opt", "/dev", "/tmp", "/proc", "/sys", "/etc", "/run", "/var")  # noqa: S108 - as above


def _paths(job: Job, site: Site) -> Iterator[Problem]:
    """Folders that compute nodes do not have.

    Words of the command are looked at only outside a container, which has folders of its own; a word behind the program
    may be anything that begins with a slash, so it is only warned of.
    """
    if not site.path_roots:
        return
    paths = [
        ("workdir", job.workdir, site.path_roots, "error"),
        # Where logs and sentinels go: a log that cannot be opened ends a job without a word.
        (f"sites.{site.name}.workdir", site.access.workdir, site.path_roots, "error"),
    ]
    if job.container is None:
        program, *words = job.launch.command or ("bash",)
        paths.append(("launch.command", program, (*site.path_roots, *_SYSTEM), "error"))
        paths += [("launch.command", word, (*site.path_roots, *_SYSTEM), "warning") for word in words]
    else:
        paths.append(("container.image", job.container.image, site.path_roots, "error"))
        for bind in job.container.bind:
            paths.append(("container.bind", bind.partition(":")[0], (*site.path_roots, *_SYSTEM), "error"))
    for key, path, roots, severity in paths:
        if path.startswith("/") and not _below(path, roots):
            yield Problem(
                key=key,
                value=path,
                rule=f"compute nodes of {site.name} see files below {', '.join(site.path_roots)} only",
                source=_source(next(iter(site.areas.values()))) if site.areas else site.scheduler.source,
                severity=severity,
            )


def _below(path: str, roots: Iterable[str]) -> bool:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    plain = "/" + "/".join(parts)
    return any(plain == root or plain.startswith(root.rstrip("/") + "/") for root in roots)


def _launch(job: Job, site: Site) -> Iterator[Problem]:
    kind = job.launch.kind
    if kind not in site.launch:
        yield Problem(
            key="launch.kind",
            value=kind,
            rule=f"{site.name} knows {', '.join(site.launch) or 'no launch kind'}",
            nearest=nearest_word(kind, site.launch),
        )
    if kind == "torchrun":
        if (job.resources.tasks_per_node or 1) != 1:
            rule = "torchrun starts the workers of a node itself, so it needs one task on each"
            yield Problem(
                key="resources.tasks_per_node", value=str(job.resources.tasks_per_node), rule=rule, nearest="1"
            )
        program, *words = job.launch.command
        if words and program.rsplit("/", 1)[-1] in {"python", "python3", "torchrun"}:
            rule = "what follows torchrun's own options: the script and its arguments"
            value = " ".join(job.launch.command)
            yield Problem(key="launch.command", value=value, rule=rule, nearest=" ".join(words))
    if kind == "command" and job.resources.nodes > 1:
        rule = "a plain command runs on the first node only; the others would be billed and idle"
        yield Problem(key="launch.kind", value=kind, rule=rule, nearest="srun", severity="warning")
    if job.container is not None and site.container is None:
        yield Problem(key="container.image", value=job.container.image, rule=f"{site.name} runs no containers")


def _source(fact: Fact) -> str:
    if fact.status == "verified":
        return fact.source
    return f"{fact.source}, {fact.status}" + (f": {fact.note}" if fact.note else "")
