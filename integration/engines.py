"""Ray and Dask for the test clusters, whose nodes reach no network: wheels from here, staged and installed there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration.conftest import User

_WHEELS = Path(tempfile.gettempdir()) / "aifa-engine-wheels"


def install(user: User, package: str) -> dict[str, str]:
    """Stages the wheels of a package and its dependencies and unpacks them in the user's folder, once.

    Returns:
        The variables with which jobs find it.
    """
    # Beside the folders of other tests, so that the clusters keep it between runs.
    place = f"{user.connect['workdir']}/engines"
    found = user.ssh(f"test -e '{place}/{package}/done' && echo there || true")
    if "there" not in found:
        version = user.ssh("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        wheels = _download(package, version)
        target = f"{user.site}:{place}/{package}-wheels/"
        ran = user.aifa("stage", "copy", f"{wheels}/", target, "--class", "open")
        assert ran.code == 0, ran.err
        pip = f"python3 -m pip install -q --no-index --find-links '{place}/{package}-wheels'"
        user.ssh(f"{pip} --target '{place}/{package}' {package} && touch '{place}/{package}/done'")
    return {"PATH": f"{place}/{package}/bin:/usr/bin:/bin", "PYTHONPATH": f"{place}/{package}"}


def _download(package: str, version: str) -> Path:
    """Wheels for the clusters' Python; the test is left out where this machine cannot get them."""
    folder = _WHEELS / f"{package}-{version}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "--python-version", version]
        done = subprocess.run(
            [*pip, "-d", str(folder), package], capture_output=True, text=True, timeout=400, check=False
        )
        if done.returncode:
            pytest.skip(f"the wheels of {package} for Python {version} cannot be had here: {done.stderr[-200:]}")
        (folder / "done").touch()
    return folder
