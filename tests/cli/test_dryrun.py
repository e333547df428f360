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


def test_every_submission_is_looked_at(aifa: Aifa) -> None:
    """A chain of three links: sbatch sees each of them, and it is priced as a whole; one that it refuses is told."""
    chain = aifa.job(rest='[chain]\ntotal = "00:06:00"')
    ran = aifa("submit", chain, "--site", "local", "--dry-run", "--json")
    assert (0, 3, 3) == (ran.code, ran.json["submissions"], ran.json["quote"]["runs"]), ran.err
    env = stand_in(aifa, 'grep -q AIFA_CHAIN_LINK=1 || exit 0; echo "allocation failure: no second" >&2; exit 1')
    refused = aifa("submit", chain, "--site", "here", "--dry-run", env=env)
    words = "here would refuse job 'hello' (1 of 3 submissions, the first is 2): no second. Nothing was submitted."
    assert (3, True) == (refused.code, words in refused.err), refused.err


def test_an_image_is_looked_at(aifa: Aifa) -> None:
    """Its header is read there, as before a submission: exit code 2 for another processor."""
    env = stand_in(aifa, "exit 0")
    image = aifa.home / "image"
    (image / "bin").mkdir(parents=True)
    (image / "bin" / "sh").write_bytes(b"\x7fELF\2\1\1" + bytes(11) + b"\x15\0" + bytes(40))  # ppc64
    with (aifa.home / "config" / "sites.toml").open("a") as file:
        file.write('[sites.here.container]\nruntime = "apptainer"\nrun = ["apptainer", "run"]\n')
        file.write('source = "mine"\nchecked_on = 2026-11-24\n')
    job = aifa.job(rest=f'[container]\nimage = "{image}"')
    ran = aifa("submit", job, "--site", "here", "--dry-run", env=env)
    assert (2, True) == (ran.code, "image for ppc64" in ran.err), ran.err


def stand_in(aifa: Aifa, script: str) -> dict[str, str]:
    """A site ``here`` that is this machine with an sbatch of this script; returns the environment for it."""
    (aifa.home / "config").mkdir()
    (aifa.home / "config" / "sites.toml").write_text('[sites.here]\nextends = "local"\ntransport = "local"\n')
    (aifa.home / "bin").mkdir()
    program = aifa.home / "bin" / "sbatch"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


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
    env = stand_in(aifa, 'echo "allocation failure: Invalid qos specification" >&2\nexit 1')
    words = ("submit", aifa.job(), "--site", "here", "--dry-run")
    refused = aifa(*words, env=env)
    assert (3, "") == (refused.code, refused.out)
    assert "here would refuse job 'hello': Invalid qos specification. Nothing was submitted." in refused.err
    (aifa.home / "bin" / "sbatch").write_text("#!/bin/sh\nexit 127\n")
    missing = aifa(*words, env=env)
    assert (3, True) == (missing.code, "could not ask the controller" in missing.err), missing.err
