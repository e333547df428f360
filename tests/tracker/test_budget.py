"""Budgets of a site's patience, shared through the store."""

from __future__ import annotations

import datetime
import math
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from aifa_hpc.command import Command
from aifa_hpc.errors import NotSentError
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.budget import COMMANDS, CONNECTIONS, Budget
from aifa_hpc.tracker.connection import connect
from aifa_hpc.tracker.store import Store
from aifa_hpc.transport.failover import FailoverTransport
from aifa_hpc.transport.local import LocalTransport
from aifa_hpc.transport.nodes import NodeMemory
from tests.tracker.written import Clock


class Person:
    """Somebody who spends, and waits when told to."""

    def __init__(self, path: Path, clock: Clock, site: str = "lumi") -> None:
        self.slept: list[float] = []
        self.budget = Budget(path, site, clock=clock, sleep=self.slept.append)


def test_a_burst_is_free_and_then_waits_in_order(tmp_path: Path) -> None:
    """A burst of commands at once, then two in a second; each of those who wait gets a place of its own."""
    clock = Clock()
    one, other = (Person(tmp_path / "jobs.sqlite3", clock) for _ in range(2))
    for _ in range(int(COMMANDS.most) // 2):
        one.budget.command()
        other.budget.command()
    assert ([], []) == (one.slept, other.slept)
    for person in (one, other, one):
        person.budget.command()
    assert ([0.5, 1.5], [1.0]) == (one.slept, other.slept)


def test_what_is_not_spent_comes_back_up_to_a_burst(tmp_path: Path) -> None:
    """After an hour there is one burst, not more; a clock set back gives and takes nothing."""
    clock = Clock()
    person = Person(tmp_path / "jobs.sqlite3", clock)
    for _ in range(int(COMMANDS.most) + 10):
        person.budget.command()
    clock.forward(3600)
    before = len(person.slept)
    for _ in range(int(COMMANDS.most)):
        person.budget.command()
    assert before == len(person.slept)
    clock.now -= datetime.timedelta(days=1)
    person.budget.command()
    assert 0.5 == person.slept[-1]


def test_sites_and_kinds_have_their_own(tmp_path: Path) -> None:
    """Connections are rarer than commands, and one site's patience is not another's."""
    clock = Clock()
    lumi, jupiter = (Person(tmp_path / "jobs.sqlite3", clock, site) for site in ("lumi", "jupiter"))
    for _ in range(int(CONNECTIONS.most) + 1):
        lumi.budget.connection()
    lumi.budget.command()
    jupiter.budget.connection()
    assert ([6.0], []) == ([round(seconds, 6) for seconds in lumi.slept], jupiter.slept)


@pytest.mark.parametrize("kind", ["openssh", "fabric"])
def test_every_command_and_every_login_is_counted(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also tries that fail: they are what sites block for."""
    folder = tempfile.TemporaryDirectory()  # the path of a socket is 107 bytes at most
    request.addfinalizer(folder.cleanup)
    monkeypatch.setenv("AIFA_STATE_DIR", folder.name)
    monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path))
    (tmp_path / "sites.toml").write_text(
        f'[sites.mine]\nextends = "lumi"\ntransport = "{kind}"\n'
        'user = "ada"\nhost = "127.0.0.1"\nport = 1\nmfa = false\n'
    )
    with connect("mine") as connection, pytest.raises(NotSentError):
        connection.cluster._run_once(Command(argv=("true",)))
    with closing(Store(Path(folder.name) / "jobs.sqlite3")) as store:
        levels = dict(store.database.select("SELECT kind, level FROM budgets WHERE site = 'mine'"))
    assert {"commands": COMMANDS.most - 1, "connections": CONNECTIONS.most - 1} == {
        kind: math.floor(level) for kind, level in levels.items()
    }


def test_a_queue_that_always_changes_is_asked_at_the_sites_pace(tmp_path: Path) -> None:
    """Jobs that are always young may be asked about every two seconds for a while, not for hours."""
    clock = Clock()
    asked = []
    with closing(Store(tmp_path / "jobs.sqlite3")) as store:
        asking = Asking(store, "lumi")
        for _ in range(2 * 1800):
            asked.append(asking.claim(now=clock.now, floor=2.0, pace=30.0))
            clock.forward(1)
    assert ([True, False] * 30, 30 + 3599 // 30) == (asked[:60], sum(asked))


def test_login_nodes_share_one_budget() -> None:
    """The firewall before them is one."""
    nodes = [LocalTransport() for _ in range(2)]
    memory = NodeMemory(Path("unused"))
    logins: list[str] = []
    pair = FailoverTransport(dict(zip("ab", nodes, strict=True)), memory, by_hand=False)  # type: ignore[arg-type] # any do
    pair.pace_logins(lambda: logins.append("login"))
    for node in nodes:
        node._await_login()
    assert ["login"] * 2 == logins
