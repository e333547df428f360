"""Several login nodes: what is remembered of them, which one is taken, and what is never repeated."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command
from aifa_hpc.errors import HostKeyError, NotSentError, OutcomeUnknownError
from aifa_hpc.testing.transport import Reply, ScriptedTransport
from aifa_hpc.transport.failover import FailoverTransport
from aifa_hpc.transport.nodes import REMEMBERED_SECONDS, NodeMemory
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError

if TYPE_CHECKING:
    from pathlib import Path

TRUE = Command(argv=("true",))
HOSTS = ("a", "b", "c")


class Node(ScriptedTransport):
    """A login node whose answers are written down; ``open_here`` says whether somebody logged in."""

    open_here = False

    def alive(self) -> bool:
        """Whether a connection is open."""
        return self.open_here


@pytest.fixture
def memory(tmp_path: Path) -> NodeMemory:
    """A memory that is empty."""
    return NodeMemory(tmp_path / "ssh" / "nodes.json", clock=lambda: 1000.0)


def site(memory: NodeMemory, *, by_hand: bool = False, **answers: object) -> tuple[FailoverTransport, dict[str, Node]]:
    """A site of three nodes, each of which gives one answer to everything."""
    nodes = {host: Node(lambda _, host=host: answers.get(host, Reply(stdout=host))) for host in HOSTS}  # type: ignore[misc]
    return FailoverTransport(nodes, memory, by_hand=by_hand), nodes  # type: ignore[arg-type] # as much as is used


def test_a_failure_puts_a_node_last_until_it_is_forgotten(tmp_path: Path) -> None:
    """The one that failed longest ago is the best of those that did; a clock that was set back forgets all."""
    path = tmp_path / "ssh" / "nodes.json"
    for time, host in ((100.0, "a"), (200.0, "b")):
        NodeMemory(path, clock=lambda time=time: time).failed(host, "it is away")  # type: ignore[misc]
    later = NodeMemory(path, clock=lambda: 300.0)
    assert (["c", "a", "b"], "it is away") == (later.order(HOSTS), later.failure("a"))
    later.answered("b")
    assert ["b", "c", "a"] == later.order(HOSTS)
    assert list(HOSTS) == NodeMemory(path, clock=lambda: 100.0 + REMEMBERED_SECONDS).order(HOSTS)
    assert list(HOSTS) == NodeMemory(path, clock=lambda: 50.0).order(HOSTS)
    assert (0o600, 0o700) == (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode))


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"at": "x"}}', "\xff"])
def test_an_unreadable_memory_is_empty(memory: NodeMemory, tmp_path: Path, text: str) -> None:
    """And the next failure makes it a good one again."""
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "nodes.json").write_bytes(text.encode("latin-1"))
    assert list(HOSTS) == memory.order(HOSTS)
    memory.failed("a", "away")
    assert ["b", "c", "a"] == memory.order(HOSTS)


def test_one_node_is_kept(memory: NodeMemory) -> None:
    """Its sockets, its load and its scratch of /tmp are the same for all commands."""
    transport, nodes = site(memory)
    assert {"a"} == {transport.run(TRUE).out for _ in range(5)}
    assert [5, 0, 0] == [len(node.commands) for node in nodes.values()]


def test_an_unknown_outcome_is_not_repeated_and_the_node_is_left(memory: NodeMemory) -> None:
    """What asks about it afterwards goes to another node."""
    transport, nodes = site(memory, a=OutcomeUnknownError("silence"))
    with pytest.raises(OutcomeUnknownError):
        transport.run(TRUE)
    assert ([1, 0, 0], "silence") == ([len(node.commands) for node in nodes.values()], memory.failure("a"))
    assert "b" == transport.run(TRUE).out


@pytest.mark.parametrize("error", [ChannelRefusedError("full"), PersonNeededError("a key")])
def test_what_is_no_fault_of_the_node_stays_with_it(memory: NodeMemory, error: NotSentError) -> None:
    """A full connection, and what only a person can mend, would be no better elsewhere."""
    transport, nodes = site(memory, a=error)
    for _ in range(2):
        with pytest.raises(type(error)):
            transport.run(TRUE)
    assert ([2, 0, 0], "") == ([len(node.commands) for node in nodes.values()], memory.failure("a"))


def test_a_strange_key_ends_it_only_at_the_usual_node(memory: NodeMemory) -> None:
    """A way round that is closed leaves an error that may be tried again."""
    strange = HostKeyError("not known")
    with pytest.raises(HostKeyError):
        site(memory, a=strange)[0].run(TRUE)
    transport, _ = site(memory, a=NotSentError("away"), b=strange)
    for words in ("away", r"a cannot be reached \(away\), and b not be used"):
        with pytest.raises(NotSentError, match=words) as caught:
            transport.run(TRUE)
        assert NotSentError is type(caught.value)


def test_an_open_connection_is_preferred_and_without_one_a_person_is_needed(memory: NodeMemory) -> None:
    """Where logging in takes a person, a node without a connection is only asked for its error."""
    transport, nodes = site(memory, by_hand=True, a=PersonNeededError("aifa login"))
    with pytest.raises(PersonNeededError):
        transport.run(TRUE)
    nodes["c"].open_here = True
    assert "c" == transport.run(TRUE).out
    memory.failed("c", "slow")
    assert "c" == site_with_open(memory, "c", by_hand=True)
    memory.failed("c", "slow")
    assert "a" == site_with_open(memory, "c", by_hand=False)


def site_with_open(memory: NodeMemory, host: str, *, by_hand: bool) -> str:
    """Which node answers where one has an open connection."""
    transport, nodes = site(memory, by_hand=by_hand)
    nodes[host].open_here = True
    return transport.run(TRUE).out


def test_closing_closes_all(memory: NodeMemory) -> None:
    """Channels go the same way as commands."""
    transport, nodes = site(memory)
    with pytest.raises(AssertionError, match="nobody expected a channel"):
        transport.open(TRUE)
    transport.close()
    assert [1, 1, 1] == [node.closed for node in nodes.values()]
