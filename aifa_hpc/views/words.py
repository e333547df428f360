"""States, stretches of time and amounts as people read them, and texts of others made safe to show.

A *tone* is what a state means at a glance; the terminal and the page each have a colour for it, and the state's own
word always stands beside, so that nothing is told by colour alone.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from aifa_hpc.slurm.states import COMPLETED, WAITING
from aifa_hpc.tracker.events import LAGGING, LOST, NOT_SENT, OVER, REFUSED, SUBMITTING, UNKNOWN

Tone: TypeAlias = Literal["wait", "run", "ok", "late", "bad", "gone"]

_TONES: dict[str, Tone] = {
    COMPLETED: "ok",
    "TIMEOUT": "late",
    "DEADLINE": "late",
    "PREEMPTED": "late",
    LAGGING: "late",
    UNKNOWN: "late",
    "CANCELLED": "gone",
    "REVOKED": "gone",
    NOT_SENT: "gone",
    REFUSED: "bad",
    LOST: "bad",
    SUBMITTING: "wait",
}

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
"""Control sequences, as ECMA-48 has them, and the titles that xterm takes."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, rings, or turns the direction of what follows."""


def tone(state: str) -> Tone:
    """What a state means: it waits, it runs, it ended well, out of time, badly, or was given up."""
    if state in _TONES:
        return _TONES[state]
    if state in WAITING:
        return "wait"
    return "bad" if state in OVER else "run"


def duration(seconds: float | None) -> str:
    """Two units of a stretch of time: ``42 s``, ``12 min``, ``1 h 20 min``, ``3 d 4 h``; ``-`` for none."""
    if seconds is None:
        return "-"
    left = round(seconds)
    if left < 60:  # noqa: PLR2004 - a minute
        return f"{left} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    first = next(number for number, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def clock(seconds: float) -> str:
    """A stretch of time as Slurm writes it: ``12:05``, ``1:02:03``, ``2-03:00:00``."""
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{left:02}"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def amount(value: float) -> str:
    """A number with three digits at least: ``0.125``, ``12.5``, ``1,234``."""
    if value and abs(value) < 0.0005:  # noqa: PLR2004 - what would round to nothing
        return "<0.001" if value > 0 else "0"
    digits = max(0, 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 3)
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(number: int, word: str) -> str:
    """``1 job``, ``1,234 jobs``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def plain(text: str) -> str:
    """A text without what a terminal would obey: control sequences go, each other control becomes a mark."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _ESCAPES.sub("", text))


def log_lines(text: str) -> list[str]:
    """A log as it would stand on paper: what a progress bar wrote over is gone, and nothing moves the cursor."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [plain(line.rstrip("\r").rpartition("\r")[2]).expandtabs(8) for line in lines]
