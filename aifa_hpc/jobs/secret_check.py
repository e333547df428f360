"""What :func:`aifa_hpc.jobs.check.check` says of secrets: places of a job that everybody on a site could read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import Problem
from aifa_hpc.jobs.secrets import MASK, looks_secret, named_secret, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aifa_hpc.jobs.spec import Job

_SOURCE = "LUMI user guide, runjobs/lumi_env/privacy-on-system.md; proc_pid_cmdline(5)"
_INSTEAD = (
    "everybody on the site can see names, comments and command lines, and Slurm keeps scripts;"
    " put it into a file of mode 0600 on the site and let the program read that{example}"
)
# Programs that read a file by themselves: part of the variable's name, and how they are told.
_FILES = (
    ("HF_TOKEN", "HF_TOKEN_PATH"),
    ("HUGGING", "HF_TOKEN_PATH"),
    ("AWS_", "AWS_SHARED_CREDENTIALS_FILE"),
    ("WANDB", "NETRC"),
    ("KAGGLE", "KAGGLE_CONFIG_DIR"),
    ("PGPASSWORD", "PGPASSFILE"),
    ("RESTIC", "RESTIC_PASSWORD_FILE"),
)


def check_secrets(job: Job) -> Iterator[Problem]:
    """Every place of a job that holds a secret; no message holds the secret itself."""
    places = [("name", job.name), ("workdir", job.workdir), ("launch.command", " ".join(job.launch.command))]
    for index, part in enumerate(job.components):
        places.append((f"components[{index}].launch.command", " ".join(part.launch.command)))
    if job.container is not None:
        places += [("container.image", job.container.image), ("container.bind", " ".join(job.container.bind))]
    for key, text in places:
        if why := looks_secret(text):
            yield _problem(key, shown(text), f"holds what looks like {why}", "")
    for name, value in job.env.items():
        if why := named_secret(name, value):
            yield _problem(f"env.{name}", MASK, f"is {why}", name)
        elif why := looks_secret(value):
            yield _problem(f"env.{name}", shown(value), f"holds what looks like {why}", name)


def add_secrets(job: Job, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems of a job and those of its secrets; other problems of the same field no longer show its value."""
    found = {problem.key: problem for problem in check_secrets(job)}
    others = [replace(other, value=MASK, nearest="") if other.key in found else other for other in problems]
    return (*others, *found.values())


def _problem(key: str, value: str, rule: str, name: str) -> Problem:
    file = next((how for part, how in _FILES if part in name), "HF_TOKEN_PATH" if "Hugging" in rule else "")
    example = f" ({file} names it)" if file else ""
    return Problem(key=key, value=value, rule=f"{rule}: {_INSTEAD.format(example=example)}", source=_SOURCE)
