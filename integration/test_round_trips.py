"""What each operation costs a site: the commands that are sent, on a real cluster, where everything is logged in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.jobs.features import Array, Chain
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.tracker.connection import connect
from aifa_hpc.tracker.events import UNKNOWN, Status
from aifa_hpc.tracker.poller import utc_now
from aifa_hpc.units import Walltime
from integration.conftest import SHAPES, SITES, make_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aifa_hpc.command import Command, Completed
    from aifa_hpc.tracker.connection import Connection

pytestmark = pytest.mark.cluster


class Counted:
    """Counts what a connection sends.

    Args:
        connection: All its commands go through here from now on.
    """

    def __init__(self, connection: Connection) -> None:
        self._run = connection.cluster.transport.run
        self._trips = 0
        connection.cluster.transport.run = self._count  # type: ignore[method-assign] # it is counted

    def _count(self, command: Command) -> Completed:
        self._trips += 1
        return self._run(command)

    def of(self, work: Callable[[], object]) -> int:
        """The commands that a piece of work sends."""
        before = self._trips
        work()
        return self._trips - before


@pytest.mark.skipif("lumi" not in SITES, reason="AIFA_CLUSTERS leaves LUMI out")
def test_every_operation_is_one_command(clusters: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of jobs; only a chain needs one for each link, whose ids the next ones name."""
    user = make_user(tmp_path, "lumi", "openssh", mfa=False)
    for key, value in user.env.items():
        monkeypatch.setenv(key, value)
    shape = SHAPES["lumi"]
    resources = Resources(
        partition=str(shape["partition"]), gpus_per_node=int(str(shape["gpus_per_node"])), time=Walltime(120)
    )

    def job(name: str, **more: object) -> Job:
        return Job(name=name, resources=resources, launch=Launch(kind="command", command=("sleep", "20")), **more)  # type: ignore[arg-type] # any field

    with connect(user.site) as connection:
        connection.submit(job("warm")).cancel()  # logs in, asks the site who we are there
        counted = Counted(connection)
        handles = []
        found = {
            "submit": counted.of(lambda: handles.append(connection.submit(job("one")))),
            "submit an array": counted.of(lambda: handles.append(connection.submit(job("many", array=Array(count=5))))),
            "submit a chain of 3": counted.of(
                lambda: handles.append(connection.submit(job("chain", chain=Chain(total=Walltime(360)))))
            ),
            "submit_many of 20": counted.of(
                lambda: handles.extend(connection.submit_many([job(f"b{number}") for number in range(20)]))
            ),
            "poll": counted.of(connection.poll),
            "jobs": counted.of(connection.jobs),
            "job": counted.of(lambda: connection.job(handles[0].token)),
        }
        by_hand = user.ssh(
            f"sbatch --parsable --account={user.connect['account']} --partition={shape['partition']}"
            " --gpus-per-node=1 --time=1 --hold --wrap=true"
        ).strip()
        found["adopt"] = counted.of(lambda: handles.extend(connection.adopt([by_hand])))
        found["explain"] = counted.of(handles[-1].explain)
        lost = handles[0].token
        connection.store.database.execute("UPDATE jobs SET job_id = NULL WHERE token = ?", (lost,))
        connection.store.update(lost, Status(state=UNKNOWN), now=utc_now())
        found["settle"] = counted.of(lambda: connection.settle([connection.store.get(lost)]))
        assert connection.store.get(lost).job_id
        while handles[0].refresh().state != "RUNNING" and not handles[0].status.over:
            connection.poll()
            time.sleep(0.5)
        found["logs"] = counted.of(handles[0].logs)
        found["cancel"] = counted.of(handles[0].cancel)
        user.ssh("xargs scancel", "\n".join(str(handle.id) for handle in handles))
    expected = dict.fromkeys(found, 1) | {"submit a chain of 3": 3, "jobs": 0, "job": 0}
    assert expected == found
