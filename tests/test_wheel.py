"""What users install is what was tested: the wheel holds the templates and nothing of the workshop."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "content")
    return folder / "content"


def test_every_template_and_profile_is_inside(unpacked: Path) -> None:
    """Templates, profiles, the page of reports, the type marker: nothing a user needs is left out."""
    templates = {path.name for path in (ROOT / "templates" / "slurm").iterdir()}
    profiles = {path.name for path in (ROOT / "aifa_hpc" / "sites" / "profiles").iterdir()}
    assert templates == {path.name for path in (unpacked / "aifa_hpc" / "templates" / "slurm").iterdir()}
    assert profiles == {path.name for path in (unpacked / "aifa_hpc" / "sites" / "profiles").iterdir()}
    page = {path.name for path in (ROOT / "aifa_hpc" / "views").iterdir() if path.is_file()}
    assert page == {path.name for path in (unpacked / "aifa_hpc" / "views").iterdir()}
    assert (unpacked / "aifa_hpc" / "py.typed").is_file()


def test_nothing_of_the_workshop_is_inside(unpacked: Path) -> None:
    """Tests, clusters and containers stay in the checkout."""
    tops = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert {"aifa_hpc"} == tops


def test_it_renders_from_outside_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    """The installed program finds its own templates."""
    (tmp_path / "job.toml").write_text(
        'name = "x"\n[resources]\ntime = "00:01:00"\n[launch]\nkind = "srun"\ncommand = ["true"]\n'
    )
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); import aifa_hpc;"
        f" assert aifa_hpc.__file__.startswith({str(unpacked)!r}), aifa_hpc.__file__;"
        " from aifa_hpc.cli import main; sys.argv = ['aifa', 'render', 'job.toml', '--site', 'local']; main()"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (0, "#!/bin/bash") == (ran.returncode, ran.stdout.splitlines()[0]), ran.stderr
