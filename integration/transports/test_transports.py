"""Both SSH transports against a real sshd: the contract, one login, broken links, full and missing connections."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, shell
from aifa_hpc.errors import HostKeyError, NotSentError, OutcomeUnknownError
from aifa_hpc.testing.sshd import Sshd
from aifa_hpc.testing.transport import TransportContract, receive
from aifa_hpc.transport.openssh import OpenSSHTransport
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError
from integration.transports.conftest import true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.transport.base import Transport
    from integration.transports.conftest import Make


class TestOpenSSH(TransportContract):
    """The ssh program keeps the contract."""

    @pytest.fixture
    def transport(self, sshd: Sshd, open_to: Make) -> Transport:
        """One master for all tests."""
        return open_to("openssh", sshd)


class TestFabric(TransportContract):
    """fabric keeps the contract."""

    @pytest.fixture
    def transport(self, sshd: Sshd, open_to: Make) -> Iterator[Transport]:
        """A connection for each test."""
        with open_to("fabric", sshd) as transport:
            yield transport


# --- one login


def test_many_commands_share_one_login(kind: str, own: Sshd, open_to: Make) -> None:
    """Threads that start at once, and channels beside them, cost one login."""
    transport = open_to(kind, own)
    threads = [threading.Thread(target=transport.run, args=(true(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transport.open(Command(argv=("cat",))) as channel:
        channel.send(b"x")
        assert receive(channel, 1) == b"x"
    assert (own.accepted_logins(), own.attempts()) == (1, 1)


def test_another_process_would_use_the_same_login(own: Sshd, open_to: Make) -> None:
    """Two transports to one site share the master's socket, as two processes do."""
    open_to("openssh", own).run(true())
    open_to("openssh", own).run(true())
    assert own.accepted_logins() == 1


def test_a_login_shell_that_talks_does_not_spoil_the_output(kind: str, tmp_path: Path, open_to: Make) -> None:
    """What the start-up files print on either stream is not the command's."""
    talk = 'ForceCommand echo "Welcome!"; echo "Mind the quota" >&2; eval "$SSH_ORIGINAL_COMMAND"'
    with Sshd.started(tmp_path / "talk", talk) as server:
        transport = open_to(kind, server)
        done = transport.run(shell("echo mine; echo too >&2"))
        assert (done.out, done.err) == ("mine\n", "too\n")
        with transport.open(Command(argv=("cat",), stdin=b"pure")) as channel:
            assert receive(channel, 4) == b"pure"


def test_a_connection_outlives_a_gibibyte(kind: str, own: Sshd, open_to: Make) -> None:
    """Four channels bring 320 MiB each over one login: new keys, if any are made on the way, stop nothing."""
    transport = open_to(kind, own)
    size = 320 * 2**20

    def fetch(_: int) -> int:
        buffer, got = memoryview(bytearray(2**20)), 0
        with transport.open(Command(argv=("head", "-c", str(size), "/dev/zero"))) as channel:
            while count := channel.receive_into(buffer):
                got += count
        return got

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, range(4))) == [size] * 4
    assert own.accepted_logins() == 1


# --- not sent


def test_a_refused_connection_was_not_sent(kind: str, own: Sshd, open_to: Make) -> None:
    """Nobody listens: the error says where, and may be retried."""
    own.stop()
    with pytest.raises(NotSentError, match=str(own.port)) as caught:
        open_to(kind, own).run(true())
    assert not isinstance(caught.value, HostKeyError | PersonNeededError)


def test_a_name_nobody_knows_was_not_sent(kind: str, own: Sshd, open_to: Make) -> None:
    """The name is in the error."""
    own.write_config("HostName no-such-host.invalid")
    with pytest.raises(NotSentError, match="no-such-host"):
        open_to(kind, own).run(true())


def test_a_key_that_is_not_let_in_needs_a_person(kind: str, own: Sshd, open_to: Make) -> None:
    """A second try would only count as a second failed login."""
    (own.folder / "authorized_keys").write_text("")
    with pytest.raises(PersonNeededError, match=r"let|denied"):
        open_to(kind, own).run(true())


def test_a_server_that_asks_for_a_password_gets_none(kind: str, tmp_path: Path, open_to: Make) -> None:
    """Key first, then a password: nobody is asked, and it ends at once."""
    first = "AuthenticationMethods publickey,password"
    server = Sshd.started(tmp_path / "second", first, "PasswordAuthentication yes")
    with server as asking, pytest.raises(PersonNeededError):
        open_to(kind, asking).run(true())


def test_a_server_that_never_answers_was_not_sent(kind: str, own: Sshd, open_to: Make) -> None:
    """A port that accepts and says nothing costs the connect timeout, not for ever."""
    import socket  # noqa: PLC0415 - only this test needs a bare socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        own.write_config(f"Port {silent.getsockname()[1]}")
        with pytest.raises(NotSentError):
            open_to(kind, own, connect_timeout=1.0).run(true(timeout=600))


def test_a_missing_ssh_program_names_the_alternative(tmp_path: Path) -> None:
    """The error says what to set."""
    with pytest.raises(NotSentError, match='transport = "fabric"'):
        OpenSSHTransport(host="localhost", control_dir=tmp_path, program="no-ssh-here").run(true())


# --- unknown


def test_a_server_that_dies_leaves_the_outcome_unknown(kind: str, own: Sshd, open_to: Make, tmp_path: Path) -> None:
    """The command ran (it left a file), the answer never came."""
    transport = open_to(kind, own)
    transport.run(true())
    proof = tmp_path / "ran"

    def kill_when_it_runs() -> None:
        while not proof.exists():
            time.sleep(0.02)
        own.drop_connections()

    killer = threading.Thread(target=kill_when_it_runs, daemon=True)
    killer.start()
    with pytest.raises(OutcomeUnknownError, match="may have run"):
        transport.run(shell('touch "$1"; sleep 3', str(proof)))
    killer.join()
    assert transport.run(true()).exit_code == 0
    assert own.accepted_logins() == 2


def test_a_channel_whose_server_dies_says_so(kind: str, own: Sshd, open_to: Make) -> None:
    """The reader gets an end or an error, at once, and the exit code is unknown."""
    transport = open_to(kind, own)
    channel = transport.open(Command(argv=("cat",)))
    channel.send(b"x")
    assert receive(channel, 1) == b"x"
    own.drop_connections()
    with contextlib.suppress(OutcomeUnknownError):
        assert receive(channel, 1) == b""
    assert channel.close() == -1


def test_a_dead_connection_is_replaced_before_anything_is_sent(kind: str, own: Sshd, open_to: Make) -> None:
    """The link broke while nobody looked: the next command logs in again by itself."""
    transport = open_to(kind, own)
    transport.run(true())
    own.drop_connections()
    time.sleep(0.2)
    assert transport.run(true()).exit_code == 0
    assert own.accepted_logins() == 2


# --- full connections


def test_a_refused_channel_waits_and_never_logs_in(kind: str, tmp_path: Path, open_to: Make) -> None:
    """With MaxSessions 1 eight threads get through one after the other, on one login."""
    with Sshd.started(tmp_path / "narrow", "MaxSessions 1") as server:
        transport = open_to(kind, server)
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(transport.run(shell("sleep 0.05")).exit_code))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (codes, server.accepted_logins(), server.attempts()) == ([0] * 8, 1, 1)


def test_a_refused_channel_is_told_apart(kind: str, tmp_path: Path, open_to: Make) -> None:
    """Opening one channel too many fails soon; a run that waits in vain was not sent."""
    with Sshd.started(tmp_path / "narrow", "MaxSessions 1") as server:
        transport = open_to(kind, server)
        transport.run(true())
        with transport.open(Command(argv=("cat",))):
            with pytest.raises(ChannelRefusedError):
                transport.open(Command(argv=("cat",)))
            with pytest.raises(ChannelRefusedError):
                transport.run(true(timeout=1.0))
        assert (server.accepted_logins(), server.attempts()) == (1, 1)


# --- a second factor


@pytest.fixture
def by_hand(own: Sshd, open_to: Make) -> OpenSSHTransport:
    """A transport to a site with a second factor, where nobody has logged in yet."""
    transport = open_to("openssh", own, mfa=True, mfa_prompt="TOTP code:")
    assert isinstance(transport, OpenSSHTransport)
    return transport


def test_without_a_person_nothing_is_tried(kind: str, own: Sshd, open_to: Make) -> None:
    """No master, no attempt: the error says how to open one."""
    transport = open_to(kind, own, mfa=True, mfa_prompt="TOTP code:")
    for act in (transport.run, transport.open):
        with pytest.raises(PersonNeededError, match=r"TOTP code:"):
            act(true())
    assert own.attempts() == 0


def test_a_person_opens_the_connection_once(own: Sshd, by_hand: OpenSSHTransport) -> None:
    """``login_command`` makes a master that everything uses; a second one changes nothing; logout ends it."""
    assert not by_hand.alive()
    for _ in range(2):
        assert subprocess.run(by_hand.login_command(), check=False, timeout=30).returncode == 0
    assert by_hand.alive()
    assert by_hand.run(true()).exit_code == 0
    assert (own.accepted_logins(), own.attempts()) == (1, 1)
    assert by_hand.logout()
    with pytest.raises(PersonNeededError):
        by_hand.run(true())
    assert own.attempts() == 1


def test_a_full_or_dead_master_never_leads_to_a_new_login(tmp_path: Path, open_to: Make) -> None:
    """MaxSessions 1, then a killed server: refusals and errors, and not one more connection."""
    with Sshd.started(tmp_path / "narrow", "MaxSessions 1") as server:
        # The user's own configuration tries to share connections its way.
        server.write_config("ControlMaster auto", "ControlPath ~/.ssh/aifa-test-%C", "ControlPersist 10m")
        transport = open_to("openssh", server, mfa=True)
        assert isinstance(transport, OpenSSHTransport)
        subprocess.run(transport.login_command(), check=True, timeout=30)
        with transport.open(Command(argv=("cat",))):
            with pytest.raises(ChannelRefusedError):
                transport.run(true(timeout=1.0))
            with pytest.raises(ChannelRefusedError):
                transport.open(Command(argv=("cat",)))
        assert transport.run(true()).exit_code == 0
        server.drop_connections()
        time.sleep(0.2)
        with pytest.raises(PersonNeededError):
            transport.run(true())
        with pytest.raises(PersonNeededError):
            transport.open(true())
        assert (server.accepted_logins(), server.attempts()) == (1, 1)
