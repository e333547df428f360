"""A rank that fails ends the others at once, unless the user says that tasks are independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.conftest import SITES, make_user

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

PROGRAM = 'if [ "$SLURM_PROCID" = 1 ]; then exit 3; fi; sleep 8 && echo "rank $SLURM_PROCID went on"'


@pytest.mark.parametrize(("setting", "goes_on"), [("", False), ('[env]\nSLURM_KILL_BAD_EXIT = "0"\n', True)])
@pytest.mark.parametrize("machine", SITES)
def test_one_rank_fails(machine: str, setting: str, goes_on: bool, clusters: None, tmp_path: Path) -> None:
    """Without a word the other ranks do not come to their end; with 0 they do."""
    user = make_user(tmp_path, machine, "openssh", mfa=False)
    path = user.job("/bin/sh", "-c", PROGRAM, kind="srun")
    with open(path, "a") as file:  # noqa: PTH123 - a name, not a path
        file.write(setting)
    ran = user.aifa("submit", path, "--site", user.site, "--wait", "--json")
    assert 1 == ran.code, ran.err
    logs = user.aifa("logs", ran.json["id"], "--site", user.site).out
    assert goes_on == ("rank 0 went on" in logs), logs
