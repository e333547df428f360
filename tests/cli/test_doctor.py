"""`aifa sites doctor` on this machine; on real Slurm in integration/test_doctor.py."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa

SITES = '# mine\n[sites.here]\nextends = "local"\ntransport = "local"\nworkdir = "{work}"\n'
SCONTROL = """#!/bin/sh
case "$*" in
  *partition*) echo "PartitionName=local State=UP MaxTime=12:00:00 TotalNodes=4 MaxNodes=UNLIMITED Default=YES" ;;
  *) exit 1 ;;
esac
"""


def prepare(aifa: Aifa) -> dict[str, str]:
    """A site that is this machine, with a scontrol that tells of a shorter limit; returns the environment for it."""
    for folder in ("config", "bin", "work"):
        (aifa.home / folder).mkdir()
    (aifa.home / "config" / "sites.toml").write_text(SITES.format(work=aifa.home / "work"))
    for name, text in {"scontrol": SCONTROL, "sbatch": "#!/bin/sh\necho slurm 24.05.8\n"}.items():
        (aifa.home / "bin" / name).write_text(text)
        (aifa.home / "bin" / name).chmod(0o755)
    return {"PATH": f"{aifa.home / 'bin'}:{os.environ['PATH']}"}


def test_drift_is_found_written_and_gone(aifa: Aifa) -> None:
    """Exit code 1 with drift; 0 when it is written; a second run is clean, and rendering uses the new limit."""
    env = prepare(aifa)
    first = aifa("sites", "doctor", "here", env=env)
    assert (1, True) == (first.code, "partitions.local.max_time\t1-00:00:00\t12:00:00\tdrift" in first.out), first.err
    assert (0, "# mine\n") == (
        aifa("sites", "doctor", "here", "--write", env=env).code,
        (aifa.home / "config" / "sites.toml").read_text()[:7],
    )
    again = aifa("sites", "doctor", "here", "--json", env=env)
    assert (0, []) == (again.code, [row for row in again.json if row["status"] in {"drift", "new"}])
    refused = aifa("check", aifa.job(time='"13:00:00"'), "--site", "here")
    assert (2, True) == (refused.code, "allows at most 12:00:00" in refused.out)
    assert "[aifa sites doctor, " in refused.out


def test_what_the_user_wrote_is_explained_and_kept(aifa: Aifa) -> None:
    """A limit of one's own stays and is drift, with whose it is; another key of the same table is written."""
    env = prepare(aifa)
    path = aifa.home / "config" / "sites.toml"
    mine = path.read_text() + "[sites.here.partitions.local]\nnodes = 9\n"
    path.write_text(mine)
    ran = aifa("sites", "doctor", "here", "--write", env=env)
    words = "partitions.local.nodes is 9 in the profile and 4 at here (you wrote this in sites.toml yourself"
    assert (1, True, True) == (ran.code, words in ran.err, path.read_text().startswith(mine)), ran.err
    written = tomllib.loads(path.read_text())["told"]["here"]["partitions"]["local"]
    assert ("12:00:00", False) == (written["max_time"], "nodes" in written)


def test_a_site_that_tells_nothing_has_no_drift(aifa: Aifa) -> None:
    """The embedded scheduler answers a part of it; the rest is not told."""
    ran = aifa("sites", "doctor", "local", "--json")
    assert 0 == ran.code, ran.err
    assert {"not told", "confirmed"} <= {row["status"] for row in ran.json}


def test_drafts_are_not_asked(aifa: Aifa) -> None:
    """Exit code 2."""
    ran = aifa("sites", "doctor", "lumi2")
    assert (2, True) == (ran.code, "is a draft" in ran.err)
