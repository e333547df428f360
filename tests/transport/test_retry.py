"""Retry policies: what is tried again, how often, after which waits."""

from __future__ import annotations

import pytest

from aifa_hpc.command import Command
from aifa_hpc.errors import AifaError, HostKeyError, NotSentError, OutcomeUnknownError, SiteError, TransportError
from aifa_hpc.testing.transport import Reply, ScriptedTransport
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError
from aifa_hpc.transport.retry import RetryPolicy, may_retry, run_with_retry

ONCE = Command(argv=("sbatch",))
TWICE = Command(argv=("squeue",), idempotent=True)


@pytest.mark.parametrize(
    ("error", "once", "twice"),
    [
        (NotSentError("x"), True, True),
        (ChannelRefusedError("x"), True, True),
        (HostKeyError("x"), False, False),
        (PersonNeededError("x"), False, False),
        (OutcomeUnknownError("x"), False, True),
        (TransportError("x"), False, False),
        (SiteError("x"), False, False),
        (ValueError("x"), False, False),
    ],
)
def test_what_may_be_retried(error: Exception, *, once: bool, twice: bool) -> None:
    """Not sent may, unless a person is needed; unknown only when running twice does no harm."""
    assert (once, twice) == (may_retry(error, ONCE), may_retry(error, TWICE))


def test_a_failure_that_passes_is_not_seen() -> None:
    """Two refusals, then an answer: three commands, two waits, the second one longer."""
    waits: list[float] = []
    transport = ScriptedTransport([NotSentError("one"), ChannelRefusedError("two"), Reply(stdout="done")])
    policy = RetryPolicy(jitter=0.0)
    done = run_with_retry(transport.run, ONCE, sleep=waits.append, policy=policy)
    assert ("done", [ONCE] * 3, [1.0, 2.0]) == (done.out, transport.commands, waits)


def test_the_last_failure_is_raised_as_it_is() -> None:
    """After the last try the caller gets the transport's own error."""
    waits: list[float] = []
    transport = ScriptedTransport(lambda command: OutcomeUnknownError(f"{command.argv[0]} is silent"))
    with pytest.raises(OutcomeUnknownError, match="squeue is silent"):
        run_with_retry(transport.run, TWICE, sleep=waits.append)
    assert (4, 3) == (len(transport.commands), len(waits))


@pytest.mark.parametrize("error", [OutcomeUnknownError("x"), HostKeyError("x"), PersonNeededError("x")])
def test_what_may_not_be_retried_is_tried_once(error: AifaError) -> None:
    """No second submission, no second failed login."""
    waits: list[float] = []
    transport = ScriptedTransport([error])
    with pytest.raises(type(error)):
        run_with_retry(transport.run, ONCE, sleep=waits.append)
    assert ([ONCE], []) == (transport.commands, waits)


def test_waits_grow_to_a_limit_and_are_not_in_step() -> None:
    """Twice as long each time, never over the limit, with a random part."""
    waits: list[float] = []
    transport = ScriptedTransport(lambda _: NotSentError("x"))
    policy = RetryPolicy(attempts=9, first_wait=1.0, longest_wait=10.0, jitter=0.5)
    with pytest.raises(NotSentError):
        run_with_retry(transport.run, ONCE, sleep=waits.append, policy=policy)
    for wait, base in zip(waits, (1, 2, 4, 8, 10, 10, 10, 10), strict=True):
        assert base <= wait <= min(base + 0.5, 10)
    assert {1.0, 2.0, 4.0} != set(waits[:3])
