"""What errors say, to people and to machines."""

from __future__ import annotations

from aifa_hpc.errors import InputError, Problem, SiteError

NODES = Problem(key="resources.nodes", value="9", rule="at most 4 here", nearest="4", source="sinfo")


def test_an_error_is_a_message_and_what_to_do() -> None:
    """The hint follows the message; without one nothing does."""
    assert "no such job. Look again." == str(InputError("no such job.", hint="Look again."))
    assert "no such job." == str(InputError("no such job."))


def test_problems_stand_one_in_a_line_between_message_and_hint() -> None:
    """Machines get the three apart."""
    error = InputError("lumi refuses:", hint="Nothing was sent.", problems=[NODES])
    line = "  - resources.nodes = 9: at most 4 here; nearest legal value: 4 [sinfo]"
    assert f"lumi refuses:\n{line}\nNothing was sent." == str(error)
    assert ("lumi refuses:", "Nothing was sent.", (NODES,)) == (error.message, error.hint, error.problems)


def test_a_refusal_carries_its_evidence() -> None:
    """Exit code and last words are in the text."""
    error = SiteError("sbatch refused the job", exit_code_remote=1, stderr="a\nsbatch: error: no\n", hint="Ask.")
    assert "sbatch refused the job (exit code 1): a\nsbatch: error: no Ask." == str(error)
