"""Facts of a profile that `sites.toml` overrides: merged key by key, strictly."""

from __future__ import annotations

import datetime
import json

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.sites.load import Profiles, read_user_sites
from aifa_hpc.sites.model import Access, Site
from aifa_hpc.sites.overrides import OWN_SOURCE, TABLES, own_keys
from aifa_hpc.units import Walltime

PROFILES = Profiles()
DEV = """
[sites.lumi]
user = "ada"
[sites.lumi.partitions.dev-g]
max_time = "03:00:00"
"""


def test_what_is_not_named_stays() -> None:
    """One key of one partition changes; the rest of the site is the profile's, and so is the site's access."""
    site = read_user_sites(DEV, "t", PROFILES)["lumi"]
    mine, theirs = site.partitions["dev-g"], PROFILES["lumi"].partitions["dev-g"]
    assert (Walltime(10800), OWN_SOURCE, "ada") == (mine.max_time, mine.source, site.access.user)
    assert (theirs.max_nodes, theirs.note, theirs.checked_on) == (mine.max_nodes, mine.note, mine.checked_on)
    others = {name for name, value in site.partitions.items() if value != PROFILES["lumi"].partitions[name]}
    assert ({"dev-g"}, PROFILES["lumi"].nodes) == (others, site.nodes)


def test_a_source_and_a_status_may_come_with_it() -> None:
    """What the doctor writes."""
    text = DEV + 'source = "aifa sites doctor, host"\nchecked_on = 2026-11-24\nstatus = "verified"\n'
    mine = read_user_sites(text, "t", PROFILES)["lumi"].partitions["dev-g"]
    assert ("aifa sites doctor, host", datetime.date(2026, 11, 24), "verified") == (
        mine.source,
        mine.checked_on,
        mine.status,
    )


def test_the_empty_override_changes_nothing() -> None:
    """Every packaged site survives the way through a merge."""
    for name in PROFILES:
        text = f"[sites.{name}.scheduler]\nsource = {json.dumps(PROFILES[name].scheduler.source)}\n"
        assert PROFILES[name] == read_user_sites(text, "t", PROFILES)[name]


def test_new_sites_may_override_facts_too() -> None:
    """A site of another name on top of a profile, and a partition that the profile does not have."""
    text = """
    [sites.test]
    extends = "jupiter"
    [sites.test.partitions.tiny]
    node = "booster"
    nodes = 2
    whole_node = true
    max_time = "00:10:00"
    billing = "node"
    source = "me"
    checked_on = 2026-01-01
    """
    site = read_user_sites(text, "t", PROFILES)["test"]
    assert ("test", 2, "tiny" in PROFILES["jupiter"].partitions) == (site.name, site.partitions["tiny"].nodes, False)


TOLD = """
[told.lumi.partitions.dev-g]
max_time = "04:00:00"
max_nodes = 9
source = "aifa sites doctor, host"
checked_on = 2026-11-24
"""


def test_what_the_site_told_is_below_what_the_user_wrote() -> None:
    """Both may name one table; the user's keys go over the site's, and the whole is then the user's own."""
    alone = read_user_sites(TOLD, "t", PROFILES)["lumi"].partitions["dev-g"]
    both = read_user_sites(DEV + TOLD, "t", PROFILES)["lumi"].partitions["dev-g"]
    assert (Walltime(14400), 9, "aifa sites doctor, host") == (alone.max_time, alone.max_nodes, alone.source)
    assert (Walltime(10800), 9, OWN_SOURCE) == (both.max_time, both.max_nodes, both.source)


def test_a_limit_may_be_taken_away() -> None:
    """A key that need not be there is left out, and comes back where the user says so."""
    text = '[told.lumi.partitions.dev-g]\nwithout = ["max_nodes"]\n'
    assert read_user_sites(text, "t", PROFILES)["lumi"].partitions["dev-g"].max_nodes is None
    own = "[sites.lumi.partitions.dev-g]\nmax_nodes = 3\n"
    assert 3 == read_user_sites(own + text, "t", PROFILES)["lumi"].partitions["dev-g"].max_nodes
    assert {("partitions", "dev-g", "max_nodes")} == own_keys({"partitions": {"dev-g": {"without": ["max_nodes"]}}})


BAD_TOLD = {
    '[told.lumi.partitions.dev-g]\nwithout = ["max_node"]': "told.lumi.partitions.dev-g.without.max_node",
    '[told.lumi.partitions.dev-g]\nwithout = "max_nodes"': "told.lumi.partitions.dev-g.without",
    '[told.lumi.partitions.dev-g]\nwithout = ["node"]': "told.lumi.partitions.dev-g.node",
    "[told.lumi.partition.dev-g]\nnodes = 1": "told.lumi.partition",
    '[told.lumi.partitions.dev-g]\nmax_time = "x"': "told.lumi.partitions.dev-g.max_time",
    "[told]\nlumi = 3": "told",
    "[told.nowhere.scheduler]\nmax_array_size = 3": "sites.nowhere.extends",
}


@pytest.mark.parametrize(("text", "key"), BAD_TOLD.items())
def test_what_was_told_is_strict_too(text: str, key: str) -> None:
    """Each problem has the key under which it stands; a key that must be there cannot be taken away."""
    with pytest.raises(InputError) as caught:
        read_user_sites(text, "t", PROFILES)
    assert key in {problem.key for problem in caught.value.problems}


BAD = {
    'partitions.dev-g.max_tim = "1"': ("sites.lumi.partitions.dev-g.max_tim", "max_time"),
    "partitions.dev-g.max_time = 3": ("sites.lumi.partitions.dev-g.max_time", ""),
    'partitions.dev-g.node = "gpus"': ("sites.lumi.partitions.dev-g.node", "gpu"),
    "partitions = 3": ("sites.lumi.partitions", ""),
    "qos.fast.max_nodes = 1": ("sites.lumi.qos.fast.source", ""),
    'scheduler.default_partition = "dev"': ("sites.lumi.scheduler.default_partition", "dev-g"),
    'title = "mine"': ("sites.lumi.title", "identity_file"),
    "partition.dev-g.nodes = 3": ("sites.lumi.partition", "partitions"),
}


@pytest.mark.parametrize(("line", "expected"), BAD.items())
def test_overrides_are_strict(line: str, expected: tuple[str, str]) -> None:
    """Unknown keys, wrong types, dangling names and tables that are not complete, each with its full key."""
    with pytest.raises(InputError) as caught:
        read_user_sites(f"[sites.lumi]\n{line}\n", "t", PROFILES)
    found = [(problem.key, problem.nearest) for problem in caught.value.problems]
    assert expected in found, found


def test_every_table_of_facts_may_be_overridden() -> None:
    """The list of tables is the model's own: every field of a site but access and plain values."""
    plain = {"name", "title", "draft", "known", "access", "path_roots", "memory_request"}
    assert set(Site.__struct_fields__) - plain <= set(TABLES)
    assert set() == set(TABLES) & set(Access.__struct_fields__)
