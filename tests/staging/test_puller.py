"""The program that fetches on a site, run as it is there: resumed, pinned, and its manifest the library's own."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.command import drive
from aifa_hpc.errors import InputError
from aifa_hpc.manifest import BLOCK, DataSet, make_entry, make_manifest, read_manifest, write_manifest
from aifa_hpc.staging import pull, pulled
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.url import URLEndpoint
from aifa_hpc.staging.planning import plan_copy, survey
from aifa_hpc.staging.progress import silent
from aifa_hpc.staging.route import make_route
from aifa_hpc.staging.signing import signer
from aifa_hpc.staging.verify import verify
from aifa_hpc.transport.local import LocalTransport
from tests.staging.ranges import Web, serve
from tests.staging.test_endpoint_ssh import OLD_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger

DATA = os.urandom(5 * BLOCK + 7)
PYTHONS = [sys.executable, *([OLD_PYTHON] if OLD_PYTHON else [])]


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server with a file, of which it holds back what comes after two blocks when that is asked of it."""
    with serve(DATA, 2 * BLOCK) as found:
        yield found


@dataclass
class Site:
    """A folder as a site has it.

    Attributes:
        folder: With the list and the program.
        root: Where the files go.
    """

    folder: Path
    root: Path

    def put(self, web: Web, ledger: Ledger, *, tasks: int = 1) -> None:
        """Sends the list of what is not there of a web server."""
        with URLEndpoint(web.url) as here:
            self.put_from(here, ledger, tasks=tasks)

    def put_from(self, here: Endpoint, ledger: Ledger, *, bucket: str = "", tasks: int = 1) -> None:
        """The same of any source."""
        self.root.mkdir(exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        with LocalEndpoint(f"{self.root}/") as there:
            route = make_route(here, there)
            archive = pull.pack(
                route,
                str(self.root),
                plan_copy(route, survey(route)[0], manifest=None, ledger=ledger, progress=silent, reading=False),
                there.read_bytes(route.manifest) or b"",
                data_set=DataSet(
                    source=str(here), place=here.identity, tool="0", published="2026-11-24T08:00:00+00:00"
                ),
                sign=signer(route.source, bucket),
                run=os.urandom(4).hex(),
                tasks=tasks,
                piece=BLOCK,
            )
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            members.extractall(self.folder, filter="data")

    def start(self, *words: str, python: str = sys.executable) -> subprocess.Popen[str]:
        """Starts the program."""
        command = [python, "-I", "program.zip", ".", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, python: str = sys.executable) -> tuple[int, str]:
        """Runs it to its end; its exit code and what it said."""
        process = self.start(*words, python=python)
        out, error = process.communicate(timeout=60)
        return process.returncode, out + error

    def beats(self) -> list[pull.Beat]:
        """What its tasks tell."""
        return pull.read_beats("\n".join(path.read_text() for path in self.folder.glob("beat.*.json")))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty one."""
    return Site(tmp_path / "pull", tmp_path / "data")


@pytest.mark.parametrize("python", PYTHONS)
def test_it_publishes_what_a_copy_would(site: Site, web: Web, ledger: Ledger, python: str) -> None:
    """The file, and a manifest that verifies; the list with its URLs is gone, and so are partial files."""
    site.put(web, ledger)
    code, said = site.run(python=python)
    assert (0, DATA) == (code, (site.root / "big.bin").read_bytes()), said
    with LocalEndpoint(str(site.root / "big.bin")) as place:
        assert verify(place, ledger=ledger, level="full").ok
    assert [".big.bin.aifa-manifest.jsonl", "big.bin"] == sorted(path.name for path in site.root.iterdir())
    assert not (site.folder / "tasks.jsonl").exists()
    assert [("done", "", len(DATA))] == [(beat.state, beat.problem, beat.fetched) for beat in site.beats()]
    assert (0, True) == ((again := site.run())[0], "nothing to do" in again[1])


def test_a_killed_run_is_gone_on_with(site: Site, web: Web, ledger: Ledger) -> None:
    """After kill -9, and with a new list, only ranges are fetched that were not journalled."""
    web.free.clear()
    site.put(web, ledger)
    process = site.start()
    while len(_journalled(site)) < 2:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [False, True] == [(site.root / name).exists() for name in ("big.bin", "")]
    web.free.set()
    site.put(web, ledger)
    web.asked.clear()
    code, said = site.run()
    assert (0, DATA) == (code, (site.root / "big.bin").read_bytes()), said
    assert [2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 5 * BLOCK] == sorted(web.asked)
    assert {"fetched": 3 * BLOCK + 7, "resumed": 2 * BLOCK, "skipped": 0, "files": 1} == json.loads(said)


def test_what_the_disk_lost_is_fetched_again(site: Site, web: Web, ledger: Ledger) -> None:
    """A journal is not believed: what is not on the disk as it arrived is fetched, before anything is published."""
    web.free.clear()
    site.put(web, ledger)
    process = site.start()
    while len(_journalled(site)) < 2:
        assert process.poll() is None
    process.kill()
    process.communicate()
    (partial,) = site.root.glob(".big.bin.*.aifa-part")
    with partial.open("r+b") as file:
        file.write(b"damaged")
    web.free.set()
    web.asked.clear()
    code, said = site.run()
    assert (0, DATA) == (code, (site.root / "big.bin").read_bytes()), said
    assert [0, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 5 * BLOCK] == sorted(web.asked)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"etag": '"two"'}, "'big.bin' was changed at its source"),
        ({"status": 403}, "run the same command again, which signs new ones"),
        ({"status": 404}, "'big.bin' was changed at its source"),
    ],
)
def test_it_says_why_not(site: Site, web: Web, ledger: Ledger, change: dict[str, Any], says: str) -> None:
    """What cannot be fetched as it was listed is not published; exit code, words and beat tell."""
    site.put(web, ledger)
    lines = (site.folder / "tasks.jsonl").read_text().replace('"etag": ""', '"etag": "one"')
    (site.folder / "tasks.jsonl").write_text(lines)
    for key, value in change.items():
        setattr(web, key, value)
    code, said = site.run()
    assert 1 == code
    assert says in said
    assert ["failed"] == [beat.state for beat in site.beats()]
    assert not (site.root / "big.bin").exists()


def test_the_last_task_publishes_the_manifest(site: Site, web: Web, ledger: Ledger) -> None:
    """It is there when all tasks are done, and not before."""
    site.put(web, ledger, tasks=2)
    manifest = site.root / ".big.bin.aifa-manifest.jsonl"
    assert (0, False) == (site.run("0")[0], manifest.exists())
    assert (0, True) == (site.run("1")[0], manifest.exists())
    assert ["big.bin"] == [entry.path for entry in read_manifest(manifest.read_text()).entries]


def test_a_list_that_leaves_the_folder_is_refused(site: Site, web: Web, ledger: Ledger) -> None:
    """Whoever wrote it."""
    site.put(web, ledger)
    lines = (site.folder / "tasks.jsonl").read_text().replace('"path": "big.bin"', '"path": "../big.bin"')
    (site.folder / "tasks.jsonl").write_text(lines)
    code, said = site.run()
    assert (1, True) == (code, "leaves the folder" in said)
    assert not (site.root.parent / "big.bin").exists()


def test_lists_whose_urls_have_ended_go_with_the_next_one(tmp_path: Path) -> None:
    """Of those that somebody still works on none goes, and nothing outside of the folder of lists."""
    places = {name: tmp_path / name for name in ("pulls/old", "pulls/fresh", "other")}
    for place in places.values():
        place.mkdir(parents=True)
        (place / "tasks.jsonl").write_text("{}")
    for name in ("pulls/old", "other"):
        os.utime(places[name], (time.time() - 9 * 86400,) * 2)
    drive(pull.put(str(tmp_path / "pulls" / "new"), pull._tar({"about.json": io.BytesIO(b"{}")})), LocalTransport().run)
    assert ["fresh", "new"] == sorted(place.name for place in (tmp_path / "pulls").iterdir())
    assert places["other"].exists()
    assert 0o700 == (tmp_path / "pulls" / "new").stat().st_mode & 0o777


def test_a_folder_of_this_machine_has_no_urls(tmp_path: Path) -> None:
    """Which is said."""
    with LocalEndpoint(str(tmp_path)) as here, pytest.raises(InputError, match="only s3:// and https://"):
        signer(here, "")


@given(st.lists(st.integers(0, 10**12), max_size=50), st.integers(1, 9))
def test_shares_are_even(sizes: list[int], tasks: int) -> None:
    """No task has more than another by more than its largest file."""
    shares = pull.share(sizes, tasks)
    assert len(sizes) == len(shares)
    loads = [sum(max(size, 1) for size, one in zip(sizes, shares, strict=True) if one == task) for task in range(tasks)]
    assert max(loads) - min(loads) <= max([1, *sizes])


_PATHS = st.text(st.characters(codec="utf-8", exclude_characters="/\0\\."), min_size=1, max_size=9).filter(
    lambda path: not re.fullmatch("[A-Za-z]:", path)  # a drive is refused
)
_SUM = st.binary(min_size=32, max_size=32)


@given(st.dictionaries(_PATHS, st.tuples(st.lists(_SUM, max_size=3), st.integers(0, 1), st.booleans())))
def test_its_manifest_is_the_librarys(files: dict[str, tuple[list[bytes], int, bool]]) -> None:
    """Byte for byte, whatever the files."""
    sets = [DataSet(source="s3://lab/a", place="a", tool="0"), DataSet(source="s3://lab/ü", place="b", tool="0")]
    whole, lines = [], []
    for path, (blocks, number, executable) in files.items():
        size = len(blocks) * BLOCK
        made = make_entry(path=path, size=size, blocks=tuple(blocks), mtime_ns=7, executable=executable)
        whole.append((made, number))
        done = {"done": path, "size": size, "mtime_ns": 7, "executable": executable}
        lines.append(pulled.entry(done | {"blocks": [block.hex() for block in blocks]}, number))
    entries = [dataclasses.replace(made, set=number) for made, number in whole]
    expected = "".join(write_manifest(make_manifest(entries, sets=sets)))
    told = [{key: getattr(one, key) for key in ("source", "place", "tool", "level", "published")} for one in sets]
    assert expected == pulled.manifest(lines, told).decode("ascii")


def _journalled(site: Site) -> list[dict[str, Any]]:
    return [line for line in pulled.journals(str(site.folder)) if "at" in line]
