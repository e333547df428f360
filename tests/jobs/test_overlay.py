"""What a job file says for one site only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.jobs.overlay import merge

BOTH = """
name = "digits"
env = { A = "1" }
[resources]
nodes = 2
time = "01:00:00"
[launch]
kind = "srun"
command = ["python", "train.py"]
[sites.lumi.resources]
partition = "standard-g"
gpus_per_node = 8
[sites.jupiter.resources]
partition = "booster"
gpus_per_node = 4
[sites.jupiter.env]
B = "2"
[sites.jupiter.launch]
command = ["python3", "train.py"]
[sites.jupiter-test.resources]
reservation = "develbooster"
"""


def test_each_site_gets_its_own() -> None:
    """Key by key, lists as a whole; without a site, or for one that has no overlay, the rest stands alone."""
    lumi = read_job(BOTH, site=("lumi-test", "lumi"))
    jupiter = read_job(BOTH, site=("jupiter",))
    assert ("standard-g", 8, 2, {"A": "1"}) == (
        lumi.resources.partition,
        lumi.resources.gpus_per_node,
        lumi.resources.nodes,
        lumi.env,
    )
    assert ("booster", ("python3", "train.py"), "srun", {"A": "1", "B": "2"}) == (
        jupiter.resources.partition,
        jupiter.launch.command,
        jupiter.launch.kind,
        jupiter.env,
    )
    for alone in (read_job(BOTH), read_job(BOTH, site=("local",))):
        assert ("", 0) == (alone.resources.partition, alone.resources.gpus_per_node)


def test_the_sites_own_name_goes_before_its_clusters() -> None:
    """One overlay applies, never two."""
    job = read_job(BOTH, site=("jupiter-test", "jupiter"))
    assert ("develbooster", "") == (job.resources.reservation, job.resources.partition)


def test_what_only_overlays_say_may_be_missing_elsewhere() -> None:
    """A job without a time of its own is a job where the overlay gives one, and none without."""
    text = BOTH.replace('time = "01:00:00"\n', "").replace("gpus_per_node = 8", 'gpus_per_node = 8\ntime = "2:00:00"')
    text = text.partition("[sites.jupiter.resources]")[0]
    assert "02:00:00" == str(read_job(text, site=("lumi",)).resources.time)
    with pytest.raises(InputError, match=r"resources\.time: is required"):
        read_job(text)


BAD = {
    "sites = 3": ("sites", ""),
    "sites.lumi = 3": ("sites.lumi", ""),
    'sites.lumi.name = "x"': ("sites.lumi.name", ""),
    "sites.lumi.resources.nodes = 0": ("sites.lumi.resources.nodes", "1"),
    'sites.lumi.resources.partitoin = "x"': ("sites.lumi.resources.partitoin", "partition"),
    'sites.lumi.launch.command = "a b"': ("sites.lumi.launch.command", '["a", "b"]'),
    "sites.lumi.resource.nodes = 1": ("sites.lumi.resource", "resources"),
}


@pytest.mark.parametrize("site", [(), ("lumi",), ("jupiter",)])
@pytest.mark.parametrize(("line", "expected"), BAD.items())
def test_overlays_are_strict(line: str, expected: tuple[str, str], site: tuple[str, ...]) -> None:
    """Also those of another site; each problem has the key that the user wrote."""
    text = f'{line}\nname = "j"\nresources.time = "1:00"\nlaunch.command = ["x"]\n'
    with pytest.raises(InputError) as caught:
        read_job(text, site=site)
    assert expected in [(problem.key, problem.nearest) for problem in caught.value.problems]


def test_problems_of_the_rest_keep_their_key() -> None:
    """What is wrong for all sites is not blamed on an overlay."""
    with pytest.raises(InputError) as caught:
        read_job(BOTH.replace("nodes = 2", "nodes = 0"), site=("lumi",))
    assert ["resources.nodes"] == [problem.key for problem in caught.value.problems]


TABLES = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
).filter(lambda value: isinstance(value, dict))


@given(TABLES, TABLES)
def test_merging_is_idempotent_and_keeps_what_is_not_named(base: dict[str, object], overlay: dict[str, object]) -> None:
    """Twice is once, over nothing is itself, and nothing over something changes nothing."""
    once = merge(base, overlay)
    assert (once, overlay, base) == (merge(once, overlay), merge({}, overlay), merge(base, {}))
    assert all(once[key] == value for key, value in base.items() if key not in overlay)
