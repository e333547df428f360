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

import difflib
import re
import tomllib
from typing import Any, Literal

import msgspec

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.units import Memory, Walltime, parse_memory, parse_walltime

LaunchKind = Literal["command", "srun", "torchrun"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*", re.ASCII)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `\$?(?P<path>[^`]*)`)?")


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
        _coerce(self, "time", Walltime, parse_walltime)
        _coerce(self, "memory", Memory, parse_memory)
        for key in ("nodes", "tasks_per_node", "cpus_per_task"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ParseError(f"{key} = {value}: must be at least 1")
        if self.gpus_per_node < 0:
            raise ParseError(f"gpus_per_node = {self.gpus_per_node}: must be at least 0")
        if self.time.seconds == 0:
            raise ParseError("time = 00:00:00: must be at least a minute")
        for key in ("partition", "account", "qos", "reservation"):
            value = getattr(self, key)
            if value and not _WORD.fullmatch(value):
                raise ParseError(f"{key} = {value!r}: letters, digits and . _ : + - only")


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
        words: object = self.command
        if isinstance(words, str):
            raise ParseError('command is a list of words, for example ["python", "train.py"], not one line of shell')
        msgspec.structs.force_setattr(self, "command", tuple(self.command))
        if not self.command or not self.command[0]:
            raise ParseError("command is empty; it needs at least a program")
        for word in self.command:
            if "\0" in word:
                raise ParseError(f"command word {word!r} holds a NUL byte")


class Container(_Spec, frozen=True, kw_only=True):
    """The image the program runs in.

    Attributes:
        image: Absolute path on the site.
        bind: Host paths to bind, ``SRC`` or ``SRC:DST[:opts]``, on top of the site's own.
    """

    image: str
    bind: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "bind", tuple(self.bind))
        if not self.image.startswith("/"):
            raise ParseError(f"image = {self.image!r}: must be an absolute path on the site")
        for bind in self.bind:
            if not bind.startswith("/") or "," in bind or "\n" in bind:
                raise ParseError(f"bind = {bind!r}: must be an absolute path on the site without commas")


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
        if not _NAME.fullmatch(self.name):
            raise ParseError(
                f"name = {self.name!r}: letters, digits and . _ + - only, at most 64, not starting with a sign"
            )
        for key, value in self.env.items():
            if not _VARIABLE.fullmatch(key):
                raise ParseError(f"env.{key}: not a name a shell can export (letters, digits, _)")
            if "\0" in value:
                raise ParseError(f"env.{key} holds a NUL byte")
        if self.workdir and not self.workdir.startswith("/"):
            raise ParseError(f"workdir = {self.workdir!r}: must be an absolute path on the site")


def read_job(text: str, label: str = "job") -> Job:
    """Decodes a job file, strictly.

    Args:
        text: TOML.
        label: What errors call it, usually the file's name.

    Raises:
        InputError: Not TOML, an unknown key, a wrong type or unit; the message has the path to the key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error
    try:
        return msgspec.convert(table, Job, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise InputError(f"{label}: {_located(str(error))}") from error


def _coerce(spec: Any, key: str, kind: type, parse: Any) -> None:
    value = getattr(spec, key)
    if isinstance(value, str):
        msgspec.structs.force_setattr(spec, key, parse(value))
    elif value is not None and not isinstance(value, kind):
        raise ParseError(f'{key} = {value!r}: must be written as text, for example "00:30:00" or "480G"')


def _decode(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, str):
        raise ParseError(f'{value!r} must be written as text, for example "00:30:00" or "480G"')
    return parse_walltime(value) if kind is Walltime else parse_memory(value)


def _located(message: str) -> str:
    """The decoder's words for an unknown key, with the key a user most likely meant."""
    match = _UNKNOWN_FIELD.search(message)
    if match is None:
        return message.replace("`$.", "`")
    path = (match["path"] or "").lstrip(".")
    kind = {"": Job, "resources": Resources, "launch": Launch, "container": Container}.get(path, Job)
    fields = list(kind.__struct_fields__)
    nearest = difflib.get_close_matches(match["key"], fields, 1, 0.0)[0]
    key = f"{path}.{match['key']}".lstrip(".")
    return f"unknown key {key!r}; did you mean {nearest!r}? Keys here: {', '.join(fields)}."
