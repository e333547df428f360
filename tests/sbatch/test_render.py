"""Quoting proved by running scripts, templates of the user's own, and signals."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources
from aifa_hpc.sbatch.placement import Placement
from aifa_hpc.sbatch.prepare import prepare
from aifa_hpc.sbatch.quoting import quote
from aifa_hpc.sbatch.render import render
from aifa_hpc.sbatch.reread import read_directives
from aifa_hpc.sites.load import load_site, profile_names

if TYPE_CHECKING:
    import jinja2
    from conftest import Node

NOWHERE = Path("/nonexistent")
LUMI = load_site("lumi", NOWHERE)
JUPITER = load_site("jupiter", NOWHERE)
LOCAL = load_site("local", NOWHERE)
NASTY = [
    "a'; echo $(id) #",
    '"$(touch pwned)"',
    "`touch pwned`",
    "$HOME ${USER} !! \\",
    "two\nlines",
    "\n#SBATCH --account=other\n#PBS -q other\n#BSUB -q other",
    "tab\t bell\a cr\r esc\x1b del\x7f",
    "ünï ☃ \u2028 \x85",
    "-n",
    "",
    "*",
    "~",
    "{{ job }} {% raw %}",
]


def job(
    kind: str = "command", command: tuple[str, ...] = ("program",), resources: dict[str, Any] | None = None, **more: Any
) -> Job:
    """A small job."""
    launch = Launch(kind=kind, command=command)  # type: ignore[arg-type] # one of the three
    return Job(name="a", resources=Resources(**{"time": "1"} | (resources or {})), launch=launch, **more)


def gpu_job(site: str, kind: str, command: tuple[str, ...] = ("program",), **more: Any) -> Job:
    """A job on whole GPU nodes."""
    asked = {
        "lumi": {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001", "nodes": 2},
        "jupiter": {"partition": "booster", "gpus_per_node": 4, "account": "jureap59", "nodes": 2},
    }
    return job(kind, command, asked[site], **more)


def placed(folder: Path) -> Placement:
    """A placement in a folder that exists."""
    folder.mkdir(parents=True, exist_ok=True)
    return Placement(folder=str(folder), token="t0", name="a-t0")


@pytest.mark.parametrize("kind", ["command", "srun", "torchrun"])
def test_words_and_variables_arrive_as_they_are(kind: str, node: Node, loader: jinja2.BaseLoader) -> None:
    """Each nasty word reaches the program as one argument, each nasty value as the variable's value."""
    command = tuple(NASTY) if kind == "torchrun" else ("program", *NASTY)
    env = {f"NASTY_{number}": text for number, text in enumerate(NASTY)}
    text = render(job(kind, command, env=env), LOCAL, loader, version="0", placement=placed(node.root / "job"))
    done = node.run(text)
    assert (0, "") == (done.returncode, done.stderr)
    (call,) = node.calls("torchrun" if kind == "torchrun" else "program")
    assert NASTY == call.argv[-len(NASTY) :]
    assert env == {name: value for name, value in call.env.items() if name.startswith("NASTY_")}
    assert [] == list(node.root.rglob("pwned"))


@pytest.mark.parametrize("folder", ["a b", "a'; echo $(id) #", '"q"', "$(touch pwned)", "ünï", "100%", "-x"])
def test_folders_arrive_as_they_are(folder: str, node: Node, loader: jinja2.BaseLoader) -> None:
    """Images, binds and job folders of any name reach the container program; the sentinel lands in its folder."""
    place = placed(node.root / "jobs" / folder)
    work = node.root / folder
    container = Container(image=f"{work}/x.sif", bind=[f"{work}:/data"])
    asked = gpu_job("lumi", "srun", ("program", "x"), container=container, env={"TORCH_HOME": str(work)})
    if set(folder) & set("'\""):
        with pytest.raises(InputError, match="--output"):
            render(asked, LUMI, loader, version="0", placement=place)
        text = render(asked, LUMI, loader, version="0")
    else:
        text = render(asked, LUMI, loader, version="0", placement=place)
    done = node.run(text)
    assert (0, "") == (done.returncode, done.stderr)
    (call,) = node.calls("singularity")
    assert ["run", f"--bind={work}:/data", f"{work}/x.sif", "program", "x"] == call.argv
    assert str(work) == call.env["TORCH_HOME"]
    assert [] == list(node.root.rglob("pwned"))
    if "aifa_folder" in text:
        assert ["4711", "0", "0"] == (Path(place.folder) / "exit").read_text().split()[:3]
        outputs = dict(read_directives(text))["output"]
        assert f"{place.folder.replace('%', '%%')}/%j.out" == outputs


@pytest.mark.parametrize("text", NASTY)
def test_no_value_begins_a_line(text: str, loader: jinja2.BaseLoader) -> None:
    """Sbatch obeys #PBS lines anywhere in a script, also inside quotes, so a value never holds a line break."""
    asked = job("srun", ("program", text), env={"X": text})
    lines = render(asked, LOCAL, loader, version="0").splitlines()
    assert [] == [
        line for line in lines if line.startswith(("#PBS", "#BSUB")) or "other" in line.partition("#SBATCH")[0][:1]
    ]
    assert read_directives("\n".join(lines)) == prepare(asked, LOCAL).directives


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=50, deadline=None)
def test_quoting_is_exact(text: str) -> None:
    """Bash reads back what was quoted, byte for byte, from a single line."""
    quoted = str(quote(text))
    assert 1 == len(quoted.splitlines() or [""])
    done = subprocess.run(["bash"], input=f"printf %s {quoted}".encode(), capture_output=True, check=True)
    assert text.encode() == done.stdout


@pytest.mark.parametrize("value", [7, True, ("a b", "c"), ["x", ("y z",)], 1.5])
def test_other_values_are_quoted_too(value: object) -> None:
    """Whatever a template prints is a word or words."""
    expected = {"7": "7", "True": "True", "('a b', 'c')": "'a b' c", "['x', ('y z',)]": "x 'y z'", "1.5": "1.5"}
    assert expected[str(value)] == quote(value)


@pytest.mark.parametrize("code", [0, 1, 42, 255])
@pytest.mark.parametrize("kind", ["command", "srun", "torchrun"])
def test_the_sentinel_has_the_programs_exit_code(kind: str, code: int, node: Node, loader: jinja2.BaseLoader) -> None:
    """Job id, restarts, code and time stand in the sentinel, and the script ends with the same code."""
    for name in ("program", "torchrun"):
        node.program(name, f"#!/bin/sh\nexit {code}\n")
    place = placed(node.root / "job")
    (node.root / "job" / "exit").write_text("an old one")
    done = node.run(render(job(kind), LOCAL, loader, version="0", placement=place), SLURM_RESTART_COUNT="2")
    assert code == done.returncode
    words = (node.root / "job" / "exit").read_text().split()
    assert ["4711", "2", str(code)] == words[:3]
    assert 1 << 30 < int(words[3])
    assert ["exit"] == [path.name for path in (node.root / "job").iterdir()]


def test_a_pipe_that_breaks_is_not_hidden(node: Node, own: Any) -> None:
    """A template with a pipe fails when its first part does."""
    loader = own(command="{% extends 'packaged/command.sbatch.j2' %}{% block launch %}false | cat\n{% endblock %}")
    place = placed(node.root / "job")
    assert node.run(render(job(), LOCAL, loader, version="0", placement=place)).returncode == 1
    assert (node.root / "job" / "exit").read_text().split()[2] == "1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_is_no_success(number: signal.Signals, code: int, node: Node, loader: jinja2.BaseLoader) -> None:
    """A script that is told to end writes the signal's code, not that of a command that ended well before."""
    node.program("program", '#!/bin/sh\ntouch "$ROOT/started"\nsleep 0.3\n')
    text = render(job(), LOCAL, loader, version="0", placement=placed(node.root / "job"))
    with node.start(f"{text}\ntrue\nsleep 5\n") as process:
        while not (node.root / "started").exists():
            threading.Event().wait(0.01)
        process.send_signal(number)
    assert code == process.returncode
    assert (node.root / "job" / "exit").read_text().split()[2] == str(code)


def test_a_module_that_is_missing_ends_the_job(node: Node, loader: jinja2.BaseLoader) -> None:
    """Nothing runs in half an environment, and the sentinel says that it failed."""
    (node.root / ".bash_profile").write_text("module() { return 1; }\n")
    text = render(gpu_job("jupiter", "srun"), JUPITER, loader, version="0", placement=placed(node.root / "job"))
    assert node.run(text).returncode == 1
    assert [] == node.calls("srun")
    assert (node.root / "job" / "exit").read_text().split()[2] == "1"


@pytest.mark.parametrize("program", ["scontrol", "getent"])
def test_no_rendezvous_ends_the_job(program: str, node: Node, loader: jinja2.BaseLoader) -> None:
    """Without an address ranks would wait for each other until the walltime is over."""
    node.program(program, "#!/bin/sh\nexit 2\n")
    text = render(gpu_job("jupiter", "torchrun"), JUPITER, loader, version="0")
    assert node.run(text).returncode != 0
    assert [] == node.calls("srun")


def environment(node: Node, program: str = "program") -> dict[str, str]:
    """The variables the program saw."""
    (call,) = node.calls(program)
    return call.env


def test_lumi_for_real(node: Node, loader: jinja2.BaseLoader) -> None:
    """What a rank on LUMI is given: its GPU, its rank, caches on its own node, modules loaded before."""
    done = node.run(render(gpu_job("lumi", "srun"), LUMI, loader, version="0"))
    assert (0, "") == (done.returncode, done.stderr)
    env = environment(node)
    assert {
        "ROCR_VISIBLE_DEVICES": "3",
        "RANK": "3",
        "WORLD_SIZE": "16",
        "LOCAL_WORLD_SIZE": "8",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "nid005001",
        "MASTER_PORT": "14711",
        "OMP_NUM_THREADS": "7",
        "MPICH_GPU_SUPPORT_ENABLED": "1",
        "NCCL_SOCKET_IFNAME": "hsn0,hsn1,hsn2,hsn3",
        "HF_HOME": f"/scratch/project_1/{node.user}/cache/huggingface",
        "MIOPEN_USER_DB_PATH": f"/tmp/miopen-{node.user}-4711",
    }.items() <= env.items()
    folder = Path(env["MIOPEN_USER_DB_PATH"])
    assert (True, 0o700) == (folder.is_dir(), folder.stat().st_mode & 0o777)
    assert (node.root / "modules.log").read_text().splitlines() == ["module purge"]


def test_jupiter_for_real(node: Node, loader: jinja2.BaseLoader) -> None:
    """What an agent of torchrun on JUPITER is given: all GPUs, an IPv4 address, node 0 as host."""
    text = render(gpu_job("jupiter", "torchrun", ("train.py", "--x")), JUPITER, loader, version="0")
    done = node.run(text, SLURM_NODEID="1")
    assert (0, "") == (done.returncode, done.stderr)
    assert {
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "MASTER_ADDR": "10.0.0.1",
        "PET_RDZV_CONF": "is_host=0",
        "HF_HUB_OFFLINE": "1",
    }.items() <= environment(node, "torchrun").items()
    (call,) = node.calls("torchrun")
    assert call.argv == [
        "--nnodes=2",
        "--nproc_per_node=4",
        "--rdzv_backend=c10d",
        "--rdzv_id=4711",
        "--rdzv_endpoint=10.0.0.1:14711",
        "train.py",
        "--x",
    ]
    assert (node.root / "modules.log").read_text().splitlines() == ["module load Stages/2026"]


@pytest.mark.parametrize(
    ("site", "kind", "variable"),
    [
        (LUMI, "srun", "OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-7}"),
        (LUMI, "srun", "MIOPEN_USER_DB_PATH=/tmp/miopen-$USER-$SLURM_JOB_ID"),
        (LUMI, "srun", "ROCR_VISIBLE_DEVICES=$SLURM_LOCALID"),
        (LUMI, "srun", "RANK=$SLURM_PROCID"),
        (JUPITER, "torchrun", "CUDA_VISIBLE_DEVICES=0,1,2,3"),
        (JUPITER, "srun", "CUDA_VISIBLE_DEVICES=$SLURM_LOCALID"),
        (LUMI, "srun", "MASTER_PORT="),
        (LUMI, "srun", "MASTER_ADDR="),
        (LUMI, "torchrun", "PET_RDZV_CONF="),
    ],
)
def test_the_users_value_wins_and_says_so(
    site: Any, kind: str, variable: str, node: Node, loader: jinja2.BaseLoader
) -> None:
    """A variable of the job is set to its own value in every task, and the script tells what it replaced."""
    name, _, preset = variable.partition("=")
    text = render(gpu_job(site.name, kind, env={name: "my own"}), site, loader, version="0")
    assert 1 == text.count(f"export {name}=")
    if preset:
        assert f"# yours, in place of {preset}\nexport {name}='my own'\n" in text
    done = node.run(text)
    assert (0, "") == (done.returncode, done.stderr)
    assert environment(node, "torchrun" if kind == "torchrun" else "program")[name] == "my own"


def test_a_rank_that_sees_all_gpus_keeps_its_number(node: Node, loader: jinja2.BaseLoader) -> None:
    """Who shows every rank all GPUs picks them by LOCAL_RANK."""
    asked = gpu_job("jupiter", "srun", env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    node.run(render(asked, JUPITER, loader, version="0"))
    env = environment(node)
    assert ("3", "0,1,2,3") == (env["LOCAL_RANK"], env["CUDA_VISIBLE_DEVICES"])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ pratition }}", "'pratition' is undefined"),
        ("{{ job.resources.nodez }}", "nodez"),
        ("#!/bin/bash\ntrue\n", "--job-name=a is missing"),
        (
            "{% for pair in directives if pair[0] != 'time' %}#SBATCH {{ pair | directive }}\n{% endfor %}",
            "--time=00:01:00 is missing",
        ),
        (
            "{% for pair in directives %}#SBATCH {{ pair | directive }}\n{% endfor %}#SBATCH --time=9\n",
            "--time=9 is there",
        ),
        ("{% for pair in directives %}#SBATCH {{ pair | directive }}\n{% endfor %}#SBATCH -t9\n", "--time=9 is there"),
        ("echo\n{% for pair in directives %}#SBATCH {{ pair | directive }}\n{% endfor %}", "is missing"),
        ("{% extends 'bse.sbatch.j2' %}", r"bse\.sbatch\.j2 is not found"),
        ("a\n{% for x %}", "line 2"),
        ("a\n{{ 1 / 0 }}", "division by zero"),
        ("a\nb\n{{ job.container }}", "line 3 of command.*None"),
        ("{{ job.name() }}", "not callable"),
    ],
)
def test_broken_templates_are_told(template: str, words: str, own: Any) -> None:
    """A template that cannot be used is refused with its name and the reason."""
    with pytest.raises(InputError, match=rf"(?s)template .*{words}"):
        render(job(), LOCAL, own(command=template), version="0")


def test_a_template_may_add_to_a_packaged_one(node: Node, own: Any) -> None:
    """``super()`` keeps what a block had, macros and set blocks lay out text, and values are still quoted."""
    loader = own(
        command="{% extends 'packaged/command.sbatch.j2' %}"
        "{% macro twice(x) %}program {{ x }} {{ x }}{% endmacro %}"
        "{% block launch %}{% set line %}program one{% endset %}{{ line }}\n"
        "{{ twice(job.env.X) }}\n{{ super() }}{% endblock %}"
    )
    done = node.run(render(job(env={"X": "a'; id #"}), LOCAL, loader, version="0"))
    assert (0, "") == (done.returncode, done.stderr)
    assert [["one"], ["a'; id #"] * 2, []] == [call.argv for call in node.calls("program")]


def test_a_template_of_the_same_name_comes_first(own: Any) -> None:
    """The user's own base replaces the packaged one."""
    loader = own(base="{% for pair in directives %}#SBATCH {{ pair | directive }}\n{% endfor %}echo mine\n")
    assert render(job(), LOCAL, loader, version="0").endswith("echo mine\n")


def test_a_draft_renders_nothing(loader: jinja2.BaseLoader) -> None:
    """A site whose facts are not public is refused."""
    with pytest.raises(InputError, match="draft"):
        render(job(), load_site("lumi2", NOWHERE), loader, version="0")


def test_what_check_refuses_render_does_not_guess(loader: jinja2.BaseLoader) -> None:
    """Without its partition or launch kind nothing can be decided."""
    with pytest.raises(InputError, match="partition 'nope'"):
        render(job(resources={"partition": "nope"}), LOCAL, loader, version="0")
    site = msgspec.structs.replace(LOCAL, launch={"srun": LOCAL.launch["srun"]})
    with pytest.raises(InputError, match="no launch kind 'command'"):
        render(job(), site, loader, version="0")
    with pytest.raises(InputError, match="no containers"):
        render(job(container=Container(image="/x.sif")), LOCAL, loader, version="0")


@pytest.mark.parametrize("name", profile_names())
def test_presets_stay_in_their_quotes(name: str) -> None:
    """What a profile puts between double quotes ends neither them nor the line, and runs nothing."""
    site = load_site(name, NOWHERE)
    for variable, preset in site.variables.items():
        assert not set('"`\\\n') & set(preset.value), variable
        assert "$(" not in preset.value, variable
    for kind, shape in site.launch.items():
        assert "\n" not in shape.master_addr, kind
