"""A profile against what a site tells: on what real clusters answered, and on answers with something changed."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aifa_hpc.sites.drift import by_hand, compare, overrides, places, tools
from aifa_hpc.sites.load import Profiles, facts, load_site, read_user_sites
from aifa_hpc.sites.settle import with_block
from aifa_hpc.sites.told import Gone
from aifa_hpc.slurm.survey import read_survey

if TYPE_CHECKING:
    from aifa_hpc.sites.model import Site
    from aifa_hpc.sites.told import Row

DATA = Path(__file__).parents[1] / "slurm" / "data"
ACCOUNTS = {"lumi": "project_465000001", "jupiter": "e-aif-2026fl01-123"}
VERSIONS = {"lumi": "22.05.8", "jupiter": "24.11.5"}
TODAY = datetime.date(2026, 11, 24)


def site_of(name: str, **access: Any) -> Site:
    """A packaged site with the account of its test cluster."""
    site = load_site(name, Path("/nonexistent"))
    settings = {"account": ACCOUNTS[name], "host": "127.0.0.1"} | access
    return msgspec.structs.replace(site, access=msgspec.structs.replace(site.access, **settings))


def told(site: Site) -> dict[str, Any]:
    """What the cluster of that shape answered, with its folders as they should be."""
    tables: dict[str, Any] = copy.deepcopy(
        read_survey((DATA / f"survey-{VERSIONS[site.name]}.txt").read_text(), "ada").tables
    )
    fine = {"there": "yes", "writable": "yes", "nearest": "/"}
    tables["path"] = {str(number): dict(fine) for number in range(len(places(site)))}
    return tables


def doubts(site: Site) -> list[tuple[str, Any]]:
    """Its facts that are not certain."""
    return [(key, fact) for key, fact in facts(site) if fact.status != "verified"]


def rows_of(site: Site, tables: dict[str, Any], silent: dict[str, str] | None = None) -> dict[str, Row]:
    """The comparison by key."""
    return {row.key: row for row in compare(site, tables, silent or {}, doubts(site))}


@pytest.mark.parametrize("name", ["lumi", "jupiter"])
def test_a_cluster_made_from_the_profile_shows_no_drift(name: str) -> None:
    """Limits are found wherever Slurm keeps them: partitions, their QOS, the account's QOS."""
    rows = rows_of(site_of(name), told(site_of(name)))
    assert [] == [row for row in rows.values() if row.status == "drift"]
    assert 30 < sum(row.status == "confirmed" for row in rows.values())


def test_what_the_site_answers_is_settled() -> None:
    """Disputed facts that the site tells are settled; those that no site tells are listed as such."""
    lumi = rows_of(site_of("lumi"), told(site_of("lumi")))
    assert ("confirmed", "settles a conflict of sources") == (
        lumi["partitions.dev-g.max_time"].status,
        lumi["partitions.dev-g.max_time"].note,
    )
    assert ("unverifiable", "new", "1001") == (
        lumi["nodes.cpu-1t"].status,
        lumi["scheduler.max_array_size"].status,
        lumi["scheduler.max_array_size"].site,
    )
    jupiter = rows_of(site_of("jupiter"), told(site_of("jupiter")))
    assert "by the account's QOS; settles a conflict of sources" == jupiter["partitions.booster.max_time"].note


CHANGES: list[tuple[str, tuple[str, str, str], str, str, tuple[str, Any]]] = [
    ("lumi", ("partition", "dev-g", "MaxTime"), "03:00:00", "partitions.dev-g.max_time", ("drift", "03:00:00")),
    ("lumi", ("partition", "dev-g", "MaxNodes"), "32", "partitions.dev-g.max_nodes", ("drift", 32)),
    ("lumi", ("partition", "dev-g", "TotalNodes"), "50", "partitions.dev-g.nodes", ("notice", None)),
    ("lumi", ("partition", "dev-g", "TotalNodes"), "20", "partitions.dev-g.nodes", ("drift", 20)),
    ("lumi", ("partition", "dev-g", "State"), "DOWN", "partitions.dev-g.state", ("notice", None)),
    ("lumi", ("partition", "dev-g", "OverSubscribe"), "EXCLUSIVE", "partitions.dev-g.whole_node", ("drift", True)),
    ("lumi", ("partition", "dev-g", "DefaultTime"), "00:10:00", "partitions.dev-g.default_time", ("new", "00:10:00")),
    ("lumi", ("partition", "debug", "Default"), "YES", "scheduler.default_partition", ("drift", "debug")),
    ("lumi", ("qos", "part_dev-g", "MaxSubmitPU"), "5", "partitions.dev-g.max_submitted", ("drift", 5)),
    ("lumi", ("qos", "part_dev-g", "MaxWall"), "01:00:00", "partitions.dev-g.max_time", ("drift", "01:00:00")),
    ("lumi", ("qos", "part_dev-g", "MaxJobsPU"), "", "partitions.dev-g.max_running", ("drift", Gone.GONE)),
    ("lumi", ("partition", "dev-g", "MaxNodes"), "UNLIMITED", "partitions.dev-g.max_nodes", ("drift", Gone.GONE)),
    ("jupiter", ("qos", "lowcont", "MaxSubmitPU"), "", "qos.lowcont.max_submitted", ("drift", Gone.GONE)),
    ("lumi", ("association", "0", "Account"), "project_465000009", "access.account", ("drift", None)),
    ("lumi", ("config", "slurm", "ClusterName"), "lumi2", "scheduler.cluster_name", ("drift", "lumi2")),
    ("lumi", ("python", "program", "version"), "3.5.1", "login.python", ("drift", "3.5.1")),
    ("lumi", ("python", "program", "version"), "3.6.15", "login.python", ("confirmed", None)),
    ("jupiter", ("association", "0", "DefaultQOS"), "lowcont", "scheduler.default_qos", ("drift", "lowcont")),
    ("jupiter", ("association", "0", "DefaultQOS"), "other", "scheduler.default_qos", ("drift", None)),
    ("jupiter", ("association", "0", "MaxJobs"), "7", "association.MaxJobs", ("notice", None)),
    ("jupiter", ("qos", "normal", "MaxWall"), "1-00:00:00", "qos.normal.max_time", ("drift", "1-00:00:00")),
    ("jupiter", ("qos", "normal", "MaxWall"), "1-00:00:00", "partitions.booster.max_time", ("drift", "1-00:00:00")),
    ("jupiter", ("qos", "part_booster", "MaxTRES"), "cpu=9,node=64", "partitions.booster.max_nodes", ("drift", 64)),
    ("jupiter", ("config", "slurm", "MaxArraySize"), "4000000", "scheduler.max_array_size", ("drift", 4000000)),
    ("jupiter", ("reservation", "develbooster", "NodeCnt"), "4", "reservations.develbooster.nodes", ("drift", 4)),
    ("jupiter", ("path", "0", "writable"), "", "access.workdir", ("drift", None)),
]


@pytest.mark.parametrize(("name", "where", "value", "key", "expected"), CHANGES)
def test_changes_are_found(
    name: str, where: tuple[str, str, str], value: str, key: str, expected: tuple[str, Any]
) -> None:
    """One field of the answer changes; the row says so, and what the profile would have to say."""
    tables = told(site_of(name))
    section, row, field = where
    tables[section][row][field] = value
    found = rows_of(site_of(name), tables)[key]
    assert expected == (found.status, found.value if found.status in {"drift", "new"} else None)


def test_a_limit_that_may_stand_elsewhere_is_not_gone() -> None:
    """Where the partition's QOS is not told nobody knows whether it has a limit."""
    tables = told(site_of("lumi"))
    del tables["qos"]["part_dev-g"]
    assert "not told" == rows_of(site_of("lumi"), tables)["partitions.dev-g.max_running"].status


def test_what_the_user_wrote_is_left_to_the_user() -> None:
    """It stays drift, says whose it is, and is not written; other keys of the same table are."""
    site, tables = site_of("lumi"), told(site_of("lumi"))
    tables["partition"]["dev-g"] |= {"MaxTime": "03:00:00", "MaxNodes": "32"}
    rows = by_hand(compare(site, tables, {}, doubts(site)), {("partitions", "dev-g", "max_time")})
    (mine,) = (row for row in rows if row.key == "partitions.dev-g.max_time")
    assert ("drift", None, True) == (mine.status, mine.value, "yourself: change or remove it there" in mine.note)
    written = overrides(rows, doubts(site), "host", TODAY)["partitions"]["dev-g"]
    assert (32, False) == (written["max_nodes"], "max_time" in written)


def test_nodes_are_compared_by_the_usual_one() -> None:
    """Memory, cores and GPUs of the most frequent kind of node; threads of a core are not counted."""
    tables = told(site_of("lumi"))
    for row in tables["node"].values():
        if row["gres"].startswith("gpu:mi250"):
            row |= {"memory": "515000", "cores": "1:64:2", "gres": "gpu:mi250:8(S:0)"}
    found = rows_of(site_of("lumi"), tables)
    assert ("drift", "515000M") == (found["nodes.gpu.memory"].status, found["nodes.gpu.memory"].value)
    assert {"confirmed"} == {found[f"nodes.gpu.{field}"].status for field in ("cpus", "gpus", "gpu_type")}


@pytest.mark.parametrize(
    "section", ["partition", "node", "qos", "association", "config", "reservation", "hostkey", "python"]
)
@pytest.mark.parametrize("name", ["lumi", "jupiter"])
def test_what_is_not_told_is_never_drift(name: str, section: str) -> None:
    """A program that refuses makes rows that say so, with its reason."""
    tables = told(site_of(name))
    tables.pop(section, None)
    rows = rows_of(site_of(name), tables, {section: "Access denied"})
    assert [] == [row for row in rows.values() if row.status == "drift"]
    if section != "reservation" or name == "jupiter":
        assert any("Access denied" in row.note for row in rows.values())


def test_a_silent_site_confirms_nothing() -> None:
    """No tables at all: nothing is confirmed, and nothing drifts but the program that must be there."""
    rows = rows_of(site_of("jupiter"), {})
    assert {"tools.sbatch"} == {row.key for row in rows.values() if row.status == "drift"}
    assert set() == {row.key for row in rows.values() if row.status == "confirmed"}


def test_somebody_without_associations_is_told() -> None:
    """No rows are an answer; other accounts' limits are not ours."""
    tables = told(site_of("jupiter"))
    tables["association"] = {}
    found = rows_of(site_of("jupiter"), tables)
    assert ("drift", "none") == (found["access.account"].status, found["access.account"].site)
    assert "scheduler.default_qos" not in found


def test_host_keys() -> None:
    """One of the published keys is enough; others are drift on the profile's own hosts, and a notice elsewhere."""
    site, tables = site_of("lumi", host=""), told(site_of("lumi"))
    published = site.login.host_keys[0].fingerprint
    for keys, host, status in (
        ({published: {}, "SHA256:x": {}}, "", "confirmed"),
        ({"SHA256:x": {}}, "", "drift"),
        ({"SHA256:x": {}}, "127.0.0.1", "notice"),
    ):
        tables["hostkey"] = keys
        assert status == rows_of(site_of("lumi", host=host), tables)["login.host_keys"].status


def test_folders_of_an_unknown_account_are_not_asked_for() -> None:
    """Without an account only folders of the user are known."""
    site = site_of("lumi", account="", workdir="")
    assert ["{home}/aifa", "/users/{user}"] == [path for _, path in places(site)]
    rows = rows_of(site, told(site))
    assert ("not told", "notice") == (rows["areas.scratch.path"].status, rows["access.account"].status)
    assert ("sbatch", "singularity") == tools(site)


@pytest.mark.parametrize("name", ["lumi", "jupiter"])
def test_what_is_written_makes_the_next_run_clean(name: str) -> None:
    """Overrides from drift, written as TOML, read back over the profile: no drift is left, disputes are settled."""
    base = Profiles()
    site = site_of(name)
    tables = told(site)
    for shape, (section, row, field), value, *_ in CHANGES:
        if shape == name and section in {"partition", "qos"}:
            tables[section][row][field] = value
    rows = compare(site, tables, {}, doubts(site))
    before = [row.key for row in rows if row.status == "drift"]
    text = f'[sites.{name}]\naccount = "{ACCOUNTS[name]}"\nhost = "127.0.0.1"\n'
    text = with_block(text, name, overrides(rows, doubts(site), "host", TODAY))
    after = read_user_sites(text, "t", base)[name]
    assert bool(before) is True
    assert [] == [row for row in rows_of(after, tables).values() if row.status in {"drift", "new"}]
    fact = after.partitions[{"lumi": "dev-g", "jupiter": "booster"}[name]]
    assert ("verified", "aifa sites doctor, host", TODAY) == (fact.status, fact.source, fact.checked_on)
