"""`aifa stage`, on this computer: here to the site `local`, through the same agent as on a cluster."""

from __future__ import annotations

import json
import shutil
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


def test_a_plan_is_made_looked_at_and_applied(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """Nothing is sent by the plan; applied it sends what it said, and applied again nothing."""
    away, path = f"local:{tmp_path}/away", str(tmp_path / "plan.json")
    planned = aifa("stage", "plan", str(shards), away, "-o", path, "--class", "open", "--json")
    assert (0, False, 3) == (planned.code, (tmp_path / "away").exists(), planned.json["send_files"]), planned.err
    done, again = (aifa("stage", "apply", path, "--json") for _ in range(2))
    assert [planned.json["send_bytes"], 0] == [done.json["bytes_sent"], again.json["bytes_sent"]]
    assert _content(shards) == _content(tmp_path / "away")


def test_a_plan_that_no_longer_fits_names_every_file(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """What changed at the source and what appeared at the destination; exit code 2; nothing is sent or forgotten."""
    path = str(tmp_path / "plan.json")
    aifa("stage", "plan", str(shards), f"local:{tmp_path}/away", "-o", path, "--class", "open")
    aifa("stage", "copy", str(shards), f"local:{tmp_path}/away", "--class", "open")
    shutil.rmtree(tmp_path / "away")
    known = aifa("stage", "status", "--json").json
    (shards / "a.parquet").write_bytes(b"longer than before" * 10_000)
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "empty.parquet").write_bytes(b"x")
    ran = aifa("stage", "apply", path)
    assert 2 == ran.code
    assert "a.parquet'" in ran.err
    assert "was not there when the plan was made" in ran.err
    assert {"empty.parquet": b"x"} == _content(tmp_path / "away")
    assert known == aifa("stage", "status", "--json").json


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"aifa_plan": 9}', "nonsense"])
def test_what_is_no_plan_is_told(aifa: Aifa, tmp_path: Path, text: str) -> None:
    """By the file's name."""
    (tmp_path / "plan.json").write_text(text)
    ran = aifa("stage", "apply", "plan.json")
    assert (2, True, True) == (ran.code, "plan.json" in ran.err, "aifa stage plan" in ran.err), ran.err


def test_damage_is_repaired_and_loss_is_ensured(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """Verify repairs in place; ensure brings back what was purged, the manifest too, and does nothing twice."""
    away = f"local:{tmp_path}/away"
    aifa("stage", "copy", str(shards), away, "--class", "open")
    (tmp_path / "away" / "a.parquet").write_bytes(b"rotten")
    mended = aifa("stage", "verify", away, "--repair", "--class", "open", "--json")
    assert (0, [True, 102_400]) == (mended.code, [mended.json[key] for key in ("ok", "bytes_repaired")]), mended.err
    for path in sorted((tmp_path / "away").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    manifest = f"{away}/.aifa-manifest.jsonl"
    ensured = aifa("stage", "ensure", manifest, "--class", "open", "--json")
    again = aifa("stage", "ensure", manifest, "--class", "open", "--json")
    assert [(0, 172_400), (0, 0)] == [(ran.code, ran.json["bytes_repaired"]) for ran in (ensured, again)], ensured.err
    assert 0 == again.json["bytes_hashed"]
    assert _content(shards) == _content(tmp_path / "away")


def test_the_class_may_be_the_sites_own(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """Stated once in sites.toml; one that is none is refused there."""
    (tmp_path / "config").mkdir()
    sites = tmp_path / "config" / "sites.toml"
    sites.write_text('[sites.local]\ndefault_class = "internal"\n')
    ran = aifa("stage", "copy", str(shards), f"local:{tmp_path}/away")
    sites.write_text('[sites.local]\ndefault_class = "sensitive"\n')
    refused = aifa("stage", "copy", str(shards), f"local:{tmp_path}/more")
    assert (0, 2, True) == (ran.code, refused.code, "default_class" in refused.err), ran.err


def test_what_is_gone_at_the_source_is_deleted_when_asked(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """Only what a copy made there, and only with --delete."""
    away, words = (
        tmp_path / "away",
        ("stage", "copy", str(shards), f"local:{tmp_path}/away", "--class", "open", "--json"),
    )
    aifa(*words)
    (away / "mine").write_bytes(b"not staged")
    (shards / "a.parquet").unlink()
    kept, deleted = aifa(*words).json, aifa(*words, "--delete").json
    assert [0, 1] == [kept["files_removed"], deleted["files_removed"]]
    assert _content(shards) | {"mine": b"not staged"} == _content(away)


def test_status_and_gc_tell_of_copies(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """What ended, and what was left; nothing is removed unasked."""
    away = tmp_path / "away"
    aifa("stage", "copy", str(shards), f"local:{away}", "--class", "open")
    left = away / f".big.{'0' * 16}-{'1' * 8}.aifa-part"
    left.write_bytes(b"x")
    told = aifa("stage", "status", "--json").json
    assert [("COMPLETED", 3)] == [(row["state"], row["files"]) for row in told]
    young, old = (aifa("stage", "gc", f"local:{away}", "--json", *words).json for words in ((), ("--older", "0")))
    assert [["stays"], ["removable"], True] == [
        *([row["state"] for row in rows] for rows in (young, old)),
        left.exists(),
    ]
    removed = aifa("stage", "gc", f"local:{away}", "--older", "0", "--remove", "--json").json
    assert (["removed"], False) == ([row["state"] for row in removed], left.exists())


def test_a_job_waits_for_its_data(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """Not submitted before its manifest is verified there; `ensure` brings back what is missing."""
    manifest = tmp_path / "away" / ".aifa-manifest.jsonl"
    job = aifa.job(rest=f'[data]\nmanifests = ["{manifest}"]')
    unstaged = aifa("submit", job, "--site", "local")
    aifa("stage", "copy", str(shards), f"local:{tmp_path}/away", "--class", "open")
    (tmp_path / "away" / "a.parquet").unlink()
    damaged = aifa("submit", job, "--site", "local")
    aifa("stage", "ensure", f"local:{manifest}", "--class", "open")
    whole = aifa("submit", job, "--site", "local", "--wait")
    assert [2, 2, 0] == [ran.code for ran in (unstaged, damaged, whole)], whole.err
    assert "'a.parquet': it is missing" in damaged.err
    assert "Nothing was submitted" in unstaged.err


def test_a_place_that_compute_nodes_do_not_see_is_refused(aifa: Aifa, shards: Path, tmp_path: Path) -> None:
    """By the site's facts, before the first byte; what the site lets see is fine, and events tell of it."""
    (tmp_path / "config").mkdir()
    sites = tmp_path / "config" / "sites.toml"
    sites.write_text(
        f'[sites.local.areas.scratch]\npath = "{tmp_path}/away/{{account}}"\nfiles = 2\npurge_days = 90\n'
        f'source = "here"\nchecked_on = 2026-11-24\n[sites.local.areas.old]\npath = "{tmp_path}/old"\n'
        'compute = false\nsource = "here"\nchecked_on = 2026-11-24\n'
    )
    words = ("stage", "copy", str(shards))
    unseen = aifa(*words, f"local:{tmp_path}/old/x", "--class", "open")
    many = aifa(*words, f"local:{tmp_path}/away/p1/x", "--class", "open")
    one = aifa(*words[:2], str(shards / "a.parquet"), f"local:{tmp_path}/away/p1/a", "--class", "open", "--json")
    assert [2, 2, 0] == [ran.code for ran in (unseen, many, one)], one.err
    assert "do not see old" in unseen.err
    assert "takes 2 files" in many.err
    assert not (tmp_path / "old").exists()
    events = [json.loads(line) for line in one.err.splitlines()]
    assert ["hint", "start", "progress", "finished"] == [event["event"] for event in events]
    assert "90 days after" in events[0]["text"]
