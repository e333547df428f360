"""Partial files of a copy: the names of this attempt's, and what earlier attempts at the same files left."""

from __future__ import annotations

import secrets
from collections import defaultdict
from typing import TYPE_CHECKING

from aifa_hpc.staging.model import Partial, Target, fingerprint, new_token, partial_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.plan import Action


class Attempts:
    """Of one copy.

    Args:
        source: Where files are read.
        destination: Where their partial files are.
    """

    def __init__(self, source: Endpoint, destination: Endpoint) -> None:
        self._source, self._destination = source, destination
        self._attempt = secrets.token_hex(4)  # with a file's fingerprint it makes a token that nobody else has
        self._prints: set[str] = set()
        self._tokens: set[str] = set()

    def target(self, action: Action) -> Target:
        """What a file shall be, with a token that nobody else has."""
        file = action.file
        print_ = fingerprint(self._source.identity, file)
        self._prints.add(print_)
        return Target(
            path=action.path,
            size=file.size,
            mtime_ns=file.mtime_ns,
            executable=file.executable,
            token=new_token(print_, self._attempt),
        )

    def keep(self, partial: Partial) -> None:
        """This copy goes on with that one."""
        self._tokens.add(partial.token)

    def stranded(self, actions: Iterable[Action]) -> Mapping[str, Sequence[Partial]]:
        """Partial files in the folders that are written to, by the names they share with their target."""
        folders = sorted({action.path.rpartition("/")[0] for action in actions})
        found = defaultdict(list)
        for partial in self._destination.partials(folders):
            found[partial_path(partial.path, "")].append(partial)
        return dict(found)

    def discard(self, stranded: Mapping[str, Sequence[Partial]]) -> None:
        """Removes those of the same files that nobody goes on with."""
        self._destination.discard(
            [
                partial
                for found in stranded.values()
                for partial in found
                if partial.token.partition("-")[0] in self._prints and partial.token not in self._tokens
            ]
        )
