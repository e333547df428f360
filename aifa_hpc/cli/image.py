"""A job's image as far as it can be read on this machine, for ``aifa check`` and ``aifa render``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.errors import Problem
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Site

_HELP = "A copy of the job's image on this machine: its header tells which processor and GPUs it is for."


def image_option(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """``--image``, a file here."""
    return click.option("--image", type=click.Path(path_type=Path), help=_HELP)(function)


def image_here(job: Job, site: Site, image: Path | None) -> tuple[Problem, ...]:
    """What the header of the job's image says against a site; nothing where there is no such file here.

    Args:
        job: The job.
        site: Where it is to run.
        image: Where the image is on this machine; by default where the job has it, as on the site's login nodes.

    Raises:
        InputError: The file that was named cannot be read, or the job runs in no container.
    """
    from aifa_hpc.jobs.check import partition_of  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.jobs.image import HEAD, head_problems  # noqa: PLC0415

    if job.container is None:
        if image is not None:
            hint = "Name the one on the site: [container] image."
            raise InputError(f"--image {str(image)!r} is of no use: the job has no image.", hint=hint)
        return ()
    path = image or Path(job.container.image)
    try:
        with (path / "bin" / "sh" if path.is_dir() else path).open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        if image is None:
            return ()
        raise InputError(f"the image {str(image)!r} cannot be read: {error.strerror}.") from error
    partition = partition_of(job, site)
    return () if partition is None else tuple(head_problems(job, site, partition, head))
