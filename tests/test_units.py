"""Walltimes, memory and sizes: what is read is what was written, and nothing else is read."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import ParseError
from aifa_hpc.units import (
    ByteSize,
    Memory,
    Walltime,
    format_memory,
    format_size,
    format_walltime,
    parse_memory,
    parse_size,
    parse_walltime,
    show_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = st.integers(0, 10**17)
WORDS = st.text(alphabet="0123456789.:-_ kKmMgGtTiIbB", max_size=12) | st.text(max_size=6)


@given(COUNTS)
def test_walltimes_round_trip(seconds: int) -> None:
    """Every walltime survives being written."""
    assert Walltime(seconds) == parse_walltime(format_walltime(Walltime(seconds)))


@given(COUNTS)
def test_memory_round_trips_in_slurms_smallest_unit(kib: int) -> None:
    """Every whole number of KiB survives being written."""
    assert Memory(kib * 1024) == parse_memory(format_memory(Memory(kib * 1024)))


@given(COUNTS)
def test_memory_is_never_asked_for_short(count: int) -> None:
    """Bytes below Slurm's smallest unit round up, by less than one unit."""
    assert 0 <= parse_memory(format_memory(Memory(count))).bytes - count < 1024


@given(COUNTS)
def test_sizes_round_trip(count: int) -> None:
    """Every number of bytes survives being written."""
    assert ByteSize(count) == parse_size(format_size(ByteSize(count)))


@pytest.mark.parametrize(
    ("parse", "form"),
    [(parse_walltime, format_walltime), (parse_memory, format_memory), (parse_size, format_size)],
)
@given(WORDS)
def test_any_text_is_read_or_refused(parse: Callable[[str], Any], form: Callable[[Any], str], text: str) -> None:
    """Nothing but ParseError comes out, and what is read can be written and read again."""
    try:
        value = parse(text)
    except ParseError:
        return
    assert value == parse(form(value))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30 * 60),
        ("0:30", 30),
        ("30:00", 30 * 60),
        ("12:00:00", 12 * 3600),
        ("1-12", 36 * 3600),
        ("1-12:30", 36 * 3600 + 30 * 60),
        ("2-00:00:00", 48 * 3600),
        ("00:01.500", 1),
        ("00:00:59.999", 59),
        (" 01:00:00 ", 3600),
    ],
)
def test_slurms_walltimes_are_read(text: str, seconds: int) -> None:
    """The six forms of sbatch(1), and the fractions of sacct(1)."""
    assert Walltime(seconds) == parse_walltime(text)


@pytest.mark.parametrize(
    "text", ["", "1h", "1.5", "1-", "-1", "1:2:3:4", "1-2:3:4:5", "UNLIMITED", "\u0661", "9" * 5000]
)
def test_other_walltimes_are_refused(text: str) -> None:
    """The error has the text and the forms; `1.5` is no guess between hours and minutes."""
    with pytest.raises(ParseError, match="is not a walltime: write M, M:S"):
        parse_walltime(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("480G", 480 * 2**30),
        ("480GB", 480 * 2**30),
        ("480g", 480 * 2**30),
        ("100", 100 * 2**20),
        ("0", 0),
        ("1T", 2**40),
    ],
)
def test_slurms_memory_is_read(text: str, count: int) -> None:
    """Binary units, MiB when bare, as sbatch(1) says of --mem."""
    assert Memory(count) == parse_memory(text)


@pytest.mark.parametrize("text", ["", "G", "1.5G", "100B", "-1G", "1P", "1GiB", "9" * 5000])
def test_other_memory_is_refused(text: str) -> None:
    """Fractions are not Slurm's, and `100B` is not 100 MiB."""
    with pytest.raises(ParseError, match="is not an amount of memory: write a whole number"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("7 B", 7),
        ("5 GB", 5 * 10**9),
        ("16MiB", 16 * 2**20),
        ("1.5 kB", 1500),
        ("0.0005 kB", 1),
        ("9007199254740993.0", 9007199254740993),
        ("214.7 TB", 214_700_000_000_000),
    ],
)
def test_sizes_are_read(text: str, count: int) -> None:
    """Decimal and binary units, exactly, also beyond what a float holds."""
    assert ByteSize(count) == parse_size(text)


@given(st.integers(0, 10**9), st.integers(0, 999_999), st.sampled_from(["kB", "TB", "KiB", "TiB"]))
def test_fractions_of_sizes_are_exact(whole: int, part: int, unit: str) -> None:
    """Never more than half a byte from the written number."""
    units = {"kB": 10**3, "TB": 10**12, "KiB": 2**10, "TiB": 2**40}
    exact = (whole + Fraction(part, 10**6)) * units[unit]
    assert abs(parse_size(f"{whole}.{part:06} {unit}").bytes - exact) <= Fraction(1, 2)


@pytest.mark.parametrize("text", ["", "GB", "5 G", "-5 GB", "5 Gb", "1e3", "1.", ".5 GB", "9" * 5000])
def test_other_sizes_are_refused(text: str) -> None:
    """A unit is written out: `5 G` could be either kind."""
    with pytest.raises(ParseError, match="is not a size: write a number"):
        parse_size(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Walltime(0), "00:00:00"),
        (Walltime(86399), "23:59:59"),
        (Walltime(86400), "1-00:00:00"),
        (Memory(0), "0K"),
        (Memory(480 * 2**30), "480G"),
        (Memory(2**40), "1T"),
        (Memory(1025), "2K"),
        (ByteSize(0), "0 B"),
        (ByteSize(1023), "1023 B"),
        (ByteSize(16 * 2**20), "16 MiB"),
    ],
)
def test_amounts_are_written(value: Walltime | Memory | ByteSize, text: str) -> None:
    """`str` is the form that is read back."""
    assert text == str(value)


def test_roundings_go_up() -> None:
    """Minutes and MiB cover what was asked for."""
    assert (Walltime(90).minutes, Walltime(90).hours) == (2, 0.025)
    assert Memory(2**20 + 1).mib == 2


@pytest.mark.parametrize("kind", [Walltime, Memory, ByteSize])
def test_amounts_are_values(kind: Callable[[int], Any]) -> None:
    """They compare, hash, copy and pickle by what they hold, and cannot be changed or negative."""
    one, same, two = kind(1), kind(1), kind(2)
    assert one == same == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))
    assert len({one, same, two}) == 2
    assert (one < two, one <= same, two > one, one > same) == (True, True, True, False)
    assert (one >= same, one >= two, max(one, two) == two) == (True, False, True)
    assert repr(one).endswith("(1)")
    with pytest.raises(AttributeError):
        one._count = 3
    with pytest.raises(ParseError, match="cannot be negative, got -1"):
        kind(-1)


def test_different_amounts_never_compare() -> None:
    """A second is no byte."""
    assert Walltime(1) != Memory(1)
    assert Memory(1) != 1
    with pytest.raises(TypeError):
        assert Walltime(1) < Memory(2)  # type: ignore[operator] # that it is refused is the point


def test_msgspec_asks_the_hook_for_amounts() -> None:
    """In a decoded file an amount is text, so msgspec must not take its class for a table."""
    assert Memory(2**30) == msgspec.convert("1G", Memory, dec_hook=lambda _, text: parse_memory(text))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (999.6 * 1024, "0.976 MiB"),
        (123456789, "118 MiB"),
        (4096 * 2**40, "4096 TiB"),
    ],
)
def test_sizes_are_shown_with_three_digits(count: float, text: str) -> None:
    """No exponent and no four digits, except beyond the largest unit."""
    assert text == show_size(count)


@given(st.floats(0, 2**60))
def test_shown_sizes_are_close(count: float) -> None:
    """What is shown is within half a percent, or half a byte, of the truth."""
    number, unit = show_size(count).split()
    assert "e" not in number
    shown = float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    assert abs(shown - count) <= max(0.5, 0.005 * count)
