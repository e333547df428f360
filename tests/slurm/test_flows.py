"""Flows driven by functions: what they ask, and what they make of every answer."""

from __future__ import annotations

import pytest

from aifa_hpc.command import drive
from aifa_hpc.errors import SiteError
from aifa_hpc.slurm.flows import cancel
from tests.slurm.answering import answers


def test_cancel() -> None:
    """A refusal to cancel carries Slurm's words."""
    run, seen = answers((0, ""), (1, "", "scancel: error: Kill job error on job id 5: Access/permission denied"))
    drive(cancel("5"), run)
    with pytest.raises(SiteError, match="Access/permission denied"):
        drive(cancel("5"), run)
    assert [command.argv for command in seen] == [("scancel", "5")] * 2
