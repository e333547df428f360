"""Fingerprints, the options that pin them, and what is said about a key nobody knows."""

from __future__ import annotations

import base64
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import HostKeyError, InputError
from aifa_hpc.transport.hostkeys import Pin, fingerprint, host_key_error, pin_options
from aifa_hpc.transport.known_hosts import KnownKey, known_name, read_known_hosts

# A key pair made for this test; ssh-keygen 9.2 printed the fingerprint.
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAICMwBY3ydGQi4RfMRfI9FTRQ3Sx71sYZrF1eTFvjt4vD"
A, B = "SHA256:" + "A" * 43, "SHA256:" + "b" * 42 + "+"


def test_the_fingerprint_is_the_one_ssh_keygen_prints() -> None:
    """Compared with the program itself."""
    said = subprocess.run(
        ("ssh-keygen", "-lf", "-"), input=f"ssh-ed25519 {KEY}\n", capture_output=True, text=True, check=True
    ).stdout
    assert said.split()[1] == fingerprint(base64.b64decode(KEY))


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        (A, Pin(fingerprint=A)),
        (f" {A}= ", Pin(fingerprint=A)),
        (f"ssh-ed25519 {B}", Pin(fingerprint=B, type="ssh-ed25519")),
        (f"sk-ssh-ed25519@openssh.com  {B}", Pin(fingerprint=B, type="sk-ssh-ed25519@openssh.com")),
    ],
)
def test_pins_are_read_with_and_without_type(text: str, pin: Pin) -> None:
    """As people copy them from a web page."""
    assert pin == Pin.read(text)


@pytest.mark.parametrize(
    "text", ["", "SHA256:", "MD5:00:11", A[:-1], A + "AA", f"{A}; rm -rf", f"ssh'x {A}", f"{A}\n{A}"]
)
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    """A profile cannot smuggle words into the ssh program."""
    with pytest.raises(InputError, match="not a host key fingerprint"):
        Pin.read(text)


@pytest.mark.parametrize(("offered", "lines"), [(A, f"[h]:22 ssh-ed25519 {KEY}\n"), ("SHA256:" + "z" * 43, "")])
def test_the_known_hosts_command_prints_pinned_keys_only(offered: str, lines: str) -> None:
    """The command that ssh would run, run here with the tokens filled in."""
    options = pin_options((Pin.read(B), Pin.read(A)))
    assert ("-o", 1) == (options[0], len(options) // 2)
    words = shlex.split(options[1].removeprefix("KnownHostsCommand="))
    tokens = {"%H": "[h]:22", "%t": "ssh-ed25519", "%K": KEY, "%f": offered}
    done = subprocess.run([tokens.get(word, word) for word in words], capture_output=True, text=True, check=True)
    assert lines == done.stdout


def test_published_types_go_to_the_front() -> None:
    """An RSA key is negotiated under its two signature algorithms."""
    options = pin_options((Pin.read(f"ssh-rsa {A}"), Pin.read(f"ssh-ed25519 {B}")))
    assert options[3] == "HostKeyAlgorithms=^rsa-sha2-512,rsa-sha2-256,ssh-ed25519"
    assert pin_options(()) == ()


@pytest.mark.parametrize("state", ["unknown", "changed", "revoked"])
@pytest.mark.parametrize("pins", [(), (Pin.read(B),)])
def test_the_error_holds_all_that_a_person_needs(state: str, pins: tuple[Pin, ...]) -> None:
    """Host, port, what is offered, what was published, and what to do."""
    error = host_key_error("login.example.org", 2222, (f"ssh-ed25519 {A}",), pins, state=state)  # type: ignore[arg-type] # parametrized
    assert isinstance(error, HostKeyError)
    wanted = ["login.example.org", "2222", f"ssh-ed25519 {A}", *(pin.fingerprint for pin in pins)]
    wanted.append({"changed": "ssh-keygen -R", "revoked": "@revoked"}.get(state, "support" if pins else "by hand"))
    assert [] == [part for part in wanted if part not in str(error)]


# --- known_hosts


def entry(names: str) -> KnownKey:
    """A line for these names."""
    (found,) = read_known_hosts(f"{names} ssh-ed25519 {KEY} a comment\n")
    return found


@pytest.mark.parametrize(
    ("names", "name", "is_for"),
    [
        ("lumi.csc.fi", "lumi.csc.fi", True),
        ("LUMI.csc.fi", "lumi.csc.fi", True),
        ("lumi.csc.fi", "lumi.csc.fi.evil.org", False),
        ("a,lumi.csc.fi,b", "lumi.csc.fi", True),
        ("*.csc.fi", "lumi.csc.fi", True),
        ("*.csc.fi,!bad.csc.fi", "bad.csc.fi", False),
        ("!bad.csc.fi,*.csc.fi", "bad.csc.fi", False),
        ("login0?.j.de", "login01.j.de", True),
        ("[127.0.0.1]:2222", "[127.0.0.1]:2222", True),
        ("[127.0.0.1]:2222", "127.0.0.1", False),
        ("127.0.0.1", "[127.0.0.1]:2222", False),
        ("[ab]", "a", False),
    ],
)
def test_names_match_as_in_ssh(names: str, name: str, *, is_for: bool) -> None:
    """Lists, patterns, negations and ports of sshd(8)."""
    assert is_for == entry(names).is_for(name)


@pytest.mark.parametrize(("host", "port"), [("lumi.csc.fi", 22), ("127.0.0.1", 2222)])
def test_hashed_names_match_those_ssh_keygen_hashed(
    host: str, port: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``ssh-keygen -H`` is the reference."""
    path = tmp_path_factory.mktemp("hashed") / "known_hosts"
    path.write_text(f"{known_name(host, port)} ssh-ed25519 {KEY}\n")
    subprocess.run(("ssh-keygen", "-q", "-H", "-f", str(path)), check=True, capture_output=True)
    (found,) = read_known_hosts(path.read_text())
    assert found.names.startswith("|1|")
    assert (True, False) == (found.is_for(known_name(host, port)), found.is_for("other"))


def test_markers_comments_and_broken_lines() -> None:
    """Markers are kept, the rest is skipped as ssh does."""
    text = f"# comment\n\n@revoked * ssh-ed25519 {KEY}\nh ssh-ed25519 not=base64\nshort line\nh ssh-ed25519 {KEY}"
    assert [("@revoked", "*"), ("", "h")] == [(entry.marker, entry.names) for entry in read_known_hosts(text)]


@given(st.text())
def test_no_file_breaks_the_reader(text: str) -> None:
    """known_hosts files are edited by people."""
    for found in read_known_hosts(text):
        found.is_for("host")
