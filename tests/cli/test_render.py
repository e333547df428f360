"""`aifa render` for one site and several, and with a template of one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa

BOTH = """
[sites.lumi.resources]
partition = "standard-g"
gpus_per_node = 8
account = "project_465000001"
[sites.jupiter.resources]
partition = "booster"
gpus_per_node = 4
account = "e-aif-2026fl01-123"
"""
EXTENDS = '{% extends "packaged/command.sbatch.j2" %}\n'
TWO = ("--site", "lumi", "--site", "jupiter")


def test_several_sites_have_a_heading_each(aifa: Aifa) -> None:
    """The scripts in the order of the sites, each with what the job says for it; JSON has one object each."""
    job = aifa.job(rest=BOTH)
    ran = aifa("render", job, *TWO)
    assert 0 == ran.code, ran.err
    lumi, jupiter = ran.out.split("### lumi ###\n")[1].split("### jupiter ###\n")
    assert ("#SBATCH --partition=standard-g" in lumi, "#SBATCH --partition=booster" in jupiter) == (True, True)
    found = [json.loads(line) for line in aifa("render", job, *TWO, "--json").out.splitlines()]
    assert (["lumi", "jupiter"], lumi.strip()) == ([one["site"] for one in found], found[0]["script"].strip())


def test_differences_in_words(aifa: Aifa) -> None:
    """A table of what differs; exit code 2 when one of the sites would not take the job."""
    ran = aifa("render", aifa.job(rest=BOTH), *TWO, "--diff", "--json")
    assert 0 == ran.code, ran.err
    assert {"partition", "GPUs", "cost"} <= {row["what"] for row in ran.json}
    late = aifa("render", aifa.job(time='"13:00:00"', rest=BOTH), *TWO, "--diff")
    assert (2, True) == (late.code, "allows at most 12:00:00" in late.out)
    assert "the same: nodes" in late.err


def test_images_that_are_here_are_looked_into(aifa: Aifa) -> None:
    """By check and by render: where the job has them, or where --image says; one for the other machine is refused."""
    image = aifa.home / "image.sif"
    image.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\x0001\x0004\0")
    job = aifa.job(rest=BOTH + '[container]\nimage = "/scratch/project_465000001/mine.sif"\n')
    for words in (("check",), ("render", "-o", str(aifa.home / "x.sbatch"))):
        ran = aifa(*words, job, "--site", "lumi", "--image", str(image))
        assert (2, True) == (ran.code, "is an image for aarch64" in ran.out + ran.err), ran
        assert 0 == aifa(*words[:1], job, "--site", "lumi").code
    assert not (aifa.home / "x.sbatch").exists()
    plain = aifa("check", aifa.job(name="plain", rest=BOTH), "--site", "lumi", "--image", str(image))
    assert (2, True) == (plain.code, "the job has no image" in plain.err)
    missing = aifa("check", job, "--site", "lumi", "--image", "none.sif")
    assert (2, True) == (missing.code, "cannot be read: No such file" in missing.err)
    here = aifa.job(name="here", rest=BOTH + f'[container]\nimage = "{image}"\n')
    assert "is an image for aarch64" in aifa("check", here, "--site", "lumi").out
    several = aifa("render", job, *TWO, "--image", str(image))
    assert (2, True) == (several.code, "--image is one site's" in several.err)


def test_what_makes_no_sense_is_refused(aifa: Aifa) -> None:
    """A difference of one, and several scripts in one file; nothing is written."""
    one = aifa("render", aifa.job(), "--site", "local", "--diff")
    assert (2, True) == (one.code, "needs two at least" in one.err)
    several = aifa("render", aifa.job(rest=BOTH), *TWO, "-o", "x.sbatch")
    assert (2, False) == (several.code, (aifa.home / "x.sbatch").exists())


def test_check_and_quote_know_what_is_for_their_site(aifa: Aifa) -> None:
    """A problem of an overlay has the key that the user wrote."""
    job = aifa.job(rest=BOTH)
    assert 0 == aifa("check", job, "--site", "jupiter").code
    assert "288 x 1 node" in aifa("quote", job, "--site", "jupiter").out
    bad = aifa("check", aifa.job(rest=BOTH.replace("gpus_per_node = 4", "gpus_per_node = -4")), "--site", "jupiter")
    assert (2, True) == (bad.code, "sites.jupiter.resources.gpus_per_node = -4" in bad.err)


def test_a_template_of_ones_own(aifa: Aifa) -> None:
    """A file may extend the packaged template and add to a block; the folder of templates comes after it."""
    (aifa.home / "mine.j2").write_text(
        EXTENDS + "{% block guard %}{{ super() }}\necho {{ job.name }}\n{% endblock %}\n"
    )
    ran = aifa("render", aifa.job(), "--site", "local", "--template", "mine.j2")
    assert (0, True, True) == (ran.code, "\necho hello\n" in ran.out, "set -o pipefail" in ran.out), ran.err
    folder = aifa.home / "config" / "templates"
    folder.mkdir(parents=True)
    (folder / "command.sbatch.j2").write_text(EXTENDS + "{% block guard %}# folder\n{% endblock %}\n")
    assert "# folder" in aifa("render", aifa.job(), "--site", "local").out
    assert "# folder" not in aifa("render", aifa.job(), "--site", "local", "--template", "mine.j2").out


def test_a_template_is_used_to_submit(aifa: Aifa) -> None:
    """What it adds runs."""
    (aifa.home / "mine.j2").write_text(
        EXTENDS + "{% block guard %}{{ super() }}\necho from my template\n{% endblock %}\n"
    )
    ran = aifa("submit", aifa.job(), "--site", "local", "--template", "mine.j2", "--wait", "--json")
    assert 0 == ran.code, ran.err
    assert "from my template\nhello\n" in aifa("logs", ran.json["id"]).out


def test_a_template_that_drops_a_limit_is_refused(aifa: Aifa) -> None:
    """With the file's line where it is wrong, and the directives that are missing; nothing is submitted."""
    (aifa.home / "mine.j2").write_text("#!/bin/bash\n{{ job.launch.command }}\n")
    ran = aifa("submit", aifa.job(), "--site", "local", "--template", "mine.j2")
    assert (2, True) == (ran.code, "--time=00:02:00 is missing" in ran.err), ran.err
    (aifa.home / "wrong.j2").write_text("#!/bin/bash\n\n{{ nothing }}\n")
    wrong = aifa("render", aifa.job(), "--site", "local", "--template", "wrong.j2")
    assert (2, True) == (wrong.code, "line 3 of wrong.j2: 'nothing' is undefined" in wrong.err), wrong.err
    missing = aifa("render", aifa.job(), "--site", "local", "--template", "nowhere.j2")
    assert (2, True) == (missing.code, "cannot be read" in missing.err), missing.err
