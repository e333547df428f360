"""Few small files in one call, with what names them: a destination that keeps an order needs no answer in between.

A table's last files each wait for the ones before them: data, metadata, and what says which metadata counts. Sent one
by one, each would cost several ways there and back, and most copies of a table that is kept up to date are of some
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from aifa_hpc.errors import TransferError
from aifa_hpc.staging.feed import PartFeed
from aifa_hpc.staging.model import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aifa_hpc.staging.crew import FileWork
    from aifa_hpc.staging.endpoints.base import Endpoint, Reading
    from aifa_hpc.staging.model import Found, PartSum, Target
    from aifa_hpc.staging.progress import Progress

FILES = 64
"""In one call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Small:
    """A small file, whole.

    Attributes:
        target: What it shall be.
        data: All of it.
        sum: Its digests.
    """

    target: Target
    data: bytes
    sum: PartSum


def fits(sizes: Sequence[int], destination: Endpoint) -> bool:
    """Whether files of these sizes go in one call."""
    return 0 < len(sizes) <= FILES and 0 < destination.at_once >= sum(sizes)


def send_together(
    steps: Sequence[Sequence[FileWork]],
    *,
    source: Endpoint,
    destination: Endpoint,
    progress: Progress,
    limit: Callable[[int], None],
    arrived: Callable[[FileWork, Found], None],
) -> None:
    """Sends files of one part each.

    What did not arrive is to be sent in the usual way, which tries again and says what is wrong.

    Args:
        steps: Files of a step are published when all before it would survive a crash of the machine.
        source: Where they are read.
        destination: Where they go.
        progress: Told of every byte.
        limit: Waits until so many bytes may go on.
        arrived: Told of each file that was published.

    Raises:
        TransportError: A connection ended.
    """
    works = [work for step in steps for work in step]
    feeds: list[PartFeed] = []
    found: list[Found | None] = [None] * len(works)

    def feed(work: FileWork, reading: Reading) -> Small:
        feeds.append(
            PartFeed(
                reading,
                file=work.file,
                length=work.file.size,
                place=str(source),
                progress=progress,
                limit=limit,
                wanted=work.wanted[0] if work.wanted else None,
            )
        )
        data = b"".join(bytes(view) for view in feeds[-1])
        return Small(target=work.target, data=data, sum=feeds[-1].sum)

    try:
        with source.lane() as lane:
            readings = [lane.read(work.file.path, _part(work)) for work in works]
            files = [feed(work, reading) for work, reading in zip(works, readings, strict=True)]
        found = destination.store_at_once(files, [len(step) for step in steps])
    except TransferError:
        return
    finally:
        back = sum(one.passed for one, there in zip_longest(feeds, found) if one is not None and there is None)
        if back:
            progress.advance(-back)
    for work, file, there in zip(works, files, found, strict=True):
        if there is not None:
            work.arrived(_part(work), file.sum)
            arrived(work, there)


def _part(work: FileWork) -> Part:
    return Part(index=0, offset=0, length=work.file.size)
