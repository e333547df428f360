"""What a job file says for one site only: ``[sites.NAME.TABLE]`` goes over ``[TABLE]``, key by key.

A job that runs on several machines names each one's partition, image and paths beside the rest, which it says once::

    [resources]
    nodes = 2
    time = "01:00:00"
    [sites.lumi.resources]
    partition = "standard-g"
    gpus_per_node = 8
    [sites.jupiter.resources]
    partition = "booster"
    gpus_per_node = 4

``NAME`` is a site, or the cluster that a site of one's own is on (``lumi`` also holds for a ``[sites.lumi-test]`` that
extends it); the site's own name goes before. Every overlay is held to the form of a job, also that of another site.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.sites.strict import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FIXED = ("name", "sites")


def split(table: dict[str, Any], label: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A job's table without its overlays, and the overlays by site.

    Raises:
        InputError: What stands below ``sites`` is no table, or says what holds for all sites.
    """
    base = {key: value for key, value in table.items() if key != "sites"}
    overlays = table.get("sites", {})
    problems = list(_problems(overlays))
    if problems:
        raise InputError(f"{label} cannot be used:", problems=problems)
    return base, overlays


def _problems(overlays: object) -> Iterator[Problem]:
    if not isinstance(overlays, dict):
        yield Problem(key="sites", value=show(overlays), rule="must be tables [sites.NAME.TABLE]")
        return
    for name, overlay in overlays.items():
        if not isinstance(overlay, dict):
            yield Problem(key=f"sites.{name}", value=show(overlay), rule="must be tables [sites.NAME.TABLE]")
            continue
        for key in _FIXED:
            if key in overlay:
                yield Problem(key=f"sites.{name}.{key}", value=show(overlay[key]), rule="is the same on all sites")


def merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """A table with another one over it, key by key; lists are replaced as a whole."""
    merged = dict(base)
    for key, value in overlay.items():
        old = base.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def choose(overlays: dict[str, dict[str, Any]], names: Sequence[str]) -> str:
    """The first of a site's names that has an overlay; empty when none has."""
    return next((name for name in names if name in overlays), "")


def located(problem: Problem, name: str, overlay: dict[str, Any]) -> Problem:
    """A problem of a merged job with the key under which the user wrote it."""
    here: Any = overlay
    for part in problem.key.split("[", maxsplit=1)[0].split("."):
        if not isinstance(here, dict) or part not in here:
            return problem
        here = here[part]
    return replace(problem, key=f"sites.{name}.{problem.key}")
