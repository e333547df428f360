"""What is known of copies between two runs: SQLite, in the user's state folder on this machine.

On disk::

    $AIFA_STATE_DIR/           0700
    └── staging.sqlite         0600

    content     place "file://lab/data"  path "a.parquet"  pin "734003200-1790...-52"  blocks <32 bytes each>
    unfinished  place "lumi:/scratch/x"  path "a.parquet"  token "f3a9...-81b2"  fingerprint "f3a9..."  part 8388608
    part        place "lumi:/scratch/x"  path "a.parquet"  number 17  blocks <32 bytes each>  md5 <16 bytes or none>
    running     place "lumi:/scratch/x/" pid 4711  started "8812093"
    copy        place "lumi:/scratch/x/" source "shards/"  destination "lumi:/scratch/x"  begun 1790000000.0  done ...

``content`` is a cache: a file whose pin is unchanged has those digests. ``unfinished`` names partial files before they
are created, ``part`` lists what was acknowledged as durable. None of it is needed for correctness: without it files are
hashed again where they lie, and only what is missing is sent. So a ledger that is damaged is put aside; one on a full
disk is not damaged, and is an error. ``copy`` is the last copy from each source to each place.

No WAL, which needs shared memory that network file systems lack; acknowledgements are committed in batches, because a
lost one costs the hashing of one part. Two copies to one place at a time are refused by a row with the holder's
process, not by a file lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aifa_hpc.errors import InputError, TransferError
from aifa_hpc.staging.kept import Kept
from aifa_hpc.staging.ledgerfile import connect, refusal
from aifa_hpc.staging.model import PartSum

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from types import TracebackType

_log = logging.getLogger(__name__)

_DIGEST = 32
_BATCH_ROWS = 256
_BATCH_SECONDS = 0.25
_FEW = 1000  # files that are asked about one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """A partial file that this ledger knows of.

    Attributes:
        token: In its name, or the upload's id.
        fingerprint: State of the source file it is made from.
        part: Size of its parts.
        version: Version of the geometry.
        sums: Digests of the parts that were acknowledged, by number.
    """

    token: str
    fingerprint: str
    part: int
    version: int
    sums: dict[int, PartSum]


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """The last copy from a source to a place.

    Attributes:
        place: The destination, as :meth:`Ledger.hold` names it.
        source: As people write it.
        destination: As people write it.
        begun: Seconds since 1970.
        ended: The same; ``None`` for one that is running or was killed.
        files: Files of the plan.
        bytes: Their bytes.
        problem: Why it stopped; empty for one that is complete.
        done: Bytes that are there, as of a second ago.
        pid: The process that is at it now; 0 for none.
    """

    place: str
    source: str
    destination: str
    begun: float
    ended: float | None = None
    files: int = 0
    bytes: int = 0
    problem: str = ""
    done: int = 0
    pid: int = 0


class Ledger:
    """The database; may be used from several threads.

    Args:
        path: The file; made, with its folder, when it is not there.
        clock: Seconds that only grow; decides when a batch is written.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.manifests = Kept(path.with_name("manifests"), ".jsonl", "the manifest")
        self.left = Kept(path.with_name("left"), ".json", "what a copy left")
        self._clock = clock
        self._lock, self._open, self._since = threading.RLock(), 0, clock()
        self._statement, self._rows = "", list[tuple[object, ...]]()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._base = connect(path)
        except OSError as error:
            raise InputError(f"the ledger {path} cannot be written: {error.strerror}.") from error
        except sqlite3.OperationalError as error:
            why, hint = refusal(error)
            raise InputError(f"the ledger {path} cannot be used: {why}.", hint=hint) from error
        except sqlite3.DatabaseError as error:
            aside = path.with_suffix(f".unreadable-{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside)
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            _log.warning("the ledger %s cannot be read (%s): begun anew, the old one is %s", path, error, aside)
            self._base = connect(path)

    def content(self, place: str, paths: Collection[str] | None = None) -> dict[str, tuple[str, tuple[bytes, ...]]]:
        """Pin and block digests of files of a place that were hashed before: of these at least, or of all."""
        query = "SELECT path, pin, blocks FROM content WHERE place = ?"
        wanted: list[Any] = [(place,)]
        if paths is not None and len(paths) <= _FEW:
            query, wanted = f"{query} AND path = ?", [(place, _raw(path)) for path in paths]
        with self._told():
            rows = [row for words in wanted for row in self._base.execute(query, words)]
        return {_text(path): (pin, _split(blocks)) for path, pin, blocks in rows}

    def note_content(self, place: str, path: str, pin: str, blocks: tuple[bytes, ...]) -> None:
        """A file with that pin has these digests."""
        self._write("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?)", place, _raw(path), pin, b"".join(blocks))

    def unfinished(self, place: str, path: str) -> Unfinished | None:
        """The partial file we were writing for a target, if any."""
        with self._told():
            row = self._base.execute(
                "SELECT token, fingerprint, part, version FROM unfinished WHERE place = ? AND path = ?",
                (place, _raw(path)),
            ).fetchone()
            if row is None:
                return None
            parts = self._base.execute(
                "SELECT number, blocks, md5 FROM part WHERE place = ? AND path = ?", (place, _raw(path))
            )
            sums = {number: PartSum(blocks=_split(blocks), md5=md5) for number, blocks, md5 in parts}
        token, print_, part, version = row
        return Unfinished(token=token, fingerprint=print_, part=part, version=version, sums=sums)

    def note_unfinished(self, place: str, path: str, known: Unfinished) -> None:
        """From now on this is the partial file of that target; committed at once, before it is created."""
        with self._lock:
            self.forget_unfinished(place, path)
            self._write(
                "INSERT INTO unfinished VALUES (?, ?, ?, ?, ?, ?)",
                place, _raw(path), known.token, known.fingerprint, known.part, known.version,
            )  # fmt: skip
            for number, found in known.sums.items():
                self.note_part(place, path, number, found)
            self.flush()

    def note_part(self, place: str, path: str, number: int, found: PartSum) -> None:
        """A part was acknowledged as durable."""
        self._write(
            "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?)",
            place, _raw(path), number, b"".join(found.blocks), found.md5,
        )  # fmt: skip

    def forget_unfinished(self, place: str, path: str) -> None:
        """The target was published, or its partial file is gone."""
        self._write("DELETE FROM part WHERE place = ? AND path = ?", place, _raw(path))
        self._write("DELETE FROM unfinished WHERE place = ? AND path = ?", place, _raw(path))

    @contextlib.contextmanager
    def hold(self, place: str, *, pid: int | None = None) -> Iterator[None]:
        """Keeps other copies that use this ledger away from a destination, while the process is alive.

        Args:
            place: The destination.
            pid: Who holds it; this process by default.

        Raises:
            TransferError: A process that is alive is copying there.
        """
        holder = pid or os.getpid()
        mine = (holder, started(holder))
        with self._told():
            self.flush()
            with self._base:
                self._base.execute("BEGIN IMMEDIATE")
                if running := self.holder(place):
                    raise TransferError(
                        f"process {running} is copying to {place} already.",
                        hint="Wait for it, or end it and run the same command again.",
                    )
                self._base.execute("INSERT OR REPLACE INTO running VALUES (?, ?, ?)", (place, *mine))
        try:
            yield
        except BaseException:
            with contextlib.suppress(TransferError):  # the first error is the one to tell
                self._let_go(place, mine)
            raise
        self._let_go(place, mine)

    def holder(self, place: str) -> int:
        """The process that is copying to a place; 0 for none."""
        with self._told():
            row = self._base.execute("SELECT pid, started FROM running WHERE place = ?", (place,)).fetchone()
        return row[0] if row is not None and row[1] and row[1] == started(row[0]) else 0

    def note_copy(self, known: Remembered) -> None:
        """A copy began, or ended; committed at once."""
        self._write(
            "INSERT OR REPLACE INTO copy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            known.place, known.source, known.destination, known.begun, known.ended, known.files, known.bytes,
            known.problem, known.done,
        )  # fmt: skip
        self.flush()

    def copies(self) -> list[Remembered]:
        """The last copy from each source to each place, the newest first."""
        with self._told():
            rows = self._base.execute("SELECT * FROM copy ORDER BY begun DESC").fetchall()
        names = ("place", "source", "destination", "begun", "ended", "files", "bytes", "problem", "done")
        return [Remembered(**dict(zip(names, row, strict=True)), pid=self.holder(row[0])) for row in rows]

    def held(self, place: str, sizes: Mapping[str, int]) -> int:
        """Bytes that were acknowledged of unfinished files, those of ``sizes`` (by path): not of other copies."""
        query = "SELECT path, unfinished.part * COUNT(*) FROM unfinished JOIN part USING (place, path)"
        with self._told():
            rows = self._base.execute(f"{query} WHERE place = ? GROUP BY path", (place,)).fetchall()
        # The last part of a file is shorter than the others.
        return sum(min(size, sizes.get(_text(path), 0)) for path, size in rows)

    def all_unfinished(self) -> list[tuple[str, str, Unfinished]]:
        """Place, path and state of every partial file that was not published; without digests of parts."""
        with self._told():
            rows = self._base.execute(
                "SELECT place, path, token, fingerprint, part, version, (SELECT COUNT(*) FROM part"
                " WHERE part.place = unfinished.place AND part.path = unfinished.path) FROM unfinished"
            ).fetchall()
        return [
            (
                place,
                _text(path),
                Unfinished(
                    token=token, fingerprint=print_, part=part, version=version,
                    sums=dict.fromkeys(range(count), PartSum()),
                ),
            )
            for place, path, token, print_, part, version, count in rows
        ]  # fmt: skip

    def flush(self) -> None:
        """Commits what was noted."""
        with self._told():
            if self._base.in_transaction:
                self._base.commit()
            self._open, self._since = 0, self._clock()

    def close(self) -> None:
        """Commits and closes."""
        with self._lock:
            try:
                self.flush()
            finally:
                self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(*([TransferError] if error is not None else [])):
            self.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """One thread at a time, after all that was written; what SQLite refuses is explained."""
        with self._lock:
            try:
                if self._rows:
                    rows, self._rows = self._rows, []
                    self._base.executemany(self._statement, rows)
                yield
            except sqlite3.Error as error:
                why, hint = refusal(error)
                raise TransferError(f"the ledger {self.path} cannot be used: {why}.", hint=hint) from error

    def _let_go(self, place: str, mine: tuple[int, str]) -> None:
        self._write("DELETE FROM running WHERE place = ? AND pid = ? AND started = ?", place, *mine)
        self.flush()

    def _write(self, statement: str, *values: object) -> None:
        """Rows of one statement wait for each other: that costs a third of what each would by itself."""
        with self._lock:
            if self._statement != statement:
                with self._told():
                    self._statement = statement
            self._rows.append(values)
            self._open += 1
            if self._open >= _BATCH_ROWS or self._clock() - self._since >= _BATCH_SECONDS:
                self.flush()


def started(pid: int) -> str:
    """When a process was started, so that a number that is used again is not taken for it; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return ""
        return "alive"  # no /proc on this system: the number alone must do
    return stat.rpartition(")")[2].split()[19]


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _split(blocks: bytes) -> tuple[bytes, ...]:
    return tuple(blocks[at : at + _DIGEST] for at in range(0, len(blocks), _DIGEST))
