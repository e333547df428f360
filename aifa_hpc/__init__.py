"""From a laptop or data lab to a running training on LUMI and JUPITER.

::

    import aifa_hpc as aifa

    aifa.stage("shards/", "lumi:/scratch/project_465000001/shards/", data_class="open")
    with aifa.connect("lumi") as lumi:
        job = lumi.submit(aifa.Job(...))
        job.wait(check=True)
        print(job.logs())

Names are loaded when they are used, so that importing the package costs a training script next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aifa_hpc.errors import AifaError
    from aifa_hpc.jobs.decode import read_job
    from aifa_hpc.jobs.features import After, Array, Chain, Mail
    from aifa_hpc.jobs.spec import Component, Container, Job, Launch, Resources
    from aifa_hpc.pulls import pull
    from aifa_hpc.tracker.connection import Connection, connect
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.handle import JobHandle
    from aifa_hpc.tracker.logs import read_logs
    from aifa_hpc.tracker.waiting import as_completed, wait_all
    from aifa_hpc.transfers import prove, stage
    from aifa_hpc.units import Memory, Walltime

__version__ = "0.1.0"

__all__ = [
    "After",
    "AifaError",
    "Array",
    "Chain",
    "Component",
    "Connection",
    "Container",
    "Job",
    "JobHandle",
    "Launch",
    "Mail",
    "Memory",
    "Resources",
    "Status",
    "Walltime",
    "as_completed",
    "connect",
    "prove",
    "pull",
    "read_job",
    "read_logs",
    "stage",
    "wait_all",
]

_HOMES = {
    "After": "jobs.features",
    "AifaError": "errors",
    "Array": "jobs.features",
    "Chain": "jobs.features",
    "Component": "jobs.spec",
    "Connection": "tracker.connection",
    "Container": "jobs.spec",
    "Job": "jobs.spec",
    "JobHandle": "tracker.handle",
    "Launch": "jobs.spec",
    "Mail": "jobs.features",
    "Memory": "units",
    "Resources": "jobs.spec",
    "Status": "tracker.events",
    "Walltime": "units",
    "as_completed": "tracker.waiting",
    "connect": "tracker.connection",
    "prove": "transfers",
    "pull": "pulls",
    "read_job": "jobs.decode",
    "read_logs": "tracker.logs",
    "stage": "transfers",
    "wait_all": "tracker.waiting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aifa_hpc' has no attribute {name!r}")
    value = getattr(import_module(f"aifa_hpc.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
