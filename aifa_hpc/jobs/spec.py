"""A job as a value: the job file and the Python objects are one model.

The job file::

    name = "digits"
    [resources]
    partition = "standard-g"
    nodes = 2
    gpus_per_node = 8
    time = "00:30:00"
    account = "project_465000001"
    [launch]
    kind = "srun"                      # command | srun | mpi | torchrun | ray | dask | interactive
    command = ["python", "train.py"]
    [container]
    image = "/appl/local/laifs/containers/some.sif"
    bind = ["/scratch"]
    [env]
    OMP_NUM_THREADS = "7"

``[array]``, ``[after]``, ``[mail]``, ``[chain]``, ``signal`` and ``requeue`` are described in ``jobs.features``. A
heterogeneous job has further components, each with resources and a program of its own; the first component is the job's
own ``[resources]`` and ``[launch]``, and one ``srun`` starts them all::

    [[components]]
    resources = { partition = "standard", nodes = 4, time = "00:30:00" }
    launch = { kind = "srun", command = ["python", "loader.py"] }

The same in Python, where times and memory may be written as the file writes them::

    Job(
        name="digits",
        resources=Resources(partition="standard-g", nodes=2, gpus_per_node=8, time="00:30:00"),
        launch=Launch(kind="srun", command=["python", "train.py"]),
    )
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.errors import Problem
from aifa_hpc.jobs.data import Data  # noqa: TC001 - msgspec reads annotations at run time
from aifa_hpc.jobs.features import MAX_LINKS, After, Array, Chain, Mail, feature_problems
from aifa_hpc.jobs.values import (
    ABSOLUTE,
    Spec,
    check_flag,
    check_hosts,
    check_numbers,
    check_words,
    coerce,
    is_path,
    not_text,
    refuse,
    show_list,
)
from aifa_hpc.sites.launching import KINDS, LaunchKind
from aifa_hpc.sites.strict import show
from aifa_hpc.units import Memory, Walltime, parse_memory, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/:=@-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# sbatch(1) --constraint: features joined by & and |, counted with *, grouped by ( ) and [ ].
_CONSTRAINT = re.compile(r"[A-Za-z0-9_([][A-Za-z0-9_.:&|*()\[\]+-]*", re.ASCII)

# bash(1): readonly, so that `export` fails or does nothing. What begins with aifa_ is the script's own.
_RESERVED = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
_OURS = ("aifa_", "AIFA_ARRAY_", "AIFA_CHAIN_")


class Resources(Spec, frozen=True, kw_only=True):
    """What the job asks for.

    Attributes:
        partition: Empty means the site's default partition, where it has one.
        nodes: Number of nodes.
        gpus_per_node: As Slurm counts them: a GCD of LUMI's MI250X is one.
        time: Longest walltime.
        tasks_per_node: Tasks on each node; by default what the launch kind and the site want.
        cpus_per_task: Cores of each task; by default what the launch kind and the site want.
        memory: Memory on each node; by default what the site wants to be asked.
        account: Project that is billed; by default the one of the user's site entry.
        qos: Quality of service.
        reservation: Reservation to run in.
        constraint: Features of the nodes, as sbatch(1) ``--constraint`` writes them.
        nodelist: Nodes that must be among the job's, as a host list (``nid[001-003,7]``).
        exclude: Nodes that must not be, as a host list.
    """

    time: Walltime
    partition: str = ""
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    memory: Memory | None = None
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    nodelist: str = ""
    exclude: str = ""

    def __post_init__(self) -> None:
        refuse("resources", self._problems())

    def _problems(self) -> Iterator[Problem]:
        yield from coerce(self, "time", Walltime, parse_walltime, "00:30:00")
        yield from coerce(self, "memory", Memory, parse_memory, "480G", optional=True)
        least = {"nodes": 1, "gpus_per_node": 0, "tasks_per_node": 1, "cpus_per_task": 1}
        yield from check_numbers(self, least, optional=frozenset({"tasks_per_node", "cpus_per_task"}))
        if self.time == Walltime(0):
            rule = "must be more than 0, which asks Slurm for no limit at all (sbatch(1) --time)"
            yield Problem(key="time", value=str(self.time), rule=rule, nearest="00:01:00")
        if self.memory == Memory(0):
            rule = "must be more than 0, which asks Slurm for all memory of a node (sbatch(1) --mem); or leave it out"
            yield Problem(key="memory", value=str(self.memory), rule=rule, nearest="1G")
        yield from check_words(self, ("partition", "account", "qos", "reservation"))
        yield from check_hosts(self, ("nodelist", "exclude"))
        asked: object = self.constraint
        if not isinstance(asked, str) or (asked and not _CONSTRAINT.fullmatch(asked)):
            rule = "features of letters, digits and . _ : + - only, with & | * ( ) [ ] between them"
            yield Problem(key="constraint", value=show(asked), rule=rule)


class Launch(Spec, frozen=True, kw_only=True):
    """How the program is started.

    Attributes:
        kind: ``command`` runs it once on the first node, ``srun`` as one task per GPU (or as ``tasks_per_node`` says),
            ``mpi`` likewise but with ranks from MPI alone, ``torchrun`` as one elastic agent per node; ``ray`` and
            ``dask`` run it once, when their daemons on all nodes have joined; ``interactive`` is for ``salloc``.
        command: Program and arguments, never a shell line. For ``torchrun``: what follows torchrun's own options. For
            ``interactive`` it may be left out and is a shell.
        log_per_rank: Each rank writes a log of its own, ``JOBID.rank-N.out`` beside the job's.
    """

    command: tuple[str, ...] = ()
    kind: LaunchKind = "command"
    log_per_rank: bool = False

    def __post_init__(self) -> None:
        refuse("launch", self._problems())

    def _problems(self) -> Iterator[Problem]:
        if self.kind not in KINDS:
            kinds = ", ".join(KINDS)
            yield Problem(key="kind", value=show(self.kind), rule=f"must be one of {kinds}", nearest="command")
        yield from check_flag("log_per_rank", self.log_per_rank)
        words: object = self.command
        if isinstance(words, str) or not isinstance(words, (list, tuple)):
            rule = "must be a list of words, not one line of shell"
            split = words.split() if isinstance(words, str) else ["python", "train.py"]
            yield Problem(key="command", value=show(words), rule=rule, nearest=show_list(split))
            return
        msgspec.structs.force_setattr(self, "command", tuple(words))
        if not words and self.kind == "interactive":
            return
        if not words or words[0] == "":
            rule = "is empty; it needs at least a program"
            yield Problem(key="command", value=show_list(words), rule=rule, nearest=show_list(["python", "train.py"]))
        for word in words:
            if rule := not_text(word):
                yield Problem(key="command", value=show(word), rule=f"a word {rule}")


class Container(Spec, frozen=True, kw_only=True):
    """The image the program runs in.

    Attributes:
        image: Absolute path on the site.
        bind: Host paths to bind, ``SRC`` or ``SRC:DST[:opts]``, on top of the site's own.
    """

    image: str
    bind: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse("container", self._problems())

    def _problems(self) -> Iterator[Problem]:
        if not is_path(self.image):
            yield Problem(key="image", value=show(self.image), rule=ABSOLUTE)
        binds: object = self.bind
        if isinstance(binds, str) or not isinstance(binds, (list, tuple)):
            value = show(binds)
            yield Problem(key="bind", value=value, rule="must be a list of paths", nearest=show_list([str(binds)]))
            return
        msgspec.structs.force_setattr(self, "bind", tuple(binds))
        for bind in binds:
            parts = bind.split(":") if isinstance(bind, str) else []
            if not parts or "," in bind or len(parts) > 3 or not all(map(is_path, parts[:2])):  # noqa: PLR2004
                rule = "must be SRC or SRC:DST[:opts], absolute paths without commas and control characters"
                yield Problem(key="bind", value=show(bind), rule=rule)


class Component(Spec, frozen=True, kw_only=True):
    """A further component of a heterogeneous job (sbatch(1) ``hetjob``).

    Attributes:
        resources: What it asks for.
        launch: What runs on it, by ``srun`` or ``mpi``.
    """

    resources: Resources
    launch: Launch


class Job(Spec, frozen=True, kw_only=True):
    """One piece of work, as a user describes it; a value that exists is well formed.

    Attributes:
        name: Shown in queues to everybody: letters, digits and ``. _ + -``, at most 64.
        resources: What it asks for.
        launch: How it starts.
        container: The image it runs in, if any.
        modules: Environment modules to load after the site's own, in this order.
        env: Variables, literally; they win over the site's presets.
        workdir: Absolute folder on the site the program starts in; by default the job's own folder.
        array: The same job many times.
        after: What must have happened before.
        mail: Mail about it.
        data: What must be there, and verified, before it is submitted.
        chain: A run longer than the limit.
        components: Further components of a heterogeneous job, beside the job's own resources and launch.
        signal: ``NAME@SECONDS`` before the end, to the tasks; with ``B:`` in front to the script, which hands it on to
            the program.
        requeue: Whether Slurm may run it again after a failed node; ``None`` leaves it to the site.
    """

    name: str
    resources: Resources
    launch: Launch
    container: Container | None = None
    modules: tuple[str, ...] = ()
    env: dict[str, str] = {}  # noqa: RUF012 - msgspec gives each job an empty one of its own
    workdir: str = ""
    array: Array | None = None
    after: After | None = None
    mail: Mail | None = None
    data: Data | None = None
    chain: Chain | None = None
    components: tuple[Component, ...] = ()
    signal: str = ""
    requeue: bool | None = None

    def __post_init__(self) -> None:
        refuse("job", self._problems())
        msgspec.structs.force_setattr(self, "env", dict(self.env))

    def _problems(self) -> Iterator[Problem]:
        yield from job_problems(self.name, self.env, self.workdir)
        yield from feature_problems(self.signal, self.requeue)
        yield from self._module_problems()
        components: object = self.components
        if isinstance(components, (list, tuple)):
            msgspec.structs.force_setattr(self, "components", tuple(components))
        else:
            yield Problem(key="components", value=show(components), rule="must be a list of components")
        parts = {"array": self.array is not None, "chain": self.chain is not None, "components": bool(self.components)}
        yield from combination_problems(parts)
        if self.chain is not None and (links := self.chain.links(self.resources.time)) > MAX_LINKS:
            rule = f"makes {links} links of {self.resources.time}, and a chain has {MAX_LINKS} at most"
            near = str(Walltime(self.resources.time.seconds * MAX_LINKS))
            yield Problem(key="chain.total", value=str(self.chain.total), rule=rule, nearest=near)

    def _module_problems(self) -> Iterator[Problem]:
        modules: object = self.modules
        if isinstance(modules, str) or not isinstance(modules, (list, tuple)):
            near = show_list([modules]) if isinstance(modules, str) else ""
            yield Problem(key="modules", value=show(modules), rule="must be a list of module names", nearest=near)
            return
        msgspec.structs.force_setattr(self, "modules", tuple(modules))
        for name in modules:
            if not isinstance(name, str) or not _MODULE.fullmatch(name):
                rule = "a module's name is letters, digits and . _ + / : = @ - only, beginning with a letter or digit"
                yield Problem(key="modules", value=show(name), rule=rule)


def component_jobs(job: Job) -> tuple[Job, ...]:
    """The further components, each as a job of its own; one that names no account is billed to the job's."""
    found = []
    for component in job.components:
        asked = component.resources
        if not asked.account:
            asked = msgspec.structs.replace(asked, account=job.resources.account)
        changed = msgspec.structs.replace(
            job, resources=asked, launch=component.launch, components=(), chain=None, after=None
        )
        found.append(changed)
    return tuple(found)


def combination_problems(parts: dict[str, bool]) -> Iterator[Problem]:
    """What cannot be one job.

    Args:
        parts: Which of ``array``, ``chain`` and ``components`` the job has.
    """
    if parts["array"] and parts["components"]:
        # Slurm, Heterogeneous Job Support, Limitations: "Job arrays of heterogeneous jobs are not supported".
        yield Problem(key="components", value="", rule="Slurm makes no arrays of heterogeneous jobs: leave out [array]")
    if parts["array"] and parts["chain"]:
        yield Problem(key="chain", value="", rule="an array cannot be a chain: submit a chain for each task")


def job_problems(name: object, env: object, workdir: object) -> Iterator[Problem]:
    """What is wrong with the fields of a job that stand in no table of their own."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "letters, digits and . _ + - only, at most 64, beginning with a letter or digit"
        near = re.sub(r"[^A-Za-z0-9._+-]+", "-", str(name), flags=re.ASCII).strip("._+-")[:64]
        yield Problem(key="name", value=show(name), rule=rule, nearest=near)
    if not isinstance(env, dict):
        yield Problem(key="env", value=show(env), rule="must be a table of names and texts")
        return
    for key, value in env.items():
        if not isinstance(key, str) or not _VARIABLE.fullmatch(key):
            rule = "is no name a shell can export: letters, digits and _ only, not beginning with a digit"
            yield Problem(key=f"env.{key}", value="", rule=rule)
        elif key in _RESERVED or key.startswith(_OURS):
            yield Problem(key=f"env.{key}", value="", rule="cannot be set: it belongs to the shell of the job script")
        if rule := not_text(value):
            yield Problem(key=f"env.{key}", value=show(value), rule=rule, nearest=show(str(value)).replace("\0", ""))
    if workdir != "" and not is_path(workdir):
        yield Problem(key="workdir", value=show(workdir), rule=ABSOLUTE)
