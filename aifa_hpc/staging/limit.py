"""How fast copies may go, by the hour, all processes of a user together.

A limit is written as for rclone: ``20M`` (a second), or a timetable of local times, ``08:00,20M 18:00,off``: from eight
on 20 MiB/s, from six in the evening on as much as there is; before the first time holds what holds after the last.

Bytes are given turns one after the other. When the next turn may begin stands in a small database, so that it does not
matter how many processes and threads ask; one that ends takes nothing with it but its turn.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_SHORT = re.compile(r"\d+(\.\d+)?[KMGT]", re.ASCII)
_SLOWEST = 1024
_FORM = "Write 20M (a second), off, or a timetable: '08:00,20M 18:00,off'."
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Timetable:
    """Rates by the time of day.

    Attributes:
        rates: Minute of the day and bytes a second from then on, sorted; a rate of 0 is no limit.
    """

    rates: tuple[tuple[int, int], ...]

    def rate(self, now: datetime.time) -> int:
        """Bytes a second at that time; 0 for no limit."""
        minute = 60 * now.hour + now.minute
        return next((rate for begin, rate in reversed(self.rates) if begin <= minute), self.rates[-1][1])


def parse_limit(text: str) -> Timetable:
    """Reads a limit.

    Raises:
        InputError: It is none.
    """
    words = text.split()
    if len(words) == 1 and "," not in words[0]:
        return Timetable(rates=((0, _rate(words[0])),))
    rates = {}
    for word in words:
        begin, comma, rate = word.partition(",")
        match = _TIME.fullmatch(begin)
        if match is None or not comma:
            raise InputError(f"{word!r} in the limit {text!r} is not HH:MM,RATE.", hint=_FORM)
        rates[60 * int(match[1]) + int(match[2])] = _rate(rate)
    if not rates or len(rates) < len(words):
        raise InputError(f"the limit {text!r} {'names a time twice' if rates else 'is empty'}.", hint=_FORM)
    return Timetable(rates=tuple(sorted(rates.items())))


class Limit:
    """A limit that all who open the same file keep together.

    Args:
        path: The file.
        timetable: How fast it may go; each process keeps its own, and none goes faster than it says.
        clock: Seconds of the day's clock, which all processes share.
        sleep: Waits, in seconds.

    Raises:
        InputError: The file cannot be used; :meth:`take` raises it likewise.
    """

    def __init__(
        self,
        path: Path,
        timetable: Timetable,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._timetable, self._clock, self._sleep = timetable, clock, sleep
        self._lock = threading.Lock()
        self._path = path
        with self._told():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # Not as a WAL, which network file systems cannot have and nobody can wait for to be set up.
            with self._told():
                self._base.execute("PRAGMA synchronous = OFF")  # what a crash of the machine loses is a turn
            with self._alone():
                self._base.execute("CREATE TABLE IF NOT EXISTS turn (id INTEGER PRIMARY KEY, free REAL, noted REAL)")
        except BaseException:
            self._base.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._base.close()

    def take(self, size: int) -> None:
        """Waits for the turn of so many bytes."""
        with self._alone():
            # Asked for while nobody else can: clocks of turns only go forward, unless one was set back.
            now = self._clock()
            rate = self._timetable.rate(datetime.datetime.fromtimestamp(now).astimezone().time())
            row = self._base.execute("SELECT free, noted FROM turn").fetchone()
            free = max(now, row[0]) if row is not None and row[1] <= now and rate else now
            if rate:
                self._base.execute("INSERT OR REPLACE INTO turn VALUES (0, ?, ?)", (free + size / rate, now))
        if free > now:
            self._sleep(free - now)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time; all that is done inside, or nothing."""
        with self._lock, self._told():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:  # a full disk has rolled it back already
                    self._base.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Says which file it is, and what a person can do."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            hint = "It holds nothing but turns: delete it, or copy without a limit."
            raise InputError(
                f"the file that the limit is kept in, {self._path}, cannot be used: {why}.", hint=hint
            ) from error


def _rate(text: str) -> int:
    if text == "off":
        return 0
    size = text.removesuffix("/s")
    try:
        found = parse_size(f"{size}iB" if _SHORT.fullmatch(size) else size).bytes
    except ParseError as error:
        raise InputError(f"{text!r} is no rate: {error.message}.", hint=_FORM) from error
    if 0 < found < _SLOWEST:
        raise InputError(f"a limit of {found} bytes a second would never let anything arrive.", hint=_FORM)
    return found
