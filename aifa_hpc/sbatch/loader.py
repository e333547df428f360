"""Finds templates: a file that was named, the user's own folder, then the ones that came with the library.

In a wheel they lie inside the package; in a checkout they are ``templates/slurm`` beside it. A user's template may
extend the packaged one of the same name, ``{% extends "packaged/srun.sbatch.j2" %}``, and keep what a block had with
``{{ super() }}``. So may a file that was named: it stands in for the template of the job's launch kind, whatever that
is.
"""

from __future__ import annotations

from pathlib import Path

import jinja2

from aifa_hpc.errors import InputError
from aifa_hpc.sites.launching import KINDS

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "templates" / "slurm", _PACKAGE.parent / "templates" / "slurm")


def template_loader(config: Path, template: Path | None = None) -> jinja2.BaseLoader:
    """A loader over a template's file, ``CONFIG/templates`` and the packaged templates.

    Args:
        config: Configuration folder.
        template: A file that is used in the place of ``KIND.sbatch.j2``.

    Raises:
        InputError: The installation has no templates, or the file cannot be read.
    """
    packaged = next((place for place in _PLACES if place.is_dir()), None)
    if packaged is None:
        raise InputError(
            f"the templates are missing; looked in {' and '.join(map(str, _PLACES))}. Install aifa_hpc anew."
        )
    ours = jinja2.FileSystemLoader(packaged)
    loaders: list[jinja2.BaseLoader] = [ours, jinja2.PrefixLoader({"packaged": ours})]
    # A folder that is not there yet holds none; one that appears later is found.
    loaders.insert(0, jinja2.FileSystemLoader(config / "templates"))
    if template is not None:
        source = (_read(template), str(template), None)  # with its name, for messages
        names = {f"{kind}.sbatch.j2" for kind in KINDS}
        loaders.insert(0, jinja2.FunctionLoader(lambda name: source if name in names else None))
    return jinja2.ChoiceLoader(loaders)


def _read(template: Path) -> str:
    try:
        return template.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"the template {str(template)!r} cannot be read: {reason}.") from error
