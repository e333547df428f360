"""Which failures may be retried, and when: a policy as a value, and who sleeps is the caller's business.

A command that was not sent may always be tried again, unless only a person can help: an unknown host key stays unknown,
and sites block addresses that fail to log in too often. A command whose outcome is unknown is asked again only when it
says that running twice does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, stop_after_attempt, wait_exponential_jitter

from aifa_hpc.errors import HostKeyError, NotSentError, OutcomeUnknownError
from aifa_hpc.transport.refusals import PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.command import Command, Completed


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: Tries in all.
        first_wait: Seconds before the second try; each later wait is twice as long.
        longest_wait: Seconds no wait exceeds.
        jitter: Up to so many seconds are added at random, so that clients do not come back in step.
    """

    attempts: int = 4
    first_wait: float = 1.0
    longest_wait: float = 20.0
    jitter: float = 1.0

    def retrying(self, command: Command, *, sleep: Callable[[float], None]) -> Retrying:
        """The policy for one command; ``sleep`` gets seconds. The last failure is raised as it is."""

        def again(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            return error is not None and may_retry(error, command)

        return Retrying(
            retry=again,
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential_jitter(initial=self.first_wait, max=self.longest_wait, jitter=self.jitter),
            sleep=sleep,
            reraise=True,
        )


def may_retry(error: BaseException, command: Command) -> bool:
    """Whether running the command again is safe and could help."""
    if isinstance(error, HostKeyError | PersonNeededError):
        return False
    if isinstance(error, OutcomeUnknownError):
        return command.idempotent
    return isinstance(error, NotSentError)


def run_with_retry(
    run: Callable[[Command], Completed],
    command: Command,
    *,
    sleep: Callable[[float], None],
    policy: RetryPolicy | None = None,
) -> Completed:
    """Runs a command by a policy.

    Args:
        run: ``transport.run``.
        command: What to run.
        sleep: Waits so many seconds; ``time.sleep``, or a list's ``append`` in a test.
        policy: Patience; the default one makes four tries within some ten seconds.

    Raises:
        NotSentError: The last try did not leave, or only a person can help.
        OutcomeUnknownError: A command that may not run twice, or the last try of one that may.
    """
    return (policy or RetryPolicy()).retrying(command, sleep=sleep)(run, command)
