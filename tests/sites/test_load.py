"""Profiles and `sites.toml` are decoded strictly, and the user's settings go over the profile's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.sites.load import (
    Profiles,
    config_dir,
    load_site,
    load_sites,
    profile_names,
    read_profile,
    read_user_sites,
    site_names,
    state_dir,
)
from aifa_hpc.sites.model import Access, Site

PROFILES = Profiles()
DATED = 'source = "a test of profiles"\nchecked_on = 2026-01-01\n'
SMALL = f"""
name = "small"
title = "A site of a test"
[scheduler]
cluster_name = "small"
{DATED}
[login]
{DATED}
[nodes.plain]
hosts = "n[1-4]"
arch = "x86_64"
cpus = 4
usable_cpus = 4
memory = "8G"
{DATED}
[partitions.main]
node = "plain"
nodes = 4
whole_node = true
max_time = "1:00:00"
billing = "node"
{DATED}
[billing.node]
unit = "core-h"
rate = 4.0
per = "node"
{DATED}
"""


def problems(text: str) -> list[tuple[str, str, str]]:
    """Key, value and nearest legal value of everything wrong with a profile."""
    with pytest.raises(InputError) as caught:
        read_profile(text, "small.toml")
    assert str(caught.value).startswith("small.toml cannot be used")
    return [(problem.key, problem.value, problem.nearest) for problem in caught.value.problems]


def user_problems(text: str) -> list[tuple[str, str, str]]:
    """The same for the user's file."""
    with pytest.raises(InputError) as caught:
        read_user_sites(text, "/etc/sites.toml", PROFILES)
    assert str(caught.value).startswith("/etc/sites.toml cannot be used")
    return [(problem.key, problem.value, problem.nearest) for problem in caught.value.problems]


def _refusal(name: str, config: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_site(name, config)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    """A configuration folder with a `sites.toml`."""
    (folder / "sites.toml").write_text(text, "utf-8")
    return folder


def test_a_small_profile_is_read() -> None:
    """The text the other tests spoil is right before they do."""
    site = read_profile(SMALL, "small.toml")
    assert (
        site.name,
        str(site.nodes["plain"].memory),
        str(site.partitions["main"].max_time),
    ) == ("small", "8G", "01:00:00")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "usable_cpus = 4",
            "usable_cpu = 4",
            [("nodes.plain.usable_cpu", "4", "usable_cpus"), ("nodes.plain.usable_cpus", "", "")],
        ),
        ("nodes = 4", 'nodes = "4"', [("partitions.main.nodes", '"4"', "")]),
        ("nodes = 4", "nodes = -4", [("partitions.main.nodes", "-4", "")]),
        ('memory = "8G"', 'memory = "8 apples"', [("nodes.plain.memory", '"8 apples"', "")]),
        ('memory = "8G"', "memory = 8", [("nodes.plain.memory", "8", "")]),
        ('max_time = "1:00:00"', 'max_time = "1 h"', [("partitions.main.max_time", '"1 h"', "")]),
        ('arch = "x86_64"', 'arch = "x86"', [("nodes.plain.arch", '"x86"', "x86_64")]),
        ('node = "plain"', 'node = "plane"', [("partitions.main.node", '"plane"', "plain")]),
        ('node = "plain"', 'node = "plain"\nmore_nodes = ["big"]', [("partitions.main.more_nodes", '"big"', "plain")]),
        ('billing = "node"', 'billing = "nodes"', [("partitions.main.billing", '"nodes"', "node")]),
        (
            'cluster_name = "small"',
            'cluster_name = "small"\ndefault_partition = "man"',
            [("scheduler.default_partition", '"man"', "main")],
        ),
        (
            'cluster_name = "small"',
            'cluster_name = "small"\ndefault_qos = "normal"',
            [("scheduler.default_qos", '"normal"', "")],
        ),
        ('title = "A site of a test"', 'title = "A site of a test"\nnods = 1', [("nods", "1", "nodes")]),
        ('name = "small"\n', "", [("name", "", "")]),
        ("[login]", f"[launch.srum]\n{DATED}[login]", [("launch.srum", '"srum"', "srun")]),
        (
            "[login]",
            f'[reservations.r]\npartition = "man"\nnodes = 1\n{DATED}[login]',
            [("reservations.r.partition", '"man"', "main")],
        ),
        ("[login]", "[login]\nhosts = [1]", [("login.hosts[0]", "1", "")]),
        ("[login]", "[login]\nhosts = 1", [("login.hosts", "1", "")]),
        ("[login]", f"[modules]\nload = [1]\n{DATED}[login]", [("modules.load[0]", "1", "")]),
    ],
)
def test_a_wrong_profile_says_where(old: str, new: str, expected: list[tuple[str, str, str]]) -> None:
    """Unknown keys, wrong types, wrong units and dangling names are found with their full key."""
    assert SMALL.count(old) >= 1
    assert expected == problems(SMALL.replace(old, new, 1))


def test_a_fact_without_source_is_refused() -> None:
    """No table of facts goes without its source and day."""
    keys = {key for key, _, _ in problems(SMALL.replace(DATED, ""))}
    tables = ("scheduler", "login", "nodes.plain", "partitions.main", "billing.node")
    assert {f"{table}.{key}" for table in tables for key in ("source", "checked_on")} == keys


def test_all_problems_come_at_once() -> None:
    """Two mistakes in two tables are one error."""
    text = SMALL.replace("cpus = 4", 'cpus = "4"', 1).replace("rate = 4.0", 'rate = "4"')
    assert [key for key, _, _ in problems(text)] == ["nodes.plain.cpus", "billing.node.rate"]


def test_text_that_is_not_toml_is_refused() -> None:
    """The file and the place are named."""
    with pytest.raises(InputError, match=r"small\.toml is not valid TOML"):
        read_profile("name =", "small.toml")


def test_profiles_are_decoded_when_asked_for() -> None:
    """Names come without decoding, and one site costs one profile."""
    profiles = Profiles()
    assert (4, set()) == (len(profiles), set(profiles._decoded))
    assert profiles["lumi"].name == "lumi"
    assert {"lumi"} == set(profiles._decoded)


def test_without_a_user_file_the_profiles_remain(tmp_path: Path) -> None:
    """No file is no error."""
    assert list(profile_names()) == list(load_sites(tmp_path))
    assert load_sites(tmp_path)["lumi"] == load_site("lumi", tmp_path) == PROFILES["lumi"]


def test_a_user_overrides_a_profile(tmp_path: Path) -> None:
    """Given keys win, the others stay, and no fact changes."""
    written(tmp_path, '[sites.lumi]\nuser = "ada"\naccount = "project_465000001"\nidentity_file = "~/.ssh/lumi"\n')
    site = load_site("lumi", tmp_path)
    access = Access(
        user="ada",
        account="project_465000001",
        identity_file=str(Path("~/.ssh/lumi").expanduser()),
        workdir=PROFILES["lumi"].access.workdir,
    )
    assert msgspec.structs.replace(PROFILES["lumi"], access=access) == site
    assert load_sites(tmp_path)["lumi"] == site
    assert site.host == "lumi.csc.fi"


def test_a_user_adds_a_site(tmp_path: Path) -> None:
    """A new name takes all facts of the profile it extends; the profile itself stays."""
    written(
        tmp_path,
        '[sites.test]\nextends = "jupiter"\nhost = "127.0.0.1"\nport = 2222\ntransport = "fabric"\n'
        'ssh_config = "/tmp/ssh_config"\nworkdir = "/e/scratch/{account}/{user}"\n',
    )
    sites = load_sites(tmp_path)
    assert (
        sites["test"].host,
        sites["test"].access.port,
        sites["test"].access.transport,
    ) == ("127.0.0.1", 2222, "fabric")
    assert ("test", PROFILES["jupiter"].partitions) == (sites["test"].name, sites["test"].partitions)
    assert PROFILES["jupiter"] == sites["jupiter"]
    assert [*profile_names(), "test"] == list(sites) == list(site_names(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[sites.lumi]\nusr = "ada"', [("sites.lumi.usr", '"ada"', "user")]),
        ('[sites.t]\nextend = "lumi"', [("sites.t.extends", "", ""), ("sites.t.extend", '"lumi"', "extends")]),
        ("[sites.lumi]\nport = 70000", [("sites.lumi.port", "70000", "")]),
        ('[sites.lumi]\nport = "22"', [("sites.lumi.port", '"22"', "")]),
        ("[sites.lumi]\nuser = true", [("sites.lumi.user", "true", "")]),
        ('[sites.lumi]\ntransport = "opensh"', [("sites.lumi.transport", '"opensh"', "openssh")]),
        ('[sites.mycluster]\nhost = "h"', [("sites.mycluster.extends", "", "")]),
        ('[sites.lumy]\nhost = "h"', [("sites.lumy.extends", "", "lumi")]),
        ('[sites.a]\nextends = "jupyter"', [("sites.a.extends", '"jupyter"', "jupiter")]),
        ('[sites.a]\nextends = ["lumi"]', [("sites.a.extends", "['lumi']", "lumi")]),
        ('[sites.lumi]\nworkdir = "scratch"', [("sites.lumi.workdir", '"scratch"', "")]),
        ('[sites.lumi]\nworkdir = "/scratch/{project}"', [("sites.lumi.workdir", '"/scratch/{project}"', "")]),
        ("[sites.lumi.budget.p]\nGPU-h = 0", [("sites.lumi.budget.p.GPU-h", "0", "")]),
        ("[sites.lumi.budget.p]\nGPU-h = inf", [("sites.lumi.budget.p.GPU-h", "inf", "")]),
        ("[sites.lumi.budget]\np = 5", [("sites.lumi.budget.p", "5", "")]),
        ("[sites.lumi.budget.p]\nGPU = 5", [("sites.lumi.budget.p.GPU", "5", "GPU-h")]),
        ("[sites.jupiter.budget.p]\nGPU-h = 5", [("sites.jupiter.budget.p.GPU-h", "5", "core-h")]),
        ('[sites."a b"]\nextends = "lumi"', [("sites.a b", "", "")]),
        ("[sites]\nlumi = 1", [("sites.lumi", "1", "")]),
        ("sites = 1", [("sites", "1", "")]),
        ('[site.lumi]\nuser = "ada"', [("site", "{...}", "sites")]),
        ('[sites.lumi]\nusr = "a"\nport = -1', [("sites.lumi.usr", '"a"', "user"), ("sites.lumi.port", "-1", "")]),
    ],
)
def test_a_wrong_user_file_says_where(text: str, expected: list[tuple[str, str, str]]) -> None:
    """Every mistake has its full key, its value, the rule and the nearest legal value."""
    assert expected == user_problems(text)


def test_a_budget_is_kept_by_account_and_unit() -> None:
    """Bare keys are enough for the units that sites bill in."""
    text = "[sites.lumi.budget.project_465000001]\nGPU-h = 20_000\ncore-h = 1.5e5\n"
    site = read_user_sites(text, "sites.toml", PROFILES)["lumi"]
    assert {"project_465000001": {"GPU-h": 20000.0, "core-h": 150000.0}} == site.access.budget


def test_an_unknown_transport_lists_the_legal_ones() -> None:
    """The message holds all that may be written."""
    with pytest.raises(InputError, match="must be one of openssh, fabric, local, embedded"):
        read_user_sites('[sites.lumi]\ntransport = "telnet"', "sites.toml", PROFILES)


def test_a_new_name_without_extends_is_told_what_to_write() -> None:
    """The message names the key that is missing and what it may be."""
    with pytest.raises(InputError) as caught:
        read_user_sites('[sites.mycluster]\nhost = "h"', "sites.toml", PROFILES)
    assert str(caught.value) == (
        "sites.toml cannot be used:\n  - sites.mycluster.extends: is missing: no packaged profile is called "
        "'mycluster', so say which one it is like (jupiter, local, lumi, lumi2)"
    )


def test_an_unknown_site_lists_all(tmp_path: Path) -> None:
    """The nearest name, every name, and the file to write a new one in."""
    written(tmp_path, '[sites.test]\nextends = "lumi"\n')
    assert "did you mean" not in _refusal("frontera", tmp_path)
    assert (
        "site 'lumy' is not known; did you mean 'lumi'? Known sites: jupiter, local, lumi, lumi2, test. "
        f"Add your own as [sites.NAME] in {tmp_path / 'sites.toml'}."
    ) == _refusal("lumy", tmp_path)


def test_a_user_file_that_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 and a folder in its place are told with the path."""
    (tmp_path / "sites.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="cannot be read"):
        load_sites(tmp_path)
    (tmp_path / "folder" / "sites.toml").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be read"):
        load_site("lumi", tmp_path / "folder")


def test_one_wrong_table_spoils_the_whole_file(tmp_path: Path) -> None:
    """A mistake about another site is not passed over."""
    written(tmp_path, "[sites.jupiter]\nport = -1\n")
    with pytest.raises(InputError, match=r"sites\.jupiter\.port = -1"):
        load_site("lumi", tmp_path)


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$AIFA_CONFIG_DIR and $AIFA_STATE_DIR go first, else the platform's own."""
    monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path / "c"))
    monkeypatch.setenv("AIFA_STATE_DIR", str(tmp_path / "s"))
    assert (tmp_path / "c", tmp_path / "s") == (config_dir(), state_dir())
    monkeypatch.delenv("AIFA_CONFIG_DIR")
    monkeypatch.setenv("AIFA_STATE_DIR", "")
    assert (config_dir().name, state_dir().name) == ("aifa", "aifa")


def test_a_site_without_hosts_is_this_computer() -> None:
    """The host is the user's, else the profile's first, else this computer."""
    assert PROFILES["lumi2"].host == "localhost"
    assert PROFILES["jupiter"].host == "login.jupiter.fz-juelich.de"


def test_sites_are_values() -> None:
    """A site cannot be changed in place."""
    site: Site = PROFILES["lumi"]
    with pytest.raises(AttributeError):
        site.title = "mine"  # type: ignore[misc] # that it is refused is the point


def test_import_stays_light() -> None:
    """Loading sites pulls in nothing that talks to a network or reads tables."""
    heavy = {
        "asyncio",
        "paramiko",
        "fabric",
        "pyarrow",
        "jinja2",
        "click",
        "rich",
        "platformdirs",
    }
    script = "import sys, aifa_hpc.sites.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert set() == heavy & {*done.stdout.split()}
