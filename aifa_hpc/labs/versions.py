"""Versions of a data set at a destination: the index of them, and which ones may leave.

::

    DEST/LAB/
    ├── train/
    │   ├── data/part-0.parquet ...        files of all versions, in place: what two versions share is there once
    │   ├── part-00000-HASH.parquet        rows that were chosen: other files for each version
    │   ├── .aifa-manifest.jsonl           of all that is there
    │   └── .VERSION.aifa-manifest.jsonl   of one version: what a run reads, and what ``aifa stage ensure`` brings back
    └── train.lab/
        ├── index.json                     the versions, the present one last
        ├── pins/NAME.json                 a run's word that it needs a version
        ├── croissant.json
        └── dcat.jsonld

A version is named by the hash of its files, so the same files are the same version, wherever they are.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError, Problem
from aifa_hpc.lakehouse.relocate import HINT
from aifa_hpc.manifest import DataSet, Manifest, make_manifest, manifest_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from aifa_hpc.staging.plan import Action

INDEX = "index.json"
PINS = "pins"

_FORMAT = 1
_NAME_LENGTH = 12
POINTER = f"metadata/{HINT}"
"""Says which metadata of an Iceberg table is the present one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A state of a data set.

    Attributes:
        name: From the hash of its files.
        published: When it first came here, UTC, ISO 8601.
        tree: The manifest's hash of its files.
        files: How many.
        bytes: In total.
        source: Where it came from, a table with its snapshot.
        leaving: Its files are being deleted, or will be; it can be pinned no more.
    """

    name: str
    published: str
    tree: str
    files: int
    bytes: int
    source: str
    leaving: bool = False

    @property
    def manifest(self) -> str:
        """Where its manifest is, below the data set's folder."""
        return manifest_name(self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """A run's word that it needs a version.

    Attributes:
        name: Of the run, or whatever its owner finds it by.
        version: The version's name.
        made: When, UTC, ISO 8601.
    """

    name: str
    version: str
    made: str


def version_manifest(whole: Manifest, paths: Collection[str]) -> Manifest:
    """The manifest of one version, of the one of all that is there.

    An Iceberg table's hint of its present metadata belongs to no version: it is rewritten for each.
    """
    entries = [replace(entry, set=0) for entry in whole.entries if entry.path in paths and entry.path != POINTER]
    numbers = {entry.set for entry in whole.entries if entry.path in paths}
    data_set = whole.sets[min(numbers)] if numbers else DataSet()
    return make_manifest(entries, sets=[data_set])


def make_version(manifest: Manifest, published: str) -> Version:
    """What the index says of a version."""
    tree = manifest.tree
    return Version(
        name=tree.removeprefix("sha256:")[:_NAME_LENGTH],
        published=published,
        tree=tree,
        files=len(manifest.entries),
        bytes=manifest.bytes,
        source=manifest.sets[0].source,
    )


def with_present(versions: Sequence[Version], present: Version) -> tuple[Version, ...]:
    """The versions with this one last; one that was there keeps its time, and stays if it was leaving."""
    known = next((one for one in versions if one.name == present.name), present)
    return (*(one for one in versions if one.name != present.name), replace(known, leaving=False))


def expired(
    versions: Sequence[Version], keep: int, pinned: Collection[str], broken: Collection[str]
) -> tuple[str, ...]:
    """Names of the versions that may leave.

    Args:
        versions: All, the present one last; that one never leaves.
        keep: How many stay beside pinned ones; 0 for all.
        pinned: Names of versions that a run needs; these never leave.
        broken: Names of versions of which files were replaced: they count for nothing.
    """
    if not keep or not versions:
        return ()
    old = [one.name for one in versions[:-1] if one.name not in pinned]
    whole = [one.name for one in versions[:-1] if one.name in old and not one.leaving and one.name not in broken]
    stay = whole[max(len(whole) - (keep - 1), 0) :]
    return tuple(name for name in old if name not in stay)


def is_whole(version: Manifest, there: Mapping[str, str]) -> bool:
    """Whether all files of a version are there as it has them.

    Args:
        version: Its manifest.
        there: Digests by path, of all that is there.
    """
    return all(there.get(entry.path) == entry.digest for entry in version.entries)


def replaced(actions: Iterable[Action], pinned: Mapping[str, tuple[Manifest, str]]) -> Iterator[Problem]:
    """Files that a copy would replace, and that a pinned version needs as they are.

    Args:
        actions: What is to be sent.
        pinned: Manifests by version, each with the name of a pin.
    """
    needed = {
        entry.path: (entry, version, name) for version, (manifest, name) in pinned.items() for entry in manifest.entries
    }
    for action in actions:
        entry, version, name = needed.get(action.path, (None, "", ""))
        if entry is None or action.there is None or action.there.size != entry.size:
            continue  # gone, or damaged already
        if action.here_blocks == entry.all_blocks:
            continue  # a repair
        rule = f"version {version}, which is pinned as {name!r}, needs it as it is there"
        yield Problem(key=action.path, value="", rule=rule)


def write_index(versions: Iterable[Version]) -> bytes:
    """The index as it is stored."""
    record = {"aifa_lab": _FORMAT, "versions": [asdict(one) for one in versions]}
    return f"{json.dumps(record, indent=1)}\n".encode("ascii")


def read_index(data: bytes | None) -> tuple[Version, ...]:
    """The inverse of :func:`write_index`; none for no index.

    Raises:
        ParseError: It is none, or of a newer version of this program.
    """
    if data is None:
        return ()
    try:
        record = json.loads(data)
        if record["aifa_lab"] != _FORMAT:
            raise ParseError(
                f"the index of versions has format {record['aifa_lab']!r}, and this program knows {_FORMAT}."
            )
        return tuple(Version(**one) for one in record["versions"])
    except (ValueError, TypeError, KeyError) as error:
        raise ParseError(f"the index of versions cannot be read: {error}.") from error


def write_pin(pin: Pin) -> bytes:
    """A pin as it is stored."""
    return f"{json.dumps({'version': pin.version, 'made': pin.made})}\n".encode("ascii")


def read_pin(path: str, data: bytes) -> Pin:
    """A pin.

    Args:
        path: ``pins/NAME.json``.
        data: What is there.

    Raises:
        ParseError: It is none: nothing may be deleted then.
    """
    name = path.removeprefix(f"{PINS}/").removesuffix(".json")
    try:
        record = json.loads(data)
        return Pin(name=name, version=record["version"], made=record["made"])
    except (ValueError, TypeError, KeyError) as error:
        raise ParseError(f"the pin {path} cannot be read: {error}.") from error
