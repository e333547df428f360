"""Functions as jobs of the embedded scheduler: what comes back, in which form, and to whom."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import types
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aifa_hpc.cluster import Cluster
from aifa_hpc.command import Command, Completed
from aifa_hpc.errors import InputError, JobFailedError, NotSentError
from aifa_hpc.executor.executor import Executor
from aifa_hpc.jobs.spec import Container, Job, Resources
from aifa_hpc.sites.load import load_site
from aifa_hpc.tracker.connection import Connection
from aifa_hpc.tracker.store import Store
from aifa_hpc.transport.base import Channel, Transport
from tests.executor.conftest import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 60


def local(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one of ``__main__``, which travels by value."""
    function.__module__ = "__main__"
    return function


@local
def add(a: int, b: int = 0) -> int:
    """A sum."""
    print("adding")  # noqa: T201 - goes to the job's log
    return a + b


@local
def fail() -> None:
    """Raises."""
    raise ValueError("not like this")


@local
def die() -> None:
    """Ends its process without a word."""
    os._exit(9)


def test_what_a_function_returns_comes_back(executor: Executor) -> None:
    """With its log, its id and a token."""
    call = executor.submit(add, 5, b=7)
    assert (12, True, True) == (call.result(SECONDS), bool(call.id), bool(call.token))
    assert ("COMPLETED", [12], True) == (call.state, call.results(), call.done())


def test_what_a_function_raises_is_raised_here(executor: Executor) -> None:
    """The same exception, with the traceback of the node as its cause; waiting raises nothing."""
    call = executor.submit(fail)
    assert call.wait(SECONDS)
    with pytest.raises(ValueError, match="not like this") as caught:
        call.result()
    assert 'raise ValueError("not like this")' in str(caught.value.__cause__)


def test_a_process_that_dies_is_told_with_how_its_job_ended(executor: Executor) -> None:
    """There is no result, so the job's own end is the answer."""
    with pytest.raises(JobFailedError, match=r"ended as FAILED, exit 9:0, and left no result"):
        executor.submit(die).result(SECONDS)


def test_a_map_is_one_array(executor: Executor, connection: Connection) -> None:
    """Of which each call is a task, in order."""
    calls = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    assert [11, 22, 33] == [call.result(SECONDS) for call in calls]
    (job,) = connection.jobs()
    assert [f"{job.id}_{number}" for number in range(3)] == [call.id for call in calls]


def test_a_map_of_nothing_is_nothing(executor: Executor, connection: Connection) -> None:
    """No job is submitted."""
    assert ([], []) == (executor.map_array(add, [], []), connection.jobs())


def test_a_map_of_columns_of_different_lengths_is_refused(executor: Executor) -> None:
    """Zipping would drop some in silence."""
    with pytest.raises(InputError, match=r"different lengths: 2, 1"):
        executor.map_array(add, [1, 2], [1])


def test_a_batch_is_one_array_of_different_functions(executor: Executor, connection: Connection) -> None:
    """Submitted when the block ends; what was cancelled before is left out."""
    with executor.batch():
        calls = [executor.submit(add, 1), executor.submit(add, 2), executor.submit(pow, 2, 5)]
        assert calls[1].cancel()
        assert [] == connection.jobs()
    assert ([1, 32], True) == ([calls[0].result(SECONDS), calls[2].result(SECONDS)], calls[1].cancelled())
    assert ["0-1"] == [job.row.tasks for job in connection.jobs()] or ["0,1"] == [
        job.row.tasks for job in connection.jobs()
    ]


def test_a_batch_that_raises_submits_nothing(executor: Executor, connection: Connection) -> None:
    """And the next one may begin."""
    with pytest.raises(ZeroDivisionError), executor.batch():
        executor.submit(add, 1 // 0)
    assert [] == connection.jobs()
    with executor.batch():
        pass


def test_calls_are_futures(executor: Executor) -> None:
    """The standard library waits for them, calls back, and a coroutine may await them."""
    calls = executor.map_array(add, [1, 2])
    seen: list[int] = []
    calls[0].add_done_callback(lambda future: seen.append(future.result()))
    done, left = concurrent.futures.wait(calls, timeout=SECONDS)
    assert ({*calls}, set(), [1]) == (done, left, seen)
    assert sorted([1, 2]) == sorted(call.result() for call in concurrent.futures.as_completed(calls))

    async def awaited() -> int:
        return int(await asyncio.wrap_future(calls[1]))

    assert 2 == asyncio.run(awaited())


def test_a_call_can_be_cancelled(executor: Executor, connection: Connection) -> None:
    """Its job too."""
    call = executor.submit(__import__("time").sleep, 600)
    assert (True, True) == (call.cancel(), call.cancelled())
    with pytest.raises(concurrent.futures.CancelledError):
        call.result()
    (job,) = connection.jobs()
    assert "CANCELLED" == job.wait(timeout=SECONDS).state


def test_another_process_finds_a_call_by_its_token(executor: Executor, connection: Connection) -> None:
    """Of a job of its own, and of an array."""
    single, many = executor.submit(add, 1), executor.map_array(add, [5, 6])
    other = connection.executor(resources=RESOURCES)
    assert (1, 6) == (other.attach(single.token).result(SECONDS), other.attach(many[1].token).result(SECONDS))
    with pytest.raises(InputError, match="its calls are"):
        other.attach(many[0].token.partition("_")[0])
    with pytest.raises(InputError, match="names no call"):
        other.attach(f"{single.token}_0")


def test_closing_the_connection_tells_who_waits(tmp_path: Path, connection: Connection) -> None:
    """And how the result is found all the same."""
    call = connection.executor(resources=RESOURCES).submit(__import__("time").sleep, 0.2)
    connection.close()
    with pytest.raises(InputError, match=f"executor.attach\\('{call.token}'\\)"):
        call.result(SECONDS)
    cluster = Cluster(connection.cluster.site, connection.cluster.transport)
    with Connection(cluster, Store(tmp_path / "jobs.sqlite3")) as again:
        assert None is again.executor(resources=RESOURCES).attach(call.token).result(SECONDS)


def test_a_module_of_the_users_own_travels_by_value(executor: Executor, connection: Connection) -> None:
    """Where it is asked for; else the node says that it has no such module."""
    module = types.ModuleType("mine_only_here")
    exec("def double(x):\n    return 2 * x\n", module.__dict__)
    sys.modules["mine_only_here"] = module
    try:
        failing = executor.submit(module.double, 4)
        working = connection.executor(resources=RESOURCES, by_value=[module]).submit(module.double, 4)
        assert 8 == working.result(SECONDS)
        with pytest.raises(JobFailedError, match=r"No module named 'mine_only_here'.*by_value"):
            failing.result(SECONDS)
    finally:
        del sys.modules["mine_only_here"]


def test_a_function_starts_where_it_is_asked_to(connection: Connection, tmp_path: Path) -> None:
    """And by default in its job's folder."""
    call = connection.executor(resources=RESOURCES, workdir=str(tmp_path)).submit(os.getcwd)
    other = connection.executor(resources=RESOURCES).submit(os.getcwd)
    assert (str(tmp_path), other.folder) == (call.result(SECONDS), other.result(SECONDS))


def test_each_rank_gives_its_own_result(connection: Connection) -> None:
    """``result`` is that of rank 0, as in submitit."""
    resources = Resources(time="00:05:00", tasks_per_node=2)  # type: ignore[arg-type] # as users write it
    call = connection.executor(resources=resources, launch="srun").submit(lambda: int(os.environ["RANK"]))
    assert ([0, 1], 0) == (call.results(SECONDS), call.result())


def test_a_large_result_comes_by_the_staging_engine(executor: Executor) -> None:
    """Nine megabytes are not read in one answer."""
    size = 9 << 20
    assert size == len(executor.submit(local(lambda count: b"x" * count), size).result(SECONDS))


def test_what_cannot_come_back_is_told(executor: Executor) -> None:
    """A result without a pickle, and an exception whose class is not here."""

    def raises() -> None:
        class OwnError(Exception):
            def __reduce__(self) -> str:
                return "nobody_has_this"

        raise OwnError("mine")

    with pytest.raises(JobFailedError, match="return something that can be pickled"):
        executor.submit(local(lambda: (number for number in range(3)))).result(SECONDS)
    with pytest.raises(JobFailedError, match="OwnError: mine"):
        executor.submit(local(raises)).result(SECONDS)


def test_an_illegal_job_is_refused_before_anything_is_sent(connection: Connection, tmp_path: Path) -> None:
    """All problems at once, and no bundle left on the site."""
    executor = connection.executor(resources=Resources(time="9-00:00:00", nodes=99))  # type: ignore[arg-type] # as users write it
    with pytest.raises(InputError, match=r"(?s)resources\.(time|nodes).*resources\.(time|nodes)"):
        executor.submit(add, 1)
    assert ([], False) == (connection.jobs(), (tmp_path / "state" / "local" / "calls").exists())


def test_a_bundle_is_gone_when_its_calls_are_done(connection: Connection, tmp_path: Path) -> None:
    """Arguments may be private; the results stay, mode 0600, in the job's folder."""
    call = connection.executor(resources=RESOURCES).submit(add, 1)
    assert 1 == call.result(SECONDS)
    connection.close()  # which waits for what its thread is doing
    assert [] == list((tmp_path / "state" / "local" / "calls").iterdir())
    (result,) = (tmp_path / "state" / "local" / "jobs").glob("*/result-0.0")
    assert 0o600 == result.stat().st_mode & 0o777


def calls_left(tmp_path: Path) -> list[Path]:
    """The bundles on the site."""
    return list((tmp_path / "state" / "local" / "calls").iterdir())


def test_a_bundle_of_a_job_that_left_nothing_is_gone_too(executor: Executor, tmp_path: Path) -> None:
    """Of a process that died, and of calls that were cancelled: then at once, when the last of them was."""
    executor.submit(die).wait(SECONDS)
    assert [] == calls_left(tmp_path)
    calls = executor.map_array(__import__("time").sleep, [600, 600])
    assert (True, 1) == (calls[0].cancel(), len(calls_left(tmp_path)))
    assert (True, []) == (calls[1].cancel(), calls_left(tmp_path))


def test_a_cancelled_call_of_an_array_leaves_the_others(executor: Executor, tmp_path: Path) -> None:
    """Whose results come, and whose bundle goes with the last of them."""
    sleep = __import__("time").sleep
    calls = executor.map_array(lambda seconds: sleep(seconds) or seconds, [600, 0.5])
    assert (True, True) == (calls[0].cancel(), calls[0].cancelled())
    assert 0.5 == calls[1].result(SECONDS)
    assert [] == calls_left(tmp_path)


def test_a_call_that_was_cancelled_elsewhere_says_so(executor: Executor, connection: Connection) -> None:
    """By hand, or by another program; its bundle goes."""
    call = executor.submit(__import__("time").sleep, 600)
    connection.cluster.cancel(call.id)
    with pytest.raises(JobFailedError, match="ended as CANCELLED"):
        call.result(SECONDS)


class Recorder:
    """A host that keeps the job instead of submitting it, on a site whose bundles go nowhere.

    Attributes:
        cluster: LUMI.
        job: What was submitted.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.job: Any = None

    def submit(self, job: Job) -> Any:
        """Ends here."""
        self.job = job
        raise InputError("seen enough")


class Echo(Transport):
    """A wire that stores nothing and says that it did.

    Attributes:
        commands: What it was asked to run.
    """

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def run(self, command: Command) -> Completed:
        """Says so."""
        self.commands.append(command)
        return Completed(command=command, exit_code=0, stdout=b"aifa: kept\n")

    def open(self, command: Command) -> Channel:
        """Nobody opens anything here."""
        raise NotSentError(command.line)


def test_an_image_sees_the_bundle(tmp_path: Path) -> None:
    """Bundle and job folders are bound into the job's container, whose own Python runs the call."""
    site = load_site("lumi", tmp_path)
    work = "/scratch/project_465000001/ada/aifa"
    access = msgspec.structs.replace(site.access, account="project_465000001", workdir=work)
    wire = Echo()
    host = Recorder(Cluster(msgspec.structs.replace(site, access=access), wire, config=tmp_path))
    image = Container(image="/appl/local/containers/x.sif", bind=("/flash",))
    resources = Resources(time="00:05:00", partition="small-g", gpus_per_node=1)  # type: ignore[arg-type] # as users write it
    with pytest.raises(InputError, match="seen enough"):
        Executor(host, resources=resources, container=image).submit(add, 1)  # type: ignore[arg-type] # needs no more of it
    bundle = host.job.launch.command[1]
    assert (("/flash", work), "python3", "add") == (host.job.container.bind, host.job.launch.command[0], host.job.name)
    assert (f"{work}/calls", "calls.pyz") == (bundle.rpartition("/")[0].rpartition("/")[0], bundle.rpartition("/")[2])
    # What was refused leaves nothing on the site.
    assert [(f"{work}/calls",), (bundle,)] == [command.argv[4:5] for command in wire.commands]
