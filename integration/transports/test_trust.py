"""Whom both SSH transports trust, and which way they take: host keys, jump hosts, and what a configuration says."""

from __future__ import annotations

import shlex
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import Command, shell
from aifa_hpc.errors import HostKeyError
from aifa_hpc.testing.sshd import Sshd, fingerprint, free_port, make_key
from aifa_hpc.testing.transport import TransportContract
from aifa_hpc.transport.openssh import OpenSSHTransport
from integration.transports.conftest import true

if TYPE_CHECKING:
    from pathlib import Path

    from integration.transports.conftest import Make

OTHER_FINGERPRINT = "SHA256:" + "A" * 43


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
