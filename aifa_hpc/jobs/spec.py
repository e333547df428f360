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
    kind = "srun"                      # command | srun | torchrun
    command = ["python", "train.py"]
    [container]
    image = "/appl/local/laifs/containers/some.sif"
    bind = ["/scratch"]
    [env]
    OMP_NUM_THREADS = "7"

The same in Python, where times and memory may be written as the file writes them::

    Job(
        name="digits",
        resources=Resources(partition="standard-g", nodes=2, gpus_per_node=8, time="00:30:00"),
        launch=Launch(kind="srun", command=["python", "train.py"]),
    )
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from aifa_hpc.errors import InputError, ParseError, Problem
from aifa_hpc.sites.strict import decode, show
from aifa_hpc.units import Memory, Walltime, parse_memory, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LaunchKind = Literal["command", "srun", "torchrun"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_WORDS = "letters, digits and . _ : + - only, beginning with a letter or digit"
_ABSOLUTE = "must be an absolute path on the site, without control characters"

# bash(1): readonly, so that `export` fails or does nothing. What begins with aifa_ is the script's own.
_RESERVED = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table of the job file."""


class Resources(_Spec, frozen=True, kw_only=True):
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

    def __post_init__(self) -> None:
        _refuse("resources", self._problems())

    def _problems(self) -> Iterator[Problem]:
        yield from _coerce(self, "time", Walltime, parse_walltime, "00:30:00")
        yield from _coerce(self, "memory", Memory, parse_memory, "480G")
        least = {"nodes": 1, "gpus_per_node": 0, "tasks_per_node": 1, "cpus_per_task": 1}
        for key, least_value in least.items():
            value = getattr(self, key)
            if value is None and key.endswith(("tasks_per_node", "cpus_per_task")):
                continue
            if type(value) is not int:
                yield Problem(key=key, value=show(value), rule="must be a whole number", nearest=str(least_value))
            elif value < least_value:
                rule = f"must be at least {least_value}"
                yield Problem(key=key, value=show(value), rule=rule, nearest=str(least_value))
        if self.time == Walltime(0):
            rule = "must be more than 0, which asks Slurm for no limit at all (sbatch(1) --time)"
            yield Problem(key="time", value=str(self.time), rule=rule, nearest="00:01:00")
        if self.memory == Memory(0):
            rule = "must be more than 0, which asks Slurm for all memory of a node (sbatch(1) --mem); or leave it out"
            yield Problem(key="memory", value=str(self.memory), rule=rule, nearest="1G")
        for key in ("partition", "account", "qos", "reservation"):
            value = getattr(self, key)
            if not isinstance(value, str) or (value and not _WORD.fullmatch(value)):
                yield Problem(key=key, value=show(value), rule=_WORDS)


class Launch(_Spec, frozen=True, kw_only=True):
    """How the program is started.

    Attributes:
        kind: ``command`` runs it once on the first node, ``srun`` as one task per GPU (or as ``tasks_per_node`` says),
            ``torchrun`` as one elastic agent per node.
        command: Program and arguments, never a shell line. For ``torchrun``: what follows torchrun's own options.
    """

    command: tuple[str, ...]
    kind: LaunchKind = "command"

    def __post_init__(self) -> None:
        _refuse("launch", self._problems())

    def _problems(self) -> Iterator[Problem]:
        if self.kind not in get_args(LaunchKind):
            kinds = ", ".join(get_args(LaunchKind))
            yield Problem(key="kind", value=show(self.kind), rule=f"must be one of {kinds}", nearest="command")
        words: object = self.command
        if isinstance(words, str) or not isinstance(words, (list, tuple)):
            rule = "must be a list of words, not one line of shell"
            split = words.split() if isinstance(words, str) else ["python", "train.py"]
            yield Problem(key="command", value=show(words), rule=rule, nearest=_list(split))
            return
        msgspec.structs.force_setattr(self, "command", tuple(words))
        if not words or words[0] == "":
            rule = "is empty; it needs at least a program"
            yield Problem(key="command", value=_list(words), rule=rule, nearest=_list(["python", "train.py"]))
        for word in words:
            if rule := _not_text(word):
                yield Problem(key="command", value=show(word), rule=f"a word {rule}")


class Container(_Spec, frozen=True, kw_only=True):
    """The image the program runs in.

    Attributes:
        image: Absolute path on the site.
        bind: Host paths to bind, ``SRC`` or ``SRC:DST[:opts]``, on top of the site's own.
    """

    image: str
    bind: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse("container", self._problems())

    def _problems(self) -> Iterator[Problem]:
        if not _is_path(self.image):
            yield Problem(key="image", value=show(self.image), rule=_ABSOLUTE)
        binds: object = self.bind
        if isinstance(binds, str) or not isinstance(binds, (list, tuple)):
            value = show(binds)
            yield Problem(key="bind", value=value, rule="must be a list of paths", nearest=_list([str(binds)]))
            return
        msgspec.structs.force_setattr(self, "bind", tuple(binds))
        for bind in binds:
            parts = bind.split(":") if isinstance(bind, str) else []
            if not parts or "," in bind or len(parts) > 3 or not all(map(_is_path, parts[:2])):  # noqa: PLR2004
                rule = "must be SRC or SRC:DST[:opts], absolute paths without commas and control characters"
                yield Problem(key="bind", value=show(bind), rule=rule)


class Job(_Spec, frozen=True, kw_only=True):
    """One piece of work, as a user describes it; a value that exists is well formed.

    Attributes:
        name: Shown in queues to everybody: letters, digits and ``. _ + -``, at most 64.
        resources: What it asks for.
        launch: How it starts.
        container: The image it runs in, if any.
        env: Variables, literally; they win over the site's presets.
        workdir: Absolute folder on the site the program starts in; by default the job's own folder.
    """

    name: str
    resources: Resources
    launch: Launch
    container: Container | None = None
    env: dict[str, str] = {}
    workdir: str = ""

    def __post_init__(self) -> None:
        _refuse("job", _job_problems(self.name, self.env, self.workdir))
        msgspec.structs.force_setattr(self, "env", dict(self.env))


def read_job(text: str, label: str = "job") -> Job:
    """Decodes a job file, strictly.

    Args:
        text: TOML.
        label: What errors call it, usually the file's name.

    Raises:
        InputError: Not TOML, or ``problems`` holds every unknown key, wrong type, unit and value, with its full key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error
    try:
        return msgspec.convert(table, Job, dec_hook=_unit)
    except msgspec.ValidationError as error:
        problems = _all_problems(table, label)
        why = ":" if problems else f": {error}"
        raise InputError(f"{label} cannot be used{why}", problems=problems) from error


def _all_problems(table: dict[str, Any], label: str) -> list[Problem]:
    """What is wrong with the tables' form, and with the values of those whose form is right."""
    problems: list[Problem] = []
    try:
        decode(table, Job, label)
    except InputError as error:
        problems += [slip for problem in error.problems for slip in _slips(problem, table)]
    crooked = {problem.key.partition(".")[0] for problem in problems}
    parts: dict[str, type[_Spec]] = {"resources": Resources, "launch": Launch, "container": Container}
    for key, kind in parts.items():
        if key in table and key not in crooked:
            problems += _value_problems(table[key], kind, f"{key}.")
    whole = {"name": "job", "env": {}, "workdir": ""} | {key: table[key] for key in table.keys() - crooked}
    return problems + list(_job_problems(whole["name"], whole["env"], whole["workdir"]))


def _value_problems(table: object, kind: type[_Spec], prefix: str) -> Iterator[Problem]:
    try:
        msgspec.convert(table, kind, dec_hook=_unit)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):
            yield from _below(prefix, error.__cause__.problems)


def _below(prefix: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    for problem in problems:
        yield replace(problem, key=prefix + problem.key)


def _slips(problem: Problem, table: dict[str, Any]) -> Iterator[Problem]:
    """Better words for two common slips: numbers in ``[env]``, and a command as one line."""
    if problem.key.startswith("env.") and not problem.nearest:
        rule = "must be text: what the program finds in its environment"
        yield Problem(key=problem.key, value=problem.value, rule=rule, nearest=show(problem.value))
    elif problem.key == "launch.command":
        try:
            Launch(command=table["launch"]["command"])
        except ParseError as error:
            yield from _below("launch.", error.problems)
    else:
        yield problem


def _job_problems(name: object, env: object, workdir: object) -> Iterator[Problem]:
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
        elif key in _RESERVED or key.startswith("aifa_"):
            yield Problem(key=f"env.{key}", value="", rule="cannot be set: it belongs to the shell of the job script")
        if rule := _not_text(value):
            yield Problem(key=f"env.{key}", value=show(value), rule=rule, nearest=show(str(value)).replace("\0", ""))
    if workdir != "" and not _is_path(workdir):
        yield Problem(key="workdir", value=show(workdir), rule=_ABSOLUTE)


def _refuse(what: str, problems: Iterator[Problem]) -> None:
    found = tuple(problems)
    if found:
        raise ParseError(f"the {what} cannot be used:", problems=found)


def _not_text(value: object) -> str:
    """Why a value is no text that a program can be given; empty when it is."""
    if not isinstance(value, str):
        return "must be text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must be text that UTF-8 can encode"
    return "cannot hold a NUL byte" if "\0" in value else ""


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and not _CONTROL.search(value) and not _not_text(value)


def _list(words: Any) -> str:
    return "[" + ", ".join(show(word) for word in words) + "]"


def _coerce(spec: Any, key: str, kind: type, parse: Callable[[str], Any], example: str) -> Iterator[Problem]:
    value = getattr(spec, key)
    try:
        if isinstance(value, (str, kind)):
            # Through text in either case: Slurm's smallest unit of memory is a KiB, so bytes are rounded up once.
            msgspec.structs.force_setattr(spec, key, parse(str(value)))
            return
    except ParseError as error:
        yield Problem(key=key, value=show(value), rule=error.message, nearest=example)
        return
    if value is not None or key == "time":
        rule = "must be written as text with its unit"
        yield Problem(key=key, value=show(value), rule=rule, nearest=f'"{example}"')


def _unit(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, str):
        raise ParseError(f"must be text with a unit, got {show(value)}")
    return parse_walltime(value) if kind is Walltime else parse_memory(value)
