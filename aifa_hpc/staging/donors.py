"""Parts of a file that the destination holds already, in an older version of it or under another name.

Blocks are compared at the same boundaries, so this finds files that grew, were patched in place, moved or renamed. The
source file must be hashed before it is sent, which is worth it only where a donor is likely.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging import geometry
from aifa_hpc.staging.model import Loan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aifa_hpc.manifest import Manifest
    from aifa_hpc.staging.model import Part
    from aifa_hpc.staging.plan import Action, Blocks


class Donors:
    """What files of the destination hold, as far as it is known.

    Args:
        manifest: Of the destination's folder.
        others: Further manifests there, by the absolute path of their folder.
    """

    def __init__(self, manifest: Manifest | None, others: Mapping[str, Manifest]) -> None:
        self._by_path: dict[str, Blocks] = {}
        self._by_size: dict[int, list[str]] = defaultdict(list)
        found = {"": manifest} if manifest is not None else {}
        for folder, one in (found | dict(others)).items():
            for entry in one.entries:
                if entry.size > BLOCK:
                    path = f"{folder}/{entry.path}" if folder else entry.path
                    self._by_path[path] = entry.blocks
                    self._by_size[entry.size].append(path)

    def likely(self, action: Action) -> bool:
        """Whether hashing the source first may save sending."""
        return bool(action.there_blocks) or action.file.size in self._by_size or action.path in self._by_path

    def loans(self, action: Action, blocks: Blocks, parts: Iterable[Part], part_size: int) -> list[Loan]:
        """Where the given parts of a file may be borrowed.

        Args:
            action: About the file.
            blocks: What the source file holds.
            parts: Those that are missing.
            part_size: Of all parts but the last.
        """
        names = [*self._by_size.get(action.file.size, ()), *([action.path] if action.path in self._by_path else [])]
        held = {name: self._by_path[name] for name in names}
        if action.there_blocks:
            held[action.path] = action.there_blocks
        where: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
        for path, theirs in held.items():
            for number, block in enumerate(theirs):
                where[block].append((path, number))
        sums = geometry.group(blocks, part_size)
        loans = []
        for part in parts:
            wanted = sums[part.index].blocks
            for path, number in where.get(wanted[0], ()) if wanted else ():
                if held[path][number : number + len(wanted)] == wanted:
                    loans.append(Loan(part=part, path=path, offset=number * BLOCK, sum=sums[part.index]))
                    break
        return loans
