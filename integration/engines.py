"""Ray, Dask and MPI for the test clusters, whose nodes reach no network: wheels from here, installed there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration.conftest import User

_ONE_AT_A_TIME = threading.Lock()
_WHEELS = Path(tempfile.gettempdir()) / "aifa-engine-wheels"


def install(user: User, *packages: str) -> dict[str, str]:
    """Stages the wheels of packages and their dependencies and unpacks them in the user's folder, once.

    Returns:
        The variables with which jobs find them.
    """
    package = "-".join(packages)
    # Beside the folders of other tests, so that the clusters keep it between runs.
    place = f"{user.connect['workdir']}/engines"
    found = user.ssh(f"test -e '{place}/{package}/done' && echo there || true")
    if "there" not in found:
        version = user.ssh("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        wheels = _download(packages, version)
        target = f"{user.site}:{place}/{package}-wheels/"
        ran = user.aifa("stage", "copy", f"{wheels}/", target, "--class", "open")
        assert ran.code == 0, ran.err
        pip = f"python3 -m pip install -q --no-index --find-links '{place}/{package}-wheels'"
        user.ssh(
            f"set -e; {pip} --target '{place}/{package}' {' '.join(packages)}; cd '{place}/{package}'\n"
            # What a wheel has for lib/ of a whole installation is left out by pip --target.
            f"for wheel in ../{package}-wheels/*.whl; do python3 -m zipfile -e $wheel unpacked; done\n"
            "for lib in unpacked/*.data/data/lib; do [ ! -d $lib ] || cp -r $lib .; done; rm -r unpacked; touch done"
        )
    found = f"{place}/{package}"
    return {"PATH": f"{found}/bin:/usr/bin:/bin", "PYTHONPATH": found, "LD_LIBRARY_PATH": f"{found}/lib"}


def _download(packages: tuple[str, ...], version: str) -> Path:
    """Wheels for the clusters' Python; the test is left out where this machine cannot get them."""
    with _ONE_AT_A_TIME:  # clusters with the same Python share them
        return _download_once(packages, version)


def _download_once(packages: tuple[str, ...], version: str) -> Path:
    folder = _WHEELS / f"{'-'.join(packages)}-{version}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "--python-version", version]
        done = subprocess.run(
            [*pip, "-d", str(folder), *packages], capture_output=True, text=True, timeout=400, check=False
        )
        if done.returncode:
            pytest.skip(f"the wheels of {packages} for Python {version} cannot be had here: {done.stderr[-200:]}")
        (folder / "done").touch()
    return folder
