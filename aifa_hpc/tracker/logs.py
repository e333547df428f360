"""Reads the logs of jobs as they grow: all tasks, links and ranks of any number of jobs, by one question for each site.

A log that was cut (Slurm may do so at a requeue) or replaced is read from its beginning again, and its heading says so.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, SiteError, TransportError
from aifa_hpc.slurm.logs import OVERLAP, Chunk, Place, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aifa_hpc.tracker.connection import Connection
    from aifa_hpc.tracker.handle import JobHandle


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some bytes of one log.

    Attributes:
        site: Where it is.
        id: The job's id.
        name: The file's name without ``.out``: ``123``, ``123_4`` for a task, ``123.rank-7`` for a rank.
        data: Bytes, which may cut a letter in two.
        anew: The file was cut or replaced: this is its beginning once more.
        heading: What to show before them, where it is not plain whose they are.
    """

    site: str
    id: str
    name: str
    data: bytes
    anew: bool
    heading: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    place: Place
    tail: bytes = b""
    anew: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What is new in one file.

    Attributes:
        source: Path of the source that it belongs to.
        path: Its path.
        data: Its next bytes; some.
        anew: They are its beginning once more.
    """

    source: str
    path: str
    data: bytes
    anew: bool


def _is_of(chunk: Chunk, source: Source) -> bool:
    return chunk.path == source.path if source.exact else chunk.path.startswith(source.path)


class LogReader:
    """Remembers how far each file was read.

    Args:
        read: ``cluster.read_logs``.
        rank: Only the logs of this rank.
        tail: Begin each file so many lines before its end; 0 for its beginning.
    """

    def __init__(
        self, read: Callable[..., tuple[list[Chunk], bool]], *, rank: int | None = None, tail: int = 0
    ) -> None:
        if tail < 0 or (rank is not None and rank < 0):
            raise InputError(f"tail = {tail} and rank = {rank} must be 0 or more.")
        self._read = read
        self._ending = "out" if rank is None else f"rank-{rank}.out"
        self._tail = tail
        self._turn = 0
        self._files: dict[str, dict[str, _File]] = {}

    @property
    def count(self) -> int:
        """Number of files that had something to read."""
        return sum(map(len, self._files.values()))

    def more(self, sources: Sequence[Source]) -> tuple[list[News], bool]:
        """What is new in the logs of these sources, and whether there is still more of it; one question.

        Raises:
            TransportError: The site cannot be asked.
            SiteError: A log cannot be read.
        """
        asked = [
            Source(
                path=source.path,
                exact=source.exact,
                known={rest: file.place for rest, file in self._files.get(source.path, {}).items()},
            )
            for source in sources
        ]
        chunks, more = self._read(asked, ending=self._ending, lines=self._tail, turn=self._turn)
        self._turn += 1
        found = []
        for chunk in chunks:
            path = max((source.path for source in sources if _is_of(chunk, source)), key=len)
            data, anew, whole = self._take(path, chunk)
            more = more or not whole
            if data:
                found.append(News(source=path, path=chunk.path, data=data, anew=anew))
        return found, more

    def _take(self, source: str, chunk: Chunk) -> tuple[bytes, bool, bool]:
        """Its new bytes, whether they are its beginning once more, and whether nothing is known to be missing."""
        files, rest = self._files.setdefault(source, {}), chunk.path.removeprefix(source)
        file = files.get(rest)
        data, anew, tail = chunk.data, False, b""
        if file is not None:
            tail, anew = file.tail, file.anew
            goes_on = chunk.inode == file.place.inode and chunk.size >= file.place.offset
            overlap = file.place.offset - chunk.start
            if goes_on and data[:overlap] == tail[len(tail) - overlap :]:
                data = data[overlap:]
            elif chunk.start > 0:  # another text has grown past the place where we were
                files[rest] = _File(place=Place(inode=chunk.inode, offset=0), anew=True)
                return b"", True, False
            else:
                tail, anew = b"", True
        offset = chunk.start + len(chunk.data)
        place = Place(inode=chunk.inode, offset=offset)
        files[rest] = _File(place=place, tail=(tail + data)[-OVERLAP:], anew=anew and not data)
        return data, anew, True


def read_logs(
    jobs: Sequence[JobHandle],
    *,
    follow: bool = False,
    rank: int | None = None,
    tail: int = 0,
    interval: float = 2.0,
    trouble: Callable[[str], None] | None = None,
) -> Iterator[Piece]:
    """The output of jobs, on any number of sites.

    Args:
        jobs: Whose output.
        follow: Go on as it grows, until all are over and all of it was given; bears times when a site is away.
        rank: Only of this rank of each job that has a log for each rank.
        tail: Begin so many lines before the end of each log; 0 for its beginning.
        interval: Seconds between two looks.
        trouble: Told when a site cannot be asked, and when it can again; a warning is logged by default.

    Raises:
        InputError: A job has no id, so it has no log.
        TransportError: A site cannot be reached; while following: until a person mends something.
        SiteError: A log is there and cannot be read.
    """
    groups: dict[int, _Group] = {}
    for job in jobs:
        if id(job.connection) not in groups:
            reader = LogReader(job.connection.cluster.read_logs, rank=rank, tail=tail)
            groups[id(job.connection)] = _Group(job.connection, reader, trouble)
        groups[id(job.connection)].left.append(job)
    headings = _Headings(sites=len(groups), several=len(jobs) > 1)
    while left := [group for group in groups.values() if group.left]:
        for group in left:
            news = group.follow() if follow else group.read()
            headings.several |= sum(group.reader.count for group in groups.values()) > 1
            for source, one in news:
                yield headings.piece(source, one)
        if not any(group.more for group in left) and any(group.left for group in left):
            left[0].connection.pause(interval)


class _Group:
    """The jobs of one connection.

    Attributes:
        connection: It.
        reader: Reads all their logs.
        left: Jobs that may still have something to say.
        more: There was more than one answer holds.
    """

    def __init__(self, connection: Connection, reader: LogReader, trouble: Callable[[str], None] | None) -> None:
        self.connection = connection
        self.reader = reader
        self.left: list[JobHandle] = []
        self.more = False
        self._patience = connection.patience(trouble)

    def read(self) -> list[tuple[JobHandle, News]]:
        """What is there now."""
        return self._ask(list(self.left))

    def follow(self) -> list[tuple[JobHandle, News]]:
        """What is there now; jobs that are over leave when they have said all."""
        self.more = False
        if self._patience.ready():
            with self._patience.bearing(TransportError, SiteError):
                self.connection.poll()
        over = [job for job in self.left if job.refresh().over]
        found: list[tuple[JobHandle, News]] = []
        if self._patience.ready():
            with self._patience.bearing(TransportError):
                found = self._ask(over)
                self._patience.answered()
        return found

    def _ask(self, over: list[JobHandle]) -> list[tuple[JobHandle, News]]:
        owners = {source.path: job for job in self.left for source in job.log_sources()}
        sources = [source for job in self.left for source in job.log_sources()]
        news, self.more = self.reader.more(sources)
        if not self.more:
            self.left = [job for job in self.left if job not in over]
        return [(owners[one.source], one) for one in news]


class _Headings:
    """Says whose bytes come, where that is not plain.

    Attributes:
        several: There are several logs.
    """

    def __init__(self, *, sites: int, several: bool) -> None:
        self.several = several
        self._sites = sites
        self._shown: tuple[str, str] | None = None

    def piece(self, job: JobHandle, news: News) -> Piece:
        name = news.path.rpartition("/")[2].removesuffix(".out")
        whose = (job.row.site, name)
        heading = ""
        if news.anew or (self.several and whose != self._shown):
            front = f"{job.row.site} " if self._sites > 1 else ""
            anew = " (cut at the site; from its beginning)" if news.anew else ""
            heading = f"{chr(10) if self._shown else ''}==> {front}{name}{anew} <==\n"
        self._shown = whose
        return Piece(site=job.row.site, id=job.id or "", name=name, data=news.data, anew=news.anew, heading=heading)


def decoded(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, str]]:
    """Each piece with its text; a letter comes when all of its bytes have."""
    decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}
    last: dict[tuple[str, str], Piece] = {}
    for piece in pieces:
        whose = (piece.site, piece.name)
        if piece.anew or whose not in decoders:
            decoders[whose] = codecs.getincrementaldecoder("utf-8")("replace")
        last[whose] = piece
        if text := decoders[whose].decode(piece.data):
            yield piece, text
    for whose, decoder in decoders.items():
        if text := decoder.decode(b"", final=True):  # a letter that was never finished
            yield replace(last[whose], data=b"", anew=False, heading=""), text
