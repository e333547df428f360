"""Both SSH transports against a real sshd: the contract, host keys, broken links, full and missing connections."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from aifa_hpc.command import Command, shell
from aifa_hpc.errors import HostKeyError, NotSentError, OutcomeUnknownError
from aifa_hpc.testing.sshd import Sshd, fingerprint, free_port, make_key
from aifa_hpc.testing.transport import TransportContract, receive
from aifa_hpc.transport.fabric_ssh import FabricTransport
from aifa_hpc.transport.openssh import OpenSSHTransport
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aifa_hpc.transport.base import Transport

    Make = Callable[..., Transport]

KINDS = {"openssh": OpenSSHTransport, "fabric": FabricTransport}
OTHER_FINGERPRINT = "SHA256:" + "A" * 43


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server with sshd's default limits for all that do not change it; its folder's name has blanks."""
    with Sshd.started(tmp_path_factory.mktemp("a server")) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sshd]:
    """A server that a test may maltreat."""
    with Sshd.started(tmp_path / "own server") as server:
        yield server


@pytest.fixture(scope="module")
def open_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Makes transports, and ends what they leave behind."""
    folder = tmp_path_factory.mktemp("control")
    made: list[Transport] = []

    def make(kind: str, server: Sshd, **settings: Any) -> Transport:
        defaults = {"host": server.alias, "ssh_config": str(server.ssh_config), "control_dir": folder}
        made.append(KINDS[kind](**(defaults | settings)))
        return made[-1]

    yield make
    for transport in made:
        transport.close()
        if isinstance(transport, OpenSSHTransport):
            transport.logout()


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


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two."""
    return str(request.param)


def true(timeout: float = 20.0) -> Command:
    """A command that does nothing."""
    return Command(argv=("true",), timeout=timeout)


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


# --- host keys


def test_an_unknown_host_key_is_refused_and_shown(kind: str, own: Sshd, open_to: Make) -> None:
    """Nothing is sent; the error names host, port, fingerprint and the next step."""
    own.known_hosts.write_text("")
    with pytest.raises(HostKeyError) as caught:
        open_to(kind, own).run(true())
    for part in ("127.0.0.1", str(own.port), f"ssh-ed25519 {own.fingerprint}", "not known", "by hand"):
        assert part in str(caught.value)
    assert own.accepted_logins() == 0


def test_a_changed_host_key_is_refused_and_shown(kind: str, own: Sshd, open_to: Make) -> None:
    """Another key is known for the name: the error says so, and how to forget it once the site has confirmed."""
    make_key(own.folder / "old_key")
    old = " ".join((own.folder / "old_key.pub").read_text().split()[:2])
    own.known_hosts.write_text(f"[127.0.0.1]:{own.port} {old}\n")
    with pytest.raises(HostKeyError) as caught:
        open_to(kind, own).run(true())
    for part in (own.fingerprint, "is not the one known", f"ssh-keygen -R '[127.0.0.1]:{own.port}'"):
        assert part in str(caught.value)
    assert own.accepted_logins() == 0


def test_a_revoked_host_key_is_refused_even_when_it_is_pinned(kind: str, own: Sshd, open_to: Make) -> None:
    """The user's own ``@revoked`` is stronger than what a profile says."""
    own.known_hosts.write_text(f"@revoked * {own.host_key}\n")
    with pytest.raises(HostKeyError, match="@revoked"):
        open_to(kind, own, pinned=(own.fingerprint,)).run(true())
    assert own.accepted_logins() == 0


@pytest.mark.parametrize("typed", [False, True])
def test_a_published_host_key_is_accepted(kind: str, own: Sshd, open_to: Make, *, typed: bool) -> None:
    """A pinned fingerprint needs no known_hosts, whose file stays as it is."""
    own.known_hosts.write_text("")
    pin = f"ssh-ed25519 {own.fingerprint}" if typed else own.fingerprint
    transport = open_to(kind, own, pinned=(OTHER_FINGERPRINT, pin))
    assert transport.run(true()).exit_code == 0
    assert own.known_hosts.read_text() == ""


def test_a_published_type_is_asked_for(kind: str, tmp_path: Path, open_to: Make) -> None:
    """A server with several keys presents the one that was published, though it is not the usual choice."""
    folder = tmp_path / "several"
    folder.mkdir()
    make_key(folder / "rsa_key", "rsa")
    with Sshd.started(folder, f'HostKey "{folder}/rsa_key"') as server:
        server.known_hosts.write_text("")
        pin = f"ssh-rsa {fingerprint(folder / 'rsa_key.pub')}"
        assert open_to(kind, server, pinned=(pin,)).run(true()).exit_code == 0


def test_a_host_key_that_is_not_the_published_one_is_refused(kind: str, own: Sshd, open_to: Make) -> None:
    """The error shows both: what is offered and what was published."""
    own.known_hosts.write_text("")
    with pytest.raises(HostKeyError) as caught:
        open_to(kind, own, pinned=(OTHER_FINGERPRINT,)).run(true())
    for part in (own.fingerprint, OTHER_FINGERPRINT, "support"):
        assert part in str(caught.value)
    assert own.accepted_logins() == 0


def test_hashed_names_in_known_hosts_are_read(kind: str, own: Sshd, open_to: Make) -> None:
    """Debian hashes names by default."""
    subprocess.run(("ssh-keygen", "-q", "-H", "-f", str(own.known_hosts)), check=True, capture_output=True)
    assert "127.0.0.1" not in own.known_hosts.read_text()
    assert open_to(kind, own).run(true()).exit_code == 0


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
    with Sshd.started(tmp_path / "second", first, "PasswordAuthentication yes") as server:
        started = time.monotonic()
        with pytest.raises(PersonNeededError):
            open_to(kind, server).run(true())
        assert time.monotonic() - started < 15


def test_a_server_that_never_answers_was_not_sent(kind: str, own: Sshd, open_to: Make) -> None:
    """A port that accepts and says nothing costs the connect timeout, not for ever."""
    import socket  # noqa: PLC0415 - only this test needs a bare socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        own.write_config(f"Port {silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(NotSentError):
            open_to(kind, own, connect_timeout=1.0).run(true())
        assert time.monotonic() - started < 25


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


# --- ways to the host


def test_a_jump_host_of_the_configuration_is_used(kind: str, sshd: Sshd, tmp_path: Path, open_to: Make) -> None:
    """ProxyJump works, with the jump host's own key checked as well."""
    with Sshd.started(tmp_path / "jump", alias="aifa-jump") as jump:
        config = tmp_path / "config"
        target = sshd.ssh_config.read_text().replace("\n  HostName", "\n  ProxyJump aifa-jump\n  HostName", 1)
        config.write_text(target + jump.ssh_config.read_text())
        before = sshd.accepted_logins()
        transport = open_to(kind, sshd, ssh_config=str(config))
        assert transport.run(Command(argv=("echo", "through"))).out == "through\n"
        assert (jump.accepted_logins(), sshd.accepted_logins()) == (1, before + 1)
        transport.logout() if isinstance(transport, OpenSSHTransport) else transport.close()
        end = time.monotonic() + 5
        while jump.sessions() and time.monotonic() < end:
            time.sleep(0.05)
        assert jump.sessions() == []


def test_an_unknown_jump_host_is_refused(kind: str, sshd: Sshd, tmp_path: Path, open_to: Make) -> None:
    """The pins of the site are not those of its jump host."""
    with Sshd.started(tmp_path / "jump", alias="aifa-jump") as jump:
        jump.known_hosts.write_text("")
        config = tmp_path / "config"
        target = sshd.ssh_config.read_text().replace("\n  HostName", "\n  ProxyJump aifa-jump\n  HostName", 1)
        config.write_text(target + jump.ssh_config.read_text())
        with pytest.raises(HostKeyError, match=shlex.quote(jump.fingerprint).strip("'").replace("+", r"\+")):
            open_to(kind, sshd, ssh_config=str(config), pinned=(jump.fingerprint,)).run(true())
        assert jump.accepted_logins() == 0


def test_port_user_and_key_given_here_win(kind: str, sshd: Sshd, tmp_path: Path, open_to: Make) -> None:
    """What sites.toml says is stronger than the configuration file."""
    config = tmp_path / "a config"
    config.write_text(
        f'Host *\n  Port {free_port()}\n  User nobody\n  UserKnownHostsFile "{sshd.known_hosts}"\n'
        "  GlobalKnownHostsFile /dev/null\n  IdentityAgent none\n"
    )
    transport = open_to(
        kind,
        sshd,
        host="127.0.0.1",
        user=sshd.user,
        port=sshd.port,
        identity_file=str(sshd.identity),
        ssh_config=str(config),
        inet_only=True,
    )
    assert transport.run(true()).exit_code == 0


@pytest.mark.parametrize("login_shell", ["bash", "dash", "zsh", "tcsh", "fish"])
def test_words_survive_every_login_shell(login_shell: str, tmp_path: Path, open_to: Make) -> None:
    """The same hostile words through the shells people have."""
    from shutil import which  # noqa: PLC0415 - only this test asks

    program = which(login_shell)
    if program is None:
        pytest.skip(f"{login_shell} is not installed here")
    run_it = f'ForceCommand exec {program} -c "$SSH_ORIGINAL_COMMAND"'
    with Sshd.started(tmp_path / login_shell, run_it) as server:
        transport = open_to("openssh", server)
        TransportContract().test_words_arrive_as_they_are(transport)
        assert transport.run(shell("exit 255")).exit_code == 255
