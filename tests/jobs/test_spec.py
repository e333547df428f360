"""The job file and the job: strict, with the path to every slip, and the same value from text and from Python."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources
from aifa_hpc.units import Memory, Walltime

TOML = """
name = "digits"
workdir = "/scratch/project_465000001/ada"
[resources]
partition = "standard-g"
nodes = 2
gpus_per_node = 8
time = "00:30:00"
memory = "480G"
account = "project_465000001"
[launch]
kind = "srun"
command = ["python", "train.py", "--name", "it's"]
[container]
image = "/appl/local/laifs/containers/some.sif"
bind = ["/scratch", "/flash/x.sqsh:/user-software:image-src=/"]
[env]
OMP_NUM_THREADS = "7"
"""


def simple(**changes: object) -> Job:
    """A job with some fields changed."""
    fields = {"name": "a", "resources": Resources(time="1"), "launch": Launch(command=["true"])} | changes
    return Job(**fields)


def test_text_and_python_are_equal() -> None:
    """The job file and the objects are one model."""
    expected = Job(
        name="digits",
        workdir="/scratch/project_465000001/ada",
        resources=Resources(
            partition="standard-g",
            nodes=2,
            gpus_per_node=8,
            time="00:30:00",
            memory="480G",
            account="project_465000001",
        ),
        launch=Launch(kind="srun", command=["python", "train.py", "--name", "it's"]),
        container=Container(
            image="/appl/local/laifs/containers/some.sif",
            bind=["/scratch", "/flash/x.sqsh:/user-software:image-src=/"],
        ),
        env={"OMP_NUM_THREADS": "7"},
    )
    assert expected == read_job(TOML)
    assert (expected.resources.time, expected.resources.memory) == (Walltime(1800), Memory(480 * 2**30))


def problems_of(text: str) -> dict[str, tuple[str, str]]:
    """Value and nearest legal value of each problem, by key."""
    with pytest.raises(InputError, match=r"job\.toml") as caught:
        read_job(text, "job.toml")
    assert caught.value.exit_code == 2
    return {problem.key: (problem.value, problem.nearest) for problem in caught.value.problems}


def test_everything_wrong_is_said_at_once() -> None:
    """Unknown keys, wrong types and bad units come with their whole path and the nearest key."""
    found = problems_of(
        """
        name = "my run"
        colour = 1
        workdir = "here"
        [resources]
        partitoin = "x"
        nodes = "2"
        time = 30
        memory = "lots"
        [launch]
        command = "python x.py"
        kind = "sruun"
        [env]
        A = 7
        """
    )
    assert found == {
        "name": ('"my run"', "my-run"),
        "colour": ("1", found["colour"][1]),
        "workdir": ('"here"', ""),
        "resources.partitoin": ('"x"', "partition"),
        "resources.nodes": ('"2"', ""),
        "resources.time": ("30", ""),
        "resources.memory": ('"lots"', ""),
        "launch.command": ('"python x.py"', '["python", "x.py"]'),
        "launch.kind": ('"sruun"', "srun"),
        "env.A": ("7", '"7"'),
    }


def test_a_key_in_the_wrong_table_is_sent_to_its_own() -> None:
    """Where it belongs is said, and not what it looks like."""
    found = problems_of('account = "project_465000001"\nkind = "srun"\n' + TOML)
    assert {"account": "resources.account", "kind": "launch.kind"} == {key: near for key, (_, near) in found.items()}


def test_every_bad_value_is_said_at_once() -> None:
    """Values of the right type that no job may have, over all tables."""
    found = problems_of(
        """
        name = "-x"
        [resources]
        nodes = 0
        gpus_per_node = -1
        tasks_per_node = 0
        cpus_per_task = 0
        time = "0"
        memory = "0"
        account = "a b"
        [launch]
        command = []
        [container]
        image = "image.sif"
        bind = ["/a,/b"]
        [env]
        "a-b" = "x"
        UID = "0"
        aifa_folder = "/"
        """
    )
    assert found == {
        "name": ('"-x"', "x"),
        "resources.nodes": ("0", "1"),
        "resources.gpus_per_node": ("-1", "0"),
        "resources.tasks_per_node": ("0", "1"),
        "resources.cpus_per_task": ("0", "1"),
        "resources.time": ("00:00:00", "00:01:00"),
        "resources.memory": ("0K", "1G"),
        "resources.account": ('"a b"', ""),
        "launch.command": ("[]", '["python", "train.py"]'),
        "container.image": ('"image.sif"', ""),
        "container.bind": ('"/a,/b"', ""),
        "env.a-b": ("", ""),
        "env.UID": ("", ""),
        "env.aifa_folder": ("", ""),
    }


def test_what_is_missing() -> None:
    """Missing tables and keys are named."""
    assert problems_of('name = "a"\n[resources]').keys() == {"resources.time", "launch"}


def test_not_toml() -> None:
    """Broken TOML says where it breaks."""
    with pytest.raises(InputError, match=r"job\.toml is not valid TOML.*line 1"):
        read_job("name = x y", "job.toml")


SMUGGLED = ["a\n#SBATCH --account=other", "a\r\n#PBS -q other", "a\u2028b", "a\0b", "\ud800"]


@pytest.mark.parametrize("text", SMUGGLED)
@pytest.mark.parametrize("key", ["partition", "account", "qos", "reservation"])
def test_line_breaks_are_refused_in_resources(key: str, text: str) -> None:
    """Whatever becomes a directive holds one line."""
    with pytest.raises(ParseError, match=key):
        Resources(time="1", **{key: text})


@pytest.mark.parametrize("text", SMUGGLED)
def test_line_breaks_are_refused_in_names_and_paths(text: str) -> None:
    """Names and paths hold one line of text."""
    path = f"/{text}"
    for make in (
        lambda: simple(name=text),
        lambda: simple(workdir=path),
        lambda: simple(env={text: "x"}),
        lambda: Container(image=path),
        lambda: Container(image="/x", bind=[path]),
        lambda: Container(image="/x", bind=[f"/x:{path}"]),
    ):
        with pytest.raises(ParseError):
            make()


@pytest.mark.parametrize("text", ["a\0b", "\ud800", 7])
def test_words_and_values_are_text(text: object) -> None:
    """A program can be given any text, but no NUL, nothing UTF-8 cannot encode, and no number."""
    with pytest.raises(ParseError, match="command"):
        Launch(command=["a", text])  # type: ignore[arg-type] # the point of the test
    with pytest.raises(ParseError, match=r"env\.X"):
        simple(env={"X": text})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resources(time=30),  # type: ignore[arg-type] # the point of the test
        lambda: Resources(time="1", nodes=True),
        lambda: Resources(time="1", nodes="2"),  # type: ignore[arg-type] # as above
        lambda: Resources(time="1", memory=480),  # type: ignore[arg-type] # as above
        lambda: Resources(time=None),  # type: ignore[arg-type] # as above
        lambda: Launch(command="python x.py"),  # type: ignore[arg-type] # as above
        lambda: Launch(command=["x"], kind="mpirun"),  # type: ignore[arg-type] # as above
        lambda: Launch(command=[""]),
        lambda: Container(image="/x", bind="/scratch"),  # type: ignore[arg-type] # as above
        lambda: Container(image="/x", bind=["/a:b"]),
        lambda: Container(image="/x", bind=["/a:/b:ro:x"]),
    ],
)
def test_python_forms_are_checked_too(make: object) -> None:
    """A value that exists is well formed, whoever made it."""
    with pytest.raises(ParseError):
        make()  # type: ignore[operator] # one of the lambdas above


def test_a_job_keeps_its_own_environment() -> None:
    """Changing the dictionary afterwards does not change the job."""
    env = {"A": "1"}
    job = simple(env=env)
    env["B\n"] = "2"
    assert {"A": "1"} == dict(job.env)


words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,9}", fullmatch=True)
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
paths = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters=":,"), max_size=10).map(
    lambda tail: f"/{tail}"
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True)
variables = st.from_regex(r"[A-Z][A-Z0-9_]{3,9}", fullmatch=True).filter(lambda name: name not in {"EUID", "PPID"})
resources = st.builds(
    Resources,
    time=st.integers(1, 10**9).map(Walltime),
    partition=words | st.just(""),
    nodes=st.integers(1, 10**6),
    gpus_per_node=st.integers(0, 16),
    tasks_per_node=st.none() | st.integers(1, 500),
    cpus_per_task=st.none() | st.integers(1, 500),
    memory=st.none() | st.integers(1, 2**50).map(Memory),
    account=words | st.just(""),
    qos=words | st.just(""),
    reservation=words | st.just(""),
)
launches = st.builds(
    Launch,
    kind=st.sampled_from(["command", "srun", "torchrun"]),
    command=st.lists(text, min_size=1, max_size=4).filter(lambda words: words[0] != ""),
)
jobs = st.builds(
    Job,
    name=names,
    resources=resources,
    launch=launches,
    container=st.none() | st.builds(Container, image=paths, bind=st.lists(paths, max_size=2)),
    env=st.dictionaries(variables, text, max_size=3),
    workdir=paths | st.just(""),
)


def to_toml(job: Job) -> str:
    """A job file of a job; JSON strings are TOML strings but for the delete character."""
    lines = []
    table = msgspec.to_builtins(job, enc_hook=str)
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    for header, pairs in [("", {key: table[key] for key in table.keys() - tables}), *tables.items()]:
        lines += [f"[{header}]"] if header else []
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in pairs.items()]
    return "\n".join(lines).replace("\x7f", "\\u007f")


@given(jobs)
def test_a_job_survives_its_file(job: Job) -> None:
    """Any job that exists re-encodes, and decodes to itself."""
    assert job == read_job(to_toml(job))
