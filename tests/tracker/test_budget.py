"""Budgets of a site's patience, shared through the store."""

from __future__ import annotations

import datetime
import math
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aifa_hpc
from aifa_hpc.command import Command
from aifa_hpc.errors import TransportError
from aifa_hpc.sites.load import load_site
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.budget import COMMANDS, CONNECTIONS, Budget, open_site
from aifa_hpc.tracker.connection import connect
from aifa_hpc.tracker.store import Store
from aifa_hpc.transfers import stage
from aifa_hpc.transport.failover import FailoverTransport
from aifa_hpc.transport.local import LocalTransport
from aifa_hpc.transport.nodes import NodeMemory
from tests.program import run_aifa
from tests.tracker.written import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dict[str, int]]]:
    """Writes down a site ``mine`` that cannot be reached, by some transport; tells what was spent on it since."""
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket is 107 bytes at most
        monkeypatch.setenv("AIFA_STATE_DIR", folder)
        monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path))

        def spent(kind: str) -> dict[str, int]:
            (tmp_path / "sites.toml").write_text(
                f'[sites.mine]\nextends = "lumi"\ntransport = "{kind}"\naccount = "project_465000001"\n'
                'user = "ada"\nhost = "127.0.0.1"\nport = 1\nmfa = false\n'
            )
            with closing(Store(Path(folder) / "jobs.sqlite3")) as store:
                found = store.database.select("SELECT kind, level FROM budgets WHERE site = 'mine'")
            most = {bucket.kind: bucket.most for bucket in (COMMANDS, CONNECTIONS)}
            return {kind: math.ceil(most[kind] - level) for kind, level in found}

        yield spent


def by_connection(_: Path) -> None:
    """One command of a connection's."""
    with connect("mine") as connection:
        connection.cluster.transport.run(Command(argv=("true",)))


def by_copy(tmp_path: Path) -> None:
    """The first command of a copy."""
    (tmp_path / "data").mkdir()
    stage(f"{tmp_path}/data", "mine:/scratch/project_465000001/data", data_class="open")


def by_channel(_: Path) -> None:
    """A channel, as the remote agent has it."""
    with open_site(load_site("mine")) as transport:
        transport.open(Command(argv=("true",)))


@pytest.mark.parametrize("way", [by_connection, by_copy, by_channel])
@pytest.mark.parametrize("kind", ["openssh", "fabric"])
def test_every_command_and_every_login_is_counted(
    kind: str, way: Callable[[Path], None], away: Callable[[str], dict[str, int]], tmp_path: Path
) -> None:
    """Whichever way into a site is taken, and tries that fail too: they are what sites block for."""
    assert {} == away(kind)
    with pytest.raises(TransportError):
        way(tmp_path)
    spent = away(kind)
    assert (True, True) == (spent["commands"] >= 1, spent["connections"] >= 1), spent


@pytest.mark.parametrize(("words", "commands"), [(("sites", "doctor", "mine"), 1), (("login", "mine"), 0)])
def test_the_doctor_and_a_login_by_hand_are_counted(
    words: tuple[str, ...], commands: int, away: Callable[[str], dict[str, int]], tmp_path: Path
) -> None:
    """A person who mistypes a code is blocked like a script that does."""
    away("openssh")
    assert 3 == (ran := run_aifa(*words, env=os.environ, cwd=tmp_path, timeout=60)).code, ran.err
    spent = away("openssh")
    assert (commands > 0, True) == (spent.get("commands", 0) > 0, spent["connections"] >= 1), spent


def test_only_one_place_opens_sites() -> None:
    """What asks for an uncounted way in is that place, and nobody else."""
    package = Path(aifa_hpc.__file__).parent
    asking = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "import open_transport" in path.read_text()
    }
    assert {"cluster.py", "tracker/budget.py"} == asking


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


def test_a_clock_that_was_ahead_silences_nobody(tmp_path: Path) -> None:
    """All questions of a burst were asked by it; set right, they come back at the pace of the site."""
    clock = Clock()
    with closing(Store(tmp_path / "jobs.sqlite3")) as store:
        asking = Asking(store, "lumi")
        while asking.claim(now=clock.now, floor=0.0, pace=30.0):
            pass
        clock.forward(-365 * 86400)
        first = asking.claim(now=clock.now, floor=0.0, pace=30.0)
        clock.forward(30)
        assert (False, True) == (first, asking.claim(now=clock.now, floor=0.0, pace=30.0))


def test_login_nodes_share_one_budget() -> None:
    """The firewall before them is one."""
    nodes = [LocalTransport() for _ in range(2)]
    memory = NodeMemory(Path("unused"))
    logins: list[str] = []
    pair = FailoverTransport(dict(zip("ab", nodes, strict=True)), memory, by_hand=False)  # type: ignore[arg-type] # any do
    pair.pace(commands=lambda: logins.append("command"), logins=lambda: logins.append("login"))
    for node in nodes:
        node.await_command()
        node.await_login()
    assert ["command", "login"] * 2 == logins
