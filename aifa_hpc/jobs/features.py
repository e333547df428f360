"""What a job may ask of Slurm beyond its size: arrays, dependencies, mail, chains.

The tables of the job file::

    signal = "USR1@120"        # two minutes before the limit; "B:USR1@120" to the script itself
    requeue = true             # or false; left out, it is as the site wants it
    [array]
    tasks = "0-99:2"           # as sbatch(1) --array writes them; or: count = 100
    limit = 10                 # so many at the same time
    [after]
    ok = ["8123456"]           # afterok; also any, not_ok, started ("8123456+10" minutes), corr
    singleton = true           # no other job of this name and user is in the queue
    [mail]
    user = "ada@example.org"
    events = ["END", "FAIL"]
    [chain]
    total = "3-00:00:00"       # in links of resources.time each
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec

from aifa_hpc.errors import Problem
from aifa_hpc.jobs.values import Spec, check_flag, check_numbers, coerce, refuse, show_list
from aifa_hpc.sites.strict import nearest, show
from aifa_hpc.units import Walltime, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_INDEX = 4_000_000
"""Highest index of any Slurm: ``MaxArraySize`` may be 4000001 at most (slurm.conf(5))."""

MAX_LINKS = 1000
"""Most links of a chain: each is a submission, and a longer one is more likely a slip in a unit."""

MailEvent: TypeAlias = Literal[
    "ALL",
    "ARRAY_TASKS",
    "BEGIN",
    "END",
    "FAIL",
    "INVALID_DEPEND",
    "REQUEUE",
    "STAGE_OUT",
    "TIME_LIMIT",
    "TIME_LIMIT_50",
    "TIME_LIMIT_80",
    "TIME_LIMIT_90",
]
"""sbatch(1) ``--mail-type``."""

RANKED_KINDS = ("srun", "mpi", "torchrun")
"""Launch kinds whose program is one step with ranks."""

KINDS = ("ok", "any", "not_ok", "started", "corr")
"""The lists of :class:`After`, in the order in which they are written."""

_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?", re.ASCII)
_JOB = re.compile(r"\d{1,10}(?:_\d{1,7})?|[a-z0-9]{12}", re.ASCII)
_STARTED = re.compile(rf"(?:{_JOB.pattern})(?:\+\d{{1,6}})?", re.ASCII)
_SIGNALS = ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT", "ALRM", "URG", "WINCH")
_SIGNAL = re.compile(rf"(?:B:)?(?:{'|'.join(_SIGNALS)})@(?P<seconds>\d{{1,5}})", re.ASCII)
_MAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?", re.ASCII)


class Array(Spec, frozen=True, kw_only=True):
    """The same job many times; each task finds its number in ``AIFA_ARRAY_TASK_ID``.

    ``SLURM_ARRAY_TASK_ID`` is the same number unless the array had to be split, see ``jobs.plan``.

    Attributes:
        tasks: Indices as sbatch(1) ``--array`` writes them, without ``%``: ``0-99:2,200``.
        count: So many tasks, from 0; in place of ``tasks``.
        limit: Most tasks that run at the same time.
    """

    tasks: str = ""
    count: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        refuse("array", self._problems())

    def _problems(self) -> Iterator[Problem]:
        yield from check_numbers(self, {"count": 1, "limit": 1}, optional=frozenset({"count", "limit"}))
        if type(self.count) is int and self.count > MAX_INDEX + 1:
            rule = f"no Slurm has more than {MAX_INDEX + 1} tasks in an array"
            yield Problem(key="count", value=str(self.count), rule=rule, nearest=str(MAX_INDEX + 1))
        tasks: object = self.tasks
        if not isinstance(tasks, str):
            yield Problem(key="tasks", value=show(tasks), rule="must be text", nearest=show(str(tasks)))
            return
        if bool(self.tasks) == (self.count is not None):
            rule = "is one of tasks and count, and exactly one is needed"
            yield Problem(key="tasks", value=show(self.tasks), rule=rule, nearest='"0-9"')
        elif self.tasks:
            yield from self._range_problems()

    def _range_problems(self) -> Iterator[Problem]:
        for item in self.tasks.split(","):
            match = _RANGE.fullmatch(item)
            if match is None:
                rule = "must be indices and ranges, such as 0-99:2,200"
                near = ""
                if "%" in item:
                    rule, near = f"{rule}; what follows % is array.limit", show(self.tasks.partition("%")[0])
                yield Problem(key="tasks", value=show(self.tasks), rule=rule, nearest=near)
                return
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            if last < first or step < 1 or last > MAX_INDEX:
                rule = f"{item} must count up, by at least 1, to {MAX_INDEX} at most"
                yield Problem(key="tasks", value=show(self.tasks), rule=rule)
                return

    @property
    def indices(self) -> tuple[int, ...]:
        """The indices in order, each once."""
        if self.count is not None:
            return tuple(range(self.count))
        found: set[int] = set()
        for item in self.tasks.split(","):
            match = _RANGE.fullmatch(item)
            assert match is not None
            found.update(range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1)))
        return tuple(sorted(found))


class After(Spec, frozen=True, kw_only=True):
    """What must have happened before the job begins; all of it.

    A job is named by its id (``8123456``, or ``8123456_4`` for a task of an array), by this library's token of a
    submission, or in Python by its handle. A dependency that can no longer be met cancels the job, so that it does not
    wait for good.

    Attributes:
        ok: These ended with exit code 0 (``afterok``).
        any: These ended, however (``afterany``).
        not_ok: These failed (``afternotok``).
        started: These began or were cancelled; ``ID+MINUTES`` waits so much longer (``after``).
        corr: For arrays: the task with the same index of these arrays ended with exit code 0 (``aftercorr``).
        singleton: No job of the same name and user is before it in the queue. Only jobs that are singletons
            themselves, or were submitted without this library, have a name in the queue without a token.
    """

    ok: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    not_ok: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    corr: tuple[str, ...] = ()
    singleton: bool = False

    def __post_init__(self) -> None:
        refuse("dependency", self._problems())

    def _problems(self) -> Iterator[Problem]:
        yield from check_flag("singleton", self.singleton)
        for key in KINDS:
            words: object = getattr(self, key)
            if isinstance(words, str) or not isinstance(words, (list, tuple)):
                yield Problem(key=key, value=show(words), rule="must be a list", nearest=show_list([str(words)]))
                continue
            # A handle is known by its token; the connection that submits turns tokens into ids.
            names = tuple(getattr(word, "token", word) for word in words)
            msgspec.structs.force_setattr(self, key, names)
            form = _STARTED if key == "started" else _JOB
            for name in names:
                if not isinstance(name, str) or not form.fullmatch(name):
                    rule = "must be job ids such as 8123456 or 8123456_4, tokens, or handles"
                    rule += ", each with +MINUTES if you like" if key == "started" else ""
                    yield Problem(key=key, value=show(name), rule=rule)


class Mail(Spec, frozen=True, kw_only=True):
    """Mail about the job, where the site sends any.

    Attributes:
        user: Address, or user name on the site; empty is the one who submits.
        events: What for, see sbatch(1) ``--mail-type``.
    """

    events: tuple[MailEvent, ...]
    user: str = ""

    def __post_init__(self) -> None:
        refuse("mail", self._problems())

    def _problems(self) -> Iterator[Problem]:
        user: object = self.user
        if not isinstance(user, str) or (user and not _MAIL.fullmatch(user)):
            yield Problem(key="user", value=show(user), rule="must be a mail address or a user name")
        events: object = self.events
        if isinstance(events, str) or not isinstance(events, (list, tuple)) or not events:
            yield Problem(key="events", value=show(events), rule="must be a list of events", nearest='["END", "FAIL"]')
            return
        msgspec.structs.force_setattr(self, "events", tuple(events))
        for event in events:
            if event not in get_args(MailEvent):
                names = get_args(MailEvent)
                rule = f"must be one of {', '.join(names)}"
                yield Problem(key="events", value=show(event), rule=rule, nearest=nearest(str(event).upper(), names))


class Chain(Spec, frozen=True, kw_only=True):
    """A run longer than the site's limit, in links of ``resources.time`` that follow each other.

    Attributes:
        total: Time of all links together; the number of links is rounded up.
    """

    total: Walltime

    def __post_init__(self) -> None:
        refuse("chain", self._problems())

    def _problems(self) -> Iterator[Problem]:
        yield from coerce(self, "total", Walltime, parse_walltime, "3-00:00:00")
        if self.total == Walltime(0):
            yield Problem(key="total", value=str(self.total), rule="must be more than 0", nearest="1-00:00:00")

    def links(self, length: Walltime) -> int:
        """The number of links of that length."""
        return -(-self.total.seconds // length.seconds)


def feature_problems(signal: object, requeue: object) -> Iterator[Problem]:
    """What is wrong with a job's own ``signal`` and ``requeue``."""
    yield from check_flag("requeue", requeue, optional=True)
    if signal == "":
        return
    match = _SIGNAL.fullmatch(signal) if isinstance(signal, str) else None
    # sbatch(1) --signal: sig_time is between 0 and 65535.
    if match is None or not 0 < int(match["seconds"]) <= 65535:  # noqa: PLR2004 - as above
        rule = f"must be NAME@SECONDS or B:NAME@SECONDS, with one of {', '.join(_SIGNALS)} and 1 to 65535 seconds"
        yield Problem(key="signal", value=show(signal), rule=rule, nearest='"USR1@120"')


def signal_seconds(signal: str) -> int:
    """How long before the end of the job it comes."""
    return int(signal.rpartition("@")[2])
