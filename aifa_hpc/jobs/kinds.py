"""What launch kinds demand of a job beyond the site's limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.jobs.spec import Job

_ENGINES = frozenset({"ray", "dask"})


def kind_problems(job: Job) -> Iterator[Problem]:
    """Combinations of a launch kind with other fields that would do something else than the words say."""
    kind = job.launch.kind
    tasks = job.resources.tasks_per_node or 1
    if kind == "ray" and tasks != 1:
        rule = "Ray has one daemon for each node that manages all its cores and GPUs, so it needs one task on each"
        yield Problem(key="resources.tasks_per_node", value=str(tasks), rule=rule, nearest="1")
    if kind in _ENGINES and job.signal and not job.signal.startswith("B:"):
        rule = f"the signal would reach the daemons of {kind}, which end on it; with B: the command alone gets it"
        yield Problem(key="signal", value=job.signal, rule=rule, nearest=f"B:{job.signal}")
    if kind in _ENGINES and job.launch.log_per_rank:
        rule = f"the ranks are the daemons of {kind}; the command writes to the job's log"
        yield Problem(key="launch.log_per_rank", value="true", rule=rule, nearest="false", severity="warning")
    if kind == "interactive":
        for key, given in (("array", job.array), ("chain", job.chain), ("mail", job.mail), ("after", job.after)):
            if given is not None:
                yield Problem(key=key, value="", rule="an interactive job has none: leave it out")
        for key, word in (("signal", job.signal), ("launch.log_per_rank", "true" if job.launch.log_per_rank else "")):
            if word:
                yield Problem(key=key, value=word, rule="an interactive job has a terminal: leave it out")
