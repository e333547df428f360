"""The layers of the package, and what its pure modules may not touch.

A part imports only from rows below its own, never sideways and never up. Imports inside functions count too: laziness
is for speed, not for going round the rule.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aifa_hpc"

ROWS = (
    {"errors"},
    {"units", "command", "manifest"},
    {"sites", "slurm", "privacy", "runtime"},
    {"jobs", "transport"},
    {"sbatch", "staging", "embedded"},
    {"cluster", "lakehouse"},
    {"executor"},
    {"tracker"},
    {"transfers"},
    {"demo", "labs", "pulls", "views"},
    {"cli", "testing"},
)
LAYER = {part: row for row, parts in enumerate(ROWS) for part in parts}

PURE = {
    "command",
    "errors",
    "executor.flows",
    "jobs.check",
    "jobs.data",
    "jobs.decode",
    "jobs.feature_check",
    "jobs.features",
    "jobs.fit",
    "jobs.image",
    "jobs.kinds",
    "jobs.plan",
    "jobs.overlay",
    "jobs.quote",
    "jobs.secrets",
    "jobs.spec",
    "jobs.values",
    "labs.croissant",
    "labs.dcat",
    "labs.versions",
    "lakehouse.names",
    "lakehouse.relocate",
    "manifest",
    "privacy.gate",
    "runtime.shares",
    "runtime.vectors",
    "sbatch.directives",
    "sbatch.environment",
    "sbatch.compare",
    "sbatch.launch",
    "sbatch.prepare",
    "sbatch.quoting",
    "sbatch.render",
    "sbatch.reread",
    "sites.facts",
    "sites.launching",
    "sites.drift",
    "sites.limits",
    "sites.model",
    "sites.overrides",
    "sites.told",
    "sites.topology",
    "slurm.flows",
    "slurm.hostlist",
    "slurm.inquiry",
    "slurm.logs",
    "slurm.parse",
    "slurm.query",
    "slurm.reasons",
    "slurm.records",
    "slurm.shell",
    "slurm.states",
    "slurm.submission",
    "slurm.survey",
    "staging.advice",
    "staging.datasets",
    "staging.donors",
    "staging.geometry",
    "staging.location",
    "staging.pace",
    "staging.plan",
    "staging.planfile",
    "staging.room",
    "staging.wire",
    "tracker.ends",
    "tracker.attempts",
    "tracker.events",
    "tracker.explain",
    "tracker.explanation",
    "tracker.groups",
    "tracker.limits",
    "tracker.tasks",
    "tracker.wanted",
    "tracker.waits",
    "transport.retry",
    "units",
    "views.chart",
    "views.history",
    "views.summary",
    "views.words",
}
IO_MODULES = {
    "asyncio",
    "click",
    "fabric",
    "fsspec",
    "io",
    "os",
    "paramiko",
    "pathlib",
    "random",
    "rich",
    "s3fs",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Dotted name below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every absolute module name a file imports, relative ones resolved."""
    found = set()
    package = ("aifa_hpc", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else ())))
            found.add(stem)
            found |= {f"{stem}.{alias.name}" for alias in node.names if stem == "aifa_hpc"}
    return found


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    """A part imports only from rows below its own."""
    part = module_name(path).split(".")[0]
    if part == "":
        return  # the public face may name everything
    assert part in LAYER, f"{part} is not in a row"
    for name in imports(path):
        top, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if top == "aifa_hpc" and other in LAYER and other != part:
            assert LAYER[other] < LAYER[part], f"{part} (row {LAYER[part]}) imports {name} (row {LAYER[other]})"


@pytest.mark.parametrize("path", [path for path in MODULES if module_name(path) in PURE], ids=module_name)
def test_pure_modules_do_no_io(path: Path) -> None:
    """Modules marked pure import nothing that reads, writes, waits or asks the clock."""
    touched = {name.split(".")[0] for name in imports(path) - {"urllib.parse"}} & IO_MODULES
    assert set() == touched


def test_every_pure_module_exists() -> None:
    """The pure list names real modules, so a rename cannot drop one from the check."""
    assert set() == PURE - {module_name(path) for path in MODULES}


def test_the_agent_and_the_manifest_use_the_standard_library_only() -> None:
    """What runs on a login or compute node needs nothing installed."""
    for name in ("staging/agent.py", "staging/bundles.py", "staging/checker.py", "manifest.py"):
        foreign = {
            top
            for module in imports(PACKAGE / name)
            if (top := module.split(".")[0]) not in sys.stdlib_module_names and module != "aifa_hpc.errors"
        }
        assert set() == foreign - {"aifa_hpc"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_stay_small_and_say_what_they_are_for(path: Path) -> None:
    """No module over 400 lines; each begins with a docstring."""
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)) or not text.strip()
