"""How much room a site has for files: asked in one command, read from whatever it offers.

``df`` answers everywhere, about the whole file system. LUMI keeps quotas and billed hours of each project in a file
that ``lumi-workspaces`` and ``lumi-allocations`` read; it is no published interface, and without it nothing is known.
JSC has ``jutil project dataquota``; its numbers are some hours old.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aifa_hpc.command import shell
from aifa_hpc.slurm.shell import ASK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.command import Flow

_KIB = 1024
_SECTION = re.compile(r"^aifa: section (?P<name>\S+)\n(?P<body>.*?)^aifa: end (?P<code>\d+)$", re.MULTILINE | re.DOTALL)

_SCRIPT = (
    ASK
    + """
folder=$1
project=$2
# The folder itself may be yet to be made.
while [ ! -d "$folder" ] && [ "$folder" != / ]; do folder=$(dirname -- "$folder"); done
where() { cd -- "$folder" && pwd -P; }
lumi() { cat -- "/var/lib/project_info/users/$project/$project.json"; }
limit=; command -v timeout > /dev/null && limit="timeout 20"
ask resolved where
ask bytes df -P -k -- "$folder"
ask files df -P -i -- "$folder"
if [ -n "$project" ]; then
  [ -r "/var/lib/project_info/users/$project/$project.json" ] && ask lumi lumi
  command -v jutil > /dev/null && ask jutil $limit jutil project dataquota -p "$project" -o json -U KB
fi
exit 0
"""
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What is left in one respect.

    Attributes:
        source: Who says so.
        bytes: Bytes that still fit; ``None`` where it does not say.
        files: Files that still fit.
    """

    source: str
    bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a site told of a folder.

    Attributes:
        resolved: The folder, or the nearest one above it that exists, with links followed; empty when not told.
        rooms: What is left, by each source.
        storage_hours: TB-hours of storage that the project may still be billed; ``None`` where it is not known.
    """

    resolved: str
    rooms: tuple[Room, ...]
    storage_hours: float | None = None


def ask_room(folder: str, project: str) -> Flow[Told]:
    """Asks a site about a folder.

    Args:
        folder: Absolute; need not exist.
        project: The account that is billed; empty for none.

    Raises:
        SiteError: The question itself failed.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]*", project, re.ASCII) or project.startswith((".", "-")):
        project = ""
    completed = yield shell(_SCRIPT, folder, project, idempotent=True)
    if completed.exit_code != 0:
        raise completed.refusal("the site does not say how much room there is")
    return read_room(completed.out, folder)


def read_room(text: str, folder: str) -> Told:
    """What the answer says; sections that failed or cannot be read are left out."""
    sections = {}
    for match in _SECTION.finditer(text):
        if match["code"] == "0":
            sections[match["name"]] = re.sub(r"^aifa: said .*\n", "", match["body"], flags=re.MULTILINE)
    lumi = _json(sections.get("lumi", ""))
    rooms = [*_df(sections), *_lumi(lumi, folder), *_jutil(_json(sections.get("jutil", "")), folder)]
    return Told(
        resolved=sections.get("resolved", "").strip("\n"),
        rooms=tuple(rooms),
        storage_hours=_storage_hours(lumi),
    )


def _df(sections: dict[str, str]) -> Iterator[Room]:
    """``df -P``: six columns, the last may hold blanks."""
    size, files = _available(sections.get("bytes", "")), _available(sections.get("files", ""))
    if size is not None or files:
        # Some file systems count no inodes and say 0 of 0.
        yield Room(source="df", bytes=size * _KIB if size is not None else None, files=files or None)


def _available(text: str) -> int | None:
    words = (text.strip().splitlines() or [""])[-1].split()
    return int(words[3]) if len(words) > 4 and words[3].isdigit() else None  # noqa: PLR2004 - Available of df -P


def _lumi(value: Any, folder: str) -> Iterator[Room]:
    """``storage_quotas.directories.{projappl,scratch,flash}``, blocks in KiB (LUST, lumi-tools documentation)."""
    area = {"project": "projappl"}.get(name := folder.lstrip("/").partition("/")[0], name)
    try:
        quota = value["storage_quotas"]["directories"][area]
        yield Room(
            source="lumi-workspaces",
            bytes=(int(quota["block_quota_soft"]) - int(quota["block_quota_used"])) * _KIB,
            files=int(quota["inode_quota_soft"]) - int(quota["inode_quota_used"]),
        )
    except (KeyError, TypeError, ValueError):
        return


def _storage_hours(value: Any) -> float | None:
    """``billing.storage_hours``, what ``lumi-allocations`` shows."""
    try:
        hours = value["billing"]["storage_hours"]
        return float(hours["alloc"]) - float(hours["used"])
    except (KeyError, TypeError, ValueError):
        return None


def _jutil(value: Any, folder: str) -> Iterator[Room]:
    """``jutil project dataquota -o json -U KB``: a record for each folder of the project, sizes as ``123KB``."""
    best: tuple[int, dict[str, Any]] | None = None
    for record in value if isinstance(value, list) else ():
        path = str(record.get("project-dir", "")).rstrip("/") if isinstance(record, dict) else ""
        if path and f"{folder}/".startswith(f"{path}/") and (best is None or len(path) > best[0]):
            best = (len(path), record)
    if best is None:
        return
    try:
        record = best[1]
        size, files = _kib(record["data-soft-limit"]), int(record["inode-soft-limit"])
        yield Room(
            source="jutil",
            bytes=(size - _kib(record["data-usage"])) * _KIB if size else None,
            files=files - int(record["inode-usage"]) if files else None,
        )
    except (KeyError, TypeError, ValueError):
        return


def _kib(text: Any) -> int:
    return int(str(text).upper().removesuffix("KB").strip())


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
