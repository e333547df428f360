"""A person opens the shared connection: which login node is tried, and when another one may be.

A person is asked for a code once. So another node is tried only where the first was never reached: a refused code, a
refused key or a strange host key ends it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, TextIO

from aifa_hpc.errors import NotSentError
from aifa_hpc.transport.openssh import utc_now
from aifa_hpc.transport.refusals import PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aifa_hpc.transport.nodes import NodeMemory
    from aifa_hpc.transport.openssh import OpenSSHTransport, Session

# The ssh program's words for a connection that ended before anybody was asked for anything.
_NEVER_REACHED = re.compile(
    r"^(?:ssh: connect to host .*|ssh: Could not resolve hostname .*|Connection timed out during banner exchange"
    r"|kex_exchange_identification: .*|ssh_exchange_identification: .*)\s*$",
    re.MULTILINE,
)
_LAST_WORDS_SECONDS = 1.0


def log_in(nodes: Mapping[str, OpenSSHTransport], memory: NodeMemory, *, terminal: TextIO = sys.stderr) -> Session:
    """Opens the shared connection to the first login node that answers, unless one is open.

    Args:
        nodes: A transport for each login node, the preferred first.
        memory: Which of them failed lately.
        terminal: Where ssh's own words go; it asks on the terminal itself.

    Raises:
        NotSentError: No node can be reached.
        PersonNeededError: A node does not let the person in, or the certificate for it has expired.
    """
    for node in nodes.values():
        if found := node.session():
            return found
    unreached = []
    for host in memory.order(nodes):
        node = nodes[host]
        node.refuse_expired(utc_now())
        node.await_login()
        code, said = _run(node.login_command(), terminal)
        if found := node.session():
            memory.answered(host)
            return found
        reason = _NEVER_REACHED.search(said)
        if reason is None:
            raise PersonNeededError(
                f"no connection to {host} was opened (ssh exited with {code}); its words are above.",
                hint="No other login node was tried: a person is asked for a code once.",
            )
        memory.failed(host, reason[0].strip())
        unreached.append(host)
    raise NotSentError(f"no connection was opened: {', '.join(unreached)} cannot be reached; ssh's words are above.")


def _run(argv: tuple[str, ...], terminal: TextIO) -> tuple[int, str]:
    """Runs ssh on the person's terminal, hands its words on as they come, and keeps them."""
    said: list[str] = []
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        reader = threading.Thread(target=_hand_on, args=(process.stderr, terminal, said), daemon=True)
        reader.start()
        code = process.wait()
        # The master that stays in the background has let go of this stream, but a program it started may hold it.
        reader.join(_LAST_WORDS_SECONDS)
        if reader.is_alive():
            process.stderr = None
    return code, "".join(said)


def _hand_on(stream: IO[str], terminal: TextIO, said: list[str]) -> None:
    for line in stream:
        said.append(line)
        terminal.write(line)
        terminal.flush()
