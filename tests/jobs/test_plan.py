"""The submissions of a job: chunks of arrays, links of chains, and their indices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.jobs.features import Array, Chain
from aifa_hpc.jobs.plan import WHOLE, Part, Plan, plan, read_indices, write_indices
from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.sites.load import load_site

if TYPE_CHECKING:
    from aifa_hpc.sites.model import Site

LOCAL = load_site("local", Path("/nonexistent"))


def site(size: int | None) -> Site:
    """A site with a limit of array indices."""
    return msgspec.structs.replace(
        LOCAL, scheduler=msgspec.structs.replace(LOCAL.scheduler, max_array_size=size, default_partition="local")
    )


def job(*, array: Array | None = None, chain: Chain | None = None) -> Job:
    """A job of an hour."""
    return Job(
        name="a", resources=Resources(time="01:00:00"), launch=Launch(command=["true"]), array=array, chain=chain
    )


def test_a_plain_job_is_one_part() -> None:
    """Nothing is added to it."""
    assert Plan(parts=(WHOLE,)) == plan(job(), LOCAL)


def test_an_array_that_fits_is_one_part() -> None:
    """The indices stay the user's own, also where the site's limit is not known and Slurm's own holds."""
    for found in (plan(job(array=Array(tasks="0,5-9:2")), site(10)), plan(job(array=Array(tasks="0,5,7,9")), site(10))):
        assert (Part(tasks="0,5-9:2", task_count=4),) == found.parts
    assert 1 == len(plan(job(array=Array(count=1001)), site(None)).parts)
    assert 2 == len(plan(job(array=Array(count=1002)), site(None)).parts)


def test_the_limit_is_on_the_index() -> None:
    """Five tasks from 1000 on are too high for Slurm's 1001, so they are counted from 0 with an offset."""
    assert (Part(tasks="0-4", offset=1000, task_count=5),) == plan(
        job(array=Array(tasks="1000-1004")), site(1001)
    ).parts
    assert (
        Part(number=0, of=2, tasks="0,1,1000", task_count=7),
        Part(number=1, of=2, tasks="0-3", offset=1001, task_count=7),
    ) == plan(job(array=Array(tasks="0,1,1000-1004")), site(1001)).parts


def test_chunks_with_a_limit_follow_each_other() -> None:
    """Otherwise the limit would hold for each chunk by itself."""
    found = plan(job(array=Array(count=5, limit=2)), site(2)).parts
    assert [(None, 0, 2), (0, 2, 2), (1, 4, 2)] == [(part.after, part.offset, part.limit) for part in found]


def test_a_chain_is_links_of_the_jobs_own_time() -> None:
    """Rounded up, each after the one before."""
    found = plan(job(chain=Chain(total="02:00:01")), LOCAL).parts
    expected = [(0, 3, None, True), (1, 3, 0, True), (2, 3, 1, True)]
    assert expected == [(part.number, part.of, part.after, part.chain) for part in found]


@given(st.sets(st.integers(0, 300), min_size=1, max_size=60), st.integers(1, 120), st.none() | st.integers(1, 9))
def test_chunks_hold_every_index_once(indices: set[int], size: int, limit: int | None) -> None:
    """Offset plus index gives the tasks that were asked for, and no index is beyond the site's limit."""
    asked = Array(tasks=",".join(map(str, sorted(indices))), limit=limit)
    parts = plan(job(array=asked), site(size)).parts
    chunks = [(part, read_indices(part.tasks)) for part in parts]
    assert sorted(indices) == [part.offset + index for part, found in chunks for index in found]
    assert all(index < size for _, found in chunks for index in found)


@given(st.sets(st.integers(0, 5000), max_size=80))
def test_indices_round_trip(indices: set[int]) -> None:
    """Written and read back they are the same, by this reader and by the one of the job file."""
    text = write_indices(sorted(indices))
    assert tuple(sorted(indices)) == read_indices(text)
    if indices:
        assert tuple(sorted(indices)) == Array(tasks=text).indices
