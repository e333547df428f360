"""One job on several machines: what it becomes on each, in words, and which of it differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import check, partition_of, require_open
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.jobs.quote import quote
from aifa_hpc.sbatch.prepare import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aifa_hpc.errors import Problem
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site

PATH_RULE = "compute nodes of "
"""How ``jobs.check`` begins what it says of folders that a site's nodes do not have."""

_SEPARATOR = "; "


def describe(job: Job, site: Site) -> dict[str, str]:
    """What a job becomes on a site, by aspect; a job that cannot be rendered there has its problems only.

    Args:
        job: As it is on that site, overlay included.
        site: Where.

    Raises:
        InputError: The site is a draft.
    """
    require_open(site)
    problems = check(job, site)
    try:
        prepared = prepare(job, site)
    except InputError:
        return _objections(problems)
    partition = partition_of(job, site)
    assert partition is not None  # or it could not be prepared
    fit = Fit(job=job, site=site, partition=partition)
    return {
        "partition": _partition(fit),
        "nodes": str(job.resources.nodes),
        "time": f"{job.resources.time} of {partition.max_time} at most",
        "launcher": _launcher(prepared, job),
        "binding": _binding(fit),
        "tasks": f"{fit.tasks} a node",
        "GPUs": _gpus(fit),
        "cores": f"{fit.cpus} a task, {fit.tasks * fit.cpus} of {fit.node.usable_cpus} a node",
        "memory": _memory(dict(prepared.directives)),
        "modules": "; ".join(" ".join(words) for words in prepared.module_lines) or "none",
        "container": _container(prepared, job, site),
        "variables": _variables(prepared),
        "cost": str(quote(job, site)),
    } | _objections(problems)


def compare(described: Mapping[str, Mapping[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """The aspects that differ, a row each with a column for each site, and the names of those that are the same.

    Args:
        described: What :func:`describe` says, by site.
    """
    aspects = dict.fromkeys(aspect for found in described.values() for aspect in found)
    differs, same = [], []
    for aspect in aspects:
        texts = {site: found.get(aspect, "") for site, found in described.items()}
        if len(set(texts.values())) == 1:
            same.append(aspect)
        else:
            differs.append({"what": aspect} | (_apart(texts) if aspect == "variables" else texts))
    return differs, same


def _apart(texts: dict[str, str]) -> dict[str, str]:
    """Lists without what all of them have."""
    words = {site: text.split(_SEPARATOR) for site, text in texts.items()}
    return {
        site: _SEPARATOR.join(word for word in own if not all(word in other for other in words.values())) or "none"
        for site, own in words.items()
    }


def _partition(fit: Fit) -> str:
    name = fit.job.resources.partition or fit.site.scheduler.default_partition
    gpus = f", {fit.node.gpus} x {fit.node.gpu_model or fit.node.gpu_type}" if fit.node.gpus else ""
    return f"{name}: {fit.node.arch} nodes, {'whole' if fit.partition.whole_node else 'shared'}{gpus}"


def _launcher(prepared: Prepared, job: Job) -> str:
    if job.launch.kind == "command":
        return "none: the script runs the program on the first node"
    words = [word for word in prepared.srun if not word.startswith("--cpu-bind=mask_cpu")]
    return " ".join(words) + (", then torchrun" if job.launch.kind == "torchrun" else "")


def _binding(fit: Fit) -> str:
    if fit.masks:
        return f"masks: each task on the {fit.cpus} cores beside its GPU"
    told = [word for word in fit.shape.options if word.startswith("--cpu-bind")]
    return f"by srun: {told[0]}" if told else "left to the site"


def _gpus(fit: Fit) -> str:
    asked = fit.job.resources.gpus_per_node
    if not asked:
        return "none"
    if fit.one_gpu_per_task:
        how = f"by {fit.shape.gpu_variable}" if fit.shape.gpu_variable else "as the site hands them out"
        return f"{asked} a node, one a task, {how}"
    return f"{asked} a node, all of them for each task"


def _memory(directives: dict[str, str]) -> str:
    asked = [f"--{option}={value}" for option, value in directives.items() if option.startswith("mem") and value]
    return asked[0] if asked else "not asked for: the site gives what belongs to the nodes"


def _container(prepared: Prepared, job: Job, site: Site) -> str:
    if job.container is None or site.container is None:
        return "none"
    return " ".join(word for word in prepared.program if word != "torchrun")


def _variables(prepared: Prepared) -> str:
    lines = {line.name: line.value for line in (*prepared.exports, *prepared.task_exports)}
    return _SEPARATOR.join(f"{name}={value}" for name, value in sorted(lines.items())) or "none"


def _objections(problems: tuple[Problem, ...]) -> dict[str, str]:
    """What the site would not take: folders that must change, and the rest."""
    paths = [problem for problem in problems if problem.rule.startswith(PATH_RULE)]
    others = [problem for problem in problems if problem not in paths]
    told = {"paths": [f"{problem.key} = {problem.value} must change: {problem.rule}" for problem in paths]}
    told["problems"] = [f"{problem.severity}: {_short(problem)}" for problem in others]
    return {aspect: _SEPARATOR.join(words) or "none" for aspect, words in told.items()}


def _short(problem: Problem) -> str:
    """Without its source, which `aifa check` gives."""
    what = f"{problem.key} = {problem.value}" if problem.value else problem.key
    return f"{what}: {problem.rule}" + (f" (nearest: {problem.nearest})" if problem.nearest else "")
