"""Secrets are found whatever stands around them, never shown, and nothing else is taken for one."""

from __future__ import annotations

import base64
import hashlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.check import check, require
from aifa_hpc.jobs.decode import read_job
from aifa_hpc.jobs.secrets import hide, looks_secret, named_secret
from aifa_hpc.jobs.spec import Component, Container, Job, Launch, Resources
from aifa_hpc.sites.load import load_site

NOWHERE = Path("/nonexistent")
LETTERS = "aB3xY9kLmN0pQrS7tUvW2zCdE5fGhJ1iKoMnP4qRsT6uVwX8yZ"

# Made up here, of the issuers' forms; most in two parts so that no scanner of a checkout takes them for real ones.
FORMS = {
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a GitHub token": "ghp_" + LETTERS[:36],
    "a GitLab token": "glpat-" + LETTERS[:20],
    "a Hugging Face token": "hf_" + LETTERS[:34],
    "an Anthropic key": "sk-ant-api03-" + LETTERS[:40],
    "an OpenAI key": "sk-proj-" + LETTERS[:40],
    "a Slack token": "xoxb-" + "123456789012-" + LETTERS[:24],
    "a Slack webhook": "https://hooks.slack.com/services/" + "T00000000/B00000000/" + LETTERS[:24],
    "a Google key": "AIza" + LETTERS[:35],
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + LETTERS[:43],
    "a package index token": "pypi-AgE" + LETTERS + "0",
    "a presigned URL": "https://lumidata.eu/b/o?X-Amz-Expires=60&X-Amz-Signature=" + "0f" * 32,
}
FORMS["a container registry token"] = "dckr_pat_" + LETTERS[:27]

SAID = [
    ("--password=hunter2", "--password=***"),
    ("--password hunter2", "--password ***"),
    ("train.py --api-key abcd1234 --epochs 3", "train.py --api-key *** --epochs 3"),
    ("--wandb-token=abcdefghijklmnopqrst", "--wandb-token=***"),
    ("export WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567; run", "export WANDB_API_KEY=*** run"),
    ("PGPASSWORD=tiger psql", "PGPASSWORD=*** psql"),
    ('{"password": "tiger77"}', '{"password": "***"}'),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = ***"),
    ("https://ada:tiger@example.org/x.git", "https://ada:***@example.org/x.git"),
    ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: Bearer ***"),
    ("--token --password x1y2z3", "--token --password ***"),
    ('["run", "--password", "tiger77", "-v"]', '["run", "--password", "***", "-v"]'),
]

HARMLESS = [
    "python train.py --epochs 3 --lr 1e-4 --seed 1234567890",
    "/appl/local/laifs/containers/lumi-multitorch-u24r70f21m50t210-20260415_130625/lumi-multitorch-full-u24r70f21m5.sif",
    "docker://ghcr.io/org/image@sha256:" + hashlib.sha256(b"").hexdigest(),
    "git checkout " + hashlib.sha1(b"", usedforsecurity=False).hexdigest(),
    "sha512-" + base64.b64encode(hashlib.sha512(b"").digest()).decode(),
    "--checkpoint=/scratch/project_465000001/ada/run-2026-11-24T04:00:00Z/step_000123456.safetensors",
    "--eos-token </s> --pad-token=<pad> --mask_token=[MASK] --bos-token endoftext0001 --image-token-id 128256",
    "--max-tokens 4096 --num-tokens=1000000000000 --tokenizer=/e/project1/p/tokenizer.model --tokens-per-batch 65536",
    "--token=$HF_TOKEN --password=${PASSWORD} --api-key=$(cat key)",
    "--password-file=/users/ada/.pw --token-file key.txt --secret=config/secret.yaml --token ~/.cache/token",
    "--use-auth-token=True --token=auto --token none --password prompt",
    "s3://bucket/prefix?versionId=3HL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
    "ssh://git@example.org:22/x.git http://user@host/x postgres://db:5432/x?a=b@c",
    "https://ada:$PASSWORD@example.org/ tcp://10.0.0.1:29500",
    "the secret of good science: patience, and a password policy",
    "dataset=hf_transfer_enabled model=sk-learn-random-forest-classifier-with-many-trees-and-a-long-name",
    "task-management-with-a-very-long-name-0123456789-0123456789-0123456789-0123456789",
    "nid[005001-007952,007954-007977] 0xfe000000000000,0xfe00000000000000",
    "550e8400-e29b-41d4-a716-446655440000",
    "import os; login(token=os.environ['HF_TOKEN'], password=getpass(), secret=args.secret, api_key=api_key)",
]

NAMED = ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "DB_PASSWORD"]
NAMED += ["PGPASSWORD", "MLFLOW_TRACKING_PASSWORD", "CLEARML_API_SECRET_KEY", "KAGGLE_KEY", "GITHUB_PAT", "SSHPASS"]
UNNAMED = [
    ("TOKENIZERS_PARALLELISM", "false"),
    ("HF_TOKEN_PATH", "/users/ada/.token"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "/users/ada/key.json"),
    ("HF_TOKEN", ""),
    ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
    ("PAD_TOKEN", "endoftext"),
    ("MAX_TOKEN", "4096"),
    ("PATH", "/usr/bin"),
    ("PWD", "/users/ada"),
    ("SORT_KEY", "name"),
]


def job(*command: str, name: str = "digits", env: dict[str, str] | None = None, **more: object) -> Job:
    """A good job for LUMI with a command."""
    asked = Resources(
        partition="standard-g",
        gpus_per_node=8,
        time="00:10:00",
        account="project_465000001",  # type: ignore[arg-type] # text
    )
    launch = Launch(kind="srun", command=command or ("python", "train.py"))
    return Job(name=name, resources=asked, launch=launch, env=env or {}, **more)  # type: ignore[arg-type] # fields


@pytest.mark.parametrize("why", FORMS)
def test_each_issuers_form_is_found(why: str) -> None:
    """A form is known by itself and inside a line, and none of it is shown."""
    for text in (FORMS[why], f"curl -H X:{FORMS[why]}", f"a='{FORMS[why]}' b"):
        assert why == looks_secret(text)
        assert FORMS[why][-20:] not in hide(text)


@pytest.mark.parametrize(("text", "hidden"), SAID)
def test_values_that_are_called_secret_are_found(text: str, hidden: str) -> None:
    """A word that says what follows is enough, and only what follows is hidden."""
    assert looks_secret(text)
    assert hidden == hide(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_nothing_else_is_taken_for_a_secret(text: str) -> None:
    """Paths, digests, commits, images, words of training programs and references to secrets pass."""
    assert "" == looks_secret(text)
    assert text == hide(text)


@pytest.mark.parametrize("name", NAMED)
def test_a_variable_may_be_secret_by_its_name(name: str) -> None:
    """Whatever its value looks like."""
    for value in ("abcdefgh", "my_password", "correct(horse", "a.b", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"):
        assert "secret by its name" == named_secret(name, value)
    assert "secret by its name" == named_secret(f"SINGULARITYENV_{name}", "abcdefgh") or name in {
        "KAGGLE_KEY",
        "SSHPASS",
    }


@pytest.mark.parametrize(("name", "value"), UNNAMED)
def test_other_variables_are_not(name: str, value: str) -> None:
    """Paths, switches, numbers and pieces of text for models."""
    assert "" == named_secret(name, value)


DIGESTS = st.binary(max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())
PARTS = st.text(string.ascii_letters + string.digits + "._-+", min_size=1, max_size=60)
PATHS = st.lists(PARTS, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))
IMAGES = st.tuples(PATHS, DIGESTS).map(lambda pair: f"docker://registry{pair[0]}@sha256:{pair[1]}")


@given(st.one_of(DIGESTS, DIGESTS.map(lambda text: text[:40]), PATHS, IMAGES, st.uuids().map(str)))
def test_no_digest_path_or_image_is_a_secret(text: str) -> None:
    """Whatever is in them."""
    assert "" == looks_secret(text)


@given(st.text(max_size=40), st.sampled_from(sorted(FORMS)), st.text(max_size=40))
def test_hiding_ends_and_leaves_no_form(before: str, why: str, behind: str) -> None:
    """A token between any other text is gone, and hiding again changes nothing."""
    hidden = hide(f"{before} {FORMS[why]} {behind}")
    assert FORMS[why] not in hidden
    assert hidden == hide(hidden)


@given(st.text(max_size=300))
def test_any_text_has_an_answer(text: str) -> None:
    """Hiding changes a text exactly when a secret was found in it."""
    assert bool(looks_secret(text)) == (hide(text) != text)


def test_check_names_the_place_and_not_the_secret() -> None:
    """Each field of a job is looked at; messages hold none of the values, also those of other problems."""
    secret = FORMS["a Hugging Face token"]
    bad = job(
        "/home/ada/run", "--token", secret, "--password", "correct horse battery",
        name=secret,
        env={"HF_TOKEN": "swordfish", "OTHER": f"x {secret}"},
        workdir=f"/home/{secret}",
        container=Container(image=f"/scratch/{secret}.sif", bind=(f"/scratch/{secret}",)),
        components=(Component(resources=Resources(time="1"), launch=Launch(kind="srun", command=("run", secret))),),  # type: ignore[arg-type] # text
    )  # fmt: skip
    problems = [problem for problem in check(bad, load_site("lumi", NOWHERE)) if "0600" in problem.rule]
    keys = (
        "name workdir launch.command components[0].launch.command container.image container.bind env.HF_TOKEN env.OTHER"
    )
    assert keys.split() == [problem.key for problem in problems]
    assert {"error"} == {problem.severity for problem in problems}
    with pytest.raises(InputError) as refused:
        require(bad, load_site("lumi", NOWHERE))
    for hidden in (secret, "swordfish", "horse", "battery"):
        assert hidden not in str(refused.value)
    assert "/home/ada/run --token ***" in str(refused.value)
    assert "HF_TOKEN_PATH" in str(refused.value)


def test_a_command_with_a_secret_is_shown_by_no_other_problem() -> None:
    """The rule for torchrun would show the whole command."""
    bad = Job(
        name="digits",
        resources=job().resources,
        launch=Launch(kind="torchrun", command=("python", "train.py", "--password", "tiger")),
    )
    problems = check(bad, load_site("lumi", NOWHERE))
    assert [("***", ""), ("python train.py --password ***", "")] == [(each.value, each.nearest) for each in problems]


SLIPS = [
    """name = "x"\n[launch]\ncommand = "python t.py --token SECRET"\n[resources]\ntime = "1"\n""",
    """name = "x"\n[launch]\nkind = "shell"\ncommand = []\n[resources]\ntime = "SECRET"\n""",
    """name = "x"\n[launch]\ncommand = ["a"]\n[resources]\ntime = "1"\n[env]\nHF_TOKEN = 123456789\nX = ["SECRET"]\n""",
    """name = "SECRET x"\nworkdir = "SECRET"\n[launch]\ncommand = ["a"]\n[resources]\ntime = "1"\n""",
    """name = "x"\nsignal = "SECRET"\n[launch]\ncommand = "run --password 'tiger77'"\n[resources]\ntime = "1"\n""",
]


@pytest.mark.parametrize("text", SLIPS)
def test_a_job_file_that_cannot_be_used_is_quoted_without_its_secrets(text: str) -> None:
    """Errors of form show values too."""
    secret = FORMS["a GitHub token"]
    with pytest.raises(InputError) as refused:
        read_job(text.replace("SECRET", secret))
    for hidden in (secret, "tiger77", "123456789"):
        assert hidden not in str(refused.value)
