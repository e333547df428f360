"""``aifa lab`` as ops use it: the commands of the README, the exit codes that cron sees, and what each of them says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from tests.lakehouse.tables import catalog

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PLACE = "lumi:/scratch/project_465000001"
LABS = """
[labs.birds]
class = "open"
data.one.location = "{folder}/one"
data.two.location = "{folder}/two"
"""


@pytest.fixture
def lab(aifa: Aifa) -> Path:
    """A registry with a lab of two folders; returns where things lie."""
    for name in ("one", "two"):
        (aifa.home / name).mkdir()
        (aifa.home / name / "a.parquet").write_text(name)
    (aifa.home / "config").mkdir()
    (aifa.home / "config" / "labs.toml").write_text(LABS.format(folder=aifa.home))
    return aifa.home


def test_the_readme_works(aifa: Aifa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its registry, and every command of its page in their order, with a folder here for the site's."""
    page = README.partition("## Syncing a lab from cron\n")[2].partition("\n## ")[0]
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (cron,) = re.findall(r"```text\n\S+ \* \* \* \*  aifa (.*)\n```", page)
    commands = [shlex.split(line)[2:] for line in re.findall(r"^\$ aifa .*", page, re.MULTILINE)]
    assert {"add", "list", "sync", "status", "pin", "unpin", "append"} == {
        words[1] for words in commands if words[0] == "lab"
    }
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/lab/catalog.db")
    lab = catalog(tmp_path / "lab")
    lab.create_namespace("birds")
    schema = pa.schema([("n", pa.int64())])
    tables = {name: lab.create_table(f"birds.{name}", schema=schema) for name in ("train", "scores")}
    for table in tables.values():
        table.append(pa.table({"n": range(10)}))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "labs.toml").write_text(toml)
    there = tmp_path / "there"
    (there / "results").mkdir(parents=True)
    pq.write_table(pa.table({"n": [10, 11]}), there / "results" / "scores.parquet")

    for words in (*commands, shlex.split(cron)):
        ran = aifa(*(word.replace(PLACE, str(there)) for word in words))
        assert 0 == ran.code, f"{words}: {ran.err}"
    assert "" == ran.out + ran.err
    assert 10 == StaticTable.from_metadata(str(there / "labs" / "birds" / "train")).scan().count()
    assert 12 == StaticTable.from_metadata(str(there / "labs" / "birds" / "scores")).scan().count()
    assert 12 == tables["scores"].refresh().scan().count()


def test_a_sync_tells_machines_what_it_did(aifa: Aifa, lab: Path) -> None:
    """One record for each data set; the second time nothing is sent, and nothing is said when nothing shall be."""
    first, second = (aifa("lab", "sync", "birds", "there", "--json") for _ in range(2))
    quiet = aifa("lab", "sync", "birds", "there", "--quiet")
    assert ["birds/one", "birds/two"] == [one["data"] for one in records(first.out)]
    assert [(True, 3), (True, 3)] == [(one["changed"], one["bytes_sent"]) for one in records(first.out)]
    assert [(False, 0), (False, 0)] == [(one["changed"], one["bytes_sent"]) for one in records(second.out)]
    assert (0, "", "") == (quiet.code, quiet.out, quiet.err)
    assert (lab / "there" / "birds" / "one" / "a.parquet").read_text() == "one"


def records(text: str) -> list[dict[str, object]]:
    """The results of a command, without the events of its progress."""
    found = [json.loads(line) for line in text.splitlines()]
    return [one for one in found if "data" in one]


def test_each_data_set_is_tried(aifa: Aifa, lab: Path) -> None:
    """One that cannot be had does not stop the others; the exit code tells of it, and the error names it."""
    (lab / "one").rename(lab / "away")
    ran = aifa("lab", "sync", "birds", "there")
    assert 2 == ran.code
    assert "birds/one is not synced" in ran.err
    assert "does not exist" in ran.err
    assert ran.out.startswith("birds/two: version ")
    quiet = aifa("lab", "sync", "birds", "there", "--quiet")
    assert (2, "", True) == (quiet.code, quiet.out, "birds/one is not synced" in quiet.err)


def test_versions_and_pins_are_listed(aifa: Aifa, lab: Path) -> None:
    """The present version last, with who needs it; the pin tells the manifest that a run reads and that is verified."""
    aifa("lab", "sync", "birds/one", "there")
    pinned = aifa("lab", "pin", "birds/one", "there", "--as", "run-7", "--json").json
    (lab / "one" / "b.parquet").write_text("more")
    aifa("lab", "sync", "birds/one", "there")
    rows = aifa("lab", "status", "birds/one", "there", "--json").json
    lines = aifa("lab", "status", "birds/one", "there").out.splitlines()
    names = aifa("lab", "status", "birds/one", "there", "--quiet").out.split()
    verified = aifa("stage", "verify", pinned["manifest"], "--json").json
    assert [("kept", "run-7", 1), ("present", "", 2)] == [(one["state"], one["pins"], one["files"]) for one in rows]
    assert [one["version"] for one in rows] == names == [line.split("\t")[1] for line in lines]
    assert (True, 1) == (verified["ok"], verified["files"])
    (lab / "there" / "birds" / "one" / "a.parquet").unlink()
    assert 1 == aifa("stage", "verify", pinned["manifest"]).code


def test_the_registry_is_listed_and_grows(aifa: Aifa, lab: Path) -> None:
    """Names for scripts, everything for machines; what was added is what is shown."""
    added = aifa(
        "lab", "add", "fish/big", "iceberg:lab.fish.big", "--class", "internal", "--columns", "a, b", "--keep", "2",
        "--title", 'A "big" one', "--contact", "a@lab.example",
    )  # fmt: skip
    shown = aifa("lab", "show", "fish/big", "--json").json
    assert 0 == added.code, added.err
    assert ["birds/one", "birds/two", "fish/big"] == aifa("lab", "list", "-q").out.split()
    assert ["birds/one", "birds/two"] == [one["data"] for one in aifa("lab", "list", "birds", "--json").json]
    assert (2, "internal", 'A "big" one', "iceberg:lab.fish.big?columns=a,b&mode=pushdown") == (
        shown["keep"],
        shown["class"],
        shown["title"],
        shown["location"],
    )
    assert "class: internal\n" in aifa("lab", "show", "fish/big").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sync", "brids", "there"), "did you mean 'birds'?"),
        (("sync", "birds/on", "there"), "did you mean 'one'?"),
        (("show", "birds"), "write LAB/DATASET"),
        (("add", "birds", "x"), "write LAB/DATASET"),
        (("add", "birds/one", "x"), "already"),
        (("add", "fish/x", "y"), "labs.fish.data.x.class: is missing"),
        (("add", "fish/x", "y", "--class", "opn"), "nearest legal value: open"),
        (("pin", "birds/one", "there", "--as", "x"), "has no version of birds/one"),
        (("append", "birds/one", "x.parquet"), "cannot be appended to"),
        (("sync", "birds", "there", "--limit", "20X"), "20X"),
        (("sync", "birds", "https://lab.example/x"), "Name SITE:/path"),
    ],
)
def test_what_cannot_be(aifa: Aifa, lab: Path, words: tuple[str, ...], said: str) -> None:
    """Refused as wrong input, with the next step."""
    ran = aifa("lab", *words)
    assert (2, True) == (ran.code, said in ran.err), ran.err


def test_sensitive_data_stays(aifa: Aifa, lab: Path) -> None:
    """Refused with the reason, for a site that nobody has logged in to."""
    (lab / "config" / "labs.toml").write_text(LABS.format(folder=lab).replace('"open"', '"sensitive"'))
    ran = aifa("lab", "sync", "birds/one", "lumi:/scratch/project_465000001")
    assert (2, True) == (ran.code, "shared supercomputers hold no personal" in ran.err), ran.err
