"""Proof that a destination still holds what was copied: its manifest, against hashes made where the files lie."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, NotSentError, ParseError, TransferError, TransportError
from aifa_hpc.manifest import file_digest, read_manifest
from aifa_hpc.staging.model import Part
from aifa_hpc.staging.progress import Progress, silent
from aifa_hpc.staging.route import manifest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aifa_hpc.manifest import Entry
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger

_BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        files: Files that were checked.
        bytes: Their bytes.
        damaged: Path and reason of each file that is not as it was published, a missing one too.
        tree: The manifest's hash of everything.
        seconds: How long it took.
    """

    files: int
    bytes: int
    damaged: tuple[tuple[str, str], ...]
    tree: str
    seconds: float

    @property
    def ok(self) -> bool:
        """All files are as they were published."""
        return not self.damaged


def verify(
    destination: Endpoint,
    *,
    ledger: Ledger | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Hashes again, where it lies, what a copy published.

    Args:
        destination: The folder or file that was copied to.
        ledger: Told what each file really holds, so that the next copy sends what is damaged, however it looks.
        progress: Told of each file; ``advance`` counts bytes that were hashed.
        clock: Seconds that only grow.

    Raises:
        InputError: Nothing is there, or no copy published a manifest there.
        ParseError: The manifest was cut or edited.
        TransferError: Something cannot be read, which is not the same as damaged.
    """
    begun = clock()
    try:
        folder, name = manifest_of(destination)
        data = folder.read_bytes(name)
        if data is None:
            raise InputError(
                f"there is no manifest {name!r} at {folder}.",
                hint="It is published at the end of a copy: run the copy again, then verify.",
            )
        try:
            manifest = read_manifest(data.decode("ascii"))
        except (ParseError, UnicodeDecodeError) as error:
            raise ParseError(f"the manifest {name!r} at {folder} cannot be used: {error}") from error
        progress.start(len(manifest.entries), manifest.bytes)
        damaged: list[tuple[str, str]] = []
        for at in range(0, len(manifest.entries), _BATCH):
            damaged += _check(folder, manifest.entries[at : at + _BATCH], ledger, progress)
        if ledger is not None:
            ledger.flush()
    except NotSentError:
        raise
    except TransportError as error:
        raise TransferError(f"verifying {destination} was interrupted: {error.message.rstrip('.')}.") from error
    return Report(
        files=len(manifest.entries),
        bytes=manifest.bytes,
        damaged=tuple(damaged),
        tree=manifest.tree,
        seconds=clock() - begun,
    )


def _check(
    folder: Endpoint, entries: Sequence[Entry], ledger: Ledger | None, progress: Progress
) -> Iterator[tuple[str, str]]:
    whole = []
    for entry, found in zip(entries, folder.stat([entry.path for entry in entries]), strict=True):
        if found is None:
            yield entry.path, "it is missing"
        elif found.size != entry.size:
            what = f"it has {found.size} bytes" if found.size >= 0 else "it is not a file"
            yield entry.path, f"{what} where {entry.size} were published"
        else:
            whole.append((entry, found))
    wanted = [(entry.path, [Part(index=0, offset=0, length=entry.size)]) for entry, _ in whole]
    for (entry, found), (found_sum,) in zip(whole, folder.sums(wanted), strict=True):
        progress.advance(entry.size)
        if ledger is not None:
            ledger.note_content(folder.identity, entry.path, found.pin, found_sum.blocks)
        if file_digest(found_sum.blocks) != entry.digest:
            yield entry.path, _where(entry, found_sum.blocks)
        else:
            progress.finished(entry.path)


def _where(entry: Entry, blocks: tuple[bytes, ...]) -> str:
    wrong = sum(mine != theirs for mine, theirs in zip(entry.all_blocks, blocks, strict=False))
    wrong += abs(len(entry.all_blocks) - len(blocks))
    return f"its content is not what was published: {wrong} of {len(entry.all_blocks)} blocks differ"
