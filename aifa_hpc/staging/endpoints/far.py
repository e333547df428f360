"""Opens a folder of a machine behind a transport by the best way it offers: the agent, its own tools, or SFTP."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from aifa_hpc.command import shell
from aifa_hpc.errors import OutcomeUnknownError, SiteError, TransferError
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.remote import PATIENCE_SECONDS, NoAgentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.endpoints.tools import Tools
    from aifa_hpc.transport.base import Transport

_log = logging.getLogger(__name__)

FIRST_SECONDS = 10.0
"""A login shell takes a second; one that says nothing for longer may never say anything, and is looked at."""

_LOOK = """
if "$1" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1; then echo agent
elif dd --version 2>/dev/null | grep -q coreutils && find --version >/dev/null 2>&1 &&
  command -v sha256sum >/dev/null; then echo shell
else echo none; fi
"""


def open_far(
    transport: Transport,
    root: str,
    *,
    label: str,
    channels: int = 8,
    python: str = "python3",
    patience: float = FIRST_SECONDS,
) -> Endpoint:
    """An endpoint at that path, connected already.

    Args:
        transport: The way to the machine; it stays the caller's.
        root: Absolute path; a final ``/`` says that it is meant as a folder.
        label: What the machine is called.
        channels: Conversations for data, at most.
        python: Python 3.6 or newer over there.
        patience: Seconds until a login that shows no sign of running anything is looked at.

    Raises:
        InputError: The path is not absolute.
        TransportError: The machine cannot be reached.
        TransferError: It offers none of the three.
    """
    agent = SSHEndpoint(transport, root, label=label, channels=channels, python=python)
    try:
        agent.start(patience=patience)
    except NoAgentError as error:
        _log.info("%s", error.message)
    else:
        return agent
    # Not at module level: most machines have Python, and paramiko is slow to import.
    from aifa_hpc.staging.endpoints.plain import PlainEndpoint  # noqa: PLC0415

    way = _look(transport, python)
    make: Callable[[], Tools]
    if way == "agent":  # it was only slow
        agent.start(patience=PATIENCE_SECONDS)
        return agent
    if way == "shell":
        from aifa_hpc.staging.endpoints.tools_shell import ShellTools  # noqa: PLC0415

        make = functools.partial(ShellTools, transport)
    else:
        from aifa_hpc.staging.endpoints.tools_sftp import SftpTools  # noqa: PLC0415

        make = functools.partial(SftpTools, transport)
    _log.warning("%s has no usable %s: files go by %s, slower and as safe", label, python, way)
    endpoint = PlainEndpoint(make, root, channels=channels, label=label)
    try:
        endpoint.kind()
    except (TransferError, SiteError) as error:
        raise TransferError(
            f"nothing can be copied to or from {label}: {error.message}",
            hint="It needs python3 (3.6 or newer), GNU coreutils, or an SFTP server.",
        ) from error
    return endpoint


def _look(transport: Transport, python: str) -> str:
    """What a machine on which the agent did not start has instead: ``agent`` (it was slow), ``shell`` or ``sftp``."""
    try:
        done = transport.run(shell(_LOOK, python, idempotent=True, timeout=PATIENCE_SECONDS))
    except OutcomeUnknownError:
        # The line was taken and nothing of it ran: a forced command, which is SFTP where files are exchanged.
        return "sftp"
    found = done.out.split()
    return found[-1] if found and found[-1] in ("agent", "shell") else "sftp"
