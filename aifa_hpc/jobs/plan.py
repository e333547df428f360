"""How many submissions a job is: one, the chunks of an array, or the links of a chain.

**Chunks.** ``MaxArraySize`` of slurm.conf(5) bounds the highest *index* of an array, not only its length, so tasks
1000 to 1004 are refused where it is 1001. Such an array becomes chunks, each an array of its own with indices from 0
and an offset that its script adds. With ``array.limit`` chunks run one after the other, so that the limit holds for all
of them together. Chunks do not help against a limit of submitted jobs, because every task of every chunk counts: that
is refused by ``jobs.check``, unless the chunks are submitted one by one as room comes (``tracker.queue``).

**Links.** Each waits for the one before with ``afterany``: a link that reaches its time limit ends as ``TIMEOUT``, and
one whose node dies as ``NODE_FAIL``, which ``afterok`` would take for the end of everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site

DEFAULT_ARRAY_SIZE = 1001
"""Slurm's own ``MaxArraySize`` (slurm.conf(5)), for sites that publish none."""

_RUN = 3  # two indices are written one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One submission of a job.

    Attributes:
        number: Its place among the parts, from 0.
        of: Number of parts.
        tasks: Indices as sbatch(1) ``--array`` writes them, without a limit; empty when it is no array.
        limit: Most tasks at the same time; ``None`` is no limit.
        offset: What a script adds to Slurm's index.
        task_count: Tasks of the whole array.
        chain: Whether it is a link of a chain; its number is then the link's.
        after: Number of the part it waits for; ``None`` when for none.
    """

    number: int = 0
    of: int = 1
    tasks: str = ""
    limit: int | None = None
    offset: int = 0
    task_count: int = 0
    chain: bool = False
    after: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The submissions of a job, in the order in which they are made."""

    parts: tuple[Part, ...]


WHOLE = Part()
"""The only part of a plain job."""


def plan(job: Job, site: Site, *, most: int | None = None) -> Plan:
    """The parts of a job on a site.

    Args:
        job: The job.
        site: Where it is to run.
        most: Most tasks of one submission, where the site takes only so many at a time.
    """
    if job.array is not None:
        size = site.scheduler.max_array_size or DEFAULT_ARRAY_SIZE
        return _chunks(job.array.indices, job.array.limit, size, most)
    if job.chain is not None:
        links = job.chain.links(job.resources.time)
        return Plan(
            parts=tuple(
                Part(number=number, of=links, chain=True, after=number - 1 if number else None)
                for number in range(links)
            )
        )
    return Plan(parts=(WHOLE,))


def _chunks(indices: Sequence[int], limit: int | None, size: int, most: int | None) -> Plan:
    chunks: list[list[int]] = []
    offsets: list[int] = []
    if indices[-1] < size and (most is None or len(indices) <= most):
        chunks, offsets = [list(indices)], [0]
    else:
        for index in indices:
            if not chunks or index - offsets[-1] >= size or len(chunks[-1]) == most:
                chunks.append([])
                offsets.append(index)
            chunks[-1].append(index - offsets[-1])
    return Plan(
        parts=tuple(
            Part(
                number=number,
                of=len(chunks),
                tasks=write_indices(chunk),
                limit=limit,
                offset=offset,
                task_count=len(indices),
                after=number - 1 if number and limit is not None else None,
            )
            for number, (chunk, offset) in enumerate(zip(chunks, offsets, strict=True))
        )
    )


def write_indices(indices: Sequence[int]) -> str:
    """Ascending indices as sbatch(1) ``--array`` writes them: ``0-99:2,200``."""
    words: list[str] = []
    start = 0
    while start < len(indices):
        end = start + 1
        step = indices[end] - indices[start] if end < len(indices) else 0
        while end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        if end - start >= _RUN:
            suffix = f":{step}" if step > 1 else ""
            words.append(f"{indices[start]}-{indices[end - 1]}{suffix}")
        else:
            end = start + 1
            words.append(str(indices[start]))
        start = end
    return ",".join(words)


def read_indices(text: str) -> tuple[int, ...]:
    """What :func:`write_indices` wrote."""
    found: list[int] = []
    for word in text.split(",") if text else ():
        span, _, step = word.partition(":")
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return tuple(found)
