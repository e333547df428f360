"""What users hold: an executor, which submits functions to a site and brings back what they return.

::

    with aifa.connect("lumi") as lumi:
        executor = lumi.executor(resources=aifa.Resources(partition="small", time="00:10:00"))
        job = executor.submit(add, 5, 7)
        print(job.result())
"""

from __future__ import annotations

import re
import secrets
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from aifa_hpc.errors import AifaError, InputError, SubmissionUnknownError
from aifa_hpc.executor.bundle import Work, pack
from aifa_hpc.executor.call import Call
from aifa_hpc.executor.flows import drop, keep
from aifa_hpc.executor.following import Following
from aifa_hpc.jobs.check import account_of, require
from aifa_hpc.jobs.features import Array
from aifa_hpc.jobs.plan import read_indices
from aifa_hpc.jobs.spec import Job, Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import ModuleType

    from aifa_hpc.executor.host import Host
    from aifa_hpc.jobs.spec import Container, Resources
    from aifa_hpc.sites.launching import LaunchKind

_KEY_BYTES = 8


class Executor:
    """Submits functions as jobs of one site, exactly once each.

    Functions and arguments are pickled by cloudpickle, which goes along: the node, or the job's image, needs Python of
    the same minor version as this one and nothing else. Functions of ``__main__`` and of notebooks travel by value,
    those of modules by name, unless ``by_value`` has the module.

    What comes back is a pickle too, and loading one runs what it says: results are read from the job's own folder only,
    and only from files that nobody but the user can write.

    Args:
        host: The connection.
        resources: What each call asks for.
        name: Of the jobs; by default the function's.
        python: Interpreter on the node or in the image; on the site ``local`` by default this one.
        launch: ``command`` calls the function once; ``srun`` in each rank, ``result()`` is then that of rank 0.
        container: Image to run in.
        modules: Environment modules to load.
        env: Variables.
        workdir: Absolute folder on the site that functions start in; by default the job's own.
        by_value: Modules that travel with the functions.
        array_limit: Most tasks of an array that run at the same time.
        requeue: Whether Slurm may run a call again after a failed node; ``None`` leaves it to the site.
    """

    def __init__(
        self,
        host: Host,
        *,
        resources: Resources,
        name: str = "",
        python: str = "",
        launch: LaunchKind = "command",
        container: Container | None = None,
        modules: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        workdir: str = "",
        by_value: Sequence[ModuleType] = (),
        array_limit: int | None = None,
        requeue: bool | None = None,
    ) -> None:
        embedded = host.cluster.site.access.transport == "embedded"
        self._host = host
        self._python = python or (sys.executable if embedded else "python3")
        self._name, self._workdir, self._by_value, self._limit = name, workdir, tuple(by_value), array_limit
        self._batch: list[tuple[Work, Call]] | None = None
        self._job = Job(
            name=name or "call",
            resources=resources,
            launch=Launch(kind=launch, command=(self._python,)),
            container=container,
            modules=tuple(modules),
            env=dict(env or {}),
            requeue=requeue,
        )

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
        """Submits one call; inside :meth:`batch` it is submitted when the batch ends.

        Raises:
            InputError: It cannot be pickled, is too large, or the job is not legal there; nothing was submitted.
            SiteError: The site refused it.
            NotSentError: It was not submitted; try again.
            SubmissionUnknownError: It may have been submitted; :meth:`attach` with the error's token finds it.
        """
        work, call = Work(function=function, args=args, kwargs=kwargs), Call(self._host.cluster, 0)
        if self._batch is None:
            self._send([work], [call], array=False)
        else:
            self._batch.append((work, call))
        return call

    def map_array(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> list[Call]:
        """Submits a call for each set of arguments, as one array; errors as :meth:`submit`.

        Raises:
            InputError: The iterables are of different lengths.
        """
        columns = [list(one) for one in iterables]
        if len({len(column) for column in columns}) > 1:
            lengths = ", ".join(str(len(column)) for column in columns)
            raise InputError(f"the arguments of map_array have different lengths: {lengths}.")
        works = [Work(function=function, args=args) for args in zip(*columns, strict=True)]
        calls = [Call(self._host.cluster, index) for index in range(len(works))]
        if works:
            self._send(works, calls, array=True)
        return calls

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All calls submitted inside become one array, when the block ends; none of them when it raises."""
        if self._batch is not None:
            raise InputError("a batch is open already.", hint="Batches do not nest.")
        self._batch = []
        try:
            yield
            batch = [(work, call) for work, call in self._batch if not call.cancelled()]
        finally:
            self._batch = None
        for index, (_, call) in enumerate(batch):
            call.index = index
        if batch:
            self._send([work for work, _ in batch], [call for _, call in batch], array=True)

    def attach(self, token: str) -> Call:
        """A call that was submitted before, by this process or another; its result comes as if it had been now.

        Args:
            token: Of the call.

        Raises:
            InputError: Nobody knows it, or it is an array of which a task must be named.
        """
        base, _, task = token.partition("_")
        parts = self._host.parts(self._host.job(base).token)
        tasks = sum(len(read_indices(part.tasks)) for part in parts)
        if bool(tasks) != bool(task) or (task and not (task.isascii() and task.isdigit())):
            names = f"its calls are {base}_0 to {base}_{tasks - 1}" if tasks else f"its only call is {base}"
            raise InputError(f"{token!r} names no call of job {base!r}: {names}.")
        call = Call(self._host.cluster, int(task or 0))
        call.place(base, parts, array=bool(task))
        Following(self._host, base, [call], array=bool(task), whole=not task).begin()
        return call

    def _send(self, works: list[Work], calls: list[Call], *, array: bool) -> None:
        cluster, job = self._host.cluster, self._prepared(works, array=array)
        bundle = pack(works, by_value=self._by_value, workdir=self._workdir)
        folder = f"{cluster.workdir(account_of(job, cluster.site))}/calls"
        path = cluster.drive(keep(folder, secrets.token_hex(_KEY_BYTES), bundle))
        launch = Launch(kind=job.launch.kind, command=(self._python, path))
        container = job.container
        if container is not None:  # which must see the bundle, and the job's folder beside it
            binds = (*container.bind, folder.rpartition("/")[0])
            container = msgspec.structs.replace(container, bind=binds)
        try:
            handle = self._host.submit(msgspec.structs.replace(job, launch=launch, container=container))
        except SubmissionUnknownError:
            raise  # a job that may exist needs its bundle
        except AifaError:
            with suppress(AifaError):
                cluster.drive(drop([path]))
            raise
        parts = self._host.parts(handle.token)
        for call in calls:
            call.place(handle.token, parts, array=array)
        Following(self._host, handle.token, calls, array=array, whole=True).begin()

    def _prepared(self, works: list[Work], *, array: bool) -> Job:
        """The job but for its program, which is known when the bundle is there; refused before anything is sent."""
        named = getattr(works[0].function, "__name__", "")
        name = self._name or re.sub(r"[^A-Za-z0-9._+-]+", "-", named, flags=re.ASCII).strip("._+-")[:64] or "call"
        array_of = Array(count=len(works), limit=self._limit) if array else None
        job = msgspec.structs.replace(self._job, name=name, array=array_of)
        require(job, self._host.cluster.site)
        return job
