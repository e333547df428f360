# ruff: noqa: UP006, UP031, UP035, RUF005 - Python 3.6 has no other way to say it
# ruff: noqa: PTH118, PTH123, PTH208 - the node's program has no pathlib
"""What a site that fetches files itself writes down, and the manifest that it makes of that: Python 3.6, sent there.

The manifest is the one that ``aifa_hpc.manifest`` writes, which cannot be sent: it needs a newer Python.
"""

import hashlib
import json
import os
from typing import Any, Dict, Iterable, Iterator, List

from aifa_hpc.staging.files import raw


def journals(folder: str) -> Iterator[Dict[str, Any]]:
    """All lines of all runs; what was cut by a kill is as good as not written."""
    for name in sorted(os.listdir(folder)):
        if name.startswith("journal."):
            with open(os.path.join(folder, name), encoding="ascii") as file:
                for line in file:
                    try:
                        yield json.loads(line)
                    except ValueError:
                        break


def entry(done: Dict[str, Any], number: int) -> Dict[str, Any]:
    """A file's line in the manifest.

    Args:
        done: What was noted when it was published.
        number: Its data set.
    """
    blocks = done["blocks"]
    if len(blocks) == 1:
        digest = "sha256:" + blocks[0]
    else:
        joined = hashlib.sha256(b"".join(map(bytes.fromhex, blocks))).hexdigest()
        digest = ("sha256-8M:" if blocks else "sha256:") + joined
    made = {"path": done["done"], "set": number, "size": done["size"], "mtime_ns": done["mtime_ns"]}
    made.update(executable=done["executable"], digest=digest)
    if len(blocks) > 1:
        made["blocks"] = blocks
    return made


def manifest(entries: Iterable[Dict[str, Any]], sets: Iterable[Dict[str, Any]]) -> bytes:
    """The whole manifest, as bytes.

    Args:
        entries: The files' lines, in any order.
        sets: The data sets, without their totals.
    """
    rows = sorted(entries, key=lambda row: row["path"])
    told = [dict(about, **_totals([row for row in rows if row["set"] == at])) for at, about in enumerate(sets)]
    header = {"aifa_manifest": 2}  # type: Dict[str, Any]
    header.update(_totals(rows), sets=told)
    return "".join(json.dumps(one, separators=(", ", ": ")) + "\n" for one in [header] + rows).encode("ascii")


def _totals(rows: List[Dict[str, Any]]) -> Dict[str, Any]:
    tree = hashlib.sha256()
    for row in rows:
        tree.update(("%s %d " % (row["digest"], row["size"])).encode("ascii") + raw(row["path"]) + b"\0")
    return {"files": len(rows), "bytes": sum(row["size"] for row in rows), "tree": "sha256:" + tree.hexdigest()}
