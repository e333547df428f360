"""User certificates: what ssh-keygen prints of them, and when their end is told."""

from __future__ import annotations

import datetime
import subprocess
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.transport.certificates import Certificate, certificates, read_certificate

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
# OpenSSH 9.2p1, ssh-keygen -L
SHOWN = """/k-cert.pub:
        Type: ssh-ed25519-cert-v01@openssh.com user certificate
        Public key: ED25519-CERT SHA256:ArorFvoJcQd+fa3w4q62do7HfGf5kMit6jawDmEgtAM
        Key ID: "ada"
        Valid: {}
        Principals:
                ada
"""


@pytest.mark.parametrize(
    ("words", "until"),
    [
        ("from 2026-11-24T07:00:00 to 2026-11-24T12:00:00", NOON),
        ("before 2026-11-24T12:00:00", NOON),
        ("after 2026-11-24T12:00:00", None),
        ("forever", None),
    ],
)
def test_every_way_to_say_until_when_is_read(words: str, until: datetime.datetime | None) -> None:
    """Two of them have no end."""
    assert Certificate(path="/k", until=until) == read_certificate(SHOWN.format(words), "/k")


def test_a_host_certificate_is_none_of_ours() -> None:
    """Nor is a plain key."""
    assert None is read_certificate(SHOWN.format("forever").replace("user certificate", "host certificate"), "/k")
    assert None is read_certificate("/k.pub is not a certificate\n", "/k")


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(61, ""), (60, "expires in 60 min, at 2026-11-24 13:00 UTC"), (0, "expired at"), (-5, "expired")],
)
def test_its_end_is_told_an_hour_before(minutes: int, words: str) -> None:
    """And afterwards that it has come."""
    certificate = Certificate(path="/k", until=NOON + datetime.timedelta(minutes=minutes))
    assert words in certificate.warning(NOON)
    assert bool(words) == bool(certificate.warning(NOON))
    assert (minutes <= 0) == certificate.expired(NOON)
    assert "" == Certificate(path="/k", until=None).warning(NOON)


def test_certificates_are_found_by_name_and_beside_their_keys(tmp_path: Path) -> None:
    """What ``ssh -G`` says of a host decides; files that are not there are left out."""
    for name in ("ca", "a key"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)), check=True)
    sign = ("ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "ada", "-V", "20260101000000Z:20261124120000Z")
    subprocess.run((*sign, str(tmp_path / "a key.pub")), check=True)
    found = certificates(
        f"host h\nidentityfile {tmp_path}/a key\nidentityfile ~/.ssh/no-such-key\ncertificatefile /no\n"
    )
    assert (Certificate(path=f"{tmp_path}/a key-cert.pub", until=NOON),) == found
    named = certificates(f"identityfile {tmp_path}/a key\ncertificatefile {tmp_path}/a key-cert.pub\n")
    assert [True] == [one.named for one in named]
