"""CPU lists, masks and the binding option."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.sites.load import load_site
from aifa_hpc.sites.model import NodeType
from aifa_hpc.sites.topology import cpu_mask, format_cpus, mask_cpus, mask_option, parse_cpus
from aifa_hpc.units import Memory

CORES = st.sets(st.integers(0, 8191), min_size=1, max_size=40)


def node(*gpu_cpus: str) -> NodeType:
    """A node type with these cores beside its GPUs."""
    return NodeType(
        hosts="n[1-4]",
        arch="x86_64",
        cpus=64,
        usable_cpus=56,
        memory=Memory(2**39),
        gpus=len(gpu_cpus),
        gpu_cpus=gpu_cpus,
        source="a test",
        checked_on=dt.date(2026, 1, 1),
    )


@given(CORES)
def test_lists_and_masks_round_trip(cores: set[int]) -> None:
    """Cores survive being written as a list and as a mask."""
    assert tuple(sorted(cores)) == parse_cpus(format_cpus(cores)) == mask_cpus(cpu_mask(cores))
    assert cpu_mask(cores) == cpu_mask(format_cpus(cores))


@given(st.text(alphabet="0123456789-, x", max_size=12))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    """Whatever is read can be written and read again; nothing else than ParseError comes out."""
    try:
        cpus = parse_cpus(text)
    except ParseError:
        return
    assert cpus == parse_cpus(format_cpus(cpus))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", (0,)), ("49-51,57", (49, 50, 51, 57)), ("3,1-2", (1, 2, 3)), ("1,1-1", (1,)), ("0-0", (0,))],
)
def test_lists_are_read(text: str, cpus: tuple[int, ...]) -> None:
    """Numbers and ranges, sorted, each core once."""
    assert cpus == parse_cpus(text)


def test_lists_are_written_short() -> None:
    """Neighbours become a range."""
    assert format_cpus([8, 7, 5, 3, 2, 1]) == "1-3,5,7-8"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a CPU list"),
        ("a", "not a CPU list"),
        ("1-", "not a CPU list"),
        ("5-3", "write 3-5"),
        ("0-9999", "8191"),
    ],
)
def test_wrong_lists_say_what_is_wrong(text: str, says: str) -> None:
    """The error has the text and what to write."""
    with pytest.raises(ParseError, match=says):
        parse_cpus(text)


def test_a_mask_has_the_bits_of_its_cores() -> None:
    """Core c is bit c."""
    assert cpu_mask("49-55") == 0xFE000000000000
    assert cpu_mask([0, 1, 3, 3]) == 0b1011


def test_whole_node_of_lumi() -> None:
    """Eight ranks of seven cores get the masks of the published table."""
    gpu = load_site("lumi").nodes["gpu"]
    assert (
        mask_option(gpu, 7, 8)
        == "mask_cpu:0xfe000000000000,0xfe00000000000000,0xfe0000,0xfe000000,0xfe,0xfe00,0xfe00000000,0xfe0000000000"
    )


def test_fewer_cores_and_ranks_take_the_first() -> None:
    """Rank i stays beside GPU i on the first of its cores."""
    assert mask_option(load_site("lumi").nodes["gpu"], 2, 2) == "mask_cpu:0x6000000000000,0x600000000000000"


@given(st.integers(1, 7), st.integers(1, 8))
def test_ranks_never_share_a_core(cpus_per_task: int, tasks_per_node: int) -> None:
    """Every rank has its cores, all of them beside its own GPU, none of them twice."""
    gpu = load_site("lumi").nodes["gpu"]
    masks = [int(text, 16) for text in mask_option(gpu, cpus_per_task, tasks_per_node)[len("mask_cpu:") :].split(",")]
    assert [cpus_per_task] * tasks_per_node == [mask.bit_count() for mask in masks]
    assert cpus_per_task * tasks_per_node == sum(masks).bit_count()
    assert all({*mask_cpus(mask)} <= {*parse_cpus(row)} for mask, row in zip(masks, gpu.gpu_cpus, strict=False))


@pytest.mark.parametrize(
    ("cpus_per_task", "tasks_per_node", "key", "nearest"),
    [
        (8, 8, "cpus_per_task", "7"),
        (0, 8, "cpus_per_task", "1"),
        (7, 9, "tasks_per_node", "8"),
        (7, 0, "tasks_per_node", "1"),
    ],
)
def test_more_than_the_node_has_is_refused(cpus_per_task: int, tasks_per_node: int, key: str, nearest: str) -> None:
    """The error names the field, its value and the nearest legal one."""
    with pytest.raises(InputError) as caught:
        mask_option(load_site("lumi").nodes["gpu"], cpus_per_task, tasks_per_node)
    assert [(key, nearest)] == [(problem.key, problem.nearest) for problem in caught.value.problems]


def test_only_the_gpus_in_use_limit_the_cores() -> None:
    """A GPU with fewer cores beside it does not hinder ranks on the others."""
    uneven = node("0-3", "4-7", "8-9")
    assert mask_option(uneven, 4, 2) == "mask_cpu:0xf,0xf0"
    with pytest.raises(InputError, match="2 usable cores"):
        mask_option(uneven, 4, 3)


def test_a_node_without_known_cores_is_refused() -> None:
    """JUPITER's nodes differ, so there is nothing to bind to."""
    with pytest.raises(InputError, match="does not have"):
        mask_option(load_site("jupiter").nodes["booster"], 72, 4)
