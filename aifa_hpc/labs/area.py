"""A data set's place at a destination: its folder, and the one beside it with index, pins and metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aifa_hpc.errors import InputError
from aifa_hpc.labs.versions import INDEX, PINS, Pin, Version, is_whole, read_index, read_pin, write_index, write_pin
from aifa_hpc.manifest import MANIFEST, Manifest, write_manifest
from aifa_hpc.sites.strict import nearest
from aifa_hpc.staging.planning import published
from aifa_hpc.staging.store import store_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from aifa_hpc.labs.registry import LabData
    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.location import Location
    from aifa_hpc.transfers import Places

_PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def folder_of(data: LabData, destination: str) -> str:
    """Where a data set goes below a destination."""
    return f"{destination.rstrip('/')}/{data.lab}/{data.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """See the module.

    Attributes:
        data: The data set.
        target: Its folder.
        there: The same, open.
        beside: The folder ``NAME.lab``, open.
    """

    data: LabData
    target: Location
    there: Endpoint
    beside: Endpoint

    def versions(self) -> tuple[Version, ...]:
        """The versions that the index names, the present one last."""
        return read_index(self.beside.read_bytes(INDEX))

    def store_versions(self, versions: Iterable[Version]) -> None:
        """Replaces the index, if it is another."""
        self.store(INDEX, write_index(versions))

    def manifest(self, version: Version) -> Manifest | None:
        """What belongs to a version; ``None`` when nobody knows any more, as after a purge."""
        return published(self.there, version.manifest)

    def store_manifest(self, version: Version, manifest: Manifest) -> None:
        """Keeps what belongs to a version, if it is not there yet."""
        known = self.manifest(version)
        if known is None or known.tree != version.tree:
            store_bytes(self.there, version.manifest, "".join(write_manifest(manifest)).encode("ascii"))
            self.there.settle([""])

    def whole(self) -> Manifest | None:
        """What is there, of all versions."""
        return published(self.there, MANIFEST)

    def digests(self) -> dict[str, str]:
        """Digests by path, of what is there."""
        manifest = self.whole()
        return {entry.path: entry.digest for entry in manifest.entries} if manifest is not None else {}

    def pins(self) -> list[Pin]:
        """What runs need, as it is now.

        Raises:
            ParseError: One cannot be read.
        """
        if self.beside.kind() == "absent":
            return []
        paths = sorted(found.path for found in self.beside.scan() if found.path.startswith(f"{PINS}/"))
        read = [(path, self.beside.read_bytes(path)) for path in paths if path.endswith(".json")]
        return [read_pin(path, data) for path, data in read if data is not None]

    def store(self, path: str, data: bytes) -> bool:
        """Stores a file beside the data, if it is another than the one that is there."""
        if self.beside.read_bytes(path) == data:
            return False
        store_bytes(self.beside, path, data)
        self.beside.settle(sorted({"", path.rpartition("/")[0]}))
        return True


def open_area(places: Places, data: LabData, destination: str) -> Area:
    """The place of a data set at a destination.

    Raises:
        InputError: The destination is none that can be written to.
        TransportError: The site cannot be reached.
    """
    folder = folder_of(data, destination)
    target = places.location(folder)
    if target.kind == "url":
        raise InputError(f"{destination} cannot be written to.", hint="Name SITE:/path, s3://bucket/prefix or a path.")
    return Area(
        data=data, target=target, there=places.open(target), beside=places.open(places.location(f"{folder}.lab"))
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A version at a destination.

    Attributes:
        version: Which one.
        state: ``present``, ``kept``, ``incomplete`` (files of it were replaced or are gone) or ``leaving``.
        pins: Names of the runs that need it.
    """

    version: Version
    state: Literal["present", "kept", "incomplete", "leaving"]
    pins: tuple[str, ...]


def look(area: Area) -> list[Seen]:
    """The versions that are there, by index, pins and manifests; the present one last."""
    versions, pins, there = area.versions(), area.pins(), area.digests()

    def state(number: int, version: Version) -> Literal["present", "kept", "incomplete", "leaving"]:
        manifest = area.manifest(version)
        if version.leaving:
            return "leaving"
        if manifest is None or not is_whole(manifest, there):
            return "incomplete"
        return "present" if number == len(versions) else "kept"

    return [
        Seen(
            version=one,
            state=state(number, one),
            pins=tuple(sorted(pin.name for pin in pins if pin.version == one.name)),
        )
        for number, one in enumerate(versions, 1)
    ]


def pin(area: Area, name: str, version: str, now: datetime) -> Version:
    """Makes sure that a version stays until it is unpinned.

    The pin is written before the index is read, and who deletes marks in the index before reading pins: so one of the
    two sees the other.

    Args:
        area: Where the data set is.
        name: Of the run.
        version: The present one when it is empty.
        now: UTC.

    Raises:
        InputError: There is no such version, or it is leaving, or the name pins another one.
    """
    _require_name(name)
    wanted = _find(area, version)
    path = f"{PINS}/{name}.json"
    known = area.beside.read_bytes(path)
    if known is not None:
        old = read_pin(path, known)
        if old.version != wanted.name:
            raise InputError(
                f"{name!r} pins version {old.version} of {area.data} already.",
                hint=f"Choose another name, or unpin it first: `aifa lab unpin {area.data} DEST {name}`.",
            )
    area.store(path, known or write_pin(Pin(name=name, version=wanted.name, made=now.isoformat(timespec="seconds"))))
    try:
        return _find(area, wanted.name)
    except InputError:
        area.beside.remove([path])
        raise


def unpin(area: Area, name: str) -> None:
    """Lets a version go.

    Raises:
        InputError: There is no such pin.
    """
    _require_name(name)
    path = f"{PINS}/{name}.json"
    if area.beside.read_bytes(path) is None:
        names = [one.name for one in area.pins()]
        meant = nearest(name, names, least=0.6)
        raise InputError(
            f"{area.data} has no pin {name!r} at {area.there}.",
            hint=f"Did you mean {meant!r}?" if meant else f"Pins are {', '.join(names) or 'none'}.",
        )
    area.beside.remove([path])


def _find(area: Area, version: str) -> Version:
    there = [one for one in area.versions() if not one.leaving]
    if not there:
        raise InputError(
            f"{area.there} has no version of {area.data}.", hint=f"`aifa lab sync {area.data} DEST` first."
        )
    if not version:
        return there[-1]
    found = next((one for one in there if one.name == version), None)
    if found is None:
        names = [one.name for one in there]
        meant = nearest(version, names, least=0.6)
        raise InputError(
            f"{area.there} has no version {version!r} of {area.data}.",
            hint=f"Did you mean {meant!r}?" if meant else f"Versions are {', '.join(names)}.",
        )
    return found


def _require_name(name: str) -> None:
    if _PIN.fullmatch(name) is None:
        raise InputError(
            f"{name!r} cannot be the name of a pin.",
            hint="It is letters, digits, `.`, `_` and `-`, and begins with a letter or digit.",
        )
