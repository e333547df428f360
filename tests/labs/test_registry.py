"""The registry of data labs: what it takes, what it refuses and how it says so, and how it grows."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.labs.registry import add_data, choose, load_labs, read_labs, save_data

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """# ours
[labs.birds]
title = "Birds"
contact = "data@lab.example"
licence = "CC-BY-4.0"
class = "open"

[labs.birds.data.train]
location = "iceberg:lab.birds.train"
columns = ["sound", "label"]
where = "label = 3"
keep = 3

[labs.birds.data.raw]
location = "s3://birds/raw"
class = "internal"
licence = "proprietary"
"""


def test_a_data_set_has_what_its_lab_says_and_its_own_first() -> None:
    """Each key is the lab's until the data set has one; what is wanted of a table is one text for the engine."""
    labs = read_labs(TEXT)
    train, raw = choose(labs, "birds")
    assert ("iceberg:lab.birds.train?columns=sound,label&where=label%20%3D%203&mode=pushdown", "open", 3) == (
        train.source,
        train.data_class,
        train.keep,
    )
    assert ("s3://birds/raw", "internal", "proprietary", "Birds", "data@lab.example") == (
        raw.source,
        raw.data_class,
        raw.licence,
        raw.publisher,
        raw.contact,
    )
    assert [raw] == choose(labs, "birds/raw")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[lab.birds]", "nearest legal value: labs"),
        ('[labs.birds]\nclas = "open"', 'labs.birds.clas = "open": unknown key'),
        ('[labs.birds]\nclas = "open"', "nearest legal value: class"),
        ('[labs.birds]\nclass = "opn"', "must be one of open, internal, sensitive; nearest legal value: open"),
        ('[labs.b.data.t]\nlocation = "x"', "labs.b.data.t.class: is missing"),
        ('[labs.b.data.t]\nclass = "open"', "labs.b.data.t.location: is required"),
        ('[labs.b.data.t]\nclass = "open"\nlocation = ""', "must say where the data is"),
        ('[labs.b.data.t]\nclass = "open"\nlocation = "x"\nkeep = -1', "labs.b.data.t.keep = -1"),
        ('[labs.b.data.t]\nclass = "open"\nlocation = "iceberg:x"', "is not the name of a table"),
        (
            '[labs.b.data.t]\nclass = "open"\nlocation = "iceberg:x.y.z"\nwhere = "n = 3 and"',
            "labs.b.data.t.where = \"n = 3 and\": the filter 'n = 3 and' cannot be read from character 10 on",
        ),
        ('[labs.b.data."t.lab"]\nclass = "open"\nlocation = "x"', "does not end in `.lab`"),
        ('[labs."../b".data.t]\nclass = "open"\nlocation = "x"', "a name is letters"),
        ("labs = 3", "must be tables [labs.LAB]"),
        ("[labs", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(text: str, told: str) -> None:
    """The whole key, the rule and the nearest legal value."""
    with pytest.raises(InputError) as caught:
        read_labs(text, "labs.toml")
    assert told in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    """Of every lab, not of the first."""
    with pytest.raises(InputError) as caught:
        read_labs('[labs.a]\nx = 1\n[labs.b.data.t]\nlocation = "x"\n')
    assert ["labs.a.x", "labs.b.data.t.class"] == [problem.key for problem in caught.value.problems]


@pytest.mark.parametrize(("text", "meant"), [("bird", "'birds'"), ("birds/trian", "'train'")])
def test_what_is_not_there_has_a_nearest(text: str, meant: str) -> None:
    """A slip is told with what was meant."""
    with pytest.raises(InputError, match=meant):
        choose(read_labs(TEXT), text)


def test_it_grows_without_losing_a_letter(tmp_path: Path) -> None:
    """What a person wrote stays, comments too; a data set is added once."""
    (tmp_path / "labs.toml").write_text(TEXT)
    save_data("birds", "test", {"location": "data/test", "keep": 2}, tmp_path)
    save_data("new", "one", {"location": "x", "class": "open"}, tmp_path)
    labs = load_labs(tmp_path)
    assert (tmp_path / "labs.toml").read_text().startswith(TEXT)
    assert ({"train", "raw", "test"}, 2) == (set(labs["birds"]), labs["birds"]["test"].keep)
    assert ["labs.toml"] == [path.name for path in tmp_path.iterdir()]
    with pytest.raises(InputError, match="already"):
        save_data("birds", "test", {"location": "other"}, tmp_path)


def test_what_would_be_wrong_is_not_written(tmp_path: Path) -> None:
    """A data set without a class does not come into the file."""
    with pytest.raises(InputError, match=r"labs\.new\.data\.one\.class"):
        save_data("new", "one", {"location": "x"}, tmp_path)
    assert [] == list(tmp_path.iterdir())


@given(title=st.text(), columns=st.lists(st.text(min_size=1)))
def test_any_text_survives(title: str, columns: list[str]) -> None:
    """What was given is what is read again, whatever letters it has."""
    made = add_data(
        TEXT, "b.c", "d", {"location": "iceberg:a.b.c", "class": "open", "title": title, "columns": columns}
    )
    assert (
        tomllib.loads(made)["labs"]["b.c"]["data"]["d"] | {"title": title, "columns": columns}
        == (tomllib.loads(made)["labs"]["b.c"]["data"]["d"])
    )
