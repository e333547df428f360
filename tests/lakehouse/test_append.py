"""Appends to real tables in a catalog on SQLite, by several processes at once, one of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from aifa_hpc.errors import InputError
from aifa_hpc.lakehouse.append import TOKEN, append
from aifa_hpc.lakehouse.names import TableName, read_table_name

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.table import Table

NAME = read_table_name("iceberg:lab.d.results")

WRITER = """
import os, signal, sys
import pyarrow as pa
from aifa_hpc.lakehouse.append import append
from aifa_hpc.lakehouse.names import read_table_name
from pyiceberg.table import Table

kill, tokens = sys.argv[1], sys.argv[2:]
if kill:
    commit = Table._do_commit
    def dying(self, *words, **keys):
        if kill == "after":
            commit(self, *words, **keys)
        os.kill(os.getpid(), signal.SIGKILL)
    Table._do_commit = dying
for token in tokens:
    rows = pa.table({"writer": [token] * 3, "step": [1, 2, 3]})
    append(read_table_name("iceberg:lab.d.results"), lambda: rows, token=token, attempts=30, longest_wait=0.5)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlCatalog:
    """A catalog with an empty table, which this process and those it starts find by their environment."""
    where = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}"}
    for key, value in where.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__LAB__{key.upper()}", value)
    made = SqlCatalog("lab", **where)
    made.create_namespace("d")
    made.create_table("d.results", pa.schema([("writer", pa.string()), ("step", pa.int64())]))
    made.close()
    return made


def start(kill: str, *tokens: str) -> subprocess.Popen[bytes]:
    """A process that appends three rows under each token."""
    return subprocess.Popen([sys.executable, "-c", WRITER, kill, *tokens], env=dict(os.environ))


def rows_of(table: Table) -> list[str]:
    """Whose rows the table holds."""
    return sorted(table.scan().to_arrow()["writer"].to_pylist())


def test_two_processes_append_at_once(lab: SqlCatalog) -> None:
    """Each append is one snapshot of its own, also where both write under one token; nothing is lost or doubled."""
    mine, theirs = [f"a{number}" for number in range(4)], [f"b{number}" for number in range(4)]
    writers = [start("", *mine, "shared"), start("", *theirs, "shared")]
    assert [0, 0] == [writer.wait(120) for writer in writers]
    table = lab.load_table("d.results")
    expected = sorted([*mine, *theirs, "shared"] * 3)
    tokens = [one.summary.additional_properties[TOKEN] for one in table.snapshots() if one.summary is not None]
    lab.close()
    assert (expected, sorted([*mine, *theirs, "shared"])) == (rows_of(table), sorted(tokens))


@pytest.mark.parametrize(("kill", "again"), [("before", False), ("after", True)])
def test_a_killed_append_is_repeated_safely(lab: SqlCatalog, kill: str, again: bool) -> None:
    """Killed before or right after the commit: the repetition leaves the rows there once."""
    assert -9 == start(kill, "t").wait(60)
    rows = pa.table({"writer": ["t"] * 3, "step": [1, 2, 3]})
    done = append(NAME, lambda: rows, token="t", load=lambda _: lab.load_table("d.results"))
    table = lab.load_table("d.results")
    lab.close()
    assert (again, 3, ["t"] * 3) == (done.again, done.rows, rows_of(table))


def test_rows_that_do_not_fit_are_refused(lab: SqlCatalog) -> None:
    """The column is named, and the table stays as it was."""
    with pytest.raises(InputError, match="other"):
        append(NAME, lambda: pa.table({"other": [1]}), token="t", load=lambda _: lab.load_table("d.results"))
    table = lab.load_table("d.results")
    lab.close()
    assert None is table.current_snapshot()


@pytest.mark.parametrize(
    "name", [TableName(catalog="", table="a.metadata.json"), TableName(catalog="lab", table="d.results", when="main")]
)
def test_only_a_table_of_a_catalog_as_it_is_now_is_appended_to(name: TableName) -> None:
    """A metadata file has nobody to commit to, and the past stays as it was."""
    with pytest.raises(InputError, match="cannot be appended to"):
        append(name, lambda: pa.table({}), token="t")


def test_a_table_that_is_not_there(lab: SqlCatalog) -> None:
    """It is said, by the program of its own that has the catalog in its environment."""
    code = WRITER.replace("lab.d.results", "lab.d.nothing")
    ran = subprocess.run([sys.executable, "-c", code, "", "t"], capture_output=True, text=True, timeout=60, check=False)
    assert "InputError: iceberg:lab.d.nothing: the catalog has no such table" in ran.stderr
