"""Reads a job file, and says everything that is wrong with it at once."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from aifa_hpc.errors import InputError, ParseError, Problem
from aifa_hpc.jobs.data import Data
from aifa_hpc.jobs.features import After, Array, Chain, Mail, feature_problems
from aifa_hpc.jobs.overlay import choose, located, merge, split
from aifa_hpc.jobs.secrets import without_secrets
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources, combination_problems, job_problems
from aifa_hpc.sites.strict import decode, show
from aifa_hpc.units import Walltime, parse_memory, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aifa_hpc.jobs.values import Spec

_TABLES: dict[str, type[Spec]] = {
    "resources": Resources,
    "launch": Launch,
    "container": Container,
    "array": Array,
    "after": After,
    "mail": Mail,
    "data": Data,
    "chain": Chain,
}


def read_job(text: str, label: str = "job", *, site: Sequence[str] = ()) -> Job:
    """Decodes a job file, strictly.

    Args:
        text: TOML.
        label: What errors call it, usually the file's name.
        site: Names of the site whose overlay applies, see ``jobs.overlay``.

    Raises:
        InputError: Not TOML, or ``problems`` holds every unknown key, wrong type, unit and value, with its full key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error
    base, overlays = split(table, label)
    chosen = choose(overlays, site)
    # The one that applies first, because its problems are the user's own just now; then those of the other sites.
    for name in sorted(overlays, key=lambda name: name != chosen):
        job = _convert(merge(base, overlays[name]), label, name, overlays[name])
        if name == chosen:
            found = job
    return found if chosen else _convert(base, label, "", {})


def _convert(table: dict[str, Any], label: str, name: str, overlay: dict[str, Any]) -> Job:
    try:
        return msgspec.convert(table, Job, dec_hook=_unit)
    except msgspec.ValidationError as error:
        found = map(without_secrets, _all_problems(table, label))
        problems = [located(problem, name, overlay) for problem in found]
        why = ":" if problems else f": {error}"
        raise InputError(f"{label} cannot be used{why}", problems=problems) from error


def _all_problems(table: dict[str, Any], label: str) -> list[Problem]:
    """What is wrong with the tables' form, and with the values of those whose form is right."""
    problems: list[Problem] = []
    try:
        decode(table, Job, label)
    except InputError as error:
        problems += [slip for problem in error.problems for slip in _slips(problem, table)]
    crooked = {re.split(r"[.\[]", problem.key, maxsplit=1)[0] for problem in problems}
    fine = {key: value for key, value in table.items() if key not in crooked}
    for key, kind in _TABLES.items():
        if key in fine:
            problems += _value_problems(fine[key], kind, f"{key}.")
    for number, component in enumerate(fine.get("components", ())):
        for key in ("resources", "launch"):
            problems += _value_problems(component[key], _TABLES[key], f"components[{number}].{key}.")
    problems += job_problems(fine.get("name", "job"), fine.get("env", {}), fine.get("workdir", ""))
    problems += feature_problems(fine.get("signal", ""), fine.get("requeue"))
    problems += combination_problems({key: bool(fine.get(key)) for key in ("array", "chain", "components")})
    return problems or list(_whole_problems(table))


def _whole_problems(table: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with a job whose tables are right one by one."""
    try:
        msgspec.convert(table, Job, dec_hook=_unit)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):
            yield from error.__cause__.problems


def _value_problems(table: object, kind: type[Spec], prefix: str) -> Iterator[Problem]:
    try:
        msgspec.convert(table, kind, dec_hook=_unit)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):
            yield from _below(prefix, error.__cause__.problems)


def _below(prefix: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    for problem in problems:
        yield replace(problem, key=prefix + problem.key)


def _slips(problem: Problem, table: dict[str, Any]) -> Iterator[Problem]:
    """Better words for two common slips: numbers in ``[env]``, and a command as one line."""
    if problem.key.startswith("env.") and not problem.nearest:
        rule = "must be text: what the program finds in its environment"
        yield Problem(key=problem.key, value=problem.value, rule=rule, nearest=show(problem.value))
    elif problem.key == "launch.command":
        try:
            Launch(command=table["launch"]["command"])
        except ParseError as error:
            yield from _below("launch.", error.problems)
    else:
        yield problem


def _unit(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, str):
        raise ParseError(f"must be text with a unit, got {show(value)}")
    return parse_walltime(value) if kind is Walltime else parse_memory(value)
