"""`aifa stage`, on this computer: here to the site `local`, through the same agent as on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Aifa


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of files, one of them with a name that shells dislike."""
    folder = tmp_path / "shards"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.parquet").write_bytes(bytes(range(256)) * 400)
    (folder / "sub" / "it's; $(id) #.parquet").write_bytes(b"x" * 70_000)
    (folder / "empty.parquet").write_bytes(b"")
    return folder


def test_copy_there_verify_and_back(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """What was sent is there, proven there, and comes back the same."""
    away = f"local:{tmp_path}/away"
    sent = aifa("stage", "copy", str(shards), away, "--class", "open", "--json")
    proven = aifa("stage", "verify", away, "--json")
    back = aifa("stage", "copy", away, str(tmp_path / "back"), "--json")
    assert [0, 0, 0] == [ran.code for ran in (sent, proven, back)], sent.err + proven.err + back.err
    assert (3, True) == (sent.json["files"], proven.json["ok"])
    assert _content(shards) == _content(tmp_path / "away") == _content(tmp_path / "back")


def test_a_second_copy_sends_nothing(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """What is there and the same is skipped."""
    words = ("stage", "copy", str(shards), f"local:{tmp_path}/away", "--class", "internal", "--json")
    aifa(*words)
    again = aifa(*words).json
    assert (0, again["bytes_total"]) == (again["bytes_sent"], again["bytes_skipped"])


def test_damage_is_found_and_named(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """A flipped byte makes verify fail with exit code 1 and the file's name; copying again repairs it."""
    words = ("stage", "copy", str(shards), f"local:{tmp_path}/away", "--class", "open")
    aifa(*words)
    victim = tmp_path / "away" / "a.parquet"
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    victim.write_bytes(content)
    found = aifa("stage", "verify", f"local:{tmp_path}/away")
    assert (1, True) == (found.code, "a.parquet" in found.err)
    aifa(*words)
    assert 0 == aifa("stage", "verify", f"local:{tmp_path}/away").code


def test_data_does_not_leave_without_a_class(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """No class and a sensitive one are refused, with what to say instead, and nothing arrives."""
    none = aifa("stage", "copy", str(shards), f"local:{tmp_path}/away")
    sensitive = aifa("stage", "copy", str(shards), f"local:{tmp_path}/away", "--class", "sensitive")
    assert [(2, True), (2, True)] == [(ran.code, "--class" in ran.err) for ran in (none, sensitive)]
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize(
    ("paths", "word"),
    [
        (("nowhere", "local:/tmp/x"), "nowhere"),
        (("{shards}", "lokal:/tmp/x"), "local"),
        (("{shards}", "local:relative"), "relative"),
        (("s3://", "{tmp}/x"), "s3://"),
    ],
)
def test_bad_locations_are_named(aifa: Aifa, shards: Path, tmp_path: Path, paths: tuple[str, str], word: str) -> None:
    """A source that is not there, a site that is none, a relative remote path: exit code 2 and the word."""
    words = [text.format(shards=shards, tmp=tmp_path) for text in paths]
    ran = aifa("stage", "copy", *words, "--class", "open")
    assert (2, True) == (ran.code, word in ran.err), ran.err


def _content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, manifests left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".aifa")
    }
