"""Where a copy really goes, once files and folders are told apart (the rule is in ``staging.location``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import manifest_name
from aifa_hpc.staging.geometry import cut, part_size, stricter

if TYPE_CHECKING:
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.kept import Kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """From a folder to a folder.

    Attributes:
        source: The folder that is read.
        destination: The folder that is written.
        only: The one file of the source that is copied; empty for all.
        name: What it shall be called.
        fresh: There is nothing at the destination, so that all must be sent.
    """

    source: Endpoint
    destination: Endpoint
    only: str = ""
    name: str = ""
    fresh: bool = False

    def expect(self, lanes: int | None) -> None:
        """What sending needs may begin before it is known what is to be sent: of what is there, it may be nothing.

        Args:
            lanes: Parallel streams, where they were asked for.
        """
        if self.source.at_most is not None and self.source.at_most <= self.destination.at_once:
            return  # it goes in one call, for which no lane is needed
        if not self.fresh:
            self.destination.expect(1)  # for what changed, while the source is listed
            return
        most = lanes or min(self.source.first, self.destination.first)
        if self.only and (file := self.source.stat([self.only])[0]) is not None:
            limits = stricter(self.source.limits, self.destination.limits)
            most = min(most, len(cut(max(0, file.size), part_size(file.size, limits))))
        for end in (self.source, self.destination):
            end.expect(most)

    @property
    def manifest(self) -> str:
        """The manifest's name at the destination."""
        return manifest_name(self.name)

    @property
    def source_text(self) -> str:
        """What is copied, as people write it."""
        return f"{self.source}/{self.only}" if self.only else str(self.source)

    @property
    def destination_text(self) -> str:
        """What it shall be, as people write it."""
        return f"{self.destination}/{self.name}" if self.name else str(self.destination)

    @property
    def place(self) -> str:
        """What this copy writes, as the ledger names it."""
        return f"{self.destination.identity}/{self.name}"


def make_route(source: Endpoint, destination: Endpoint) -> Route:
    """Looks at both ends.

    Raises:
        InputError: The destination is none, there is no source, it would be copied onto itself or into itself, or a
            folder onto a file.
    """
    if not destination.writable:
        raise InputError(
            f"{destination} can only be read from: nothing was copied.",
            hint="A destination is a path of this machine, SITE:/path or s3://bucket/prefix.",
        )
    kind = source.kind()
    if kind == "absent":
        raise InputError(f"{source} does not exist: nothing was copied.", hint="Check the path of the source.")
    if kind == "file" and source.says_folder:
        raise InputError(f"{source} is a file, not a folder.", hint="Write it without the final '/'.")
    if kind == "file":
        folder, only = source.split()
        there_kind = destination.kind()
        into = destination.says_folder or there_kind == "folder"
        target, name = (destination, only) if into else destination.split()
        route = Route(source=folder, destination=target, only=only, name=name, fresh=there_kind == "absent")
    else:
        there_kind = destination.kind()
        if there_kind == "file":
            raise InputError(
                f"{source} is a folder and {destination} is a file.", hint="Name a folder as the destination."
            )
        route = Route(source=source, destination=destination, fresh=there_kind == "absent")
    here, there = f"{route.source.identity}/{route.only}", route.place
    if here == there or (not route.only and there.startswith(here)):
        raise InputError(f"{destination} is {source} itself, or lies in it.", hint="Copy to another place.")
    return route


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What a finished copy left.

    Attributes:
        folder: The folder with the data.
        name: Of the one file; empty for all.
        data: The manifest's bytes.
        lost: The manifest is no longer there: this is the one kept here.
    """

    folder: Endpoint
    name: str
    data: bytes
    lost: bool = False


def find_manifest(place: Endpoint, kept: Kept | None) -> Published:
    """The manifest of a finished copy: the one that lies with the data, else the one that was kept here.

    Raises:
        InputError: There is none.
    """
    kind = place.kind()
    found = [(place, "")] if kind != "file" else []
    if kind != "folder":
        found.append(place.split())
    for folder, name in found:
        data = folder.read_bytes(manifest_name(name))
        if data is not None:
            return Published(folder=folder, name=name, data=data)
    for folder, name in found if kept is not None else ():
        data = kept.get(f"{folder.identity}/{name}") if kept is not None else None
        if data is not None:
            return Published(folder=folder, name=name, data=data, lost=True)
    if kind == "absent":
        raise InputError(
            f"{place} does not exist: there is nothing to verify.",
            hint="`aifa stage status` lists what was copied where.",
        )
    raise InputError(
        f"there is no manifest {manifest_name(found[0][1])!r} at {found[0][0]}.",
        hint="It is published at the end of a copy: run the copy again, then verify.",
    )
