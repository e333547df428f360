"""Logging in once: a real second factor, several login nodes, certificates, and a server with few channels."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import shell
from aifa_hpc.errors import NotSentError, OutcomeUnknownError
from aifa_hpc.sites.load import load_site
from aifa_hpc.testing.sshd import Sshd, make_key
from aifa_hpc.transport.connect import open_transport
from aifa_hpc.transport.openssh import OpenSSHTransport
from aifa_hpc.transport.refusals import PersonNeededError
from tests.program import Ran, run_aifa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.transport.base import Transport


class Person:
    """Somebody with folders of their own and a site called ``there``, behind these servers.

    Args:
        home: For the folders.
        servers: Its login nodes, the preferred first.
        settings: More lines of ``[sites.there]``.
    """

    def __init__(self, home: Path, *servers: Sshd, settings: str = "") -> None:
        self.home = home
        (home / "config").mkdir(parents=True)
        config = home / "ssh_config"
        config.write_text("".join(server.ssh_config.read_text("utf-8") for server in servers), "utf-8")
        hosts = json.dumps([server.alias for server in servers])
        (home / "config" / "sites.toml").write_text(
            f'[sites.there]\nextends = "lumi"\nssh_config = {json.dumps(str(config))}\n{settings}\n'
            f'[sites.there.login]\nhosts = {hosts}\nsource = "a test"\nchecked_on = 2026-11-24\n',
            "utf-8",
        )
        self.env = os.environ | {"AIFA_STATE_DIR": str(home / "state"), "AIFA_CONFIG_DIR": str(home / "config")}

    def transport(self) -> Transport:
        """The way to the site, as a program has it."""
        return open_transport(load_site("there", self.home / "config"), self.home / "state")

    def aifa(self, *words: str) -> Ran:
        """Runs the program without a terminal."""
        return run_aifa(*words, env=self.env, cwd=self.home, timeout=60)

    def at_a_terminal(self, *words: str, prompt: str = "", answer: Callable[[], str] = str) -> tuple[int, str]:
        """Runs the program on a terminal of its own and answers each time it asks; exit code and what was shown."""
        argv = [sys.executable, "-c", "from aifa_hpc.cli import main; main()", *words]
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.home)
            os.execve(argv[0], argv, self.env | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
        shown, asked, end = b"", 0, time.monotonic() + 60
        with contextlib.suppress(OSError):  # the terminal is gone with the program
            while time.monotonic() < end:
                if not select.select([terminal], [], [], 0.5)[0]:
                    continue
                piece = os.read(terminal, 4096)
                if not piece:
                    break
                shown += piece
                if prompt and shown.count(prompt.encode()) > asked:
                    asked += 1
                    os.write(terminal, f"{answer()}\n".encode())
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="aifa", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Sshd, Sshd]]:
    """Two login nodes with the same files."""
    with (
        Sshd.started(tmp_path / "one", alias="node-one") as one,
        Sshd.started(tmp_path / "two", alias="node-two") as other,
    ):
        yield one, other


def logged_out(person: Person) -> None:
    """Ends what a test opened."""
    person.aifa("logout", "there")


# --- a second factor


def test_a_person_answers_once_and_everything_uses_it(home: Path, aifa_sshd_with_totp: Sshd) -> None:
    """The site's own prompt is shown; commands, channels and other processes ride on it; logout ends it for all."""
    server = aifa_sshd_with_totp
    assert server.second_factor is not None
    person = Person(home, server, settings="mfa = true")
    refused = person.aifa("sessions")
    assert ("", True) == (refused.out, "aifa login" in refused.err)
    code, shown = person.at_a_terminal(
        "login",
        "there",
        prompt=server.second_factor.prompt,
        answer=lambda: server.second_factor.code(time.time()) if server.second_factor else "",
    )
    assert (0, 1, True) == (code, shown.count(server.second_factor.prompt), "connected to there" in shown), shown
    try:
        with person.transport() as transport:
            for _ in range(3):
                assert "here\n" == transport.run(shell("echo here")).out
            with transport.open(shell("cat")) as channel:
                channel.send(b"x")
        (session,) = person.aifa("sessions", "--json").json
        since = datetime.datetime.fromisoformat(session["since"])
        assert ("there", server.alias) == (session["site"], session["host"])
        assert abs(datetime.datetime.now(datetime.UTC) - since) < datetime.timedelta(minutes=2)
        again = person.at_a_terminal("login", "there", prompt=server.second_factor.prompt, answer=lambda: "no")
        assert (0, 0) == (again[0], again[1].count(server.second_factor.prompt))
        assert (1, 1) == (server.accepted_logins(), server.attempts())
    finally:
        closed = person.aifa("logout", "there", "--json").json
    assert [server.alias] == closed["hosts"]
    assert "no connection" in person.aifa("logout", "there").out
    with person.transport() as transport, pytest.raises(PersonNeededError, match="aifa login there"):
        transport.run(shell("echo no"))
    assert 1 == server.attempts()


def test_a_wrong_code_is_asked_by_one_node_only(home: Path, aifa_sshd_with_totp: Sshd, aifa_sshd: Sshd) -> None:
    """A person is not sent from node to node; the error says so, with exit code 3."""
    aifa_sshd.alias = "other-node"
    aifa_sshd.write_config()
    person = Person(home, aifa_sshd_with_totp, aifa_sshd, settings="mfa = true")
    factor = aifa_sshd_with_totp.second_factor
    assert factor is not None
    code, shown = person.at_a_terminal("login", "there", prompt=factor.prompt, answer=lambda: "000000")
    assert (3, True, True) == (code, "Permission denied" in shown, "asked for a code once" in shown), shown
    assert (1, 0) == (aifa_sshd_with_totp.attempts(), aifa_sshd.attempts())


def test_a_node_that_is_away_sends_the_person_to_the_next(
    home: Path, aifa_sshd_with_totp: Sshd, aifa_sshd: Sshd
) -> None:
    """Nobody was asked anything there, so another node may ask; and it is remembered."""
    aifa_sshd.alias = "other-node"
    aifa_sshd.write_config()
    person = Person(home, aifa_sshd, aifa_sshd_with_totp, settings="mfa = true")
    aifa_sshd.stop()
    factor = aifa_sshd_with_totp.second_factor
    assert factor is not None
    code, shown = person.at_a_terminal("login", "there", prompt=factor.prompt, answer=lambda: factor.code(time.time()))
    try:
        assert (0, 1) == (code, shown.count(factor.prompt)), shown
        with person.transport() as transport:
            assert "here\n" == transport.run(shell("echo here")).out
        assert 1 == aifa_sshd_with_totp.attempts()
        assert aifa_sshd.alias in json.loads((home / "state" / "ssh" / "nodes.json").read_text("utf-8"))
    finally:
        logged_out(person)


# --- several login nodes


@pytest.mark.parametrize("kind", ["openssh", "fabric"])
def test_a_node_that_dies_is_left_and_what_was_sent_is_not_repeated(
    home: Path, two: tuple[Sshd, Sshd], kind: str
) -> None:
    """One node is kept; the command it took with it ran once; questions go to the other node from then on."""
    one, other = two
    person = Person(home, one, other, settings=f'transport = "{kind}"')
    ran = home / "ran"
    with person.transport() as transport:
        for _ in range(3):
            transport.run(shell("true"))
        assert (1, 0) == (one.accepted_logins(), other.accepted_logins())

        def kill_when_it_runs() -> None:
            while not ran.exists():
                time.sleep(0.02)
            one.stop()

        killer = threading.Thread(target=kill_when_it_runs, daemon=True)
        killer.start()
        with pytest.raises(OutcomeUnknownError):
            transport.run(shell('echo once >> "$1"; sleep 5', str(ran)))
        killer.join()
        assert "once\n" == transport.run(shell('cat "$1"', str(ran))).out
        assert 1 == other.accepted_logins()
    with person.transport() as transport:  # another process: it does not even try the dead node
        assert 0 == transport.run(shell("true")).exit_code
        one.start()
        assert 0 == transport.run(shell("true")).exit_code
    assert "once\n" == ran.read_text()
    assert 1 == one.accepted_logins()
    if kind == "openssh":
        logged_out(person)


def test_a_node_that_cannot_be_reached_was_not_sent_and_the_next_try_goes_elsewhere(
    home: Path, two: tuple[Sshd, Sshd]
) -> None:
    """Each try is one connection to one node: sites count them."""
    one, other = two
    person = Person(home, one, other)
    one.stop()
    with person.transport() as transport:
        with pytest.raises(NotSentError, match="nothing was sent"):
            transport.run(shell("true"))
        assert 0 == transport.run(shell("true")).exit_code
    assert 1 == other.attempts()
    logged_out(person)


def test_a_way_round_with_an_unknown_key_ends_no_waiting(home: Path, two: tuple[Sshd, Sshd]) -> None:
    """Strict it stays, but the usual node may come back: that is an error which may be tried again."""
    one, other = two
    other.known_hosts.write_text("")
    person = Person(home, one, other)
    one.stop()
    with person.transport() as transport:
        for words in ("nothing was sent", "not be used in its place"):
            with pytest.raises(NotSentError, match=words) as caught:
                transport.run(shell("true"))
            assert NotSentError is type(caught.value)
        one.start()
        assert 0 == transport.run(shell("true")).exit_code
    assert 0 == other.accepted_logins()
    logged_out(person)


@pytest.mark.parametrize("kind", ["openssh", "fabric"])
def test_one_name_in_known_hosts_may_stand_for_all_nodes(home: Path, two: tuple[Sshd, Sshd], kind: str) -> None:
    """``host_key_alias``: the key of a node is looked up under that name, and nowhere else."""
    _, other = two
    other.known_hosts.write_text(f"the-site {other.host_key}\n")
    person = Person(home, other, settings=f'transport = "{kind}"\nhost_key_alias = "the-site"')
    with person.transport() as transport:
        assert 0 == transport.run(shell("true")).exit_code
    stranger = Person(home / "x", other, settings=f'transport = "{kind}"\nhost_key_alias = "another"')
    with stranger.transport() as transport, pytest.raises(NotSentError, match="not known"):
        transport.run(shell("true"))
    if kind == "openssh":
        logged_out(person)


# --- certificates


def certify(server: Sshd, folder: Path, validity: str) -> Path:
    """Makes the server take certificates only, and gives the user's key one."""
    make_key(folder / "ca")
    sign = ("ssh-keygen", "-q", "-s", str(folder / "ca"), "-I", "ada", "-n", server.user, "-V", validity)
    subprocess.run((*sign, f"{server.identity}.pub"), check=True)
    (server.folder / "authorized_keys").write_text(f"cert-authority {(folder / 'ca.pub').read_text()}")
    return Path(f"{server.identity}-cert.pub")


def test_a_certificate_that_ends_soon_is_announced(
    home: Path, aifa_sshd: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    """Before a channel that may be open for long, at login, and in the list of sessions."""
    certificate = certify(aifa_sshd, home, "-1h:+30m")
    person = Person(home, aifa_sshd)
    with person.transport() as transport:
        with transport.open(shell("cat")) as channel:
            channel.send(b"x")
        with transport.open(shell("cat")) as channel:
            channel.send(b"x")
    assert 1 == sum(str(certificate) in record.getMessage() for record in caplog.records)
    ran = person.aifa("sessions", "--json")
    until = datetime.datetime.fromisoformat(ran.json[0]["certificate"].removeprefix("until "))
    assert datetime.timedelta(0) < until - datetime.datetime.now(datetime.UTC) < datetime.timedelta(minutes=31)
    for words in (("sessions",), ("login", "there")):
        assert "expires in" in person.aifa(*words).err
    logged_out(person)


@pytest.mark.parametrize("named", [True, False])
def test_an_expired_certificate_is_told(home: Path, aifa_sshd: Sshd, *, named: bool) -> None:
    """One that the configuration names is not even tried; one beside a key explains the refusal."""
    certificate = certify(aifa_sshd, home, "-2h:-1h")
    if named:
        aifa_sshd.write_config(f'CertificateFile "{certificate}"')
    person = Person(home, aifa_sshd)
    with person.transport() as transport, pytest.raises(PersonNeededError, match="expired at"):
        transport.run(shell("true"))
    assert (0 if named else 1) == aifa_sshd.attempts()
    assert (3, True) == ((ran := person.aifa("login", "there")).code, "expired at" in ran.err or not named), ran.err


# --- few channels


def test_a_server_with_two_channels_is_asked_for_two(home: Path, tmp_path: Path) -> None:
    """Eight threads learn from the refusals how many get along, and stop being refused."""
    with Sshd.started(tmp_path / "narrow", "MaxSessions 2") as server:
        person = Person(home, server)
        with person.transport() as transport:
            assert isinstance(transport, OpenSSHTransport)
            transport.run(shell("true"))

            def work() -> None:
                for _ in range(6):
                    assert 0 == transport.run(shell("sleep 0.05")).exit_code

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        refused = server.log.read_text().count("no more sessions")
        assert (1, 1) == (server.accepted_logins(), server.attempts())
        assert 6 <= refused < 20
        logged_out(person)
