"""Commands as processes of this machine: for work on a login node, and for tests."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from aifa_hpc.command import Command, Completed
from aifa_hpc.errors import NotSentError, OutcomeUnknownError
from aifa_hpc.transport.base import Channel, ProcessChannel, Transport

if TYPE_CHECKING:
    from collections.abc import Mapping


class LocalTransport(Transport):
    """Runs commands here.

    Args:
        env: Variables over the inherited environment.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = dict(env or {})

    def run(self, command: Command) -> Completed:
        return run_process(command, command.argv, env=os.environ | self._env)

    def open(self, command: Command) -> Channel:
        return ProcessChannel(command.argv, env=os.environ | self._env, first=command.stdin)


def run_process(command: Command, argv: tuple[str, ...], *, env: Mapping[str, str] | None = None) -> Completed:
    """Runs ``argv`` on behalf of ``command`` in a process group of its own, so that a timeout ends all of it.

    Raises:
        NotSentError: The program could not be started.
        OutcomeUnknownError: It took longer than ``command.timeout``.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    except OSError as error:
        raise NotSentError(f"cannot start {argv[0]!r}: {error.strerror}") from error
    with process:
        try:
            stdout, stderr = process.communicate(command.stdin, timeout=command.timeout)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise OutcomeUnknownError(
                f"`{command.argv[0]}` did not answer within {command.timeout:g} s; it may have run."
            ) from error
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Completed(command=command, exit_code=code, stdout=stdout, stderr=stderr)
