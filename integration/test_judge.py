"""``jobs.check`` against a real slurmctld, job by job: what check refuses Slurm refuses, what it takes Slurm takes.

The scripts are submitted to start in a day and cancelled at once. That is Slurm's whole verdict: ``--test-only`` calls
a legal size impossible where most nodes of a partition are reserved, and ``--hold`` takes jobs that no node could run.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.features import After, Array, Chain, Mail
from aifa_hpc.jobs.plan import plan
from aifa_hpc.jobs.spec import Component, Job, Launch, Resources
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.render import render
from aifa_hpc.sbatch.reread import write_directive
from aifa_hpc.sites.load import load_site
from integration.conftest import SITES, make_user
from integration.judge import BASES, ROWS, Row

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.sites.model import Site

T = TypeVar("T")
pytestmark = pytest.mark.cluster

_JUDGE = """
submit() {
  script=$(cat)
  for try in 1 2 3 4 5 6; do
    said=$(sbatch --parsable --begin=now+1day 2>&1 <<<"$script") && ids="$ids ${said##*$'\\n'}" && return
    case $said in *'Unable to contact'* | *'timed out'*) sleep 1 ;; *) break ;; esac  # no verdict
  done
  refused=$said
}
judge() {
  for try in 1 2 3 4 5 6; do [ -n "$ids" ] || break; scancel $ids && break; sleep 1; done
  printf '%s\\n' "${refused##*$'\\n'}"
  ids= refused=
}
"""
# What a row asks for where the library makes no script of it: one directive for each field.
_OPTIONS = {
    "partition": "partition",
    "account": "account",
    "nodes": "nodes",
    "time": "time",
    "memory": "mem",
    "gpus_per_node": "gpus-per-node",
    "tasks_per_node": "ntasks-per-node",
    "cpus_per_task": "cpus-per-task",
    "name": "job-name",
    "workdir": "chdir",
    "signal": "signal",
    "array.tasks": "array",
    "constraint": "constraint",
    "exclude": "exclude",
    "nodelist": "nodelist",
    "mail.user": "mail-user",
    "mail.events": "mail-type",
}


def make_job(row: Row) -> Job:
    """The job of a row.

    Raises:
        InputError: No such job can be; its problems have their full keys.
    """
    tables: dict[str, Any] = {"name": "judged", "resources": dict(BASES[row.site])}
    tables["launch"] = {"kind": "srun", "command": ["python", "train.py"]}
    for key, value in row.changes.items():
        table, _, field = key.partition(".")
        if field:
            tables.setdefault(table, {})[field] = value
        elif key in Resources.__struct_fields__:
            tables["resources"][key] = value
        else:
            tables[key] = value
    return _make(Job, "", tables)


_TABLES = {"resources": Resources, "launch": Launch, "array": Array, "after": After, "mail": Mail, "chain": Chain}


def _make(kind: type[T], prefix: str, fields: dict[str, Any]) -> T:
    made = dict(fields)
    for key, value in fields.items():
        if key in _TABLES:
            made[key] = _make(_TABLES[key], f"{prefix}{key}.", value)
        elif key == "components":
            made[key] = [_make(Component, f"{prefix}{key}[{at}].", part) for at, part in enumerate(value)]
    try:
        return kind(**made)
    except InputError as error:
        problems = [replace(problem, key=f"{prefix}{problem.key}") for problem in error.problems]
        raise InputError(error.message, problems=problems) from error


def refusals(row: Row, site: Site) -> tuple[Problem, ...]:
    """The errors in a row's job, whoever finds them."""
    try:
        return tuple(problem for problem in check(make_job(row), site) if problem.severity == "error")
    except InputError as error:
        return error.problems


def scripts(row: Row, site: Site, config: Path) -> list[str]:
    """What is submitted: rendered by the library, or else the base job's script with the row's directives."""
    loader = template_loader(config)
    try:
        job = make_job(row)
        return [render(job, site, loader, version="0", part=part) for part in plan(job, site).parts]
    except InputError:
        base = render(make_job(replace(row, changes={})), site, loader, version="0").split("\n")
        changes = {
            key: ",".join(value) if isinstance(value, list) else str(value) for key, value in row.changes.items()
        }
        asked = {_OPTIONS[key]: value for key, value in changes.items()}
        kept = [line for line in base if not any(line.startswith(f"#SBATCH --{option}=") for option in asked)]
        added = [_directive(option, value) for option, value in asked.items() if value]
        return ["\n".join([kept[0], *added, *kept[1:]])]


def _directive(option: str, value: str) -> str:
    try:
        return f"#SBATCH {write_directive(option, value)}"
    except InputError:
        return f'#SBATCH --{option}="{value}"'


_COMPONENT = re.compile(r"components\[(?P<at>\d+)\]\.(?P<table>\w+)\.(?P<field>\w+)")
_NUMBERS = (
    "array.count",
    "array.limit",
    "components[0].resources.nodes",
    "nodes",
    "gpus_per_node",
    "tasks_per_node",
    "cpus_per_task",
)


def mended(row: Row, site: Site) -> Row | None:
    """The row with every nearest legal value put in, twice where the first advice is a table's and the next the site's.

    ``None`` where a problem has no nearest value.
    """
    for _ in range(2):
        problems = refusals(row, site)
        if any(not problem.nearest for problem in problems):
            return None
        row = _put_in(row, problems)
    return row


def _put_in(row: Row, problems: tuple[Problem, ...]) -> Row:
    changes = dict(row.changes)
    for problem in problems:
        key = problem.key.removeprefix("resources.")
        changes[key] = int(problem.nearest) if key in _NUMBERS else problem.nearest.strip('"')
        if key == "launch.command":
            changes[key] = problem.nearest.split()
        elif key == "mail.events":
            changes[key] = re.findall(r"\w+", problem.nearest)
        elif part := _COMPONENT.fullmatch(key):
            own = [{name: dict(table) for name, table in component.items()} for component in changes["components"]]
            own[int(part["at"])][part["table"]][part["field"]] = changes.pop(key)
            changes["components"] = own
    return replace(row, changes=changes, refused="", because="")


def verdicts(rows: list[Row], site: Site, machine: str, home: Path) -> list[str]:
    """What the controller says to each row, empty where it takes the job; one login for all of them."""
    user = make_user(home, machine, "openssh")
    text = _JUDGE
    for row in rows:
        text += "".join(f"submit <<'end of a script'\n{each}\nend of a script\n" for each in scripts(row, site, home))
        text += "judge\n"
    lines = user.ssh("bash -s", stdin=text).splitlines()
    assert len(rows) == len(lines), lines[-3:]
    return lines


def test_the_table_is_no_short_one() -> None:
    """At least eighty rows, some legal and some not on both machines, and no row twice."""
    assert len(ROWS) >= 80
    assert len(ROWS) == len({row.name for row in ROWS})
    assert {(site, legal) for site in BASES for legal in (True, False)} == {(row.site, not row.refused) for row in ROWS}


@pytest.mark.parametrize("machine", SITES)
def test_check_and_slurm_agree(machine: str, clusters: None, tmp_path: Path) -> None:
    """Check refuses each illegal row for its wrong field, and Slurm says the same unless the row says why not."""
    site = load_site(machine, tmp_path)
    rows = [row for row in ROWS if row.site == machine]
    found = {row.name: {problem.key for problem in refusals(row, site)} for row in rows}
    assert {row.name: {row.refused} - {""} for row in rows} == found
    answers = verdicts(rows, site, machine, tmp_path)
    wrong = [
        f"{row.name}: check says {row.refused or 'yes'}, Slurm says {answer or 'yes'}"
        for row, answer in zip(rows, answers, strict=True)
        if (bool(answer) == bool(row.refused)) == bool(row.because)
    ]
    assert [] == wrong


@pytest.mark.parametrize("machine", SITES)
def test_nearest_values_are_legal(machine: str, clusters: None, tmp_path: Path) -> None:
    """A refused job with the nearest values that check offers is taken by check and by Slurm."""
    site = load_site(machine, tmp_path)
    refused = [row for row in ROWS if row.site == machine and row.refused]
    rows = [fixed for row in refused if (fixed := mended(row, site)) is not None]
    assert len(rows) > len(refused) // 2
    assert [] == [row.name for row in rows if refusals(row, site)]
    answers = verdicts(rows, site, machine, tmp_path)
    assert [] == [f"{row.name}: {answer}" for row, answer in zip(rows, answers, strict=True) if answer]
