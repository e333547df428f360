"""The data a job needs: manifests by absolute path, and how closely they are looked at."""

from __future__ import annotations

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.jobs.data import Data
from aifa_hpc.jobs.decode import read_job

JOB = """
name = "digits"
[resources]
time = "00:10:00"
[launch]
kind = "command"
command = ["true"]
"""


def test_a_job_file_names_manifests() -> None:
    """Checked as far as they are known or touched, unless it says more."""
    job = read_job(JOB + '[data]\nmanifests = ["/scratch/p/.aifa-manifest.jsonl"]\n')
    assert Data(manifests=("/scratch/p/.aifa-manifest.jsonl",), check="known") == job.data


@pytest.mark.parametrize(
    ("table", "key", "nearest"),
    [
        ('manifests = "/x/.aifa-manifest.jsonl"', "data.manifests", ""),
        ('manifests = ["/scratch/p/"]', "data.manifests", "/scratch/p/.aifa-manifest.jsonl"),
        ('manifests = ["p/.aifa-manifest.jsonl"]', "data.manifests", ""),
        ('manifests = ["/p/../q/.aifa-manifest.jsonl"]', "data.manifests", ""),
        ("manifests = []", "data.manifests", ""),
        ('manifests = ["/x/.aifa-manifest.jsonl"]\ncheck = "ful"', "data.check", "full"),
        ('manifest = ["/x/.aifa-manifest.jsonl"]', "data.manifest", "manifests"),
    ],
)
def test_what_is_no_manifest_is_told(table: str, key: str, nearest: str) -> None:
    """With its key and the nearest that is one."""
    with pytest.raises(InputError) as caught:
        read_job(f"{JOB}[data]\n{table}\n")
    found = {problem.key: problem.nearest for problem in caught.value.problems}
    assert nearest == found[key]
