"""Several login nodes as one transport: one node is kept, another taken when it fails, and nothing is sent twice.

Each command goes to one node. When that could not be reached, the error says so, and whoever retries it (as the policy
of ``transport.retry`` allows) comes to the next node, because the failure is remembered. A command whose outcome is
unknown is never repeated here; what asks about it afterwards goes to another node, which sees the same file systems.
Where only a person can log in, only nodes with an open connection are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from aifa_hpc.errors import HostKeyError, NotSentError, OutcomeUnknownError
from aifa_hpc.transport.base import Channel, Transport
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aifa_hpc.command import Command, Completed
    from aifa_hpc.transport.nodes import NodeMemory
    from aifa_hpc.transport.ssh import SSHTransport

T = TypeVar("T")


class FailoverTransport(Transport):
    """The login nodes of one site.

    Args:
        nodes: A transport for each host, the preferred first.
        memory: Which of them failed lately.
        by_hand: A person has to log in, so that nodes without an open connection cannot be used.
    """

    def __init__(self, nodes: Mapping[str, SSHTransport], memory: NodeMemory, *, by_hand: bool) -> None:
        self._nodes = dict(nodes)
        self._memory = memory
        self._by_hand = by_hand
        self._kept = ""

    def run(self, command: Command) -> Completed:
        """Runs it on one of them."""
        return self._on_a_node(lambda node: node.run(command))

    def open(self, command: Command) -> Channel:
        """Starts it on one of them."""
        return self._on_a_node(lambda node: node.open(command))

    def pace(self, *, commands: Callable[[], None], logins: Callable[[], None]) -> None:
        """As much to all of them together: the firewall before them is one, and so is the controller behind them."""
        for node in self._nodes.values():
            node.pace(commands=commands, logins=logins)

    def close(self) -> None:
        """Lets go of all connections."""
        for node in self._nodes.values():
            node.close()

    def _on_a_node(self, act: Callable[[SSHTransport], T]) -> T:
        host = self._kept or self._choose()
        try:
            result = act(self._nodes[host])
        except (ChannelRefusedError, PersonNeededError):
            raise  # the node is well
        except HostKeyError as error:
            first = next(iter(self._nodes))
            if host == first or not (why := self._memory.failure(first)):
                raise
            # Only a way round: that it is closed must not end the waiting for the usual way.
            self._give_up(host, error.message)
            raise NotSentError(
                f"{first} cannot be reached ({why}), and {host} not be used in its place: {error.message}",
                hint=error.hint,
            ) from error
        except (NotSentError, OutcomeUnknownError) as error:
            self._give_up(host, error.message)
            raise
        if host != self._kept:
            self._memory.answered(host)
            self._kept = host
        return result

    def _give_up(self, host: str, why: str) -> None:
        self._memory.failed(host, why)
        self._kept = ""

    def _choose(self) -> str:
        order = self._memory.order(self._nodes)
        open_ones = [host for host in order if self._nodes[host].alive()]
        well = [host for host in open_ones if not self._memory.failure(host)]
        if self._by_hand:
            return (well or open_ones or order)[0]
        return (well or order)[0]
