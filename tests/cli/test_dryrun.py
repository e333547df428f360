"""`aifa submit --dry-run` on the site `local`; on real Slurm in integration/test_doctor.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa


def test_a_dry_run_submits_nothing(aifa: Aifa) -> None:
    """The site's verdict, its estimate called one, and no job anywhere."""
    ran = aifa("submit", aifa.job(), "--site", "local", "--dry-run")
    assert 0 == ran.code, ran.err
    assert "local would take job 'hello'; nothing was submitted." in ran.out
    assert "estimate: it would start at 20" in ran.out
    assert "" == aifa("jobs", "--all").out


def test_a_dry_run_for_machines(aifa: Aifa) -> None:
    """One JSON object."""
    ran = aifa("submit", aifa.job(), "--site", "local", "--dry-run", "--json")
    assert (0, True, "local") == (ran.code, ran.json["accepted"], ran.json["partition"]), ran.err


def test_of_several_submissions_the_first_is_looked_at(aifa: Aifa) -> None:
    """A chain of three links: said, and priced as a whole."""
    ran = aifa("submit", aifa.job(rest='[chain]\ntotal = "00:06:00"'), "--site", "local", "--dry-run", "--json")
    assert (0, 3, 3) == (ran.code, ran.json["submissions"], ran.json["quote"]["runs"]), ran.err


def test_an_interactive_job_has_no_script(aifa: Aifa) -> None:
    """Exit code 2, and where to look; the site, which is not there, is not asked."""
    (aifa.home / "config").mkdir()
    settings = 'extends = "lumi"\nhost = "127.0.0.1"\nport = 1\naccount = "project_465000001"\n'
    (aifa.home / "config" / "sites.toml").write_text(f"[sites.nowhere]\n{settings}")
    resources = 'partition = "standard-g"\ngpus_per_node = 8'
    job = aifa.job(kind='"interactive"', command='["bash"]', resources=resources)
    ran = aifa("submit", job, "--site", "nowhere", "--dry-run")
    assert (2, True) == (ran.code, "no script that sbatch could look at. See `aifa render`." in ran.err), ran.err


def test_a_job_with_problems_is_not_shown_to_the_site(aifa: Aifa) -> None:
    """Exit code 2, with every problem."""
    ran = aifa("submit", aifa.job(resources="nodes = 50"), "--site", "local", "--dry-run")
    assert (2, True) == (ran.code, "resources.nodes = 50" in ran.err), ran.err


def test_the_sites_own_refusal_exits_with_3(aifa: Aifa) -> None:
    """A site's sbatch that says no, in its own words; and a site that has none."""
    (aifa.home / "config").mkdir()
    (aifa.home / "config" / "sites.toml").write_text('[sites.here]\nextends = "local"\ntransport = "local"\n')
    (aifa.home / "bin").mkdir()
    program = aifa.home / "bin" / "sbatch"
    program.write_text('#!/bin/sh\necho "allocation failure: Invalid qos specification" >&2\nexit 1\n')
    program.chmod(0o755)
    words = ("submit", aifa.job(), "--site", "here", "--dry-run")
    refused = aifa(*words, env={"PATH": f"{program.parent}:{os.environ['PATH']}"})
    assert (3, "") == (refused.code, refused.out)
    assert "here would refuse job 'hello': Invalid qos specification. Nothing was submitted." in refused.err
    program.write_text("#!/bin/sh\nexit 127\n")
    missing = aifa(*words, env={"PATH": f"{program.parent}:{os.environ['PATH']}"})
    assert (3, True) == (missing.code, "could not ask the controller" in missing.err), missing.err
