"""Templates are compiled once for each loader, and again when they change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jinja2

from aifa_hpc.jobs.spec import Job, Launch, Resources
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.render import render
from aifa_hpc.sites.load import load_site

NOWHERE = Path("/nonexistent")
JOB = Job(name="digits", resources=Resources(time="1"), launch=Launch(command=("true",)))  # type: ignore[arg-type] # text


def script(loader: jinja2.BaseLoader) -> str:
    """The job's script for this computer."""
    return render(JOB, load_site("local", NOWHERE), loader, version="0")


class Counting(jinja2.BaseLoader):
    """The packaged templates, counting how often one is loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.packaged = template_loader(NOWHERE)

    def load(self, environment: Any, name: str, globals: Any = None) -> jinja2.Template:  # noqa: A002 - Jinja's name
        self.loaded.append(name)
        return self.packaged.load(environment, name, globals)


def test_a_template_is_loaded_once() -> None:
    """Two scripts of one loader cost one compilation of each template."""
    loader = Counting()
    assert script(loader) == script(loader)
    assert ["base.sbatch.j2", "command.sbatch.j2"] == sorted(loader.loaded)


def test_a_changed_template_is_taken_in(tmp_path: Path) -> None:
    """A user who edits a template need not start anew."""
    (tmp_path / "templates").mkdir()
    own = tmp_path / "templates" / "command.sbatch.j2"
    own.write_text('{% extends "packaged/command.sbatch.j2" %}{% block launch %}echo first{% endblock %}')
    loader = template_loader(tmp_path)
    assert "echo first" in script(loader)
    own.write_text('{% extends "packaged/command.sbatch.j2" %}{% block launch %}echo second{% endblock %}')
    os.utime(own, ns=(0, 0))
    assert "echo second" in script(loader)
