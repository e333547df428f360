"""Copies: what arrives equals what was sent, twice does nothing, and what cannot be copied is told."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError, NotSentError, Problem, TransferError
from aifa_hpc.manifest import BLOCK, read_manifest
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.progress import Progress
from aifa_hpc.staging.verify import verify
from aifa_hpc.testing.endpoints import HOSTILE_NAMES, some_bytes
from aifa_hpc.transport.local import LocalTransport
from tests.staging.conftest import make_tree, tree

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.privacy.gate import Clearance

BIG = BLOCK * 2 + 12345
FILES = {
    "a": b"hello",
    "empty": b"",
    "sub/big": some_bytes(BIG),
    "sub/deep/er/c": b"c" * 1000,
    **{name: name.encode() for name in HOSTILE_NAMES},
}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A folder with files of all kinds."""
    make_tree(tmp_path / "src", FILES)
    return tmp_path / "src"


def far(path: Path | str) -> SSHEndpoint:
    """The same machine, through the agent."""
    return SSHEndpoint(LocalTransport(), str(path), channels=2)


def test_a_folder_arrives_whole_and_twice_does_nothing(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Every byte once; the second time none."""
    dst = src.parent / "dst"
    first = copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    second = copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    total = sum(map(len, FILES.values()))
    assert tree(dst) == FILES
    assert (len(FILES), len(FILES), total, total, 0) == (
        first.files, first.files_sent, first.bytes_total, first.bytes_sent, first.bytes_skipped,
    )  # fmt: skip
    assert (0, 0, total, first.tree) == (second.files_sent, second.bytes_sent, second.bytes_skipped, second.tree)


def test_others_can_read_how_far_a_copy_is(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Each second it is noted how much is there; a copy that is complete has all of it, also when nothing was sent."""
    seen = []

    class Watching(Progress):
        def finished(self, path: str) -> None:
            seen.append((path, ledger.copies()[0].done))

    dst, total = src.parent / "dst", sum(map(len, FILES.values()))
    ticks = itertools.count()  # a second passes with each look
    for _ in range(2):
        copy(
            LocalEndpoint(src),
            LocalEndpoint(dst),
            clearance=clearance,
            ledger=ledger,
            lanes=1,
            progress=Watching(),
            clock=lambda: next(ticks),
        )
        assert total == ledger.copies()[0].done
    assert sorted(done for _, done in seen) == [done for _, done in seen]
    assert dict(seen)["sub/big"] >= BIG


def test_there_and_back_by_the_agent(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Up to another machine, verified there, and down again into another folder."""
    there, back = src.parent / "there", src.parent / "back"
    with far(there) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        report = verify(place)
        copy(place, LocalEndpoint(back), clearance=clear(None, outgoing=False), ledger=ledger)
    assert (True, len(FILES)) == (report.ok, report.files)
    assert tree(there) == FILES
    assert tree(back) == FILES


def test_from_machine_to_machine(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Two agents, and nothing of it on a disk in between."""
    with far(src) as one, far(src.parent / "dst") as other:
        summary = copy(one, other, clearance=clearance, ledger=ledger)
    assert (tree(src.parent / "dst"), len(FILES)) == (FILES, summary.files_sent)


@pytest.mark.parametrize(
    ("dst", "exists", "lands"),
    [("new", "", "new"), ("new/", "", "new/big"), ("old", "old/x", "old/big"), ("old/x", "old/x", "old/x")],
)
@pytest.mark.parametrize("remote", [False, True])
def test_a_file_goes_where_cp_would_put_it(
    src: Path, ledger: Ledger, clearance: Clearance, *, dst: str, exists: str, lands: str, remote: bool
) -> None:
    """Into a folder that exists or is written with a slash, else under the name given; the manifest lies beside."""
    base = src.parent / "base"
    make_tree(base, {exists: b"old"} if exists else {})
    place = far(f"{base}/{dst}") if remote else LocalEndpoint(f"{base}/{dst}")
    with place:
        summary = copy(LocalEndpoint(src / "sub/big"), place, clearance=clearance, ledger=ledger)
    folder, _, name = lands.rpartition("/")
    assert FILES["sub/big"] == (base / lands).read_bytes()
    assert summary.manifest == f".{name}.aifa-manifest.jsonl"
    manifest = read_manifest((base / folder / summary.manifest).read_text("ascii"))
    assert [name] == [entry.path for entry in manifest.entries]
    assert verify(LocalEndpoint(base / lands)).ok


def test_a_changed_file_is_replaced_and_a_same_one_left(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Also when the size is the same and the ledger is lost: then hashes decide."""
    dst = src.parent / "dst"
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    (src / "a").write_bytes(b"HELLO")
    (dst / ".aifa-manifest.jsonl").unlink()
    with Ledger(src.parent / "new.sqlite") as new:
        summary = copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=new)
    assert (1, 5, b"HELLO") == (summary.files_sent, summary.bytes_sent, (dst / "a").read_bytes())


def test_recheck_finds_what_looks_the_same(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Content that rotted under an unchanged time is hashed again only when asked for; then the bad part is sent."""
    dst = src.parent / "dst"
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    kept = (dst / "sub/big").stat()
    with (dst / "sub/big").open("r+b") as file:
        file.seek(BLOCK + 5)
        file.write(b"rotten")
    os.utime(dst / "sub/big", ns=(kept.st_mtime_ns, kept.st_mtime_ns))
    report = verify(LocalEndpoint(dst))
    assert [("sub/big", "its content is not what was published: 1 of 3 blocks differ")] == list(report.damaged)
    summary = copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger, recheck=True)
    sent = (summary.files_sent, summary.bytes_sent, summary.bytes_borrowed)
    assert ((1, BLOCK, BIG - BLOCK), True) == (sent, verify(LocalEndpoint(dst)).ok)


@pytest.mark.parametrize("same_ledger", [True, False])
def test_what_verify_found_damaged_is_mended_by_the_next_copy(
    src: Path, ledger: Ledger, clearance: Clearance, same_ledger: bool
) -> None:
    """Size and time look right, and neither ledger nor manifest is believed after the proof."""
    dst = src.parent / "dst"
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    kept = (dst / "a").stat()
    (dst / "a").write_bytes(b"jello")
    os.utime(dst / "a", ns=(kept.st_mtime_ns, kept.st_mtime_ns))
    with Ledger(src.parent / "other.sqlite") as other:
        used = ledger if same_ledger else other
        assert ["a"] == [path for path, _ in verify(LocalEndpoint(dst), ledger=used).damaged]
        summary = copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=used)
    assert (1, b"hello", True) == (summary.files_sent, (dst / "a").read_bytes(), verify(LocalEndpoint(dst)).ok)


def test_verify_tells_missing_short_and_changed_files(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """Each with its reason, by the agent where the files lie."""
    dst = src.parent / "dst"
    with far(dst) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        (dst / "a").write_bytes(b"jello")
        (dst / "empty").write_bytes(b"1")
        (dst / "sub/deep/er/c").unlink()
        report = verify(place)
    assert [
        ("a", "its content is not what was published: 1 of 1 blocks differ"),
        ("empty", "it has 1 bytes where 0 were published"),
        ("sub/deep/er/c", "it is missing"),
    ] == sorted(report.damaged)
    assert not report.ok


def test_verify_needs_a_manifest(tmp_path: Path) -> None:
    """Without one there is nothing to compare with."""
    (tmp_path / "dst").mkdir()
    with pytest.raises(InputError, match="no manifest"):
        verify(LocalEndpoint(tmp_path / "dst"))
    with pytest.raises(InputError, match="does not exist"):
        verify(LocalEndpoint(tmp_path / "nothing"))


class _Touch(Progress):
    """Changes a file when so many bytes were sent."""

    def __init__(self, path: Path, data: bytes, *, after: int) -> None:
        self._path, self._data, self._left = path, data, after

    def advance(self, size: int) -> None:
        """Counts."""
        self._left -= size
        if self._left <= 0 < self._left + size:
            self._path.write_bytes(self._data)


@pytest.mark.parametrize("remote", [False, True])
def test_a_source_that_changes_is_an_error(src: Path, ledger: Ledger, clearance: Clearance, remote: bool) -> None:
    """It names the file, and nothing appears under its name; the next run copies the new content."""
    dst = src.parent / "dst"
    changed = some_bytes(BIG, seed=2)
    with far(src / "sub") if remote else LocalEndpoint(src / "sub") as source:
        progress = _Touch(src / "sub/big", changed, after=BLOCK + 100)
        with pytest.raises(TransferError, match=r"'big' at .*sub changed while it was copied"):
            copy(source, LocalEndpoint(dst), clearance=clearance, ledger=ledger, progress=progress)
        assert not (dst / "big").exists()
        copy(source, LocalEndpoint(dst), clearance=clearance, ledger=ledger)
    assert {"big": changed, "deep/er/c": FILES["sub/deep/er/c"]} == tree(dst)


def test_a_clearance_for_results_lets_nothing_out(src: Path, ledger: Ledger) -> None:
    """The engine looks at the direction too."""
    with pytest.raises(InputError, match=r"--class open\|internal"), far(src.parent / "dst") as place:
        copy(LocalEndpoint(src), place, clearance=clear(None, outgoing=False), ledger=ledger)
    assert not (src.parent / "dst").exists()


def test_nothing_goes_without_a_clearance(src: Path, ledger: Ledger) -> None:
    """Not even with something that looks like one."""
    with pytest.raises(TypeError, match="Clearance"):
        copy(LocalEndpoint(src), LocalEndpoint(src.parent / "d"), clearance="open", ledger=ledger)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("nothing", "dst", "nothing does not exist"),
        ("src/a/", "dst", "is a file, not a folder"),
        ("src", "src", "itself"),
        ("src", "src/sub/x", "lies in it"),
        ("src/a", "src/a", "itself"),
        ("src/a", "src", "itself"),
        ("src/sub", "src/a", "is a folder and .* is a file"),
    ],
)
def test_a_copy_that_makes_no_sense_is_refused(
    src: Path, ledger: Ledger, clearance: Clearance, *, source: str, destination: str, message: str
) -> None:
    """Before anything is written."""
    base = src.parent
    with pytest.raises(InputError, match=message):
        copy(
            LocalEndpoint(f"{base}/{source}"), LocalEndpoint(f"{base}/{destination}"),
            clearance=clearance, ledger=ledger,
        )  # fmt: skip
    assert FILES == tree(src)


def test_what_is_no_file_is_left_and_told(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A pipe is not opened, and the summary names it."""
    os.mkfifo(src / "pipe")
    summary = copy(LocalEndpoint(src), LocalEndpoint(src.parent / "dst"), clearance=clearance, ledger=ledger)
    assert ("pipe",) == summary.ignored


def test_a_far_side_that_takes_no_more_is_an_error_with_file_place_and_next_step(
    src: Path, ledger: Ledger, clearance: Clearance
) -> None:
    """As the system over there says it (here: a limit on file sizes); when it is lifted, the rest is sent."""
    limited = src.parent / "python-with-limit"
    limited.write_text(f"#!/bin/sh\nulimit -f {(BLOCK + BLOCK // 2) // 512}\nexec '{sys.executable}' \"$@\"\n")
    limited.chmod(0o755)
    dst = src.parent / "dst"
    with SSHEndpoint(LocalTransport(), str(dst), channels=1, python=str(limited), label="lumi") as place:
        with pytest.raises(TransferError, match=r"cannot write 'sub/big' at lumi: File too large\..*split it"):
            copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
        assert not (dst / "sub/big").exists()
    with SSHEndpoint(LocalTransport(), str(dst), label="lumi") as place:
        summary = copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
    assert (FILES, 1) == (tree(dst), summary.parts_resumed)


class _Seen(Progress):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}

    def start(self, files: int, size: int) -> None:
        """Once."""
        self.told |= {"files": files, "bytes": size}

    def skipped(self, size: int) -> None:
        """Per file."""
        self._add("skipped", size)

    def advance(self, size: int) -> None:
        """Per piece."""
        self._add("sent", size)

    def finished(self, path: str) -> None:
        """Per file."""
        self._add("finished", 1)

    def _add(self, key: str, size: int) -> None:
        self.told[key] = self.told.get(key, 0) + size


def test_progress_adds_up(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """What is skipped and sent is all there is."""
    dst = src.parent / "dst"
    make_tree(dst, {"a": b"hello"})
    seen = _Seen()
    copy(LocalEndpoint(src), LocalEndpoint(dst), clearance=clearance, ledger=ledger, progress=seen)
    total = sum(map(len, FILES.values()))
    wanted = {"files": len(FILES), "bytes": total, "skipped": 5, "sent": total - 5, "finished": len(FILES) - 1}
    assert wanted == seen.told


def test_a_refused_copy_is_on_record_with_all_reasons(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """So that `aifa stage status` can say why."""

    def refuse(plan: object) -> None:
        problems = (Problem(key="room", value="1 GiB", rule="too little"), Problem(key="inodes", value="", rule="none"))
        raise InputError("the copy cannot work:", problems=problems, hint="Nothing was sent.")

    with pytest.raises(InputError):
        copy(LocalEndpoint(src), LocalEndpoint(src.parent / "dst"), clearance=clearance, ledger=ledger, approve=refuse)
    (known,) = ledger.copies()
    assert "the copy cannot work:\n  - room = 1 GiB: too little\n  - inodes: none" == known.problem


def test_a_lane_that_is_refused_is_done_without(src: Path, ledger: Ledger, clearance: Clearance) -> None:
    """A server that allows one channel less than asked for slows a copy down, and no more."""

    class Stingy(LocalTransport):
        left = 2

        def open(self, command):
            """Twice."""
            Stingy.left -= 1
            if Stingy.left < 0:
                raise NotSentError("no more sessions")
            return super().open(command)

    with SSHEndpoint(Stingy(), str(src.parent / "dst"), channels=8) as place:
        copy(LocalEndpoint(src), place, clearance=clearance, ledger=ledger)
    assert tree(src.parent / "dst") == FILES
