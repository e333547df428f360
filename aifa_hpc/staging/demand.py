"""Holds a job back until the data it needs is verified where it will run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, ParseError, Problem
from aifa_hpc.manifest import MANIFEST
from aifa_hpc.staging.endpoints.far import open_far
from aifa_hpc.staging.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.jobs.data import Data
    from aifa_hpc.sites.model import Site
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.transport.base import Transport

_TOLD = 5
"""Files of a manifest that are named one by one."""


def place_of(manifest: str) -> str:
    """Where the data of a manifest lies: its folder, or the one file it is for; of what is no manifest, itself."""
    folder, slash, name = manifest.rpartition("/")
    if not name.endswith(MANIFEST):
        return manifest
    return f"{folder}{slash}{name.removesuffix(MANIFEST).removeprefix('.')}" or "./"


def require_data(data: Data, site: Site, transport: Transport, ledger: Ledger) -> None:
    """Verifies every manifest of a job on its site.

    Args:
        data: What the job needs.
        site: Where it will run.
        transport: The way there; it stays the caller's.
        ledger: Knows what was proven before, and is told what is found.

    Raises:
        InputError: Something is missing or damaged; ``problems`` names it, manifest by manifest.
        TransferError: It cannot be looked at.
    """
    problems: list[Problem] = []
    for number, manifest in enumerate(data.manifests):
        with open_far(transport, place_of(manifest), channels=1, label=site.name) as place:
            problems += _problems(f"data.manifests[{number}]", manifest, place, data, ledger)
    if problems:
        fetch = " and ".join(f"`aifa stage ensure {site.name}:{manifest}`" for manifest in data.manifests)
        raise InputError(
            f"the data of this job is not on {site.name} as it was published:",
            problems=problems,
            hint=f"Nothing was submitted. {fetch} brings back what is gone or damaged.",
        )


def _problems(key: str, manifest: str, place: Endpoint, data: Data, ledger: Ledger) -> Iterator[Problem]:
    try:
        report = verify(place, ledger=ledger, level=data.check)
    except ParseError as error:
        yield Problem(key=key, value=manifest, rule=error.message)
        return
    except InputError as error:
        yield Problem(key=key, value=manifest, rule=f"is not there: {error.message}")
        return
    for path, reason in report.damaged[:_TOLD]:
        yield Problem(key=key, value=manifest, rule=f"{path!r}: {reason}")
    if len(report.damaged) > _TOLD:
        yield Problem(key=key, value=manifest, rule=f"and {len(report.damaged) - _TOLD} more files")
