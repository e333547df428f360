"""What jobs cost by the sites' published formulas, with the working, and what pays for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.features import Array, Chain
from aifa_hpc.jobs.fit import Fit
from aifa_hpc.jobs.quote import memory_of, quote
from aifa_hpc.jobs.spec import Component, Job, Launch, Resources
from aifa_hpc.sbatch.prepare import prepare
from aifa_hpc.sites.load import load_site
from aifa_hpc.units import Memory, Walltime, parse_memory

NOWHERE = Path("/nonexistent")
SITES = {name: load_site(name, NOWHERE) for name in ("lumi", "jupiter", "local")}
ACCOUNTS = {"lumi": "project_465000001", "jupiter": "e-aif-2026fl01-123", "local": ""}


def job(site: str, *, kind: str = "srun", **asked: Any) -> Job:
    """A job of a site with some resources."""
    fields = {"time": "01:00:00", "account": ACCOUNTS[site]} | asked
    return Job(name="digits", resources=Resources(**fields), launch=Launch(kind=kind, command=["train.py"]))


# LUMI: billing.md after May 2026. JUPITER: 288 core-h a node-hour. Each row: site, resources, units, working.
EXAMPLES: list[tuple[str, dict[str, Any], float, str]] = [
    ("lumi", {"partition": "standard-g", "gpus_per_node": 8}, 4.0, "4 x 1 node x 1 h"),
    ("lumi", {"partition": "standard-g", "gpus_per_node": 1, "nodes": 3}, 12.0, "4 x 3 nodes x 1 h"),
    (
        "lumi",
        {"partition": "dev-g", "gpus_per_node": 8, "time": "00:30:00"},
        2.0,
        "0.5 x max(ceil(56/8), ceil(480/64), 8) x 0.5 h",
    ),
    ("lumi", {"partition": "small-g", "gpus_per_node": 1}, 0.5, "0.5 x max(ceil(7/8), ceil(60/64), 1) x 1 h"),
    (
        "lumi",
        {"partition": "small-g", "gpus_per_node": 1, "cpus_per_task": 14},
        1.0,
        "0.5 x max(ceil(14/8), ceil(60/64), 1) x 1 h",
    ),
    (
        "lumi",
        {"partition": "small-g", "gpus_per_node": 1, "memory": "300G"},
        2.5,
        "0.5 x max(ceil(7/8), ceil(300/64), 1) x 1 h",
    ),
    (
        "lumi",
        {"partition": "small-g", "gpus_per_node": 2, "nodes": 2, "time": "3-00:00:00"},
        144.0,
        "0.5 x max(ceil(28/8), ceil(240/64), 4) x 72 h",
    ),
    ("lumi", {"partition": "standard", "nodes": 2}, 256.0, "128 x 2 nodes x 1 h"),
    (
        "lumi",
        {"partition": "small", "cpus_per_task": 16, "memory": "32G"},
        16.0,
        "1 x max(16, ceil(32/2)) x 1 h",
    ),
    ("lumi", {"partition": "small", "cpus_per_task": 4, "memory": "63G"}, 32.0, "1 x max(4, ceil(63/2)) x 1 h"),
    ("lumi", {"partition": "debug", "cpus_per_task": 8, "time": "00:15:00"}, 2.0, "1 x max(8, ceil(14/2)) x 0.25 h"),
    (
        "lumi",
        {"partition": "largemem", "cpus_per_task": 4, "memory": "1000G"},
        500.0,
        "1 x max(4, ceil(1000/2), 128) x 1 h",
    ),
    ("lumi", {"partition": "largemem", "memory": "2G"}, 128.0, "1 x max(1, ceil(2/2), 128) x 1 h"),
    (
        "lumi",
        {"partition": "lumid", "gpus_per_node": 1, "cpus_per_task": 32},
        128.0,
        "64 x max(ceil(32/16), ceil(250/256), 1) x 1 h",
    ),
    ("jupiter", {"partition": "booster", "gpus_per_node": 4}, 288.0, "288 x 1 node x 1 h"),
    ("jupiter", {"partition": "booster", "gpus_per_node": 1, "time": "00:10:00"}, 48.0, "288 x 1 node x 0.1667 h"),
    ("jupiter", {"partition": "booster", "gpus_per_node": 4, "nodes": 16, "time": "12:00:00"}, 55296.0, ""),
    ("local", {}, 0.0, ""),
]


@pytest.mark.parametrize(("site", "asked", "units", "working"), EXAMPLES)
def test_examples(site: str, asked: dict[str, Any], units: float, working: str) -> None:
    """The formulas of the sites' billing pages, worked by hand."""
    found = quote(job(site, **asked), SITES[site])
    assert (pytest.approx(units), working or found.working) == (found.amount, found.working)


def test_units_and_elapsed_time() -> None:
    """LUMI's GPU-h are modules of two GCDs; what is billed is the time that passed."""
    found = quote(job("lumi", partition="dev-g", gpus_per_node=8), SITES["lumi"], elapsed=Walltime(900))
    assert ("GPU-h", 4.0, 1.0) == (found.unit, found.amount, found.elapsed_amount)
    assert str(found) == (
        "4 GPU-h at 01:00:00: 0.5 x max(ceil(56/8), ceil(480/64), 8) x 1 h; "
        "1 GPU-h if it takes 00:15:00: 0.5 x max(ceil(56/8), ceil(480/64), 8) x 0.25 h"
    )


def test_arrays_chains_and_components_are_billed_whole() -> None:
    """Every task, every link and every component, the last in a unit of its own."""
    plain = job("lumi", partition="standard-g", gpus_per_node=8)
    array = quote(msgspec.structs.replace(plain, array=Array(tasks="0-9:3,20")), SITES["lumi"])
    assert (5, 20.0, "4 x 1 node x 1 h x 5 tasks") == (array.runs, array.amount, array.working)
    chain = quote(msgspec.structs.replace(plain, chain=Chain(total="02:30:00")), SITES["lumi"], elapsed=Walltime(1800))
    assert (3, 12.0, 6.0) == (chain.runs, chain.amount, chain.elapsed_amount)
    cpus = Resources(partition="standard", nodes=2, time="01:00:00")
    component = Component(resources=cpus, launch=Launch(kind="srun", command=["feed"]))
    mixed = quote(msgspec.structs.replace(plain, components=(component,)), SITES["lumi"])
    assert "4 GPU-h at 01:00:00: 4 x 1 node x 1 h + 256 core-h at 01:00:00: 128 x 2 nodes x 1 h" == str(mixed)


@pytest.mark.parametrize("asked", [{"partition": ""}, {"partition": "booster"}])
def test_a_job_of_no_partition_has_no_price(asked: dict[str, Any]) -> None:
    """The reason names the site and what is missing."""
    with pytest.raises(InputError, match=r"lumi has no partition '(booster)?', so there is no price"):
        quote(job("lumi", **asked), SITES["lumi"])


@st.composite
def shared_jobs(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Resources on any partition of any site."""
    site = draw(st.sampled_from(sorted(SITES)))
    name = draw(st.sampled_from(sorted(SITES[site].partitions)))
    node = SITES[site].nodes[SITES[site].partitions[name].node]
    return site, {
        "partition": name,
        "nodes": draw(st.integers(1, 64)),
        "gpus_per_node": draw(st.integers(0, node.gpus)),
        "tasks_per_node": draw(st.integers(1, 16)),
        "cpus_per_task": draw(st.integers(1, 32)),
        "memory": f"{draw(st.integers(1, 500))}G",
        "time": f"0-{draw(st.integers(1, 48))}",
    }


@given(shared_jobs(), st.sampled_from(["nodes", "gpus_per_node", "tasks_per_node", "cpus_per_task", "memory", "time"]))
def test_more_of_anything_never_costs_less(found: tuple[str, dict[str, Any]], key: str) -> None:
    """Quotes grow with every resource and with time."""
    site, asked = found
    more = {"memory": "501G", "time": "0-49"}.get(key) or asked[key] + 1
    least = quote(job(site, **asked), SITES[site]).amount
    most = quote(job(site, **asked | {key: more}), SITES[site]).amount
    assert least <= most


@given(shared_jobs(), st.integers(1, 20))
def test_quotes_are_linear_in_time(found: tuple[str, dict[str, Any]], times: int) -> None:
    """Twice the time costs twice as much, and all of the time is the price at the limit."""
    site, asked = found
    whole = quote(job(site, **asked), SITES[site])
    part = quote(job(site, **asked), SITES[site], elapsed=Walltime(whole.time.seconds * times))
    assert pytest.approx(whole.amount * times) == part.elapsed_amount


@given(shared_jobs(), st.booleans())
def test_the_memory_that_is_billed_is_the_memory_that_is_asked_for(
    found: tuple[str, dict[str, Any]], given_: bool
) -> None:
    """The quote and the script's directives agree."""
    site, asked = found
    if not given_:
        del asked["memory"]
    made = job(site, **asked)
    fit = Fit(job=made, site=SITES[site], partition=SITES[site].partitions[asked["partition"]])
    directives = dict(prepare(made, SITES[site]).directives)
    nodes, gpus, cores = asked["nodes"], asked["gpus_per_node"], fit.tasks * fit.cpus
    counts = {"mem": 1, "mem-per-gpu": gpus, "mem-per-cpu": cores}
    said = [
        Memory(parse_memory(directives[key]).bytes * nodes * count)
        for key, count in counts.items()
        if key in directives
    ]
    expected = said[0] if said else (memory_of(fit) if fit.partition.whole_node else None)
    assert expected == memory_of(fit)


WASTE: list[tuple[dict[str, Any], list[tuple[str, str, str]], str]] = [
    ({"cpus_per_task": 7, "memory": "60G"}, [], ""),
    ({"cpus_per_task": 8}, [("resources.cpus_per_task", "8", "7")], "that then nobody can use"),
    ({"cpus_per_task": 14}, [("resources.cpus_per_task", "14", "7")], "2 GPUs are billed, 1 of them unused"),
    ({"memory": "480G"}, [("resources.memory", "480G", "60G")], "8 GPUs are billed, 7 of them unused"),
    ({"memory": "480G", "gpus_per_node": 8}, [], ""),
    ({"tasks_per_node": 2, "cpus_per_task": 4}, [("resources.cpus_per_task", "4", "3")], "8 cores on a node for 1 GPU"),
]


@pytest.mark.parametrize(("asked", "expected", "words"), WASTE)
def test_lumis_slice_rule(asked: dict[str, Any], expected: list[tuple[str, str, str]], words: str) -> None:
    """More than 7 cores or 60G for a GPU is paid for with GPUs that nobody uses; the nearest value is free of it."""
    made = job("lumi", **{"partition": "small-g", "gpus_per_node": 1} | asked)
    found = check(made, SITES["lumi"])
    assert expected == [(problem.key, problem.value, problem.nearest) for problem in found]
    assert all(words in problem.rule and problem.severity == "warning" for problem in found)


def test_jupiter_bills_whole_nodes() -> None:
    """One GPU pays for four."""
    (found,) = check(job("jupiter", partition="booster", gpus_per_node=1), SITES["jupiter"])
    assert ("warning", "4", True) == (found.severity, found.nearest, "of which 3 are unused" in found.rule)


@pytest.mark.parametrize(
    ("time", "nodes", "words"),
    [("00:10:00", 1, "48 core-h"), ("01:00:00", 2048, "589824 core-h"), ("12:00:00", 2048, "7077888 core-h")],
)
def test_large_amounts_are_written_out(time: str, nodes: int, words: str) -> None:
    """No powers of ten in a bill."""
    made = job("jupiter", time=time, nodes=nodes, partition="booster", gpus_per_node=4)
    assert str(quote(made, SITES["jupiter"])).startswith(f"{words} at {time}: ")
