"""Finds templates: the user's own folder first, then the ones that came with the library.

In a wheel they lie inside the package; in a checkout they are ``templates/slurm`` beside it. A user's template may
extend the packaged one of the same name, ``{% extends "packaged/srun.sbatch.j2" %}``, and keep what a block had with
``{{ super() }}``.
"""

from __future__ import annotations

from pathlib import Path

import jinja2

from aifa_hpc.errors import InputError

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "templates" / "slurm", _PACKAGE.parent / "templates" / "slurm")


def template_loader(config: Path) -> jinja2.BaseLoader:
    """A loader over ``CONFIG/templates`` and the packaged templates.

    Raises:
        InputError: The installation has no templates.
    """
    packaged = next((place for place in _PLACES if place.is_dir()), None)
    if packaged is None:
        raise InputError(
            f"the templates are missing; looked in {' and '.join(map(str, _PLACES))}. Install aifa_hpc anew."
        )
    ours = jinja2.FileSystemLoader(packaged)
    return jinja2.ChoiceLoader(
        [jinja2.FileSystemLoader(config / "templates"), ours, jinja2.PrefixLoader({"packaged": ours})]
    )
