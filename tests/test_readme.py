"""The README tells the truth: its command reference, its examples, its paths."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aifa_hpc
from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.render import render
from aifa_hpc.sites.load import load_site, load_sites, read_user_sites, site_names
from aifa_hpc.sites.model import Access
from aifa_hpc.tracker.sinks.config import KINDS, read_sinks
from tests.readme import BLOCKS, README, template_blocks, with_reference

TEXT = README.read_text("utf-8")
ROOT = README.parent


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_command_reference_is_the_programs_own() -> None:
    """`make docs` would change nothing."""
    assert with_reference(TEXT) == TEXT


def test_the_job_of_the_readme_is_taken_by_lumi() -> None:
    """The first job a newcomer copies is legal."""
    jobs = [block for block in blocks("toml") if "[launch]" in block]
    job = read_job(jobs[0], "README.md")
    site = load_site("lumi", Path("/nonexistent"))
    problems = [problem for problem in check(job, site) if problem.key != "resources.account"]
    assert ([], 1) == (problems, len(jobs))


def test_what_else_a_job_may_ask_for_is_legal() -> None:
    """Every table of the chapter about jobs is read as it stands there."""
    rest = '[resources]\ntime = "12:00:00"\n[launch]\nkind = "srun"\ncommand = ["x"]\n'
    tables = [block for block in blocks("toml") if re.search(r"\[(array|chain|components)\]", block)]
    found = [read_job(f'name = "a"\n{block}\n{rest}', "README.md") for block in tables]
    assert [500, 6, 1] == [
        len(found[0].array.indices) if found[0].array else 0,
        found[1].chain.links(found[1].resources.time) if found[1].chain else 0,
        len(found[2].components),
    ]


def test_the_site_files_of_the_readme_are_legal() -> None:
    """Every [sites.NAME] example loads."""
    base = load_sites(Path("/nonexistent"))
    examples = [block for block in blocks("toml") if re.match(r"(#.*\n)*\[sites\.", block)]
    found = [name for block in examples for name in read_user_sites(block, "README.md", base)]
    assert ["lumi", "jupiter", "lumi", "lumi"] == found


def test_the_job_for_several_sites_is_taken_by_each() -> None:
    """What the README says for one site only makes a job that this site takes."""
    (text,) = [block for block in blocks("toml") if "[sites.jupiter.resources]" in block]
    for name in ("lumi", "jupiter"):
        job = read_job(f'name = "j"\nlaunch.kind = "srun"\nlaunch.command = ["x"]\n{text}', site=(name,))
        problems = check(job, load_site(name, Path("/nonexistent")))
        assert [] == [problem for problem in problems if problem.key != "resources.account"]


def test_every_block_of_the_templates_is_documented() -> None:
    """And no block that is not there."""
    assert set(template_blocks()) == set(BLOCKS)


def test_the_template_of_the_readme_renders(tmp_path: Path) -> None:
    """Its block adds a line to the packaged script."""
    (text,) = blocks("jinja")
    (tmp_path / "mine.j2").write_text(text)
    (block,) = [block for block in blocks("toml") if "[launch]" in block]
    loader = template_loader(tmp_path, tmp_path / "mine.j2")
    script = render(read_job(block), load_site("lumi", Path("/nonexistent")), loader, version="1")
    assert "\nexport STARTED_BY=digits\n" in script


def test_the_python_of_the_readme_uses_names_that_exist() -> None:
    """Every `aifa.X` in an example is public."""
    used = {
        node.attr
        for block in blocks("python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aifa"
    }
    assert (True, set()) == (bool(used), used - set(aifa_hpc.__all__))


def test_waiting_as_the_readme_shows_it(tmp_path: Path) -> None:
    """The example runs as it stands, on the site of this computer."""
    (text,) = [block for block in blocks("python") if "aifa.as_completed" in block]
    env = os.environ | {"AIFA_STATE_DIR": str(tmp_path / "state"), "AIFA_CONFIG_DIR": str(tmp_path / "config")}
    ran = subprocess.run(
        [sys.executable, "-c", text], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == ran.returncode, ran.stderr
    lines = ran.stdout.splitlines()
    assert {
        "called back: COMPLETED",
        "is: COMPLETED",
        "awaited: COMPLETED",
        "log: 1 hello",
        "event: 3 SUBMITTING PENDING",
    } <= {*lines}
    assert 3 == sum(re.fullmatch(r"ended: [123] COMPLETED", line) is not None for line in lines)


def test_the_sinks_of_the_readme_are_legal() -> None:
    """Every kind of sink is shown, as it is read."""
    (text,) = [block for block in blocks("toml") if "[sinks." in block]
    assert set(KINDS) == {sink.kind for sink in read_sinks(text, "README.md")}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ (make [a-z-]+)", TEXT, re.MULTILINE))))
def test_make_targets_exist(command: str) -> None:
    """Every `make X` of the README is a target."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^(?:.* )?{command.split()[1]}(?: .*)?:", makefile, re.MULTILINE)


def test_every_setting_of_a_site_is_documented() -> None:
    """The table of sites.toml keys is complete."""
    assert [] == [key for key in Access.__struct_fields__ if f"`{key}`" not in TEXT]


def test_versions_agree() -> None:
    """The package, its metadata and the changelog name one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert aifa_hpc.__version__ == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_public_face_is_what_it_says() -> None:
    """Every name of `__all__` loads, and site names are known without loading sites."""
    assert [] == [name for name in aifa_hpc.__all__ if getattr(aifa_hpc, name, None) is None]
    assert {"lumi", "jupiter", "local", "lumi2"} == set(site_names(Path("/nonexistent")))
