"""Arrays, dependencies, mail, signals, chains and components: from text, from Python, and what a site says to them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.jobs.features import After, Array, Chain, Mail
from aifa_hpc.jobs.spec import Component, Job, Launch, Resources, component_jobs
from aifa_hpc.sites.load import load_site

NOWHERE = Path("/nonexistent")
LUMI = load_site("lumi", NOWHERE)
JUPITER = load_site("jupiter", NOWHERE)
GPU = {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001", "time": "01:00:00"}

HEAD = """
name = "a"
signal = "B:USR1@120"
requeue = false
[resources]
time = "01:00:00"
nodelist = "nid[001-002]"
exclude = "nid003"
constraint = "[rack1|rack2]&ssd"
nodes = 2
[launch]
kind = "srun"
command = ["x"]
log_per_rank = true
"""


def job(**more: Any) -> Job:
    """A job on whole GPU nodes of LUMI."""
    resources = Resources(**GPU | more.pop("resources", {}))
    launch = more.pop("launch", Launch(kind="srun", command=["x"]))
    return Job(name="a", resources=resources, launch=launch, **more)


def test_text_and_python_are_equal() -> None:
    """Every table of the file is the object of the same name."""
    text = HEAD + (
        '[after]\nok = ["123", "124_5"]\nstarted = ["k3v9qd2m7tfa+10"]\nsingleton = true\n'
        '[mail]\nevents = ["END"]\nuser = "ada@example.org"\n[chain]\ntotal = "1-00:00:00"\n'
        '[[components]]\nresources = { time = "1" }\nlaunch = { kind = "srun", command = ["y"] }\n'
    )
    expected = Job(
        name="a",
        signal="B:USR1@120",
        requeue=False,
        resources=Resources(
            time="01:00:00", nodelist="nid[001-002]", exclude="nid003", constraint="[rack1|rack2]&ssd", nodes=2
        ),
        launch=Launch(kind="srun", command=["x"], log_per_rank=True),
        after=After(ok=["123", "124_5"], started=["k3v9qd2m7tfa+10"], singleton=True),
        mail=Mail(events=["END"], user="ada@example.org"),
        chain=Chain(total="1-00:00:00"),
        components=[Component(resources=Resources(time="1"), launch=Launch(kind="srun", command=["y"]))],
    )
    assert expected == read_job(text)
    assert Array(count=3) == read_job(HEAD + "[array]\ncount = 3\n").array


def test_a_handle_is_known_by_its_token() -> None:
    """In Python a dependency may name the handle that submit returned."""
    handle: Any = SimpleNamespace(token="k3v9qd2m7tfa")
    assert After(ok=["k3v9qd2m7tfa"]) == After(ok=[handle])


SLIPS = [
    ('[array]\ntasks = "0-9%2"', "array.tasks", '"0-9"'),
    ('[array]\ntasks = "9-0"', "array.tasks", ""),
    ('[array]\ntasks = "0-9:0"', "array.tasks", ""),
    ('[array]\ntasks = "4000001"', "array.tasks", ""),
    ('[array]\ntasks = "0-9\\n#SBATCH --account=x"', "array.tasks", ""),
    ('[array]\ntasks = "1"\ncount = 1', "array.tasks", '"0-9"'),
    ("[array]\nlimit = 1", "array.tasks", '"0-9"'),
    ("[array]\ncount = 0", "array.count", "1"),
    ("[array]\ncount = 1\nlimit = 0", "array.limit", "1"),
    ("[array]\ncount = 4000002", "array.count", "4000001"),
    ('[after]\nok = "123"', "after.ok", None),
    ('[after]\nok = ["123+5"]', "after.ok", ""),
    ('[after]\nany = ["12 --x"]', "after.any", ""),
    ('[after]\nsingleton = "yes"', "after.singleton", None),
    ('[mail]\nevents = ["DONE"]', "mail.events[0]", "END"),
    ("[mail]\nevents = []", "mail.events", '["END", "FAIL"]'),
    ('[mail]\nevents = ["END"]\nuser = "a b"', "mail.user", ""),
    ('[chain]\ntotal = "0"', "chain.total", "1-00:00:00"),
    ('[chain]\ntotal = "2000-00:00:00"', "chain.total", "41-16:00:00"),
    ('[[components]]\nresources = { time = "0" }\nlaunch = { command = ["x"] }', "components[0].resources.time", None),
    ('[[components]]\nresources = { tim = "1" }\nlaunch = { command = ["x"] }', "components[0].resources.tim", "time"),
    ('[array]\ncount = 1\n[chain]\ntotal = "1"', "chain", ""),
    (
        '[array]\ncount = 1\n[[components]]\nresources = { time = "1" }\nlaunch = { command = ["x"] }',
        "components",
        "",
    ),
]


@pytest.mark.parametrize(("text", "key", "nearest"), SLIPS)
def test_slips_are_told_with_their_key(text: str, key: str, nearest: str | None) -> None:
    """Nothing but the form of the field gets through, and nothing into a directive."""
    with pytest.raises(InputError) as caught:
        read_job(HEAD + text)
    found = {problem.key: problem.nearest for problem in caught.value.problems}
    assert key in found
    if nearest is not None:
        assert nearest == found[key]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"B:USR1@120"', '"USR1"', "signal"),
        ('"B:USR1@120"', '"KILL@9"', "signal"),
        ('"B:USR1@120"', '"USR1@65536"', "signal"),
        ("requeue = false", 'requeue = "no"', "requeue"),
        ('"nid003"', '"nid003 --x"', "resources.exclude"),
        ('"nid003"', '"nid[3-1]"', "resources.exclude"),
        ('"nid003"', '"-x"', "resources.exclude"),
        ('"[rack1|rack2]&ssd"', '"a b"', "resources.constraint"),
        ('"[rack1|rack2]&ssd"', '"$(id)"', "resources.constraint"),
        ("log_per_rank = true", "log_per_rank = 1", "launch.log_per_rank"),
        ("[launch]", "[env]\nAIFA_CHAIN_DONE = 'x'\n[launch]", "env.AIFA_CHAIN_DONE"),
    ],
)
def test_bad_values_are_told_with_their_key(old: str, new: str, key: str) -> None:
    """Fields outside the new tables are as strict."""
    with pytest.raises(InputError) as caught:
        read_job(HEAD.replace(old, new))
    assert [key] == [problem.key for problem in caught.value.problems]


def test_python_is_as_strict() -> None:
    """A value that exists is well formed."""
    for make in (
        lambda: Array(tasks=5),  # type: ignore[arg-type] # a slip on purpose
        lambda: Mail(events="END"),  # type: ignore[arg-type] # as above
        lambda: After(ok="1"),  # type: ignore[arg-type] # as above
        lambda: job(components=5),
        lambda: job(signal=5),
    ):
        with pytest.raises(ParseError):
            make()


RULES: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"array": Array(count=211)}, ("array.count", "210", "error")),
    ({"array": Array(tasks="0-420:2")}, ("array.tasks", "0-209", "error")),
    ({"chain": Chain(total="9-00:00:00")}, ("chain.total", "8-18:00:00", "error")),
    ({"chain": Chain(total="00:59:00")}, ("chain.total", "", "warning")),
    ({"mail": Mail(events=["END"])}, ("mail", "", "warning")),
    ({"signal": "USR1@3600"}, ("signal", "USR1@360", "warning")),
    ({"after": After(corr=["1"])}, ("after.corr", "", "error")),
    ({"array": Array(tasks="5000"), "after": After(corr=["1"])}, ("after.corr", "", "error")),
    ({"resources": {"nodelist": "nid[1-3]", "nodes": 2}}, ("resources.nodelist", "nid[1-2]", "error")),
    ({"resources": {"nodelist": "nid1", "exclude": "nid[1-2]"}}, ("resources.exclude", "nid2", "error")),
]


@pytest.mark.parametrize(("changes", "expected"), RULES)
def test_a_site_says_what_it_would_take(changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    """Each rule with its nearest legal value."""
    found = check(job(**changes), LUMI)
    assert [expected] == [(problem.key, problem.nearest, problem.severity) for problem in found]


def test_signals_and_logs_of_a_plain_command() -> None:
    """It has no step that a signal could be sent to, and no ranks."""
    found = check(job(launch=Launch(command=["x"], log_per_rank=True), signal="USR1@60"), LUMI)
    expected = {("signal", "B:USR1@60", "error"), ("launch.log_per_rank", "false", "warning")}
    assert expected == {(problem.key, problem.nearest, problem.severity) for problem in found}


def test_components_are_checked_one_by_one() -> None:
    """The key says which one; one srun starts them all."""
    more = [
        Component(resources=Resources(**GPU), launch=Launch(kind="srun", command=["x"])),
        Component(resources=Resources(**GPU | {"nodes": 2000}), launch=Launch(command=["x"])),
    ]
    found = check(job(components=more), LUMI)
    assert {("components[1].resources.nodes", "1024"), ("components[1].launch.kind", "srun")} <= {
        (problem.key, problem.nearest) for problem in found if problem.severity == "error"
    }
    assert all(problem.key.startswith("components[1]") for problem in found)


def test_a_component_is_billed_to_the_job() -> None:
    """Unless it names an account of its own."""
    small = GPU | {"account": ""}
    more = [Component(resources=Resources(**small), launch=Launch(kind="srun", command=["x"]))]
    assert ["project_465000001"] == [one.resources.account for one in component_jobs(job(components=more))]
    assert () == check(job(components=more), LUMI)


def test_a_site_with_mail_sends_it() -> None:
    """The warning depends on the profile."""
    site = msgspec.structs.replace(LUMI, scheduler=msgspec.structs.replace(LUMI.scheduler, mail=True))
    assert () == check(job(mail=Mail(events=["END"])), site)
