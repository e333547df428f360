"""``aifa explain``: why a job waits, or why it failed, and what to do."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.cli.jobs import open_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.tracker.explanation import Explanation, Finding

_HOPES = {
    "never": "It will not start as it is, however long it waits.",
    "person": "It does not start before somebody acts.",
    "unclear": "Whether it starts by itself, the site does not tell.",
    "waits": "It starts by itself when its turn comes.",
}
_WEIGHTS = {"cause": "", "sign": "a sign, which may have another cause", "note": ""}


@click.command(cls=Command)
@click.argument("job_id", metavar="ID")
@click.option("--site", metavar="SITE", help="Where, if several sites have a job of that id.")
def explain(job_id: str, site: str | None) -> None:
    """Say why a job waits or why it failed, with the evidence and what to do next.

    The site is asked once. What only goes with a failure, and may have another cause, is called a sign.
    """
    with ExitStack() as stack:
        (handle,) = open_jobs((job_id,), site, stack)
        if not handle.status.over:
            handle.connection.poll()
            handle.refresh()
        found = handle.explain()
    current_output().record(explanation_fields(found), "\n".join(_lines(found)))


def explanation_fields(found: Explanation) -> dict[str, Any]:
    """An explanation as machines get it."""
    fields = dataclasses.asdict(found)
    if not found.waits:
        fields["findings"] = [one | {"hope": None} for one in fields["findings"]]
    return fields | {"hope": found.hope, "hopeless": found.hopeless}


def _lines(found: Explanation) -> Iterator[str]:
    yield f"job {found.id or found.token} ({found.name}) on {found.site}: {found.state}"
    if found.hope:
        yield _HOPES[found.hope]
    for one in found.findings:
        yield ""
        yield from _finding(one)
    if found.position is not None:
        place = found.position
        own = f", {place.own_ahead} of them yours" if place.own_ahead else ""
        yield ""
        yield f"Place {place.ahead + 1} of {place.of} that wait for {place.partition}: {place.ahead} are ahead{own}."
    if found.expected_start:
        yield f"Slurm's estimate of its start: {found.expected_start}, on the site's clock; no promise."
    if found.tail:
        yield ""
        yield f"Last lines of {found.log}:"
        yield from (f"  {line}" for line in found.tail)
    if found.silent:
        yield ""
        yield "Not told: " + "; ".join(f"{name} ({why})" for name, why in found.silent.items())


def _finding(one: Finding) -> Iterator[str]:
    weight = _WEIGHTS[one.weight]
    yield f"* {one.text}" + (f" ({weight})" if weight else "")
    if one.evidence:
        yield f"  seen: {one.evidence}" + (f"  [{one.origin}]" if one.origin else "")
    if one.action:
        yield f"  do: {one.action}"
