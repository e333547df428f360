"""What a place that can only be read from answers: to every question of a destination that there is nothing, or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from aifa_hpc.errors import InputError
from aifa_hpc.staging.endpoints.base import Endpoint, Feed, Lane, Pending
from aifa_hpc.staging.files import Sums
from aifa_hpc.staging.model import Found, Part, Partial, PartSum, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Source(Endpoint):
    """A place that is read file by file, and hashed by reading it."""

    writable: ClassVar[bool] = False

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """Reads them: nobody hashes for us there."""
        with self.lane() as lane:
            for path, parts in wanted:
                sums = []
                for part in parts:
                    hasher = Sums(md5)
                    for view in lane.read(path, part):
                        hasher.update(view)
                    blocks, digest = hasher.finish()
                    sums.append(PartSum(blocks=tuple(map(bytes.fromhex, blocks)), md5=bytes.fromhex(digest)))
                yield sums

    def partials(self, folders: Sequence[str]) -> list[Partial]:
        """None: nothing is ever written here."""
        del folders
        return []

    def strays(self) -> Iterator[Partial]:
        """None."""
        return iter(())

    def partial_sums(self, partial: Partial, parts: Sequence[Part]) -> list[PartSum]:
        """Refused."""
        del partial, parts
        self.refuse()

    def begin(self, path: str, size: int, token: str) -> Partial:
        """Refused."""
        del path, size, token
        self.refuse()

    def adopt(self, partial: Partial, token: str) -> Partial:
        """Refused."""
        del partial, token
        self.refuse()

    def discard(self, partials: Sequence[Partial]) -> None:
        """Nothing to remove."""
        del partials

    def remove(self, paths: Sequence[str]) -> None:
        """Refused."""
        del paths
        self.refuse()

    def settle(self, folders: Sequence[str]) -> None:
        """Nothing was published."""
        del folders

    def refuse(self) -> NoReturn:
        """Says that this is no destination.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"{self} can only be read from.",
            hint="A destination is a path of this machine, SITE:/path or s3://bucket/prefix.",
        )


class SourceLane(Lane):
    """One thread's way to a place that is only read.

    Args:
        source: The place.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def write(self, partial: Partial, part: Part, feed: Feed) -> Pending:
        """Refused."""
        del partial, part, feed
        self._source.refuse()

    def store(self, target: Target, feed: Feed) -> Pending:
        """Refused."""
        del target, feed
        self._source.refuse()

    def publish(self, partial: Partial, target: Target) -> Found:
        """Refused."""
        del partial, target
        self._source.refuse()

    def close(self) -> None:
        """Nothing to let go of."""
