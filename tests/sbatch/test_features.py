"""Arrays, dependencies, signals, chains and components as scripts: read back, and run on a node of stubs."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.features import After, Array, Chain, Mail
from aifa_hpc.jobs.plan import Part, plan, write_indices
from aifa_hpc.jobs.spec import Component, Container, Job, Launch, Resources
from aifa_hpc.sbatch.loader import template_loader
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.prepare import prepare
from aifa_hpc.sbatch.render import render
from aifa_hpc.sbatch.reread import components_of, read_directives
from aifa_hpc.sites.load import load_site

if TYPE_CHECKING:
    import jinja2
    from conftest import Node

    from aifa_hpc.sites.model import Site

JOBS = "/scratch/a b/jobs"
NOWHERE = Path("/nonexistent")
LUMI = load_site("lumi", NOWHERE)
LOCAL = load_site("local", NOWHERE)
GPU = {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001", "nodes": 2, "time": "1"}


def job(kind: str = "command", resources: dict[str, Any] | None = None, **more: Any) -> Job:
    """A small job."""
    launch = Launch(kind=kind, command=["program"])  # type: ignore[arg-type] # a known kind
    return Job(name="a", resources=Resources(**{"time": "1"} | (resources or {})), launch=launch, **more)


def placed(folder: Path, **more: Any) -> Placement:
    """A placement in a folder that exists."""
    folder.mkdir(parents=True, exist_ok=True)
    return Placement(folder=str(folder), token="t0", name="a.t0", **more)


def directives(made: Job, site: Any = LOCAL, *, part: Part | None = None, **more: Any) -> dict[str, str]:
    """The first component's directives."""
    placement = Placement(folder="/j/t0", token="t0", name="a.t0", **more)
    part = part or plan(made, site).parts[0]
    text = render(made, site, template_loader(NOWHERE), version="0", placement=placement, part=part)
    return dict(components_of(read_directives(text))[0])


def test_what_slurm_is_asked() -> None:
    """Each field is the option that sbatch(1) has for it."""
    found = directives(
        job(
            resources={"constraint": "a&b", "nodelist": "n[1-2]", "exclude": "n3", "nodes": 2},
            array=Array(tasks="0-9:3", limit=2),
            after=After(ok=["1", "2"], any=["3_4"], not_ok=["5"], started=["6+10"], corr=["7"], singleton=True),
            signal="USR1@120",
            requeue=True,
        )
    )
    assert {
        "constraint": "a&b",
        "nodelist": "n[1-2]",
        "exclude": "n3",
        "array": "0-9:3%2",
        "dependency": "afterok:1:2,afterany:3_4,afternotok:5,after:6+10,aftercorr:7,singleton",
        "kill-on-invalid-dep": "yes",
        "signal": "USR1@120",
        "requeue": "",
        "output": "/j/t0/%A_%a.out",
        "open-mode": "append",
    }.items() <= found.items()
    assert "no-requeue" in directives(job(requeue=False))
    assert set() == {"requeue", "no-requeue", "dependency", "array", "signal"} & directives(job()).keys()


def test_mail_is_left_out_where_there_is_none() -> None:
    """The check warns of it."""
    assert set() == {"mail-type", "mail-user"} & directives(job(mail=Mail(events=["END"], user="a@b"))).keys()


def test_a_token_is_no_id() -> None:
    """A script for a person cannot name a job that only the store knows."""
    with pytest.raises(InputError, match=r"after\.ok names the job 'k3v9qd2m7tfa' by its token"):
        directives(job(after=After(ok=["k3v9qd2m7tfa"])))


def test_parts_wait_for_each_other_and_for_the_jobs_own() -> None:
    """A link is after the one before, and keeps what the job waits for."""
    made = job(chain=Chain(total="3"), after=After(any=["7"], ok=["8"]))
    found = directives(made, part=plan(made, LOCAL).parts[1], after=("41",), links=("/j/t0", "/j/t1", "/j/t2"))
    assert "afterok:8,afterany:7:41" == found["dependency"]


def test_an_array_task_knows_its_number(node: Node, loader: jinja2.BaseLoader) -> None:
    """The offset of a chunk is added, and each task leaves an exit record of its own."""
    made = job(array=Array(tasks="1000-1004"))
    folder = node.root / "job"
    part = Part(tasks="0-4", offset=1000, task_count=5)
    done = node.run(
        render(made, LOCAL, loader, version="0", placement=placed(folder), part=part), SLURM_ARRAY_TASK_ID="3"
    )
    assert (0, "") == (done.returncode, done.stderr)
    (call,) = node.calls("program")
    assert ("1003", "5") == (call.env["AIFA_ARRAY_TASK_ID"], call.env["AIFA_ARRAY_TASK_COUNT"])
    assert ["exit_3"] == [path.name for path in folder.iterdir()]


def chain_of(node: Node, loader: jinja2.BaseLoader, number: int) -> str:
    """The script of a link of three; the later ones have receipts."""
    made = job(chain=Chain(total="3"))
    folders = [node.root / "jobs" / f"it is {name}" for name in ("t0", "t1", "t2")]
    for index, folder in enumerate(folders):
        placed(folder)
        if index:
            (folder / "receipt").write_text(f"{4711 + index}\n")
    node.program("scancel", '#!/bin/sh\necho "$@" >> "$ROOT/cancelled"\n')
    placement = placed(folders[number], links=tuple(map(str, folders)))
    return render(made, LOCAL, loader, version="0", placement=placement, part=plan(made, LOCAL).parts[number])


def test_a_link_that_is_not_the_last_goes_on(node: Node, loader: jinja2.BaseLoader) -> None:
    """Without the file the next link is left alone."""
    done = node.run(chain_of(node, loader, 0))
    assert (0, "") == (done.returncode, done.stderr)
    (call,) = node.calls("program")
    assert ("0", "3") == (call.env["AIFA_CHAIN_LINK"], call.env["AIFA_CHAIN_LINKS"])
    assert not (node.root / "cancelled").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_a_finished_chain_cancels_what_waits(node: Node, loader: jinja2.BaseLoader, code: int) -> None:
    """The program makes the file; the links behind are cancelled by their receipts, and its exit code is kept."""
    node.program("program", f'#!/bin/sh\n: > "$AIFA_CHAIN_DONE"\nexit {code}\n')
    done = node.run(chain_of(node, loader, 0))
    assert (code, "", "4712\n4713\n") == (done.returncode, done.stderr, (node.root / "cancelled").read_text())


def test_a_link_after_the_end_ends_at_once(node: Node, loader: jinja2.BaseLoader) -> None:
    """It never runs the program, ends well and cancels the rest."""
    text = chain_of(node, loader, 1)
    (node.root / "jobs" / "it is t0" / "chain.done").touch()
    done = node.run(text)
    assert (0, "", [], "4713\n") == (
        done.returncode,
        done.stderr,
        node.calls("program"),
        (node.root / "cancelled").read_text(),
    )
    assert (node.root / "jobs" / "it is t1" / "exit").read_text().startswith("4711 0 0 ")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGUSR1, 5), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("kind", ["command", "srun"])
def test_the_script_hands_its_signal_on(
    node: Node, loader: jinja2.BaseLoader, sent: signal.Signals, code: int, kind: str
) -> None:
    """The program gets it while it runs, and the script ends with the program's code."""
    node.program(
        "program",
        "#!/usr/bin/env -S python3 -S\nimport os, signal, sys, time\n"
        "def save(*_): print('saved', flush=True); os._exit(5)\n"
        "signal.signal(signal.SIGUSR1, save)\nopen(os.environ['ROOT'] + '/ready', 'w')\ntime.sleep(20)\n",
    )
    folder = node.root / "job"
    text = render(job(kind, signal="B:USR1@60"), LOCAL, loader, version="0", placement=placed(folder))
    with node.start(text) as process:
        while not (node.root / "ready").exists():
            time.sleep(0.02)
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert (code, "saved\n" if code == 5 else "", "") == (process.returncode, out, err)
    assert f"4711 0 {code} " in (folder / "exit").read_text()


@pytest.mark.parametrize("code", [0, 7])
def test_without_a_signal_the_code_is_the_programs(node: Node, loader: jinja2.BaseLoader, code: int) -> None:
    """Running beside the script changes nothing."""
    node.program("program", f"#!/bin/sh\nexit {code}\n")
    done = node.run(render(job(signal="B:USR1@60"), LOCAL, loader, version="0"))
    assert (code, "", "") == (done.returncode, done.stdout, done.stderr)


def test_components_are_started_by_one_srun(node: Node, loader: jinja2.BaseLoader) -> None:
    """Each with its group, options, variables and words; directives stand behind ``hetjob``."""
    more = Component(
        resources=Resources(time="1", partition="standard", nodes=3, tasks_per_node=4, account="project_465000001"),
        launch=Launch(kind="srun", command=["loader", "a'; echo $(id) #"], log_per_rank=True),
    )
    made = job("srun", GPU, components=(more,))
    text = render(made, LUMI, loader, version="0", placement=placed(node.root / "job"))
    first, second = (dict(group) for group in components_of(read_directives(text)))
    assert ("standard-g", "2", "standard", "3") == (
        first["partition"],
        first["nodes"],
        second["partition"],
        second["nodes"],
    )
    assert ("a.t0", "4") == (second["job-name"], second["ntasks-per-node"])
    node.program("srun", '#!/bin/sh\nfor word; do printf \'%s\\0\' "$word"; done > "$ROOT/words"\n')
    done = node.run(text)
    assert (0, "") == (done.returncode, done.stderr)
    words = (node.root / "words").read_text().split("\0")[:-1]
    cut = words.index(":")
    assert ["--het-group=0", "program"] == [words[0], words[cut - 1]]
    assert ["--het-group=1", "--nodes=3", "--ntasks=12", "--ntasks-per-node=4"] == words[cut + 1 : cut + 5]
    assert f"--output={node.root}/job/%j.rank-%t.out" in words[cut:]
    assert ["task", "loader", "a'; echo $(id) #"] == words[-3:]


def test_a_template_that_drops_a_component_is_refused(own: Any) -> None:
    """Each component is compared by itself."""
    more = Component(resources=Resources(time="1"), launch=Launch(kind="srun", command=["x"]))
    made = job("srun", components=(more,))
    for template, words in (
        ("{% for pair in directives if pair[0] != 'hetjob' %}#SBATCH {{ pair | directive }}\n{% endfor %}", "hetjob"),
        ("{% for pair in directives[:-1] %}#SBATCH {{ pair | directive }}\n{% endfor %}", "--time=00:01:00 is missing"),
    ):
        with pytest.raises(InputError, match=words):
            render(made, LOCAL, own(srun=template), version="0")


def test_each_rank_has_a_log_of_its_own() -> None:
    """Beside the job's own log; a per cent sign in the folder is no pattern."""
    made = Job(
        name="a",
        resources=Resources(time="1"),
        launch=Launch(kind="srun", command=["x"], log_per_rank=True),
        array=Array(count=2),
    )
    placement = Placement(folder="/j/100%", token="t0", name="a.t0")
    found = prepare(made, LOCAL, placement, plan(made, LOCAL).parts[0])
    assert ("--output=/j/100%%/%A_%a.rank-%t.out", "--open-mode=append") == found.srun[-2:]


host = st.sampled_from(["", "nid[001-003,7]", "a1,b2", "x-[1-2]y.z"])
names = st.lists(st.from_regex(r"[1-9][0-9]{0,8}(_[0-9]{1,3})?", fullmatch=True), max_size=3)


@st.composite
def featured_jobs(draw: st.DrawFn) -> tuple[Site, Job]:
    """A legal job with features, in every combination that a job may have."""
    site = draw(st.sampled_from([LUMI, LOCAL]))
    base = dict(GPU) if site is LUMI else {"time": "1", "nodes": 2}
    kind = draw(st.sampled_from(["command", "srun", "torchrun"]))
    words = ["program", *draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=3))]
    made = Job(
        name="a",
        resources=Resources(
            **base,
            constraint=draw(st.sampled_from(["", "a&b", "[r1|r2]", "(a*2)&b"])),
            nodelist=draw(host),
            exclude=draw(host),
        ),
        launch=Launch(kind=kind, command=words),
    )
    changed: dict[str, Any] = {
        "signal": draw(st.sampled_from(["", "USR1@20", "B:TERM@1", "B:USR2@60"])),
        "requeue": draw(st.sampled_from([None, True, False])),
        "mail": draw(st.none() | st.builds(Mail, events=st.just(["END", "FAIL"]), user=st.sampled_from(["", "a@b.c"]))),
        "after": draw(
            st.none()
            | st.builds(After, ok=names, any=names, not_ok=names, started=names, corr=names, singleton=st.booleans())
        ),
    }
    shape = draw(st.sampled_from(["plain", "array", "chain", "components"]))
    if shape == "array":
        indices = draw(st.sets(st.integers(0, 2500), min_size=1, max_size=20))
        limit = draw(st.none() | st.integers(1, 9))
        changed["array"] = Array(tasks=write_indices(sorted(indices)), limit=limit)
    elif shape == "chain":
        changed["chain"] = Chain(total=str(draw(st.integers(1, 90))))
    elif shape == "components":
        launch = Launch(kind="srun", command=made.launch.command, log_per_rank=draw(st.booleans()))
        component = Component(resources=made.resources, launch=launch)
        changed |= {"launch": launch, "components": (component,) * draw(st.integers(1, 3))}
    return site, msgspec.structs.replace(made, **changed)


@given(featured_jobs())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_part_of_any_legal_job_renders(drawn: tuple[Site, Job]) -> None:
    """It reads back equal, bash finds no fault in it, and no line but the first ones is a directive."""
    site, made = drawn
    parts = plan(made, site).parts
    links = tuple(f"{JOBS}/t{part.number}" for part in parts)
    for part in (parts[0], parts[-1]):
        after = ("4711",) if part.after is not None else ()
        placement = Placement(folder=links[part.number], token="t0", name=f"{made.name}.t0", after=after, links=links)
        script = render(made, site, template_loader(NOWHERE), version="0", placement=placement, part=part)
        assert prepare(made, site, placement, part).directives == read_directives(script)
        assert 1 + len(made.components) == len(components_of(read_directives(script)))
        _, _, body = script.partition("\n\n")
        assert [] == [line for line in body.split("\n") if line.startswith(("#SBATCH", "#PBS", "#BSUB"))]
        done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False)
        assert (0, b"") == (done.returncode, done.stderr)


def test_a_chain_for_a_person_has_no_folder() -> None:
    """It tells its place, and nothing that only a submission has."""
    made = job(chain=Chain(total="2"))
    text = render(made, LOCAL, template_loader(NOWHERE), version="0")
    assert (True, True, False) == (
        "# Part 1 of 2;" in text,
        "export AIFA_CHAIN_LINK=0 AIFA_CHAIN_LINKS=2" in text,
        "AIFA_CHAIN_DONE=" in text,
    )


def test_a_container_sees_where_the_chain_ends() -> None:
    """The folder of the first link is bound, whatever else is."""
    made = job("srun", GPU, chain=Chain(total="2"), container=Container(image="/scratch/x.sif", bind=["/scratch/y"]))
    placement = Placement(folder="/j/t1", token="t1", name="a.t1", after=("1",), links=("/j/t0", "/j/t1"))
    words = prepare(made, LUMI, placement, plan(made, LUMI).parts[1]).program
    assert ["--bind=/scratch/y", "--bind=/j/t0", "/scratch/x.sif"] == list(words[-3:])
