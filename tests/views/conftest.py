"""Jobs with a past, as the store remembers them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.slurm.records import ExitStatus
from aifa_hpc.tracker.events import Status
from aifa_hpc.tracker.records import Attempt, Row
from tests.cli.conftest import Aifa

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


def at(minutes: float) -> datetime.datetime:
    """So many minutes after noon."""
    return NOON + datetime.timedelta(minutes=minutes)


def printed(minutes: float | None) -> str:
    """The same as Slurm prints it; empty for never."""
    return "" if minutes is None else at(minutes).strftime("%Y-%m-%dT%H:%M:%S")


def row(
    state: str = "COMPLETED",
    *,
    start: float | None = None,
    end: float | None = None,
    submitted: float = 0,
    elapsed: float | None = None,
    reason: str = "",
    **changes: Any,
) -> Row:
    """A row; times are minutes after noon."""
    if elapsed is None and start is not None and end is not None:
        elapsed = end - start
    status = Status(
        state=state,
        reason=reason,
        start=printed(start),
        end=printed(end),
        elapsed_seconds=None if elapsed is None else int(elapsed * 60),
        exit=ExitStatus(1) if state == "FAILED" else None,
    )
    fields: dict[str, Any] = {
        "token": "t1", "site": "lumi", "name": "digits", "job_id": "101", "folder": "/jobs/t1",
        "created_at": at(submitted), "changed_at": at(end if end is not None else submitted),
        "account": "p1", "rate": 4.0, "unit": "GPU-h", "limit_seconds": 3600,
    } | changes  # fmt: skip
    return Row(status=status, **fields)


def attempts(one: Row, *earlier: tuple[str, float, float], job_id: str = "") -> list[Attempt]:
    """Its runs: ``(state, start, end)`` of the earlier ones, then the present one."""
    past = [
        Attempt(number=number, job_id=job_id or str(one.job_id), state=state, start=printed(start), end=printed(end))
        for number, (state, start, end) in enumerate(earlier, 1)
    ]
    status = one.status
    present = Attempt(
        number=len(past) + 1,
        job_id=str(one.job_id),
        state=status.state,
        reason=status.reason,
        start=status.start,
        end=status.end,
    )
    return [*past, present]


@pytest.fixture
def aifa(tmp_path: Path) -> Aifa:
    """The program, with folders of its own."""
    return Aifa(tmp_path)
