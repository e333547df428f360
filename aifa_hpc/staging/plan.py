"""Decides what a copy has to do, from what both sides list and what is known of their contents.

A file at the destination is believed to be the same only by hash. A hash is known from the ledger when the file's pin
is unchanged, or from the manifest that an earlier copy published there when size and time are still those it recorded.
Where sizes are equal and a hash is not known, the file is compared: hashed where it lies, not sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.staging.model import checked

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from aifa_hpc.manifest import Entry, Manifest
    from aifa_hpc.staging.model import Found

Blocks = tuple[bytes, ...]


class Verdict(Enum):
    """What happens to a file."""

    SKIP = "skip"
    COMPARE = "compare"
    SEND = "send"


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What is to be done about one file.

    Attributes:
        verdict: What.
        file: As the source lists it.
        path: Its path at the destination.
        there: What the destination has in its place.
        here_blocks: Digests of the source file's blocks, where known; an empty file has none.
        there_blocks: The same for the destination's.
    """

    verdict: Verdict
    file: Found
    path: str
    there: Found | None = None
    here_blocks: Blocks | None = field(default=None, repr=False)
    there_blocks: Blocks | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All of a copy, in the order of paths.

    Attributes:
        actions: One for each file.
        ignored: What is no file (sockets, devices, pipes) and stays.
        deletes: Files of the destination that an earlier copy from this source made and the source no longer has.
        spared: Such files that are not as the copy made them, and stay.
        same_files: Files that are as the last copy left them, on both sides, and have no action.
        same_bytes: Their bytes.
    """

    actions: tuple[Action, ...]
    ignored: tuple[str, ...] = ()
    deletes: tuple[Found, ...] = ()
    spared: tuple[str, ...] = ()
    same_files: int = 0
    same_bytes: int = 0

    def of(self, verdict: Verdict) -> tuple[Action, ...]:
        """The actions of that kind."""
        return tuple(action for action in self.actions if action.verdict is verdict)

    @property
    def files(self) -> int:
        """All files of the source."""
        return len(self.actions) + self.same_files

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(action.file.size for action in self.actions) + self.same_bytes


def make_plan(
    source: Iterable[Found],
    *,
    names: Mapping[str, str],
    there: Mapping[str, Found],
    here_known: Mapping[str, Blocks],
    there_known: Mapping[str, Blocks],
) -> Plan:
    """Decides for each file.

    Args:
        source: What the source lists.
        names: Path at the destination by path at the source, where they differ.
        there: What the destination has, by its paths.
        here_known: Block digests of source files, by source path.
        there_known: Block digests of the destination's files, by its paths.

    Raises:
        ParseError: A path would leave the destination.
        InputError: A folder stands where a file should go.
    """
    actions, ignored = [], []
    for file in sorted(source, key=lambda file: file.path):
        if file.size < 0:
            ignored.append(file.path)
            continue
        path = checked(names.get(file.path, file.path))
        found = there.get(path)
        if found is not None and found.size < 0:
            raise InputError(f"at the destination {path!r} is not a file.", hint="Move it away, or copy elsewhere.")
        here_blocks, there_blocks = here_known.get(file.path), there_known.get(path)
        actions.append(
            Action(
                verdict=_verdict(file, found, here_blocks, there_blocks),
                file=file,
                path=path,
                there=found,
                here_blocks=here_blocks,
                there_blocks=there_blocks,
            )
        )
    return Plan(actions=tuple(actions), ignored=tuple(ignored))


def settled(action: Action, here_blocks: Blocks, there_blocks: Blocks) -> Action:
    """A comparison that was carried out."""
    return Action(
        verdict=Verdict.SKIP if here_blocks == there_blocks else Verdict.SEND,
        file=action.file,
        path=action.path,
        there=action.there,
        here_blocks=here_blocks,
        there_blocks=there_blocks,
    )


def is_as_made(found: Found, entry: Entry) -> bool:
    """Whether a file looks as a copy left it."""
    return (found.size, found.mtime_ns) == (entry.size, entry.mtime_ns)


def _verdict(file: Found, there: Found | None, here_blocks: Blocks | None, there_blocks: Blocks | None) -> Verdict:
    if there is None or there.size != file.size:
        return Verdict.SEND
    if file.size and (here_blocks is None or there_blocks is None):
        return Verdict.COMPARE
    return Verdict.SKIP if (here_blocks or ()) == (there_blocks or ()) else Verdict.SEND


def no_longer_there(
    manifest: Manifest | None, place: str, source: Iterable[Found], same: Container[str] = ()
) -> dict[str, Entry]:
    """What an earlier copy from a place made, and the place no longer has.

    Args:
        manifest: What that copy published.
        place: Identity of the source.
        source: What it lists now.
        same: Folders that are not listed, as they hold what the manifest says.
    """
    listed = {file.path for file in source}
    return {
        entry.path: entry
        for entry in (manifest.entries if manifest is not None else ())
        if manifest is not None
        and manifest.sets[entry.set].place == place
        and entry.path not in listed
        and entry.path.rpartition("/")[0] not in same
    }


def known_here(source: Iterable[Found], noted: Mapping[str, tuple[str, Blocks]]) -> dict[str, Blocks]:
    """Digests from the ledger for files whose pin is unchanged."""
    known = {}
    for file in source:
        pin, blocks = noted.get(file.path, ("", ()))
        if pin and pin == file.pin:
            known[file.path] = blocks
    return known


def known_there(
    there: Mapping[str, Found], noted: Mapping[str, tuple[str, Blocks]], manifest: Manifest | None
) -> dict[str, Blocks]:
    """Digests of the destination's files: from the ledger, else from the manifest they were published with."""
    known = known_here(there.values(), noted)
    for entry in manifest.entries if manifest is not None else ():
        found = there.get(entry.path)
        if found is not None and is_as_made(found, entry):
            known.setdefault(entry.path, entry.all_blocks)
    return known
