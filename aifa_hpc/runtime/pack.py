"""The runtime as one file, for images and environments where nothing can be installed.

A zip of this package's own modules, of some 30 KB: Python imports from it when ``PYTHONPATH`` names it. It needs what
the runtime needs, Python 3.11 and pyarrow, and has the runtime only. The same version is the same bytes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PARTS = ("__init__.py", "errors.py", "manifest.py", "runtime/*.py")
_BEGIN = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can say


def write_runtime(path: str | Path) -> Path:
    """Writes the zip and returns its path; what was there is replaced."""
    target = Path(path)
    part = target.with_name(f".{target.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in sorted(found for pattern in _PARTS for found in _PACKAGE.glob(pattern)):
            name = module.relative_to(_PACKAGE.parent).as_posix()
            archive.writestr(zipfile.ZipInfo(name, _BEGIN), module.read_bytes(), zipfile.ZIP_DEFLATED)
    part.replace(target)
    return target
