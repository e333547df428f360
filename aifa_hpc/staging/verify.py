"""Proof that a destination still holds what was copied: its manifest, against hashes made where the files lie."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from aifa_hpc.errors import NotSentError, ParseError, TransferError, TransportError
from aifa_hpc.manifest import BLOCK, Manifest, file_digest, manifest_name, read_manifest
from aifa_hpc.staging.model import Part
from aifa_hpc.staging.plan import is_as_made
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.route import find_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aifa_hpc.manifest import Entry
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.model import Found

Level: TypeAlias = Literal["full", "known", "sample"]

_BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        files: Files that were checked.
        bytes: Their bytes.
        damaged: Path and reason of each file that is not as it was published, a missing one too.
        bytes_hashed: Bytes that were read again for it.
        manifest: What was published.
        seconds: How long it took.
    """

    files: int
    bytes: int
    damaged: tuple[tuple[str, str], ...]
    bytes_hashed: int
    manifest: Manifest
    seconds: float

    @property
    def ok(self) -> bool:
        """All files are as they were published."""
        return not self.damaged


def verify(
    destination: Endpoint,
    *,
    ledger: Ledger | None = None,
    level: Level = "full",
    sample: int = 100,
    seed: int = 0,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Hashes again, where it lies, what a copy published.

    Args:
        destination: The folder or file that was copied to.
        ledger: Told what each file really holds, so that the next copy sends what is damaged, however it looks.
        level: ``full`` hashes every byte. ``known`` believes the ledger for files that are in the very state in which
            they were proven before. ``sample`` looks at every file's size and time and hashes some blocks.
        sample: How many blocks.
        seed: Which ones.
        progress: Told of each file; ``advance`` counts bytes that were hashed.
        clock: Seconds that only grow.

    Raises:
        InputError: Nothing is there, or no copy published a manifest there.
        ParseError: The manifest was cut or edited.
        TransferError: Something cannot be read, which is not the same as damaged.
    """
    begun = clock()
    try:
        found = find_manifest(destination, ledger.manifests if ledger is not None else None)
        folder = found.folder
        try:
            manifest = read_manifest(found.data.decode("ascii"))
        except (ParseError, UnicodeDecodeError) as error:
            name = manifest_name(found.name)
            raise ParseError(f"the manifest {name!r} at {folder} cannot be used: {error}") from error
        progress.start(len(manifest.entries), manifest.bytes)
        checking = _Checking(folder, ledger, progress, believe=level == "known" and ledger is not None)
        chosen = _chosen(manifest, sample, seed) if level == "sample" else None
        for at in range(0, len(manifest.entries), _BATCH):
            checking.check(manifest.entries[at : at + _BATCH], chosen)
        if found.lost:
            checking.damaged.append((manifest_name(found.name), "it is missing; the manifest kept here was used"))
        if ledger is not None:
            if checking.damaged:
                ledger.left.forget(f"{folder.identity}/")  # however it looks, it is not as a copy left it
            ledger.flush()
    except NotSentError:
        raise
    except TransportError as error:
        raise TransferError(f"verifying {destination} was interrupted: {error.message.rstrip('.')}.") from error
    return Report(
        files=len(manifest.entries),
        bytes=manifest.bytes,
        damaged=tuple(checking.damaged),
        bytes_hashed=checking.hashed,
        manifest=manifest,
        seconds=clock() - begun,
    )


class _Checking:
    """Compares files with their entries, a batch at a time."""

    def __init__(self, folder: Endpoint, ledger: Ledger | None, progress: Progress, *, believe: bool) -> None:
        self._folder, self._ledger, self._progress = folder, ledger, progress
        self._noted = ledger.content(folder.identity) if ledger is not None and believe else {}
        self.damaged: list[tuple[str, str]] = []
        self.hashed = 0

    def check(self, entries: Sequence[Entry], chosen: dict[str, list[int]] | None) -> None:
        """Looks at each file, and hashes: all of it, or the chosen blocks by path."""
        whole, sampled = [], []
        for entry, found in zip(entries, self._folder.stat([entry.path for entry in entries]), strict=True):
            if found is None:
                self.damaged.append((entry.path, "it is missing"))
            elif found.size != entry.size:
                what = f"it has {found.size} bytes" if found.size >= 0 else "it is not a file"
                self.damaged.append((entry.path, f"{what} where {entry.size} were published"))
            elif self._noted.get(entry.path) == (found.pin, entry.all_blocks):
                self._progress.skipped(entry.size)
            elif chosen is None or not is_as_made(found, entry):
                whole.append((entry, found))
            elif blocks := chosen.get(entry.path):
                sampled.append((entry, [_block(entry, number) for number in blocks]))
        self._whole(whole)
        self._sampled(sampled)

    def _whole(self, files: Sequence[tuple[Entry, Found]]) -> None:
        wanted = [(entry.path, [Part(index=0, offset=0, length=entry.size)]) for entry, _ in files]
        for (entry, found), (found_sum,) in zip(files, self._folder.sums(wanted), strict=True):
            self._passed(entry.size)
            if self._ledger is not None:
                self._ledger.note_content(self._folder.identity, entry.path, found.pin, found_sum.blocks)
            if file_digest(found_sum.blocks) != entry.digest:
                self.damaged.append((entry.path, _where(entry, found_sum.blocks)))
            else:
                self._progress.finished(entry.path)

    def _sampled(self, files: Sequence[tuple[Entry, list[Part]]]) -> None:
        wanted = [(entry.path, parts) for entry, parts in files]
        for (entry, parts), sums in zip(files, self._folder.sums(wanted), strict=True):
            self._passed(sum(part.length for part in parts))
            bad = [part for part, found in zip(parts, sums, strict=True) if found.blocks != _published(entry, part)]
            if bad:
                what = f"{len(bad)} of {len(parts)} blocks that were looked at differ"
                self.damaged.append((entry.path, f"its content is not what was published: {what}"))

    def _passed(self, size: int) -> None:
        self.hashed += size
        self._progress.advance(size)


def _chosen(manifest: Manifest, count: int, seed: int) -> dict[str, list[int]]:
    """Some blocks of all that there are, by path."""
    blocks = [(entry.path, number) for entry in manifest.entries for number in range(len(entry.all_blocks))]
    chosen: dict[str, list[int]] = {}
    for path, number in sorted(random.Random(seed).sample(blocks, min(count, len(blocks)))):  # noqa: S311 - a sample
        chosen.setdefault(path, []).append(number)
    return chosen


def _block(entry: Entry, number: int) -> Part:
    return Part(index=number, offset=number * BLOCK, length=min(BLOCK, entry.size - number * BLOCK))


def _published(entry: Entry, part: Part) -> tuple[bytes, ...]:
    return entry.all_blocks[part.index : part.index + 1]


def _where(entry: Entry, blocks: tuple[bytes, ...]) -> str:
    wrong = sum(mine != theirs for mine, theirs in zip(entry.all_blocks, blocks, strict=False))
    wrong += abs(len(entry.all_blocks) - len(blocks))
    return f"its content is not what was published: {wrong} of {len(entry.all_blocks)} blocks differ"
