"""Commands as processes of this machine: for work on a login node, and for tests."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
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
        """Runs it here."""
        return run_process(command, command.argv, env=os.environ | self._env)

    def open(self, command: Command) -> Channel:
        """Starts it here."""
        return ProcessChannel(command.argv, env=os.environ | self._env, first=command.stdin)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """All that passed between here and a process.

    Attributes:
        exit_code: 0..255, killed by signal N is 128 + N; ``None`` when the time was up and it was killed here.
        stdout: Raw bytes, also those that came before the time was up.
        stderr: Likewise.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes


def exchange(argv: tuple[str, ...], stdin: bytes, timeout: float, env: Mapping[str, str] | None = None) -> Exchange:
    """Runs ``argv`` in a process group of its own, so that ``timeout`` seconds end all of it.

    Raises:
        NotSentError: The program could not be started.
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
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = _leftovers(process)
            return Exchange(exit_code=None, stdout=stdout, stderr=stderr)
        except BaseException:
            if process.returncode is None:  # else it was waited for, and its number may be somebody else's by now
                os.killpg(process.pid, signal.SIGKILL)
            raise
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Exchange(exit_code=code, stdout=stdout, stderr=stderr)


def _leftovers(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    # Somebody who left the process group may hold the pipes open for ever, so this has an end of its own.
    try:
        return process.communicate(timeout=1)
    except subprocess.TimeoutExpired as error:
        return error.stdout or b"", error.stderr or b""


def run_process(command: Command, argv: tuple[str, ...], *, env: Mapping[str, str] | None = None) -> Completed:
    """Runs ``argv`` on behalf of ``command`` in a process group of its own, so that a timeout ends all of it.

    Raises:
        NotSentError: The program could not be started.
        OutcomeUnknownError: It took longer than ``command.timeout``.
    """
    done = exchange(argv, command.stdin, command.timeout, env)
    if done.exit_code is None:
        raise OutcomeUnknownError(f"`{command.argv[0]}` did not answer within {command.timeout:g} s; it may have run.")
    return Completed(command=command, exit_code=done.exit_code, stdout=done.stdout, stderr=done.stderr)
