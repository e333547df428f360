"""States, times and amounts as people read them; texts of others made harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.slurm.states import COMPLETED, TERMINAL
from aifa_hpc.views.words import amount, clock, duration, log_lines, plain, tone


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"), (0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "1 h"), (3600, "1 h"), (4800, "1 h 20 min"),
        (86400, "1 d"), (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"), (86400 + 120, "1 d"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units(seconds: float | None, expected: str) -> None:
    """Rounded, the larger unit first."""
    assert expected == duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-3, "0:00"), (5, "0:05"), (725, "12:05"), (3723, "1:02:03"), (183600, "2-03:00:00")]
)
def test_a_clock_is_as_slurm_writes_it(seconds: float, expected: str) -> None:
    """Days, hours, minutes, seconds."""
    assert expected == clock(seconds)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.0001, "<0.001"), (0.125, "0.125"), (1.5, "1.5"), (12.345, "12.3"), (100, "100"), (12345.6, "12,346")],
)
def test_an_amount_has_three_digits(value: float, expected: str) -> None:
    """And no more than a person reads."""
    assert expected == amount(value)


def test_every_end_has_a_tone() -> None:
    """Only COMPLETED is good; a state that nobody knows still runs."""
    assert {COMPLETED} == {state for state in TERMINAL if tone(state) == "ok"}
    assert set() == {state for state in TERMINAL if tone(state) in {"run", "wait"}}
    assert ["run", "wait", "run", "bad"] == [*map(tone, ("RUNNING", "PENDING", "A_NEW_STATE", "LOST"))]


def test_control_sequences_do_not_reach_the_terminal() -> None:
    """Colours, titles and cursor moves go; what rings or turns the text is marked."""
    assert "red title x\ufffdy\ufffd" == plain("\x1b[31mred\x1b[0m \x1b]0;pwn\x07title x\x07y\u202e")


@given(st.text())
def test_plain_text_has_no_escape(text: str) -> None:
    """Whatever a log or a name holds."""
    assert not {"\x1b", "\x9b", "\r", "\x08", "\x00"} & set(plain(text))


def test_a_progress_bar_shows_its_last_state() -> None:
    """What a carriage return wrote over is gone; line ends of other systems are line ends."""
    assert ["100%", "done", "a       b"] == log_lines("10%\r50%\r100%\r\ndone\r\na\tb\n")
