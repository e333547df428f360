"""The whole way of a job: data out, script rendered, submitted, followed, result back and checked.

The command ``aifa demo`` runs it on this computer; the integration tests run the same on clusters.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aifa_hpc.demo.shards import write_shards
from aifa_hpc.errors import JobFailedError, TransferError
from aifa_hpc.jobs.check import account_of
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.runtime.pack import write_runtime
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.transfers import prove, stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.events import Status
    from aifa_hpc.tracker.handle import JobHandle

TRAIN = Path(__file__).with_name("train.py")
RUNTIME = "aifa_runtime.zip"
ROWS = 1797
ACCURACY = 0.95
"""What softmax regression reaches on the held-out digits; less means that ranks did not add up."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the main job left.

    Attributes:
        handle: The job.
        status: How it ended.
        result: What rank 0 wrote, read here.
    """

    handle: JobHandle
    status: Status
    result: dict[str, Any]


class Narrator:
    """Told of each step; the silent one says nothing."""

    def step(self, title: str) -> None:
        """A step begins."""

    def detail(self, text: str) -> None:
        """A line about it."""

    def progress(self) -> Progress:
        """Progress of a copy."""
        return silent


def digits_job(resources: Resources, *, python: str, folder: str, result: str) -> Job:
    """The training as a job: one task per GPU or as ``tasks_per_node`` says.

    Args:
        resources: What it asks for.
        python: Interpreter on the site, with NumPy and pyarrow.
        folder: Folder on the site that holds ``data``, ``train.py`` and the runtime.
        result: File on the site that rank 0 writes.
    """
    words = (python, f"{folder}/train.py", "--data", f"{folder}/data", "--result", result)
    launch = Launch(kind="srun", command=words)
    return Job(name="digits", resources=resources, launch=launch, env={"PYTHONPATH": f"{folder}/{RUNTIME}"})


def run(
    connection: Connection,
    resources: Resources,
    *,
    python: str,
    workspace: Path,
    narrator: Narrator,
    wait_seconds: float,
    show_script: Callable[[str], str] = lambda text: text,
) -> Outcome:
    """Runs the main job on a site.

    Args:
        connection: The site.
        resources: What the job asks for.
        python: Interpreter on the site, with NumPy and pyarrow.
        workspace: Local folder for the shards and the result.
        narrator: Told of each step.
        wait_seconds: How long the job may take, waiting included.
        show_script: Cuts the script for display.

    Raises:
        JobFailedError: The job did not end well, or its result is wrong.
        TransferError: The data at the site is not what was sent.
    """
    site = connection.cluster.site
    narrator.step("Data: the digits that scikit-learn ships, as Parquet shards")
    shards = write_shards(workspace / "data")
    narrator.detail(f"{len(shards)} shards, {ROWS} rows, in {workspace / 'data'}")

    folder = f"{connection.cluster.workdir(resources.account or site.access.account)}/demo"
    narrator.step(f"Stage: copy them to {site.name}:{folder}, and prove it")
    summary = stage(
        str(workspace / "data"), f"{site.name}:{folder}/data/", data_class="open", progress=narrator.progress()
    )
    for program in (TRAIN, write_runtime(workspace / RUNTIME)):
        stage(str(program), f"{site.name}:{folder}/", data_class="open", progress=narrator.progress())
    report = prove(f"{site.name}:{folder}/data").report
    if not report.ok:
        raise TransferError(f"the shards on {site.name} are not what was sent: {report.damaged}")
    narrator.detail(
        f"{summary.bytes_sent} bytes sent, {summary.bytes_skipped} were there; {report.files} files verified"
    )

    result = f"{folder}/result-{secrets.token_hex(4)}.json"
    job = digits_job(resources, python=python, folder=folder, result=result)
    narrator.step(f"Render: the script {site.name} wants for account {account_of(job, site) or 'nobody'}")
    narrator.detail(show_script(connection.cluster.render(job)))

    narrator.step("Submit, once")
    handle = connection.submit(job)
    narrator.detail(f"job {handle.id}, token {handle.token}")

    narrator.step("Follow")
    try:
        status = handle.wait(
            timeout=wait_seconds, seen=lambda status: narrator.detail(f"{status.state} {status.reason}")
        )
    except TimeoutError as error:
        raise JobFailedError(f"{error}; it goes on.", hint="`aifa jobs` shows what becomes of it.") from error
    narrator.step("Log")
    narrator.detail(handle.logs().rstrip())
    if not status.ok:
        raise JobFailedError(f"job {handle.id} ended as {status.state} {status.reason}", hint="Its log is above.")

    narrator.step("Result: fetch and check")
    stage(f"{site.name}:{result}", str(workspace / "result.json"))
    found = json.loads((workspace / "result.json").read_text("utf-8"))
    if found["rows"] != ROWS or not found["accuracy"] >= ACCURACY:
        raise JobFailedError(f"the result is wrong: {found}, expected {ROWS} rows and accuracy of {ACCURACY} or more")
    narrator.detail(f"{found['ranks']} ranks, {found['rows']} rows, accuracy {found['accuracy']:.3f}")
    return Outcome(handle=handle, status=status, result=found)
