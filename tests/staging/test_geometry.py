"""Parts: they cover a file exactly, are few enough, and depend on nothing but size and limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.geometry import Limits, cut, group, part_size, stricter
from aifa_hpc.staging.model import PartSum

sizes = st.integers(0, 2**43)
limits = st.builds(
    Limits,
    part=st.integers(1, 8).map(lambda blocks: blocks * BLOCK),
    parts=st.integers(1, 10_000),
    largest=st.just(2**50),
)


@given(sizes, limits)
def test_parts_are_whole_blocks_and_few_enough(size: int, allowed: Limits) -> None:
    """Whatever the size; and no larger than needed."""
    part = part_size(size, allowed)
    assert part % BLOCK == 0
    assert part >= allowed.part
    assert -(-size // part) <= allowed.parts
    assert part == allowed.part or -(-size // (part // 2)) > allowed.parts


@given(st.integers(0, 2**33), st.integers(1, 64).map(lambda blocks: blocks * BLOCK))
def test_parts_cover_the_file(size: int, part: int) -> None:
    """One after the other, without gap or overlap."""
    parts = cut(size, part)
    assert list(range(len(parts))) == [one.index for one in parts]
    assert [0, *(one.offset + one.length for one in parts)] == [*(one.offset for one in parts), size]
    assert all(one.length == part for one in parts[:-1])


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.integers(1, 5))
def test_blocks_are_grouped_by_part(blocks: list[bytes], step: int) -> None:
    """As many groups as parts, all blocks in order."""
    groups = group(tuple(blocks), step * BLOCK)
    assert len(cut(len(blocks) * BLOCK, step * BLOCK)) == len(groups)
    assert blocks == [block for one in groups for block in one.blocks]


@given(limits, limits)
def test_stricter_limits_satisfy_both(one: Limits, other: Limits) -> None:
    """In either order."""
    both = stricter(one, other)
    assert both == stricter(other, one)
    assert (both.part >= one.part, both.parts <= one.parts, both.part >= other.part, both.parts <= other.parts) == (
        (True,) * 4
    )


def test_lumi_o_takes_a_terabyte_in_a_thousand_parts() -> None:
    """The size follows from the count: 2 GiB."""
    allowed = Limits(part=2 * BLOCK, parts=1000, largest=5 * 2**30)
    assert (2**31, 512) == (part_size(2**40, allowed), len(cut(2**40, 2**31)))


def test_a_file_too_long_is_told() -> None:
    """With what the destination takes at most."""
    with pytest.raises(InputError, match=r"9\.09 TiB is too long.*at most 4\.88 TiB"):
        part_size(10**13, Limits(part=BLOCK, parts=1000, largest=5 * 2**30))


@pytest.mark.parametrize("wrong", [{"part": 1}, {"part": BLOCK + 1}, {"parts": 0}, {"largest": 1}])
def test_limits_cannot_be_nonsense(wrong: dict[str, int]) -> None:
    """Parts are whole blocks, and at least one."""
    with pytest.raises(ValueError, match="whole blocks"):
        Limits(**wrong)


def test_sums_agree_by_what_both_know() -> None:
    """Nothing in common proves nothing, and every common kind must be equal."""
    blocks, md5 = (b"a" * 32,), b"m" * 16
    whole = PartSum(blocks=blocks, md5=md5)
    agree = [PartSum(blocks=blocks), PartSum(md5=md5), whole]
    differ = [PartSum(), PartSum(blocks=(b"b" * 32,)), PartSum(blocks=blocks, md5=b"n" * 16)]
    assert ([True] * 3, [False] * 3) == ([whole.agrees(one) for one in agree], [whole.agrees(one) for one in differ])
    assert not PartSum().agrees(PartSum())
