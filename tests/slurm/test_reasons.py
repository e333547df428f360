"""Reason codes to sentences, and whether waiting helps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.slurm.reasons import REASONS, explain_reason, reason_of

LIMITS = """
AssocGrpBB AssocGrpBBMinutes AssocGrpBillingRunMinutes AssocGrpCpuLimit AssocGrpCPUMinutesLimit
AssocGrpCPURunMinutesLimit AssocGrpEnergy AssocGrpGRES AssocGrpGRESMinutes AssocGrpJobsLimit AssocGrpLicense
AssocGrpMemLimit AssocGrpMemRunMinutes AssocGrpNodeLimit AssocGrpSubmitJobsLimit AssocGrpUnknown AssocGrpWallLimit
AssocMaxBBMinutesPerJob AssocMaxCpuMinutesPerJobLimit AssocMaxCpuPerJobLimit AssocMaxCpuPerNode AssocMaxGRESPerJob
AssocMaxJobsLimit AssocMaxMemPerNode AssocMaxNodePerJobLimit AssocMaxSubmitJobLimit AssocMaxWallDurationPerJobLimit
MaxCpuPerAccount MaxJobsPerAccount MaxMemoryPerAccount MaxSubmitJobsPerAccount QOSGrpCPUMinutesLimit
QOSGrpMemoryRunMinutes QOSGrpNodeLimit QOSGrpSubmitJobsLimit QOSMaxCpuPerUserLimit QOSMaxGRESPerUser
QOSMaxJobsPerUserLimit QOSMaxMemoryMinutesPerJob QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit
QOSMaxWallDurationPerJobLimit QOSMinBilling QOSMinCpuNotSatisfied QOSMinGRES QOSMinNode
"""
"""A code of each shape on Slurm's page "Job Reason Codes"."""


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Resources", REASONS["Resources"].text),
        ("(Priority)", REASONS["Priority"].text),
        ("ReqNodeNotAvail, UnavailableNodes:nid005001", REASONS["ReqNodeNotAvail"].text),
        ("launch failed requeued held", REASONS["launch failed requeued held"].text),
        ("Nodes required for job are DOWN, DRAINED", "Nodes required for job are DOWN, DRAINED"),
        ("SomethingNew", "SomethingNew"),
        ("RaisedSignal:9(Killed)", "RaisedSignal:9(Killed)"),
        ("JobLaunchFailure", REASONS["JobLaunchFailure"].text),
        ("AssocMaxJobsLimit", "you already have as much as your project allows: running jobs"),
        ("QOSMaxWallDurationPerJobLimit", "it asks for more time than this QOS allows"),
        ("QOSGrpNodeLimit", "jobs of this QOS together already have as much as they may have: nodes"),
        ("", ""),
    ],
)
def test_reasons_become_sentences(reason: str, expected: str) -> None:
    """Known reasons are explained, others stay as Slurm said them."""
    assert expected == explain_reason(reason)


@pytest.mark.parametrize("code", LIMITS.split())
def test_every_shape_of_a_limit_is_read(code: str) -> None:
    """The grammar covers what Slurm prints, and a sentence is no code."""
    reason = reason_of(code)
    assert reason is not None
    assert " " in reason.text


@pytest.mark.parametrize(
    ("code", "hope"),
    [
        ("AssocGrpCPUMinutesLimit", "person"),
        ("AssocGrpCPURunMinutesLimit", "waits"),
        ("AssocGrpGRES", "waits"),
        ("AssocMaxNodePerJobLimit", "never"),
        ("AssocMaxWallDurationPerJobLimit", "never"),
        ("DependencyNeverSatisfied", "never"),
        ("JobHeldUser", "person"),
        ("PartitionDown", "person"),
        ("Priority", "waits"),
        ("QOSMaxCpuPerUserLimit", "waits"),
        ("QOSMaxCpuMinutesPerJobLimit", "never"),
        ("QOSMaxSubmitJobPerUserLimit", "waits"),
        ("QOSMinNode", "never"),
        ("ReqNodeNotAvail", "unclear"),
    ],
)
def test_hope_is_told_from_the_code(code: str, hope: str) -> None:
    """A limit for a job never passes by itself; one for all jobs of somebody does."""
    reason = reason_of(code)
    assert reason is not None
    assert hope == reason.hope


@given(st.text(max_size=40))
def test_any_text_is_a_reason(text: str) -> None:
    """Whatever Slurm prints has a sentence or stays as it is."""
    assert isinstance(explain_reason(text), str)
    assert reason_of(text) is None or reason_of(text).text == explain_reason(text)
