"""The block that `aifa sites doctor --write` keeps in `sites.toml`."""

from __future__ import annotations

import datetime
import stat
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.sites.settle import with_block, write_block

if TYPE_CHECKING:
    from pathlib import Path

MINE = '# my sites\n[sites.lumi]\nuser = "ada"   # me\n'
DEV = {
    "partitions": {"dev-g": {"max_time": "03:00:00", "checked_on": datetime.date(2026, 11, 24), "whole_node": False}}
}
BLOCK = """\
# >>> aifa sites doctor: lumi (written by --write; remove the block to go back to the profile)
[told.lumi.partitions.dev-g]
max_time = "03:00:00"
checked_on = 2026-11-24
whole_node = false
# <<< aifa sites doctor: lumi
"""


def test_the_block_goes_behind_what_is_there() -> None:
    """The user's own lines and comments stay as they are."""
    assert f"{MINE}\n{BLOCK}" == with_block(MINE, "lumi", DEV)
    assert BLOCK == with_block("", "lumi", DEV)


def test_a_block_is_replaced_by_itself_and_what_is_new() -> None:
    """What was settled stays; lines before and behind the block stay; other sites' blocks stay."""
    text = with_block(with_block(MINE, "lumi", DEV), "lumi-test", {"qos": {"normal": {"max_nodes": 3}}}) + "# the end\n"
    new = with_block(text, "lumi", {"partitions": {"dev-g": {"max_nodes": 32}, "debug": {"max_nodes": 1}}})
    found = tomllib.loads(new)["told"]
    assert {**DEV["partitions"]["dev-g"], "max_nodes": 32} == found["lumi"]["partitions"]["dev-g"]
    assert ({"max_nodes": 1}, 3) == (
        found["lumi"]["partitions"]["debug"],
        found["lumi-test"]["qos"]["normal"]["max_nodes"],
    )
    assert (True, True, 1) == (
        new.startswith(MINE),
        new.endswith("# the end\n"),
        new.count(">>> aifa sites doctor: lumi "),
    )
    assert new == with_block(new, "lumi", {})


def test_a_limit_that_went_and_came_again() -> None:
    """What the site has no longer is taken away, and stays away until the site has it again."""
    gone = {"partitions": {"dev-g": {"without": ["max_time"]}}}
    text = with_block(with_block("", "lumi", DEV), "lumi", gone)
    table = {"without": ["max_time"], "checked_on": datetime.date(2026, 11, 24), "whole_node": False}
    assert table == tomllib.loads(text)["told"]["lumi"]["partitions"]["dev-g"]
    more = with_block(text, "lumi", {"partitions": {"dev-g": {"without": ["max_nodes"]}}})
    assert ["max_time", "max_nodes"] == tomllib.loads(more)["told"]["lumi"]["partitions"]["dev-g"]["without"]
    assert DEV["partitions"] == tomllib.loads(with_block(text, "lumi", DEV))["told"]["lumi"]["partitions"]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1),
        st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda key: key != "without"),
            st.text(st.characters(exclude_categories=("Cs",)))
            | st.integers(-(2**63), 2**63 - 1)
            | st.booleans()
            | st.dates(),
            min_size=1,
        ),
        min_size=1,
    )
)
def test_anything_is_written_so_that_it_is_read_back(tables: dict[str, Any]) -> None:
    """Names and texts of any characters."""
    assert {"told": {"lumi": tables}} == tomllib.loads(with_block("", "lumi", tables))


def fine(text: str) -> None:
    """A check that takes every text that is TOML."""
    tomllib.loads(text)


def test_files_keep_their_mode_and_links_their_target(tmp_path: Path) -> None:
    """A new file is for the user alone; one that is there keeps its mode; nothing else is left in the folder."""
    write_block(tmp_path / "new" / "sites.toml", "lumi", DEV, fine)
    assert 0o600 == stat.S_IMODE((tmp_path / "new" / "sites.toml").stat().st_mode)
    real = tmp_path / "real.toml"
    real.write_text(MINE)
    real.chmod(0o640)
    (tmp_path / "sites.toml").symlink_to(real)
    write_block(tmp_path / "sites.toml", "lumi", DEV, fine)
    assert (f"{MINE}\n{BLOCK}", 0o640) == (real.read_text(), stat.S_IMODE(real.stat().st_mode))
    assert (True, {"new", "real.toml", "sites.toml"}) == (
        (tmp_path / "sites.toml").is_symlink(),
        {path.name for path in tmp_path.iterdir()},
    )


def test_a_text_that_cannot_be_used_is_not_written(tmp_path: Path) -> None:
    """A table cannot be said twice: the file stays as it was."""

    def check(text: str) -> None:
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(str(error)) from error

    path = tmp_path / "sites.toml"
    path.write_text(MINE + "[told.lumi.partitions.dev-g]\nmax_nodes = 4\n")
    with pytest.raises(InputError):
        write_block(path, "lumi", DEV, check)
    assert ("max_nodes = 4\n", ["sites.toml"]) == (path.read_text()[-14:], [each.name for each in tmp_path.iterdir()])
    path.write_text(MINE + BLOCK.replace("false", "wrong"))
    with pytest.raises(InputError, match="Mend or remove it"):
        write_block(path, "lumi", DEV, check)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """With the file's name and the reason."""
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match="cannot be rewritten"):
        write_block(tmp_path / "plain" / "sites.toml", "lumi", DEV, fine)
