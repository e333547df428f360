"""What a copy left on both sides, folder by folder: where nothing moved since, no file has to be looked at again.

A folder's state is one digest of the names and pins of its files (:attr:`aifa_hpc.staging.model.Folder.state`). Equal
states mean equal pins, by which files are known that did not change: a folder that is on both sides in the state in
which a copy proved it holds the same bytes still. For a hundred thousand files, some hundred digests are compared.

On disk, for each pair of ends, beside the ledger (wrapped here)::

    {"version": 1, "manifest": "21034-1790000000000000000-52", "tree": "sha256:5b1e...", "level": "verified",
     "leftover": false, "folders": {"train": ["0c4e...", "91b7...", 1000, 65536000]}}

It is a cache: without it, or when the manifest there is another one by now, every file is looked at.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.staging.files import raw, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.model import Found
    from aifa_hpc.staging.plan import Blocks
    from aifa_hpc.staging.route import Route

VERSION = 1


class Same(msgspec.Struct, frozen=True, array_like=True):
    """A folder that a copy left.

    Attributes:
        here: Its state at the source.
        there: Its state at the destination.
        files: Files of the source in it, not below it.
        size: Their bytes.
    """

    here: str
    there: str
    files: int
    size: int


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy of a folder left.

    Attributes:
        version: Of this form.
        manifest: Pin of the manifest there.
        tree: Its hash of everything.
        level: What the data set is proven by.
        leftover: The manifest lists files of this source which it no longer has.
        folders: All that hold files, by path, but for those whose state is not known.
    """

    version: int = VERSION
    manifest: str
    tree: str
    level: str
    leftover: bool
    folders: dict[str, Same]


def read_left(data: bytes | None) -> Left | None:
    """What :func:`write_left` wrote; what cannot be read is as good as nothing."""
    try:
        left = msgspec.convert(json.loads(data or b""), Left)
    except (ValueError, msgspec.ValidationError):
        return None
    return left if left.version == VERSION else None


def write_left(left: Left) -> bytes:
    """As it is kept."""
    return json.dumps(msgspec.to_builtins(left)).encode("ascii")  # names may hold what UTF-8 and msgspec cannot


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Both sides, as planning finds them.

    Attributes:
        files: Files of the source in folders that may have changed.
        same: Folders that are as the last copy left them, on both sides.
        here: States at the source, of all folders but those with a file that :meth:`is_young`.
        there: States at the destination before anything else was asked of it; of folders that the last copy left.
        left: What the last copy left, when nothing at all has changed since.
        asked: When the source was asked, in nanoseconds since 1970; ``None`` where pins are of content, not of time.
    """

    files: list[Found]
    same: Mapping[str, Same] = field(default_factory=dict)
    here: Mapping[str, str] = field(default_factory=dict)
    there: Mapping[str, str] = field(default_factory=dict)
    left: Left | None = None
    asked: int | None = 0

    def is_young(self, file: Found) -> bool:
        """Whether a later write to a file of the source may not be told from the state that was found."""
        return self.asked is not None and file.is_young(self.asked)


def asked_now(source: Endpoint, clock: Callable[[], int] = time.time_ns) -> int | None:
    """For :attr:`Looked.asked`, just before a source is asked; object stores pin content."""
    return None if source.checks_md5 else clock()


def look(route: Route, left: Left | None) -> Looked:
    """Lists the source, and asks the destination meanwhile whether it is as the last copy left it.

    Args:
        route: From folder to folder.
        left: What that was; ``None`` where every file is to be looked at.

    Raises:
        TransferError: The source cannot be listed, or the destination not be asked.
    """
    expected = left.folders if left is not None else {}
    asked_ns = asked_now(route.source)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_there, route, expected) if left is not None else None
        listed = list(route.source.folders({path: one.here for path, one in expected.items()}))
        manifest, there = asked.result() if asked is not None else ("", {})
    believed = left is not None and left.manifest == manifest
    same = {path: one for path, one in expected.items() if believed and one.there and there[path] == one.there}
    if any(folder.files is None and folder.path not in same for folder in listed):
        # Unchanged here and changed there: what is in them was not told.
        listed = list(route.source.folders({path: one.here for path, one in same.items()}))
    unchanged = {folder.path: same[folder.path] for folder in listed if folder.files is None}
    looked = Looked(
        files=[found for folder in listed for found in folder.files or ()],
        same=unchanged,
        here={folder.path: folder.state for folder in listed},
        there=there,
        left=left if believed and len(listed) == len(unchanged) == len(expected) else None,
        asked=asked_ns,
    )
    young = {file.path.rpartition("/")[0] for file in looked.files if looked.is_young(file)}
    return replace(looked, here={path: state for path, state in looked.here.items() if path not in young})


def noting(looked: Looked, source: Endpoint, ledger: Ledger) -> Callable[[Found, Blocks], None]:
    """Notes what files of the source hold; one that is too young for that is hashed again the next time."""

    def note(file: Found, blocks: Blocks) -> None:
        if not looked.is_young(file):
            ledger.note_content(source.identity, file.path, file.pin, blocks)

    return note


def _there(route: Route, expected: Mapping[str, Same]) -> tuple[str, dict[str, str]]:
    """Pin of the manifest there, and the states of folders."""
    found = route.destination.stat([route.manifest])[0]
    states = route.destination.states([(path, one.files) for path, one in expected.items()])
    return found.pin if found is not None else "", dict(zip(expected, states, strict=True))


class Leaving:
    """Gathers, while a copy works, what it leaves.

    Args:
        looked: What it found.
    """

    def __init__(self, looked: Looked) -> None:
        self._looked = looked
        self._marks: defaultdict[str, list[tuple[bytes, bytes]]] = defaultdict(list)
        self._sizes: Counter[str] = Counter()
        self._sent: set[str] = set()

    def add(self, path: str, there: Found, *, sent: bool) -> None:
        """A file of the source that is at the destination now, as it was found or sent there."""
        folder, _, name = path.rpartition("/")
        kind = "x" if there.executable else "-"
        self._marks[folder].append((raw(name), raw(f"{name}\0{there.pin}{kind}")))
        self._sizes[folder] += there.size
        if sent:
            self._sent.add(folder)

    def folders(self, ignored: Iterable[str]) -> dict[str, Same]:
        """All whose states are known; ``ignored`` are paths of what is no file, which somebody is told of each time."""
        strange = {path.rpartition("/")[0] for path in ignored}
        found = dict(self._looked.same)
        for folder, marks in self._marks.items():
            here, there = self._looked.here.get(folder, ""), self._looked.there.get(folder, "")
            if self._looked.here.get(folder) and folder not in strange:
                # A state that was asked for before the files were counts what others have put there, too.
                known = there if there and folder not in self._sent else state_of(mark for _, mark in sorted(marks))
                found[folder] = Same(here=here, there=known, files=len(marks), size=self._sizes[folder])
        return found
