"""From a site to its transport, and the scripted one."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from aifa_hpc.command import Command
from aifa_hpc.errors import NotSentError
from aifa_hpc.sites.model import Access, HostKey, Site
from aifa_hpc.testing.transport import Reply, ScriptedTransport
from aifa_hpc.transport.connect import open_transport
from aifa_hpc.transport.fabric_ssh import FabricTransport
from aifa_hpc.transport.local import LocalTransport
from aifa_hpc.transport.openssh import OpenSSHTransport

if TYPE_CHECKING:
    from pathlib import Path

TRUE = Command(argv=("true",))
PIN = "SHA256:" + "A" * 43


@pytest.fixture
def site() -> Site:
    """A site with all that a transport reads."""
    fact = {"source": "a test", "checked_on": "2026-01-01"}
    login = {"hosts": ["login.example.org"], "mfa": True, "mfa_prompt": "Code:", "inet_only": True} | fact
    return msgspec.convert({"name": "s", "title": "S", "scheduler": {"cluster_name": "s"} | fact, "login": login}, Site)


def of_kind(site: Site, **access: object) -> Site:
    """The site with other access."""
    return msgspec.structs.replace(site, access=Access(**access))  # type: ignore[arg-type] # given by name


@pytest.mark.parametrize(
    ("kind", "expected"), [("openssh", OpenSSHTransport), ("fabric", FabricTransport), ("local", LocalTransport)]
)
def test_the_word_in_the_file_chooses_the_class(site: Site, tmp_path: Path, kind: str, expected: type) -> None:
    """Nothing connects before it is used."""
    assert type(open_transport(of_kind(site, transport=kind), tmp_path)) is expected


def test_what_the_site_says_reaches_ssh(site: Site, short_path: Path) -> None:
    """Host, user, port, files, pins and address family become arguments; the socket is in the state folder."""
    key = HostKey(type="ssh-ed25519", fingerprint=PIN)
    site = msgspec.structs.replace(site, login=msgspec.structs.replace(site.login, host_keys=(key,)))
    site = of_kind(site, user="ada", port=2222, ssh_config="/c", identity_file="/k")
    transport = open_transport(site, short_path)
    assert isinstance(transport, OpenSSHTransport)
    argv = transport.login_command()
    assert argv[-3:] == ("--", "login.example.org", "exit 0")
    for pair in (("-l", "ada"), ("-p", "2222"), ("-F", "/c"), ("-i", "/k")):
        assert pair in list(itertools.pairwise(argv))
    assert "-4" in argv
    assert [] != [word for word in argv if word.startswith("KnownHostsCommand=") and PIN in word]
    assert "HostKeyAlgorithms=^ssh-ed25519" in argv
    assert argv[2].startswith(str(short_path / "ssh"))


def test_an_embedded_site_is_made_elsewhere(site: Site, tmp_path: Path) -> None:
    """That is a mistake of the program, not of the user."""
    with pytest.raises(ValueError, match="embedded"):
        open_transport(of_kind(site, transport="embedded"), tmp_path)


def test_paramiko_is_imported_only_when_it_is_used() -> None:
    """Importing it takes longer than a command does."""
    code = (
        "import sys, aifa_hpc.transport.connect, aifa_hpc.transport.openssh, aifa_hpc.transport.retry\n"
        "print(sorted({'paramiko', 'fabric', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_scripted_transport_answers_in_order_and_remembers() -> None:
    """Replies, exceptions, and an end that is an error of the test."""
    with ScriptedTransport([Reply(stdout="a", exit_code=3), NotSentError("down")]) as transport:
        done = transport.run(TRUE)
        assert (TRUE, 3, b"a") == (done.command, done.exit_code, done.stdout)
        with pytest.raises(NotSentError, match="down"):
            transport.run(TRUE)
        with pytest.raises(AssertionError, match="no answer is left for: true"):
            transport.run(TRUE)
        with pytest.raises(AssertionError, match="nobody expected a channel"):
            transport.open(TRUE)
    assert ([TRUE] * 4, 1) == (transport.commands, transport.closed)


def test_a_scripted_transport_answers_from_a_function() -> None:
    """The function sees the command; channels come from another one."""
    transport = ScriptedTransport(lambda command: Reply(stdout=command.line), channels=LocalTransport().open)
    assert transport.run(Command(argv=("echo", "a b"))).out == "echo 'a b'"
    assert transport.open(TRUE).close() == 0
