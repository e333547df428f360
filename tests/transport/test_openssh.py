"""The ssh program's arguments and words, and where its socket lives; what needs a server is in integration/."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aifa_hpc.command import Command, shell
from aifa_hpc.errors import InputError, NotSentError
from aifa_hpc.transport.openssh import OpenSSHTransport
from aifa_hpc.transport.refusals import ChannelRefusedError, PersonNeededError
from aifa_hpc.transport.sockets import control_path, short_folder

# Words of OpenSSH 9.2p1 and, for the refused session, of 7.4p1 too (mux.c).
REFUSED = "mux_client_request_session: session request failed: Session open refused by peer\n"
BROKEN = "mux_client_request_session: read from master failed: Broken pipe\n"


def make(tmp_path: Path, **settings: object) -> OpenSSHTransport:
    """A transport that connects to nothing."""
    return OpenSSHTransport(**{"host": "h", "control_dir": tmp_path} | settings)  # type: ignore[arg-type] # given by name


def test_refusals_are_told_from_broken_requests(tmp_path: Path) -> None:
    """No master and a refused session prove that nothing ran; a request without an answer proves nothing."""
    transport = make(tmp_path)
    no_login = f"{transport._no_login}\nkex_exchange_identification: Connection closed by remote host\n"
    with pytest.raises(ChannelRefusedError):
        transport.explain_no_start(REFUSED + no_login)
    with pytest.raises(NotSentError):
        transport.explain_no_start(no_login)
    with pytest.raises(NotSentError):
        transport.explain_no_start("Control socket connect(/x): Connection refused\n" + no_login)
    transport.explain_no_start(BROKEN + no_login)
    transport.explain_no_start("Permission denied\nsession request failed\naifa: no new login\n")


def test_a_site_with_a_second_factor_needs_a_person(tmp_path: Path) -> None:
    """The hint is a command that can be copied, and shows what will be asked."""
    transport = make(tmp_path, mfa=True, mfa_prompt="Code: ", site="jupiter")
    with pytest.raises(PersonNeededError, match=r"`aifa login jupiter`.*Code:"):
        transport.run(Command(argv=("true",)))


@pytest.mark.parametrize(
    "settings",
    [{"host": "-oProxyCommand=x"}, {"host": ""}, {"host": "a b"}, {"host": "a\nb"}, {"user": "-v"}, {"pinned": ("x",)}],
)
def test_names_that_are_none_are_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    """Nothing from sites.toml becomes an option of ssh."""
    with pytest.raises(InputError):
        make(tmp_path, **settings)


def test_a_command_line_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    """The error says what to do instead."""
    with pytest.raises(PersonNeededError, match="standard input"):
        make(tmp_path).run(shell("cat", "x" * 200_000))


@pytest.mark.parametrize("text", [None, "Frobnicate yes\n"])
def test_a_configuration_that_ssh_cannot_read_sends_nothing(tmp_path: Path, text: str | None) -> None:
    """No such file, and an option that is none: not a lost answer, and the file is named."""
    config = tmp_path / "config"
    if text is not None:
        config.write_text(text)
    with pytest.raises(PersonNeededError, match=f"nothing was sent: .*{config}"):
        make(tmp_path, ssh_config=str(config)).run(Command(argv=("true",)))


def effective(transport: OpenSSHTransport, argv: tuple[str, ...]) -> dict[str, str]:
    """What the ssh program makes of an argument list (``ssh -G`` connects to nothing)."""
    done = subprocess.run((argv[0], "-G", *argv[1:]), capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_options_win_over_any_configuration(tmp_path: Path) -> None:
    """The most careless configuration file changes none of the safe settings."""
    config = tmp_path / "a config"
    config.write_text(
        "Host *\n StrictHostKeyChecking no\n ForwardAgent yes\n ControlMaster auto\n ControlPath /tmp/x\n"
        " ControlPersist yes\n ProxyJump other\n RequestTTY force\n RemoteCommand id\n LocalForward 1234 h:1\n"
        " PermitLocalCommand yes\n LocalCommand id\n BatchMode no\n PasswordAuthentication yes\n LogLevel QUIET\n"
    )
    transport = make(tmp_path, ssh_config=str(config), user="ada", port=2222, inet_only=True)
    got = effective(transport, transport._client("true"))
    wanted = {
        "stricthostkeychecking": "true",
        "forwardagent": "no",
        "controlmaster": "false",
        "controlpersist": "no",
        "requesttty": "false",
        "permitlocalcommand": "no",
        "batchmode": "yes",
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "loglevel": "ERROR",
        "user": "ada",
        "port": "2222",
        "addressfamily": "inet",
        "controlpath": str(transport._socket),
    }
    assert wanted == {key: got.get(key) for key in wanted}
    assert "proxyjump" not in got
    assert "localforward" not in got
    assert transport._no_login in got["proxycommand"]
    person = effective(transport, transport.login_command())
    assert ("true", "other", "no") == (person["stricthostkeychecking"], person["proxyjump"], person["batchmode"])


# --- the socket


def test_the_socket_is_in_a_private_folder(short_path: Path) -> None:
    """A new folder is 0700, an old one is made so, and one route has one name."""
    folder = short_path / "new" / "ssh"
    first = control_path(folder, "h", "", "0")
    assert (folder, 0o700) == (first.parent, folder.stat().st_mode & 0o777)
    folder.chmod(0o755)
    assert first == control_path(folder, "h", "", "0")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first != control_path(folder, "h", "ada", "0")


def test_a_path_that_is_too_long_moves_to_a_short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ssh appends 17 bytes while it binds, and 104 are the limit of a socket's path on macOS."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = control_path(tmp_path / ("x" * 100), "h")
    assert (short_folder(), True) == (path.parent, len(os.fsencode(path)) + 17 < 104)


def test_the_runtime_folder_is_preferred(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the user's own and goes with the session; a long or missing one is passed over."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    assert short_folder() == short_path / "aifa"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path / "missing"))
    assert short_folder() == Path(f"/tmp/aifa-{os.geteuid()}")


def test_a_folder_that_is_no_folder_of_ours_is_refused(short_path: Path) -> None:
    """A link put there by somebody else is not followed."""
    (short_path / "target").mkdir()
    link = short_path / "link"
    link.symlink_to(short_path / "target")
    with pytest.raises(NotSentError, match="not a folder of yours"):
        control_path(link, "h")
    (short_path / "file").touch()
    with pytest.raises(NotSentError):
        control_path(short_path / "file", "h")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(short_path: Path) -> None:
    """Its owner could use the connection."""
    folder = short_path / "theirs"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(NotSentError, match="not a folder of yours"):
        control_path(folder, "h")
